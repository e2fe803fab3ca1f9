//! Records that are committed in a segment, with the last chunks of their contents.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{ReadableDatabase, ReadableTable};

use super::super::backend::FileCall;
use super::super::index::{Entry, Indexed};
use super::super::recovery::Stays;
use super::super::rows::SegmentNumber;
use super::super::{CATALOG_FILE, ContentState, Effort, INDEX_FILE, Removal, SEGMENTS_FOLDER};
use super::content::Sample;
use super::*;

/// The home as kill -9 would leave it now, opened.
fn after_a_kill(home: &Path) -> (tempfile::TempDir, Store) {
    let image = tempfile::tempdir().unwrap();
    copy(home, image.path());
    let store = open_steady(image.path());
    (image, store)
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

fn state(store: &Store, content: &Sample) -> Option<ContentState> {
    let record = store.manifest(&content.hash()).unwrap();
    assert!(record.is_none() || !store.lacks_manifest(&content.hash()));
    let by_key = store.manifest_by_key(&content.hash().discovery_key()).unwrap();
    assert_eq!(record, by_key);
    let listed = store.manifests().unwrap().into_iter().find(|record| record.hash == content.hash());
    assert_eq!(record, listed);
    record.map(|record| record.state)
}

#[test]
fn a_content_and_its_record_are_durable_with_one_commit() {
    let home = tempfile::tempdir().unwrap();
    let store = open_steady(home.path());
    let mut rng = random(1);
    let contents: Vec<_> = (0..5).map(|_| Sample::random(&mut rng, 2)).collect();
    for content in &contents {
        assert_eq!(state(&store, content), None);
        assert!(store.lacks_manifest(&content.hash()));
        content.complete(&store);
        assert_eq!(state(&store, content), Some(ContentState::Complete));
        let (_image, store) = after_a_kill(home.path());
        assert_eq!(state(&store, content), Some(ContentState::Complete));
        content.assert_whole(&store);
    }
}

#[test]
fn what_was_removed_does_not_come_back_out_of_a_segment() {
    let home = tempfile::tempdir().unwrap();
    let store = open_steady(home.path());
    let mut rng = random(2);
    let (gone, kept) = (Sample::random(&mut rng, 2), Sample::random(&mut rng, 2));
    gone.complete(&store);
    assert_eq!(wait(store.remove_content(gone.hash())).unwrap(), Removal::Removed);
    kept.complete(&store);
    for store in [after_a_kill(home.path()), after_a_kill(home.path())].iter().map(|(_, store)| store) {
        assert_eq!((state(store, &gone), state(store, &kept)), (None, Some(ContentState::Complete)));
    }
    // Nor one that is found not to be whole any more.
    assert!(wait(store.incomplete_manifest(kept.hash())).unwrap());
    let (_image, store) = after_a_kill(home.path());
    assert_eq!((state(&store, &gone), state(&store, &kept)), (None, Some(ContentState::Damaged)));
}

#[test]
fn a_record_outlives_the_segment_that_it_came_in() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let mut rng = random(3);
    let contents: Vec<_> = (0..60).map(|_| Sample::random(&mut rng, 2)).collect();
    for content in &contents {
        content.complete(&store);
    }
    let (kept, gone): (Vec<_>, Vec<_>) = contents.iter().enumerate().partition(|(at, _)| at % 3 == 0);
    for (_, content) in &gone {
        assert_eq!(wait(store.remove_content(content.hash())).unwrap(), Removal::Removed);
    }
    let collected = wait(store.collect(Effort::Thorough, false)).unwrap();
    assert!(collected.rewritten_segments > 0, "{collected:?}");
    let (_image, again) = after_a_kill(home.path());
    for store in [&store, &again] {
        for (_, content) in &kept {
            assert_eq!(state(store, content), Some(ContentState::Complete));
            content.assert_whole(store);
        }
        assert!(gone.iter().all(|(_, content)| state(store, content).is_none()));
    }
}

#[test]
fn what_is_not_all_in_one_group_is_recorded_when_all_of_it_is_durable() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let mut rng = random(4);
    // Some groups' worth; then one of which nothing is new.
    let content = Sample::random(&mut rng, 20);
    content.complete(&store);
    content.complete(&store);
    let (_image, again) = after_a_kill(home.path());
    assert_eq!(state(&again, &content), Some(ContentState::Complete));
    content.assert_whole(&again);
    assert!(wait(store.remove_manifest(content.hash())).unwrap());
    content.complete(&store);
    assert_eq!(state(&store, &content), Some(ContentState::Complete));
}

/// Takes the segments of a home away, to where they can be given back from.
fn take_segments_away(home: &Path) -> std::path::PathBuf {
    let away = home.join("away");
    std::fs::rename(home.join(SEGMENTS_FOLDER), &away).unwrap();
    away
}

fn give_segments_back(home: &Path, away: &Path) {
    let _ = std::fs::remove_dir_all(home.join(SEGMENTS_FOLDER));
    std::fs::rename(away, home.join(SEGMENTS_FOLDER)).unwrap();
}

#[test]
fn what_was_removed_does_not_come_back_with_a_segment_that_was_away() {
    let home = tempfile::tempdir().unwrap();
    let store = open_steady(home.path());
    let mut rng = random(5);
    let (gone, kept) = (Sample::random(&mut rng, 2), Sample::random(&mut rng, 2));
    gone.complete(&store);
    kept.complete(&store);
    assert_eq!(wait(store.remove_content(gone.hash())).unwrap(), Removal::Removed);
    wait(store.close()).unwrap();
    drop(store);
    let away = take_segments_away(home.path());
    let store = open_steady(home.path());
    assert_eq!((state(&store, &gone), state(&store, &kept)), (None, Some(ContentState::Complete)));
    wait(store.close()).unwrap();
    drop(store);
    give_segments_back(home.path(), &away);
    let store = open_steady(home.path());
    assert_eq!((state(&store, &gone), state(&store, &kept)), (None, Some(ContentState::Complete)));
}

/// The home as kill -9 leaves it: records are in the segment alone. Closing the store would take them in.
fn as_a_kill_leaves(store: Store, home: &Path) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    copy(home, image.path());
    drop(store);
    image
}

#[test]
fn while_a_segment_cannot_be_looked_into_nothing_is_collected_and_its_records_are_not_lost() {
    let home = tempfile::tempdir().unwrap();
    let store = open_steady(home.path());
    let mut rng = random(6);
    let (small, later) = (Sample::random(&mut rng, 2), Sample::random(&mut rng, 2));
    small.complete(&store);
    let image = as_a_kill_leaves(store, home.path());
    let away = take_segments_away(image.path());
    for segment in std::fs::read_dir(&away).unwrap() {
        // It is there, and cannot be read.
        std::fs::create_dir_all(image.path().join(SEGMENTS_FOLDER).join(segment.unwrap().file_name())).unwrap();
    }
    let store = open_steady(image.path());
    let refused = wait(store.collect(Effort::Thorough, false)).unwrap_err();
    assert!(refused.to_string().contains(SEGMENTS_FOLDER), "{refused}");
    later.complete(&store);
    wait(store.close()).unwrap();
    drop(store);
    let new: Vec<_> = std::fs::read_dir(image.path().join(SEGMENTS_FOLDER)).unwrap().map(Result::unwrap).collect();
    for segment in new.iter().filter(|segment| segment.file_type().unwrap().is_file()) {
        std::fs::rename(segment.path(), away.join(segment.file_name())).unwrap();
    }
    give_segments_back(image.path(), &away);
    let store = open_steady(image.path());
    for content in [&small, &later] {
        assert_eq!(state(&store, content), Some(ContentState::Complete));
        content.assert_whole(&store);
    }
    wait(store.collect(Effort::Thorough, false)).unwrap();
}

/// Two reads of a segment fail, one after the other, so that it is not opened over the disk either; and no others.
#[derive(Debug)]
struct TwoReads {
    left: AtomicU64,
}

impl Faults for TwoReads {
    fn before(&self, call: FileCall, file: &Path) -> io::Result<()> {
        let is_due = call == FileCall::Read && file.parent().is_some_and(|folder| folder.ends_with(SEGMENTS_FOLDER));
        let left = || self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if is_due && matches!(left(), Ok(1 | 2)) {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }
}

/// Opens a copy of a home for each two reads of a segment that may fail at a start, and hands it on: with its folder,
/// and whether that has kept the store from looking into the segment.
fn with_two_failing_reads(image: &Path, check: impl Fn(Store, &Path, bool)) {
    let (mut unread, mut failing) = (0, 2);
    loop {
        let home = tempfile::tempdir().unwrap();
        copy(image, home.path());
        let read = Arc::new(TwoReads { left: AtomicU64::new(failing) });
        let config = StoreConfig { writers: 1, group_delay: Duration::from_secs(600), ..super::small() };
        if let Ok(store) = Store::open_with(home.path(), &config, Some(read.clone())) {
            if read.left.load(Ordering::SeqCst) > 0 {
                // A start takes no more reads than that.
                break;
            }
            println!("read {failing}");
            let is_unread = !store.shared().catalog.unread().is_empty();
            unread += usize::from(is_unread);
            check(store, home.path(), is_unread);
        }
        failing += 1;
    }
    assert!(unread > 0, "no failing read kept the store from looking");
}

#[test]
fn a_segment_that_could_not_be_looked_into_takes_no_groups_though_it_can_be_read_again() {
    let home = tempfile::tempdir().unwrap();
    let store = open_steady(home.path());
    let mut rng = random(7);
    let (small, later) = (Sample::random(&mut rng, 2), Sample::random(&mut rng, 2));
    small.complete(&store);
    let image = as_a_kill_leaves(store, home.path());
    with_two_failing_reads(image.path(), |store, home, _| {
        later.complete(&store);
        wait(store.close()).unwrap();
        drop(store);
        let store = open_steady(home);
        for content in [&small, &later] {
            assert_eq!(state(&store, content), Some(ContentState::Complete));
            content.assert_whole(&store);
        }
    });
}

#[test]
fn a_segment_that_can_be_read_again_is_looked_into_by_the_next_collection() {
    let home = tempfile::tempdir().unwrap();
    let store = open_steady(home.path());
    let mut rng = random(10);
    let (small, later) = (Sample::random(&mut rng, 2), Sample::random(&mut rng, 2));
    put_all(&store, &(0..10).map(|_| chunk(&mut rng, 30_000)).collect::<Vec<_>>()).unwrap();
    small.complete(&store);
    let image = as_a_kill_leaves(store, home.path());
    with_two_failing_reads(image.path(), |store, home, is_unread| {
        assert_eq!(state(&store, &small).is_none(), is_unread);
        let collected = wait(store.collect(Effort::Thorough, false)).unwrap();
        assert_eq!(state(&store, &small), Some(ContentState::Complete));
        assert!(!is_unread || collected.rewritten_segments == 1, "{collected:?}");
        later.complete(&store);
        let (_image, again) = after_a_kill(home);
        for store in [&store, &again] {
            for content in [&small, &later] {
                assert_eq!(state(store, content), Some(ContentState::Complete));
                content.assert_whole(store);
            }
        }
    });
}

#[test]
fn a_copy_that_turns_up_late_moves_nothing_that_is_known_and_sound() {
    let (home, sample) = (tempfile::tempdir().unwrap(), Sample::random(&mut random(11), 2));
    let store = open_steady(home.path());
    sample.complete(&store);
    let (shared, id) = (store.shared(), sample.chunks[0].id());
    let segment =
        shared.segments.all().into_iter().find(|segment| !segment.directories(0).unwrap().is_empty()).unwrap();
    let directory = segment.directories(0).unwrap().remove(0).1.unwrap();
    let entry = || shared.index.entries([id.as_bytes()].into_iter()).unwrap()[0];
    let add = |number, stays| {
        let copy = Indexed { segment: SegmentNumber(number), group: 0, directory: directory.clone() };
        shared.index.add(&[copy], stays, redb::Durability::None).unwrap();
    };
    add(98, Stays::Known);
    assert!(matches!(entry(), Entry::At(row) if row.segment == segment.number()));
    add(99, Stays::Later);
    assert!(matches!(entry(), Entry::At(row) if row.segment == SegmentNumber(99)));
}

const LOOKED: redb::TableDefinition<'_, u32, &[u8; 12]> = redb::TableDefinition::new("segments");

/// Overwrites what the catalog of a closed home says of how far it has looked into segments, in the first of the two
/// tables that say it.
fn damage_looked(home: &Path) {
    let database = redb::Database::open(home.join(CATALOG_FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(LOOKED).unwrap();
        let numbers: Vec<u32> = table.iter().unwrap().map(|row| row.unwrap().0.value()).collect();
        assert!(!numbers.is_empty());
        numbers.into_iter().for_each(|number| drop(table.insert(number, &[7; 12]).unwrap()));
    }
    transaction.commit().unwrap();
}

#[test]
fn what_was_removed_does_not_come_back_with_a_damaged_row() {
    let home = tempfile::tempdir().unwrap();
    let store = open_steady(home.path());
    let mut rng = random(7);
    let (gone, kept) = (Sample::random(&mut rng, 2), Sample::random(&mut rng, 2));
    gone.complete(&store);
    kept.complete(&store);
    assert_eq!(wait(store.remove_content(gone.hash())).unwrap(), Removal::Removed);
    wait(store.close()).unwrap();
    drop(store);
    damage_looked(home.path());
    let store = open_steady(home.path());
    assert_eq!((state(&store, &gone), state(&store, &kept)), (None, Some(ContentState::Complete)));
}

#[test]
fn a_damaged_page_of_what_was_looked_into_keeps_nobody_out() {
    let home = tempfile::tempdir().unwrap();
    let store = open_steady(home.path());
    let mut rng = random(8);
    let (small, pinned) = (Sample::random(&mut rng, 2), Sample::random(&mut rng, 40));
    small.complete(&store);
    pinned.publish(&store);
    wait(store.pin_manifest(pinned.hash(), true)).unwrap();
    wait(store.close()).unwrap();
    drop(store);
    let catalog = home.path().join(CATALOG_FILE);
    let row = {
        let database = redb::ReadOnlyDatabase::open(&catalog).unwrap();
        let table = database.begin_read().unwrap().open_table(LOOKED).unwrap();
        let row = table.first().unwrap().unwrap();
        *row.1.value()
    };
    // Each page that begins with it, or did once, after redb's 4 bytes and the keys: of both tables.
    let mut bytes = std::fs::read(&catalog).unwrap();
    let begins = |page: &[u8]| {
        let first = 4 + 4 * usize::from(u16::from_le_bytes([page[2], page[3]]));
        page.get(first..first + 12).is_some_and(|value| *value == row)
    };
    let pages: Vec<&mut [u8]> = bytes.chunks_exact_mut(4096).filter(|page| begins(page)).collect();
    assert!(pages.len() > 1);
    // How many rows there are: redb's debug build looks at the kind of each page when it opens a file.
    pages.into_iter().for_each(|page| page[2..4].fill(0xEE));
    super::damage::overwrite(&catalog, &bytes);
    let store = open_steady(home.path());
    assert_eq!(state(&store, &small), Some(ContentState::Complete));
    assert!(store.manifest(&pinned.hash()).unwrap().unwrap().pinned);
    let later = Sample::random(&mut rng, 2);
    later.complete(&store);
    let (_image, store) = after_a_kill(home.path());
    assert_eq!(state(&store, &later), Some(ContentState::Complete));
    assert!(store.manifest(&pinned.hash()).unwrap().unwrap().pinned);
}

#[test]
fn a_complete_segment_whose_mode_was_lost_takes_no_records_that_nobody_would_find() {
    let home = tempfile::tempdir().unwrap();
    let store = open_steady(home.path());
    let mut rng = random(9);
    Sample::random(&mut rng, 60).complete(&store);
    wait(store.close()).unwrap();
    drop(store);
    let mut segments = super::damage::segments(home.path());
    segments.sort();
    assert!(segments.len() > 1 && segments[0].metadata().unwrap().permissions().readonly());
    for other in segments.split_off(1) {
        std::fs::remove_file(other).unwrap();
    }
    // A power cut may take back what was not synced: the mode of a file, and the last of the index.
    std::fs::set_permissions(&segments[0], std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::remove_file(home.path().join(INDEX_FILE)).unwrap();
    let roomy = StoreConfig { segment_bytes: 8 << 20, writers: 1, group_delay: Duration::from_secs(600), ..small() };
    let store = Store::open_with(home.path(), &roomy, None).unwrap();
    let later = Sample::random(&mut rng, 2);
    later.complete(&store);
    let (_image, store) = after_a_kill(home.path());
    assert_eq!(state(&store, &later), Some(ContentState::Complete));
}

//! A disk on which not a byte is left: room comes back all the same.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::backend::FileCall;
use super::super::reserve::RESERVE_BYTES;
use super::super::{CATALOG_FILE, ContentState, Effort, Removal};
use super::content::Sample;
use super::faults::FullDisk;
use super::verify::{Found, flip_everywhere};
use super::*;

/// A full disk that has room again for what the home's reserve took, once that is gone.
#[derive(Debug)]
struct Reserved {
    disk: FullDisk,
    reserve: PathBuf,
    is_spent: AtomicBool,
    /// Whether the catalog is refused while the reserve is there, as it is where no page of it is free.
    stops_catalog: bool,
}

impl Reserved {
    fn of(home: &Path, stops_catalog: bool) -> Arc<Self> {
        let reserve = home.join("reserve");
        Arc::new(Self { disk: FullDisk::default(), reserve, is_spent: AtomicBool::new(true), stops_catalog })
    }

    fn fill(&self) {
        self.disk.fill(0);
        self.is_spent.store(false, Ordering::SeqCst);
    }
}

impl Faults for Reserved {
    fn before(&self, call: FileCall, file: &Path) -> io::Result<()> {
        let is_full = !self.is_spent.load(Ordering::SeqCst);
        // It keeps its stem when it gets its own name.
        let is_catalog = file.file_stem() == Path::new(CATALOG_FILE).file_stem();
        if is_full && !self.reserve.exists() {
            self.is_spent.store(true, Ordering::SeqCst);
            self.disk.fill(RESERVE_BYTES / 4096);
        } else if is_full && self.stops_catalog && is_catalog && matches!(call, FileCall::Write { .. }) {
            return Err(io::Error::from_raw_os_error(28));
        }
        self.disk.before(call, file)
    }
}

#[test]
fn what_is_removed_goes_on_a_full_disk_and_its_room_comes_back() {
    let home = tempfile::tempdir().unwrap();
    let disk = Reserved::of(home.path(), true);
    let store = open_with(home.path(), disk.clone()).unwrap();
    let mut rng = random(1);
    let (kept, gone) = (Sample::random(&mut rng, 10), Sample::random(&mut rng, 60));
    kept.publish(&store);
    gone.publish(&store);
    wait(store.pin_manifest(gone.hash(), true)).unwrap();
    disk.fill();
    let refused = wait(store.pin_manifest(kept.hash(), true)).unwrap_err();
    assert!(matches!(refused, StoreError::NoSpace { .. }), "what takes room is refused: {refused}");
    assert!(wait(store.pin_manifest(gone.hash(), false)).unwrap());
    assert!(disk.reserve.exists(), "it was not taken back");
    disk.fill();
    assert_eq!(wait(store.remove_content(gone.hash())).unwrap(), Removal::Removed);
    disk.fill();
    let collected = wait(store.collect(Effort::Thorough, false)).unwrap();
    assert!(collected.reclaimed_bytes > gone.bytes() / 2, "{collected:?}");
    kept.assert_whole(&store);
    disk.disk.free();
    wait(store.close()).unwrap();
    drop(store);
    let store = open(home.path());
    kept.assert_whole(&store);
    assert!(store.manifest(&gone.hash()).unwrap().is_none() && gone.held(&store) == 0);
}

#[test]
fn garbage_for_which_there_is_no_room_to_copy_is_told_from_what_is_not_worth_it() {
    let home = tempfile::tempdir().unwrap();
    let disk = Reserved::of(home.path(), false);
    let config = StoreConfig { segment_bytes: 16 << 20, writers: 1, ..small() };
    let store = Store::open_with(home.path(), &config, Some(disk.clone())).unwrap();
    let mut rng = random(2);
    // More than the reserve is needed, in a segment of which a third is not.
    let (kept, gone) = (Sample::random(&mut rng, 120), Sample::random(&mut rng, 60));
    kept.publish(&store);
    gone.publish(&store);
    wait(store.remove_manifest(gone.hash())).unwrap();
    disk.fill();
    let collected = wait(store.collect(Effort::Thorough, false)).unwrap();
    assert!(collected.blocked_bytes >= gone.bytes() && collected.garbage_bytes == 0, "{collected:?}");
    assert_eq!(collected.reclaimed_bytes, 0);
    kept.assert_whole(&store);
    disk.disk.free();
    let collected = wait(store.collect(Effort::Thorough, false)).unwrap();
    assert!(collected.reclaimed_bytes > gone.bytes() / 2 && collected.blocked_bytes == 0, "{collected:?}");
    kept.assert_whole(&store);
}

#[test]
fn what_cannot_be_written_anew_stays_held_where_it_is() {
    let home = tempfile::tempdir().unwrap();
    let chunks = super::verify::filled(home.path(), 4);
    for file in super::damage::segments(home.path()) {
        flip_everywhere(&file, chunks[9].id().as_bytes(), 77);
    }
    let disk = Arc::new(FullDisk::default());
    let store = open_with(home.path(), disk.clone()).unwrap();
    disk.fill(0);
    let mut found = Found::default();
    store.verify_tables(true, &mut found).unwrap();
    assert!(found.damage.iter().any(|damage| !damage.mended), "{:?}", found.damage);
    assert_holds(&store, &chunks);
    disk.free();
    assert!(super::verify::verify(&store, true).damage.iter().all(|damage| damage.mended));
    assert_eq!(super::verify::verify(&store, false).damage.len(), 0);
    assert_holds(&store, &chunks);
}

#[test]
fn a_segment_that_was_moved_away_takes_nothing_more() {
    let home = tempfile::tempdir().unwrap();
    let store = open_steady(home.path());
    let mut rng = random(5);
    let mut content = || Sample::random(&mut rng, 2);
    let (before, lost, after) = (content(), content(), content());
    before.publish(&store);
    let segment = super::damage::segments(home.path()).pop().unwrap();
    std::fs::rename(&segment, home.path().join("away")).unwrap();
    let refused = put_all(&store, &lost.chunks).unwrap_err().to_string();
    assert!(refused.contains(segment.to_str().unwrap()) && refused.contains("moved away"), "{refused}");
    assert_eq!((lost.held(&store), before.held(&store)), (0, 0));
    after.publish(&store);
    wait(store.close()).unwrap();
    drop(store);
    let store = open_steady(home.path());
    after.assert_whole(&store);
    assert_eq!(store.manifest(&after.hash()).unwrap().unwrap().state, ContentState::Complete);
}

//! Collecting garbage: what is needed stays, what is not goes, whatever happens meanwhile.

use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::backend::FileCall;
use super::super::{ContentState, Effort, ReadError, Removal};
use super::content::{Sample, whole_chunk};
use super::*;

const THOROUGH: Effort = Effort::Thorough;

fn disk_bytes(home: &Path) -> u64 {
    let files = std::fs::read_dir(home.join(super::super::SEGMENTS_FOLDER)).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum()
}

fn collect(store: &Store) -> super::super::Collected {
    wait(store.collect(THOROUGH, false)).unwrap()
}

#[test]
fn what_a_record_leads_to_stays_and_the_rest_goes() {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(1);
    let store = open_steady(home.path());
    let (kept, gone) = (Sample::random(&mut rng, 40), Sample::random(&mut rng, 120));
    kept.publish(&store);
    gone.publish(&store);
    let (before, segments) = (disk_bytes(home.path()), store.usage().unwrap().segments);
    let dry = wait(store.collect(THOROUGH, true)).unwrap();
    assert_eq!((dry.reclaimed_bytes, dry.garbage_bytes), (0, 0), "nothing is garbage yet: {dry:?}");
    assert!(wait(store.remove_manifest(gone.hash())).unwrap());
    let dry = wait(store.collect(THOROUGH, true)).unwrap();
    assert_eq!(store.usage().unwrap().segments, segments, "a dry run changes nothing");
    assert!(dry.reclaimed_bytes >= gone.bytes() * 9 / 10, "{dry:?}");
    let collected = collect(&store);
    assert!(collected.reclaimed_bytes > 0 && collected.dropped_segments + collected.rewritten_segments > 3);
    let after = disk_bytes(home.path());
    assert!(before - after >= gone.bytes() * 8 / 10, "{before} - {after} of {}: {collected:?}", gone.bytes());
    kept.assert_whole(&store);
    assert!(gone.held(&store) == 0);
    assert_eq!(collect(&store).reclaimed_bytes, 0, "the second time there is nothing left");
    wait(store.close()).unwrap();
    let store = open(home.path());
    kept.assert_whole(&store);
    // What went can come again.
    gone.publish(&store);
    gone.assert_whole(&store);
}

#[test]
fn what_contents_share_stays_until_the_last_of_them_goes() {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(2);
    let store = open(home.path());
    let one = Sample::random(&mut rng, 60);
    let other = one.changed(&mut rng, 20);
    one.publish(&store);
    other.publish(&store);
    assert!(wait(store.remove_manifest(one.hash())).unwrap());
    collect(&store);
    other.assert_whole(&store);
    assert!(wait(store.remove_manifest(other.hash())).unwrap());
    collect(&store);
    assert_eq!(other.held(&store) + one.held(&store), 0);
    assert_eq!(store.usage().unwrap().chunks, 0);
}

#[test]
fn what_somebody_works_with_stays_until_the_work_ends() {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(3);
    let store = open_steady(home.path());
    let (written, found) = (Sample::random(&mut rng, 40), Sample::random(&mut rng, 40));
    found.publish(&store);
    wait(store.remove_manifest(found.hash())).unwrap();
    let ingest = store.ingest();
    written.put(&store, &ingest);
    let hold = store.hold(None);
    let ids: Vec<_> = found.chunks.iter().map(VerifiedChunk::id).collect();
    assert!(store.find_chunks(&ids, &hold).unwrap().0.iter().all(|held| *held));
    for _ in 0..2 {
        collect(&store);
        assert_eq!(written.held(&store), written.chunks.len());
        assert_eq!(found.held(&store), found.chunks.len());
    }
    drop(hold);
    wait(ingest.record(written.record(ContentState::Complete))).unwrap();
    drop(ingest);
    collect(&store);
    written.assert_whole(&store);
    assert_eq!(found.held(&store), 0);
}

#[test]
fn a_content_goes_unless_it_is_pinned_or_in_use() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let sample = Sample::random(&mut random(9), 5);
    let remove = || wait(store.remove_content(sample.hash())).unwrap();
    assert_eq!(remove(), Removal::Unknown);
    sample.publish(&store);
    wait(store.pin_manifest(sample.hash(), true)).unwrap();
    assert_eq!(remove(), Removal::Pinned);
    wait(store.pin_manifest(sample.hash(), false)).unwrap();
    let hold = store.hold(Some(sample.hash()));
    assert_eq!(remove(), Removal::InUse);
    drop(hold);
    assert_eq!(remove(), Removal::Removed);
    assert_eq!(remove(), Removal::Unknown);
}

#[test]
fn a_publish_that_finds_everything_held_holds_it() {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(4);
    let store = open(home.path());
    let sample = Sample::random(&mut rng, 50);
    sample.publish(&store);
    wait(store.remove_manifest(sample.hash())).unwrap();
    let ingest = store.ingest();
    sample.put(&store, &ingest);
    assert_eq!(ingest.added().chunks, 0);
    collect(&store);
    wait(ingest.record(sample.record(ContentState::Complete))).unwrap();
    drop(ingest);
    collect(&store);
    sample.assert_whole(&store);
}

#[test]
fn of_a_content_that_is_half_fetched_what_is_there_stays() {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(5);
    let store = open(home.path());
    let (half, other) = (Sample::random(&mut rng, 60), Sample::random(&mut rng, 60));
    other.publish(&store);
    wait(store.put_manifest(half.record(ContentState::Fetching))).unwrap();
    let ingest = store.ingest();
    half.put_nodes(&ingest);
    wait(async {
        for chunk in half.chunks.iter().step_by(2) {
            ingest.put_chunk(chunk.clone()).await.unwrap();
        }
        ingest.flush().await.unwrap();
    });
    drop(ingest);
    wait(store.remove_manifest(other.hash())).unwrap();
    assert!(collect(&store).reclaimed_bytes > 0);
    assert_eq!(half.held(&store), half.chunks.len().div_ceil(2));
}

#[test]
fn nothing_is_collected_when_it_cannot_be_told_what_is_needed() {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(6);
    let store = open_steady(home.path());
    let (kept, gone) = (Sample::random(&mut rng, 30), Sample::random(&mut rng, 30));
    gone.publish(&store);
    wait(store.remove_manifest(gone.hash())).unwrap();
    // A content of which everything but the root is there.
    let ingest = store.ingest();
    kept.put(&store, &ingest);
    drop(ingest);
    let lost = Sample::random(&mut rng, 1).hash();
    wait(store.put_manifest(ManifestRecord { hash: lost, ..kept.record(ContentState::Complete) })).unwrap();
    let refused = wait(store.collect(THOROUGH, false)).unwrap_err();
    assert!(matches!(&refused, StoreError::Unsure { hash, .. } if *hash == lost), "{refused}");
    assert!(refused.to_string().contains("shoal rm"), "{refused}");
    assert_eq!(gone.held(&store), gone.chunks.len());
    wait(store.remove_manifest(lost)).unwrap();
    collect(&store);
    assert_eq!(gone.held(&store), 0);
}

#[test]
fn a_read_finds_what_is_moved_under_it() {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(7);
    let store = open(home.path());
    let (kept, gone) = (Sample::random(&mut rng, 60), Sample::random(&mut rng, 60));
    // Side by side, so that each segment has some of both.
    Sample::publish_mixed(&store, &kept, &gone);
    wait(store.remove_manifest(gone.hash())).unwrap();
    let reader = {
        let (store, chunks) = (store.clone(), kept.chunks.clone());
        std::thread::spawn(move || {
            let mut rounds = 0;
            while rounds < 400 {
                for chunk in chunks.iter().step_by(7) {
                    let read: Result<_, ReadError> = store.read_chunk(&chunk.id());
                    assert_eq!(read.unwrap().as_ref(), Some(chunk.bytes()));
                    rounds += 1;
                }
            }
        })
    };
    let collected = collect(&store);
    assert!(collected.rewritten_segments > 2, "{collected:?}");
    reader.join().unwrap();
    kept.assert_whole(&store);
}

/// After so many calls that change a file, none happens any more.
#[derive(Debug)]
struct EndsAfter(std::sync::atomic::AtomicU64);

impl Faults for EndsAfter {
    fn before(&self, call: FileCall, _: &Path) -> std::io::Result<()> {
        use std::sync::atomic::Ordering::Relaxed;
        if call == FileCall::Read {
            return Ok(());
        }
        match self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => Ok(()),
            Err(_) => Err(std::io::Error::from_raw_os_error(5)),
        }
    }
}

#[test]
fn an_end_at_any_moment_of_a_collection_costs_nothing() {
    for seed in 0..24 {
        println!("seed {seed}");
        let home = tempfile::tempdir().unwrap();
        let mut rng = random(seed);
        let (kept, gone) = (Sample::random(&mut rng, 30), Sample::random(&mut rng, 30));
        let store = open(home.path());
        Sample::publish_mixed(&store, &kept, &gone);
        wait(store.remove_manifest(gone.hash())).unwrap();
        wait(store.close()).unwrap();
        drop(store);
        for life in 0..3 {
            let calls = rng.next_u64() % 300;
            if let Ok(store) = open_with(home.path(), Arc::new(EndsAfter(calls.into()))) {
                let _ = wait(store.collect(THOROUGH, false));
            }
            if life == 1 {
                let _ = std::fs::remove_file(home.path().join(super::super::INDEX_FILE));
            }
            let store = open(home.path());
            kept.assert_whole(&store);
        }
        let store = open(home.path());
        collect(&store);
        kept.assert_whole(&store);
        assert_eq!(gone.held(&store), 0, "what is garbage goes in the end");
    }
}

#[test]
fn one_fault_of_the_index_while_collecting_costs_nothing() {
    for at in (0..240).step_by(9) {
        println!("call {at}");
        let home = tempfile::tempdir().unwrap();
        let mut rng = random(at);
        let (kept, gone) = (Sample::random(&mut rng, 30), Sample::random(&mut rng, 30));
        let faults = Arc::new(OneFault::default());
        let store = open_with(home.path(), faults.clone()).unwrap();
        Sample::publish_mixed(&store, &kept, &gone);
        wait(store.remove_manifest(gone.hash())).unwrap();
        faults.0.store(at + 1, std::sync::atomic::Ordering::SeqCst);
        let _ = wait(store.collect(THOROUGH, false));
        kept.assert_whole(&store);
        faults.0.store(0, std::sync::atomic::Ordering::SeqCst);
        let _ = wait(store.collect(THOROUGH, false));
        kept.assert_whole(&store);
        drop(store);
        let store = open(home.path());
        kept.assert_whole(&store);
        collect(&store);
        kept.assert_whole(&store);
        assert_eq!(gone.held(&store), 0);
    }
}

/// The call with this number, from 1, fails once; 0: none does.
#[derive(Debug, Default)]
struct OneFault(std::sync::atomic::AtomicU64);

impl Faults for OneFault {
    fn before(&self, call: FileCall, _: &Path) -> std::io::Result<()> {
        use std::sync::atomic::Ordering::SeqCst;
        if call == FileCall::Read {
            return Ok(());
        }
        match self.0.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
            Ok(1) => Err(std::io::Error::from_raw_os_error(5)),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_manifest_that_repeats_itself_is_gone_through_once() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let mut rng = random(8);
    let one = whole_chunk(&mut rng);
    let many = Sample::of(vec![one; 50_000]);
    let gone = Sample::random(&mut rng, 40);
    Sample::publish_mixed(&store, &gone, &many);
    wait(store.remove_manifest(gone.hash())).unwrap();
    collect(&store);
    assert_eq!(many.held(&store), many.chunks.len());
}

#[test]
fn what_a_writer_had_while_segments_were_chosen_is_not_emptied_once_copies_went_there() {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(11);
    let store = Store::open_with(home.path(), &StoreConfig { writers: 1, ..small() }, None).unwrap();
    let samples: Vec<_> = [60, 60, 12, 3].map(|chunks| Sample::random(&mut rng, chunks)).into();
    let last = || store.shared().index.segments().unwrap().last().unwrap().0;
    let segments = &store.shared().segments;
    // Many segments of which half is garbage, and one that still takes groups and has less than that.
    Sample::publish_mixed(&store, &samples[0], &samples[1]);
    let before = segments.withdraw(last()).unwrap();
    Sample::publish_mixed(&store, &samples[2], &samples[3]);
    segments.offer(before);
    for gone in [&samples[1], &samples[3]] {
        assert!(wait(store.remove_manifest(gone.hash())).unwrap());
    }
    let set = |step: Option<Box<dyn FnMut() + Send>>| {
        *store.shared().collector.steps.0.lock().unwrap() = step;
    };
    let marking = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&marking);
    set(Some(Box::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    })));
    wait(store.collect(THOROUGH, true)).unwrap();
    // A writer has it from before the marking to after the choice; then it is the one to copy into, and is filled.
    let (shared, number, marked) = (Arc::clone(store.shared()), last(), marking.load(Ordering::Relaxed));
    let (mut calls, mut taken) = (0, None);
    set(Some(Box::new(move || {
        calls += 1;
        if calls == 1 {
            taken = shared.segments.withdraw(number);
            assert!(taken.is_some());
        } else if calls == marked + 2 {
            shared.segments.offer(taken.take().unwrap());
        }
    })));
    let collected = collect(&store);
    set(None);
    assert!(collected.moved_bytes > small().segment_bytes, "{collected:?}");
    samples[0].assert_whole(&store);
    samples[2].assert_whole(&store);
}

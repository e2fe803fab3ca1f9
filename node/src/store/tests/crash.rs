//! The process ends between two calls to the operating system.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::backend::FileCall;
use super::super::record::tests::sample;
use super::super::rows::SegmentState;
use super::super::{CATALOG_FILE, IN_PLACE_FILE, INDEX_FILE, SEGMENTS_FOLDER};
use super::*;

/// After so many calls that change a file, none happens any more: the files stay as kill -9 would leave them.
#[derive(Debug)]
struct EndsAfter(AtomicU64);

impl Faults for EndsAfter {
    fn before(&self, call: FileCall, _: &Path) -> std::io::Result<()> {
        let counts = call != FileCall::Read;
        let left = if counts {
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(1))).unwrap()
        } else {
            1
        };
        if left == 0 { Err(std::io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
}

/// Puts the chunks with a record, and waits until both are durable.
fn put_all_with(store: &Store, chunks: &[VerifiedChunk], record: ManifestRecord) -> Result<(), StoreError> {
    wait(async {
        let ingest = store.ingest();
        for chunk in chunks {
            ingest.put_chunk(chunk.clone()).await?;
        }
        ingest.complete(record).await
    })
}

/// Works until nothing works any more; says what was acknowledged by then.
fn work_until_the_end(home: &Path, calls: u64, rng: &mut ChaCha8Rng) -> (Vec<VerifiedChunk>, usize) {
    let (mut acknowledged, mut records) = (Vec::new(), 0);
    let Ok(store) = open_with(home, Arc::new(EndsAfter(AtomicU64::new(calls)))) else {
        return (acknowledged, records);
    };
    for round in 0..20 {
        let chunks: Vec<_> = (0..1 + below(rng, 8)).map(|_| chunk(rng, 40_000)).collect();
        let record = sample(&round.to_string());
        if round % 2 == 0 {
            if put_all_with(&store, &chunks, record).is_err() {
                break;
            }
            acknowledged.extend(chunks);
        } else {
            if put_all(&store, &chunks).is_err() {
                break;
            }
            acknowledged.extend(chunks);
            if wait(store.put_manifest(record)).is_err() {
                break;
            }
        }
        records += 1;
    }
    (acknowledged, records)
}

fn run(seed: u64) {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(seed);
    let (mut acknowledged, mut records) = (Vec::new(), 0);
    for life in 0..3 {
        let calls = rng.next_u64() % 900;
        let (more, recorded) = work_until_the_end(home.path(), calls, &mut rng);
        acknowledged.extend(more);
        records = records.max(recorded);
        let store = open(home.path());
        assert_holds(&store, &acknowledged);
        let found = store.manifests().unwrap().len();
        assert!(found >= records, "seed {seed}, life {life}: {found} of {records} records");
        // And it goes on.
        let more = chunk(&mut rng, 1_000);
        put_all(&store, [&more]).unwrap();
        acknowledged.push(more);
    }
}

#[test]
fn nothing_acknowledged_is_lost() {
    for seed in 0..40 {
        println!("seed {seed}");
        run(seed);
    }
}

#[test]
fn a_lost_or_ruined_index_is_built_again() {
    let home = tempfile::tempdir().unwrap();
    let index = home.path().join(INDEX_FILE);
    let mut rng = random(5);
    // Some ten segments' worth: each writer may have one that is not full.
    let chunks: Vec<_> = (0..300).map(|_| chunk(&mut rng, 30_000)).collect();
    let store = open(home.path());
    put_all(&store, &chunks).unwrap();
    let usage = store.usage().unwrap();
    wait(store.close()).unwrap();
    drop(store);
    let complete = |store: &Store| {
        let rows = store.shared().index.segments().unwrap();
        rows.iter().filter(|(_, row)| row.state == SegmentState::Complete).count()
    };
    let were_complete = complete(&open(home.path()));
    assert!(were_complete >= 3, "only {were_complete} segments are complete");
    for ruin in ["lost", "empty", "noise", "cut"] {
        match ruin {
            "lost" => std::fs::remove_file(&index).unwrap(),
            "empty" => std::fs::write(&index, b"").unwrap(),
            "noise" => std::fs::write(&index, [0x5a; 100_000]).unwrap(),
            _ => std::fs::File::options().write(true).open(&index).unwrap().set_len(8_192).unwrap(),
        }
        let store = open(home.path());
        assert_holds(&store, &chunks);
        let again = store.usage().unwrap();
        assert_eq!((again.chunks, again.payload_bytes), (usage.chunks, usage.payload_bytes), "{ruin}");
        assert_eq!(complete(&store), were_complete, "{ruin}");
        wait(store.close()).unwrap();
    }
}

#[test]
fn a_missing_segment_costs_what_it_held_and_no_more() {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(6);
    let chunks: Vec<_> = (0..120).map(|_| chunk(&mut rng, 30_000)).collect();
    let store = open(home.path());
    put_all(&store, &chunks).unwrap();
    wait(store.close()).unwrap();
    drop(store);
    let gone = home.path().join(SEGMENTS_FOLDER).join("000001.redb");
    std::fs::remove_file(&gone).unwrap();
    let store = open(home.path());
    let (mut lost, mut kept) = (Vec::new(), 0);
    for chunk in &chunks {
        match store.read_chunk(&chunk.id()) {
            Ok(read) => {
                assert_eq!(read.as_ref(), Some(chunk.bytes()));
                kept += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains("000001.redb"), "{error}");
                lost.push(chunk.clone());
            }
        }
    }
    assert!(kept > 0 && !lost.is_empty());
    put_all(&store, &lost).unwrap();
    assert_holds(&store, &chunks);
}

#[test]
fn a_first_start_that_was_cut_short_is_no_obstacle() {
    for file in [CATALOG_FILE, INDEX_FILE, IN_PLACE_FILE] {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(file).with_extension("new"), b"half").unwrap();
        let store = open(home.path());
        assert!(!home.path().join(file).with_extension("new").exists());
        let kept = chunk(&mut random(7), 1_000);
        put_all(&store, [&kept]).unwrap();
        assert_holds(&store, [&kept]);
    }
}

#[test]
fn a_segment_that_goes_missing_while_the_store_is_open_is_named() {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(8);
    let chunks: Vec<_> = (0..200).map(|_| chunk(&mut rng, 30_000)).collect();
    let store = open(home.path());
    put_all(&store, &chunks).unwrap();
    let gone = home.path().join(SEGMENTS_FOLDER).join("000001.redb");
    std::fs::remove_file(&gone).unwrap();
    // It may be open; reading all the others closes it.
    let ids: Vec<_> = chunks.iter().map(VerifiedChunk::id).collect();
    for _ in 0..2 {
        for (chunk, read) in chunks.iter().zip(store.read_chunks(&ids).unwrap()) {
            match read {
                Ok(read) => assert_eq!(read.as_ref(), Some(chunk.bytes())),
                Err(error) => assert!(error.to_string().contains("000001.redb"), "{error}"),
            }
        }
    }
    put_all(&store, &chunks).unwrap();
    wait(store.close()).unwrap();
    drop(store);
    let store = open(home.path());
    put_all(&store, &chunks).unwrap();
    assert_holds(&store, &chunks);
}

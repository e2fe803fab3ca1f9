//! The disk is full, or fails.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::backend::FileCall;
use super::super::record::tests::sample;
use super::*;

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// While it is full, nothing can be written where nothing was before; files can be made longer, as holes.
#[derive(Debug, Default)]
struct FullDisk {
    full: AtomicBool,
    /// Pages that there still is room for once it is full.
    grace: AtomicU64,
    /// Pages that have been written. A file keeps its stem when it gets its own name.
    written: Mutex<HashSet<(PathBuf, u64)>>,
}

impl FullDisk {
    fn fill(&self, grace: u64) {
        self.grace.store(grace, Ordering::SeqCst);
        self.full.store(true, Ordering::SeqCst);
    }

    fn free(&self) {
        self.full.store(false, Ordering::SeqCst);
    }
}

impl Faults for FullDisk {
    fn before(&self, call: FileCall, file: &Path) -> io::Result<()> {
        let FileCall::Write { offset, bytes } = call else {
            return Ok(());
        };
        let mut written = self.written.lock().unwrap();
        for page in offset / 4096..(offset + bytes as u64).div_ceil(4096) {
            let new = written.insert((file.with_extension(""), page));
            if new && self.full.load(Ordering::SeqCst) {
                let left = self.grace.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
                if left.is_err() {
                    written.remove(&(file.with_extension(""), page));
                    return Err(io::Error::from_raw_os_error(ENOSPC));
                }
            }
        }
        Ok(())
    }
}

#[test]
fn a_full_disk_is_named_and_gets_over() {
    let disk = Arc::new(FullDisk::default());
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(21);
    let store = open_with(home.path(), disk.clone()).unwrap();
    let mut held = Vec::new();
    for round in 0..40 {
        let chunks: Vec<_> = (0..6).map(|_| chunk(&mut rng, 30_000)).collect();
        put_all(&store, &chunks).unwrap();
        held.extend(chunks);
        disk.fill(round * 5);
        let lost: Vec<_> = (0..12).map(|_| chunk(&mut rng, 60_000)).collect();
        match put_all(&store, &lost) {
            Ok(()) => held.extend(lost),
            Err(error) => assert!(matches!(error, StoreError::NoSpace { .. }), "round {round}: {error:?}"),
        }
        let refused = wait(store.put_manifest(sample("record")));
        assert!(matches!(refused, Ok(()) | Err(StoreError::NoSpace { .. })), "{refused:?}");
        assert_holds(&store, &held);
        disk.free();
    }
    wait(store.put_manifest(sample("record"))).unwrap();
    wait(store.close()).unwrap();
    drop(store);
    let store = open(home.path());
    assert_holds(&store, &held);
    assert_eq!(store.manifests().unwrap().len(), 1);
}

/// The n-th call of a kind fails, once.
#[derive(Debug)]
struct FailsAt {
    call: FileCall,
    countdown: Mutex<Option<u64>>,
}

impl Faults for FailsAt {
    fn before(&self, call: FileCall, _: &Path) -> io::Result<()> {
        if std::mem::discriminant(&call) != std::mem::discriminant(&self.call) {
            return Ok(());
        }
        let mut countdown = self.countdown.lock().unwrap();
        match *countdown {
            Some(0) => {
                *countdown = None;
                Err(io::Error::from_raw_os_error(EIO))
            }
            Some(left) => {
                *countdown = Some(left - 1);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn one_failure(call: FileCall, at: u64) {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(at);
    let faults = Arc::new(FailsAt { call, countdown: Mutex::new(Some(at)) });
    // A failure while the store is opened is an error of opening it, and the next attempt succeeds.
    let store = open_with(home.path(), faults.clone()).or_else(|_| open_with(home.path(), faults.clone())).unwrap();
    let mut held = Vec::new();
    let mut failures = 0;
    for _ in 0..12 {
        let chunks: Vec<_> = (0..4).map(|_| chunk(&mut rng, 30_000)).collect();
        match put_all(&store, &chunks) {
            Ok(()) => held.extend(chunks),
            Err(_) => {
                failures += 1;
                // The same again, in a new ingest: there is nothing to repair by hand.
                put_all(&store, &chunks).unwrap();
                held.extend(chunks);
            }
        }
        assert_holds(&store, &held);
    }
    assert!(failures <= 1, "one fault failed {failures} flushes");
    let _ = wait(store.close());
    drop(store);
    assert_holds(&open(home.path()), &held);
}

#[test]
fn a_failed_sync_fails_what_was_put_and_nothing_else() {
    for at in 0..40 {
        println!("sync {at}");
        one_failure(FileCall::Sync, at);
    }
}

#[test]
fn a_failed_write_fails_what_was_put_and_nothing_else() {
    for at in (0..400).step_by(11) {
        println!("write {at}");
        one_failure(FileCall::Write { offset: 0, bytes: 0 }, at);
    }
}

#[test]
fn an_ingest_that_lost_something_says_so_from_then_on() {
    let disk = Arc::new(FullDisk::default());
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(31);
    let store = open_with(home.path(), disk.clone()).unwrap();
    wait(async {
        let (hurt, other) = (store.ingest(), store.ingest());
        disk.fill(0);
        let shared = chunk(&mut rng, 1_000);
        hurt.put_chunk(shared.clone()).await.unwrap();
        assert!(matches!(hurt.flush().await, Err(StoreError::NoSpace { .. })));
        disk.free();
        assert!(hurt.check().is_err());
        assert!(hurt.put_chunk(chunk(&mut rng, 1_000)).await.is_err());
        other.put_chunk(shared).await.unwrap();
        other.flush().await.unwrap();
        assert!(hurt.flush().await.is_err());
    });
}

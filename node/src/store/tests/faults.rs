//! The disk is full, or fails.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::INDEX_FILE;
use super::super::backend::FileCall;
use super::super::record::tests::sample;
use super::in_place::UserFile;
use super::*;

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const EACCES: i32 = 13;
const EFBIG: i32 = 27;
const EROFS: i32 = 30;

/// While it is full, nothing can be written where nothing was before; files can be made longer, as holes.
#[derive(Debug, Default)]
pub(super) struct FullDisk {
    full: AtomicBool,
    /// Pages that there still is room for once it is full.
    grace: AtomicU64,
    /// Pages that have been written. A file keeps its stem when it gets its own name.
    written: Mutex<HashSet<(PathBuf, u64)>>,
}

impl FullDisk {
    pub(super) fn fill(&self, grace: u64) {
        self.grace.store(grace, Ordering::SeqCst);
        self.full.store(true, Ordering::SeqCst);
    }

    pub(super) fn free(&self) {
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

/// While it refuses, no call changes a file.
#[derive(Debug)]
struct Refuses {
    code: i32,
    refuses: AtomicBool,
}

impl Refuses {
    fn from_now(code: i32) -> Arc<Self> {
        Arc::new(Self { code, refuses: AtomicBool::new(true) })
    }

    fn set(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }
}

impl Faults for Refuses {
    fn before(&self, call: FileCall, _: &Path) -> io::Result<()> {
        let refused = call != FileCall::Read && self.refuses.load(Ordering::SeqCst);
        if refused { Err(io::Error::from_raw_os_error(self.code)) } else { Ok(()) }
    }
}

const REFUSALS: [i32; 4] = [ENOSPC, EFBIG, EROFS, EACCES];

/// A home as a process leaves it that was killed in the middle of its work; says what was acknowledged.
fn killed(home: &Path, seed: u64) -> Vec<VerifiedChunk> {
    let disk = Arc::new(Refuses { code: EIO, refuses: AtomicBool::new(false) });
    let mut rng = random(seed);
    let store = open_with(home, disk.clone()).unwrap();
    let mut held = Vec::new();
    for _ in 0..8 {
        let chunks: Vec<_> = (0..6).map(|_| chunk(&mut rng, 30_000)).collect();
        put_all(&store, &chunks).unwrap();
        held.extend(chunks);
    }
    wait(store.put_manifest(sample("kept"))).unwrap();
    disk.set(true);
    let _ = wait(store.close());
    held
}

#[test]
fn what_a_kill_left_can_be_read_where_nothing_can_be_written() {
    for (seed, code) in (41..).zip(REFUSALS) {
        for index_is_lost in [false, true] {
            let home = tempfile::tempdir().unwrap();
            let mut held = killed(home.path(), seed);
            if index_is_lost {
                std::fs::remove_file(home.path().join(INDEX_FILE)).unwrap();
            }
            let disk = Refuses::from_now(code);
            let store = open_with(home.path(), disk.clone()).unwrap();
            for _ in 0..2 {
                assert_holds(&store, &held);
                assert_eq!(store.manifests().unwrap(), [sample("kept")]);
                assert!(wait(store.touch_manifest(sample("kept").hash, 7)).unwrap());
                let more = chunk(&mut random(seed + 100), 9_000);
                assert!(put_all(&store, [&more]).unwrap_err().is_refusal());
                assert!(wait(store.put_manifest(sample("more"))).unwrap_err().is_refusal());
            }
            // Once the cause is gone it works on, without being opened again.
            disk.set(false);
            let more: Vec<_> = (0..40).map(|at| chunk(&mut random(seed + 200 + at), 30_000)).collect();
            put_all(&store, &more).unwrap();
            held.extend(more);
            wait(store.put_manifest(sample("more"))).unwrap();
            wait(store.close()).unwrap();
            drop(store);
            let store = open(home.path());
            assert_holds(&store, &held);
            assert_eq!(store.manifests().unwrap().len(), 2);
        }
    }
}

#[test]
fn a_node_works_on_once_the_disk_does() {
    for (seed, code) in (51..).zip([ENOSPC, EFBIG, EIO]) {
        let home = tempfile::tempdir().unwrap();
        let disk = Arc::new(Refuses { code, refuses: AtomicBool::new(false) });
        let mut rng = random(seed);
        let store = open_with(home.path(), disk.clone()).unwrap();
        let mut held = Vec::new();
        for _ in 0..12 {
            let chunks: Vec<_> = (0..20).map(|_| chunk(&mut rng, 30_000)).collect();
            put_all(&store, &chunks).unwrap();
            held.extend(chunks);
            disk.set(true);
            for _ in 0..2 {
                let lost = chunk(&mut rng, 60_000);
                assert!(put_all(&store, [&lost]).unwrap_err().is_refusal());
                assert!(wait(store.put_manifest(sample("record"))).unwrap_err().is_refusal());
                assert_holds(&store, &held);
            }
            disk.set(false);
            wait(store.put_manifest(sample("record"))).unwrap();
        }
        wait(store.close()).unwrap();
        drop(store);
        assert_holds(&open(home.path()), &held);
    }
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

/// Once it is armed, the next call of a kind on files with these words in their paths fails.
#[derive(Debug)]
pub(super) struct FailsOn {
    pub(super) call: FileCall,
    pub(super) words: &'static str,
    pub(super) armed: AtomicBool,
}

impl Faults for FailsOn {
    fn before(&self, call: FileCall, file: &Path) -> io::Result<()> {
        let is_it = std::mem::discriminant(&call) == std::mem::discriminant(&self.call)
            && file.to_str().is_some_and(|file| file.contains(self.words));
        let fails = is_it && self.armed.swap(false, Ordering::SeqCst);
        if fails { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
    }
}

#[test]
fn a_segment_of_which_a_sync_failed_is_closed_for_good_before_that_is_told() {
    let home = tempfile::tempdir().unwrap();
    let faults = Arc::new(FailsOn { call: FileCall::Sync, words: "segments/", armed: AtomicBool::new(false) });
    let store = open_with(home.path(), faults.clone()).unwrap();
    let mut rng = random(61);
    put_all(&store, [&chunk(&mut rng, 30_000)]).unwrap();
    let is_frozen = || super::damage::segments(home.path()).iter().any(|path| is_read_only(path));
    assert!(!is_frozen());
    faults.armed.store(true, Ordering::SeqCst);
    put_all(&store, [&chunk(&mut rng, 30_000)]).unwrap_err();
    assert!(is_frozen());
}

fn is_read_only(path: &Path) -> bool {
    path.metadata().unwrap().permissions().readonly()
}

#[test]
fn a_fault_of_the_disk_does_not_keep_the_index_from_being_verified() {
    let home = tempfile::tempdir().unwrap();
    let faults = Arc::new(FailsOn { call: FileCall::Read, words: INDEX_FILE, armed: AtomicBool::new(false) });
    let store = open_with(home.path(), faults.clone()).unwrap();
    let chunks: Vec<_> = (0..40).map(|at| chunk(&mut random(at), 3_000)).collect();
    put_all(&store, &chunks).unwrap();
    wait(store.close()).unwrap();
    drop(store);
    let store = open_with(home.path(), faults.clone()).unwrap();
    faults.armed.store(true, Ordering::SeqCst);
    assert_eq!(super::verify::verify(&store, false).damage.len(), 0);
    assert!(!faults.armed.load(Ordering::SeqCst), "nothing was read");
    assert_holds(&store, &chunks);
}

#[test]
fn a_failed_write_fails_what_was_put_and_nothing_else() {
    for at in (0..400).step_by(11) {
        println!("write {at}");
        one_failure(FileCall::Write { offset: 0, bytes: 0 }, at);
    }
}

#[test]
fn a_sweep_with_a_failed_sync_counts_each_chunk_in_place_once() {
    for at in 0.. {
        println!("sync {at}");
        let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let faults = Arc::new(FailsAt { call: FileCall::Sync, countdown: Mutex::new(None) });
        let store = open_with(home.path(), faults.clone()).unwrap();
        let file = UserFile::make(files.path(), "a", 27, 10);
        file.place(&store);
        let middle: u64 = file.chunks[..5].iter().map(|chunk| chunk.bytes().len() as u64).sum();
        *faults.countdown.lock().unwrap() = Some(at);
        store.shared().in_place.sweep(|| (), |place| place.offset < middle).unwrap();
        let has_failed = faults.countdown.lock().unwrap().take().is_none();
        let rows = store.shared().in_place.files().unwrap();
        let counts: Vec<_> = rows.iter().map(|(_, row)| (row.chunks, row.chunk_bytes)).collect();
        assert_eq!(counts, [(5, middle)]);
        assert_holds(&store, &file.chunks[..5]);
        if !has_failed {
            assert!(at > 0, "nothing was made durable");
            break;
        }
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

/// While it is set, reading fails.
#[derive(Debug, Default)]
struct UnreadableDisk(AtomicBool);

impl Faults for UnreadableDisk {
    fn before(&self, call: FileCall, _: &Path) -> io::Result<()> {
        let fails = call == FileCall::Read && self.0.load(Ordering::SeqCst);
        if fails { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
    }
}

#[test]
fn a_disk_that_cannot_be_read_is_named_and_gets_over() {
    let home = tempfile::tempdir().unwrap();
    // Nothing stays in caches, so that each read is one of the disk.
    let config = StoreConfig { group_bytes: 256 << 10, index_cache_bytes: 0, segment_bytes: 64 << 20, ..small() };
    let disk = Arc::new(UnreadableDisk::default());
    let store = Store::open_with(home.path(), &config, Some(disk.clone())).unwrap();
    let chunks: Vec<_> = (0..100).map(|at| chunk(&mut random(60 + at), 60_000)).collect();
    put_all(&store, &chunks).unwrap();
    disk.0.store(true, Ordering::SeqCst);
    let mut failed = 0;
    for chunk in &chunks {
        match store.read_chunk(&chunk.id()) {
            Ok(read) => assert_eq!(read.as_ref(), Some(chunk.bytes())),
            Err(error) => {
                let words = error.to_string();
                assert!(words.contains(home.path().to_str().unwrap()) && !words.contains("damaged"), "{words}");
                failed += 1;
            }
        }
    }
    assert!(failed > 0, "no read was one of the disk");
    disk.0.store(false, Ordering::SeqCst);
    assert_holds(&store, &chunks);
}

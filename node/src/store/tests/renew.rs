//! Tables that are begun anew because a page of them is damaged: what they knew is in the new ones.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::super::backend::FileCall;
use super::super::record::tests::sample;
use super::super::{CATALOG_FILE, ContentState, IN_PLACE_FILE, INDEX_FILE};
use super::content::Sample;
use super::damage::overwrite;
use super::faults::FailsOn;
use super::verify::verify;
use super::*;

/// Turns a bit of each occurrence of some bytes, for pages that are not in use any more have them too.
fn flip(file: &Path, bytes: &[u8]) {
    let mut content = fs::read(file).unwrap();
    let at: Vec<_> = (0..content.len() - bytes.len()).filter(|at| &content[*at..*at + bytes.len()] == bytes).collect();
    assert!(!at.is_empty());
    at.iter().for_each(|at| content[*at] ^= 4);
    overwrite(file, &content);
}

#[test]
fn a_catalog_that_is_begun_anew_has_every_record_and_pin() {
    let home = tempfile::tempdir().unwrap();
    let catalog = home.path().join(CATALOG_FILE);
    let store = open(home.path());
    let mut records = Vec::new();
    for at in 0..200u64 {
        let state = if at % 3 == 0 { ContentState::Fetching } else { ContentState::Complete };
        let record = ManifestRecord { pinned: at % 2 == 0, state, ..sample(&format!("content {at}")) };
        wait(store.put_manifest(record.clone())).unwrap();
        records.push(record);
    }
    wait(store.close()).unwrap();
    drop(store);
    records.sort_unstable_by_key(|record| *record.hash.as_bytes());
    // It stands in two tables, each with pages of its own; of both a bit is turned.
    let victim = records[77].clone();
    flip(&catalog, &victim.encode());
    let store = open(home.path());
    let found = verify(&store, true);
    assert!(found.damage.iter().all(|damage| damage.file == catalog), "{:?}", found.damage);
    assert!(found.damage[0].mended && catalog.with_extension("damaged").exists(), "{:?}", found.damage);
    // One is lost, but not in silence.
    let lost: Vec<_> = found.damage.iter().filter(|damage| !damage.mended).collect();
    assert!(lost.len() == 1 && lost[0].detail.contains(&victim.hash.to_string()), "{lost:?}");
    records.retain(|record| *record != victim);
    let check = |store: &Store| {
        assert_eq!(store.manifests().unwrap(), records);
        for record in &records {
            assert_eq!(store.manifest_by_key(&record.hash.discovery_key()).unwrap().as_ref(), Some(record));
        }
    };
    check(&store);
    assert_eq!(verify(&store, false).damage.len(), 0);
    assert!(wait(store.pin_manifest(records[0].hash, !records[0].pinned)).unwrap());
    assert!(wait(store.pin_manifest(records[0].hash, records[0].pinned)).unwrap());
    wait(store.close()).unwrap();
    drop(store);
    check(&open(home.path()));
}

#[test]
fn a_page_that_cannot_be_read_costs_no_record_but_its_own() {
    let home = tempfile::tempdir().unwrap();
    let catalog = home.path().join(CATALOG_FILE);
    let store = open(home.path());
    let mut records: Vec<_> = (0..200).map(|at| sample(&format!("content {at}"))).collect();
    for record in &records {
        wait(store.put_manifest(record.clone())).unwrap();
    }
    wait(store.close()).unwrap();
    drop(store);
    records.sort_unstable_by_key(|record| *record.hash.as_bytes());
    // Of both tables, the page with one of the first records says that it has more than there can be.
    let mut content = fs::read(&catalog).unwrap();
    let victim = records[9].encode();
    for page in content.chunks_mut(4096).filter(|page| page.windows(victim.len()).any(|window| window == victim)) {
        page[2..4].fill(0xff);
    }
    overwrite(&catalog, &content);
    let store = open(home.path());
    let kept = store.manifests().unwrap();
    assert!((100..200).contains(&kept.len()), "{} of 200 are left", kept.len());
    let found = verify(&store, true).damage;
    for record in records.iter().filter(|record| !kept.contains(record)) {
        let hash = record.hash.to_string();
        assert!(found.iter().any(|damage| !damage.mended && damage.detail.contains(&hash)), "{found:?}");
    }
    assert_eq!(found.iter().filter(|damage| !damage.mended).count(), 200 - kept.len(), "{found:?}");
    assert_eq!(verify(&store, false).damage.len(), 0);
}

#[test]
fn a_catalog_that_cannot_be_begun_anew_stays_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let catalog = home.path().join(CATALOG_FILE);
    let store = open(home.path());
    let mut records: Vec<_> =
        (0..50u64).map(|at| ManifestRecord { pinned: true, ..sample(&format!("{at}")) }).collect();
    for record in &records {
        wait(store.put_manifest(record.clone())).unwrap();
    }
    wait(store.close()).unwrap();
    drop(store);
    records.sort_unstable_by_key(|record| *record.hash.as_bytes());
    let victim = records.remove(7);
    flip(&catalog, &victim.encode());
    // Where the new one would be made there is something else.
    let passage = catalog.with_extension(super::super::PASSAGE_EXTENSION);
    fs::create_dir(&passage).unwrap();
    let store = open(home.path());
    let damaged = fs::read(&catalog).unwrap();
    let mut found = super::verify::Found::default();
    for _ in 0..2 {
        store.verify_tables(true, &mut found).unwrap_err();
        assert_eq!(store.manifests().unwrap(), records);
        wait(store.put_manifest(sample("another"))).unwrap_err();
    }
    assert!(damaged == fs::read(&catalog).unwrap(), "it was written to");
    drop(store);
    let store = open(home.path());
    assert_eq!(store.manifests().unwrap(), records);
    fs::remove_dir(&passage).unwrap();
    assert!(verify(&store, true).damage[0].mended);
    assert_eq!(store.manifests().unwrap(), records);
}

#[test]
fn a_table_of_files_in_place_that_is_begun_anew_has_every_file_and_chunk() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let table = home.path().join(IN_PLACE_FILE);
    let mut rng = random(9);
    let store = open(home.path());
    let contents: Vec<_> = (0..6).map(|_| Sample::random(&mut rng, 4)).collect();
    for (at, content) in contents.iter().enumerate() {
        content.publish_in_place(&store, &files.path().join(at.to_string()));
    }
    wait(store.close()).unwrap();
    drop(store);
    let victim = contents[2].chunks[1].clone();
    flip(&table, victim.id().as_bytes());
    let store = open(home.path());
    let found = verify(&store, true);
    assert!(!found.damage.is_empty() && table.with_extension("damaged").exists(), "{:?}", found.damage);
    assert!(found.damage.iter().any(|damage| damage.file == table && damage.mended), "{:?}", found.damage);
    let check = |store: &Store| {
        for chunk in contents.iter().flat_map(|content| &content.chunks).filter(|chunk| chunk.id() != victim.id()) {
            assert_eq!(store.read_chunk(&chunk.id()).unwrap().as_ref(), Some(chunk.bytes()));
        }
    };
    check(&store);
    assert_eq!(store.holds_chunks(&[victim.id()]).unwrap(), [false]);
    assert_eq!(store.shared().in_place.files().unwrap().len(), contents.len());
    // Published again, it is there again.
    contents[2].publish_in_place(&store, &files.path().join("2"));
    contents[2].assert_whole(&store);
    wait(store.close()).unwrap();
    drop(store);
    check(&open(home.path()));
}

#[test]
fn an_index_that_is_found_damaged_while_the_node_runs_is_built_anew() {
    let home = tempfile::tempdir().unwrap();
    let call = FileCall::Write { offset: 0, bytes: 0 };
    let faults = Arc::new(FailsOn { call, words: INDEX_FILE, armed: AtomicBool::new(false) });
    let chunks: Vec<_> = (0..40).map(|at| chunk(&mut random(at), 3_000)).collect();
    let (first, second) = chunks.split_at(20);
    let store = open(home.path());
    put_all(&store, first).unwrap();
    wait(store.close()).unwrap();
    drop(store);
    let store = open_with(home.path(), faults.clone()).unwrap();
    put_all(&store, second).unwrap();
    let index = home.path().join(INDEX_FILE);
    let head = fs::read(&index).unwrap()[..4096].to_vec();
    overwrite(&index, &head);
    // A fault of the disk closes it, and it cannot be opened again.
    faults.armed.store(true, Ordering::SeqCst);
    store.shared().sync_index().unwrap();
    assert!(!faults.armed.load(Ordering::SeqCst), "nothing was written");
    assert!(index.with_extension("damaged").exists());
    assert_holds(&store, &chunks);
    assert!(matches!(&verify(&store, false).damage[..], [damage] if damage.file == index && damage.mended));
    wait(store.close()).unwrap();
    drop(store);
    let store = open(home.path());
    assert_holds(&store, &chunks);
    assert_eq!(verify(&store, false).damage.len(), 0);
}

#[test]
fn an_index_of_which_a_page_cannot_be_read_is_built_anew_by_whoever_looks_there() {
    let home = tempfile::tempdir().unwrap();
    let chunks: Vec<_> = (0..300).map(|at| chunk(&mut random(at), 300)).collect();
    let store = open(home.path());
    put_all(&store, &chunks).unwrap();
    wait(store.close()).unwrap();
    drop(store);
    let store = Store::open(home.path(), StoreConfig { index_cache_bytes: 0, ..small() }).unwrap();
    let index = home.path().join(INDEX_FILE);
    let mut content = fs::read(&index).unwrap();
    let victim = *chunks[7].id().as_bytes();
    for page in content.chunks_mut(4096).filter(|page| page.windows(32).any(|window| window == victim)) {
        page[2..4].fill(0xff);
    }
    overwrite(&index, &content);
    assert_holds(&store, &chunks);
    assert!(index.with_extension("damaged").exists());
    assert!(matches!(&verify(&store, false).damage[..], [damage] if damage.file == index && damage.mended));
    assert_eq!(verify(&store, false).damage.len(), 0);
}

/// While it is armed: some calls on a file succeed, and all after them fail.
#[derive(Debug)]
struct FailsAfter {
    file: &'static str,
    armed: AtomicBool,
    // The calls to come begin to count with a failed write.
    waits: AtomicBool,
    left: AtomicI64,
}

impl FailsAfter {
    fn on(file: &'static str) -> Arc<Self> {
        let (armed, waits, left) = <(AtomicBool, AtomicBool, AtomicI64)>::default();
        Arc::new(Self { file, armed, waits, left })
    }

    fn arm(&self, after_a_write: bool, calls: i64) {
        self.left.store(calls, Ordering::SeqCst);
        self.waits.store(after_a_write, Ordering::SeqCst);
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Says whether there were more calls than were to succeed.
    fn disarm(&self) -> bool {
        self.armed.store(false, Ordering::SeqCst);
        assert!(!self.waits.load(Ordering::SeqCst), "nothing was written");
        self.left.load(Ordering::SeqCst) < 0
    }
}

impl Faults for FailsAfter {
    fn before(&self, call: FileCall, file: &Path) -> io::Result<()> {
        let is_it = file.file_stem() == Path::new(self.file).file_stem() && self.armed.load(Ordering::SeqCst);
        let fails = if !is_it {
            false
        } else if self.waits.load(Ordering::SeqCst) {
            matches!(call, FileCall::Write { .. }) && self.waits.swap(false, Ordering::SeqCst)
        } else {
            self.left.fetch_sub(1, Ordering::SeqCst) <= 0
        };
        if fails { Err(io::Error::other("a test's fault")) } else { Ok(()) }
    }
}

#[test]
fn an_index_knows_all_after_a_fault_wherever_opening_it_anew_was_cut_short() {
    let home = tempfile::tempdir().unwrap();
    let faults = FailsAfter::on(INDEX_FILE);
    let store = open_with(home.path(), faults.clone()).unwrap();
    let mut chunks = Vec::new();
    for calls in 0.. {
        chunks.push(chunk(&mut random(calls as u64), 3_000));
        put_all(&store, chunks.last()).unwrap();
        faults.arm(true, calls);
        let synced = store.shared().sync_index();
        if !faults.disarm() {
            assert!(calls > 10, "{calls}");
            synced.unwrap();
            break;
        }
        assert_holds(&store, &chunks);
    }
    assert_holds(&store, &chunks);
    wait(store.close()).unwrap();
    drop(store);
    assert_holds(&open(home.path()), &chunks);
}

#[test]
fn a_disk_that_fails_while_a_catalog_is_begun_anew_costs_no_record() {
    let home = tempfile::tempdir().unwrap();
    let catalog = home.path().join(CATALOG_FILE);
    let store = open(home.path());
    let mut records: Vec<_> = (0..50).map(|at| sample(&format!("content {at}"))).collect();
    for record in &records {
        wait(store.put_manifest(record.clone())).unwrap();
    }
    wait(store.close()).unwrap();
    drop(store);
    records.sort_unstable_by_key(|record| *record.hash.as_bytes());
    let victim = records.remove(20);
    flip(&catalog, &victim.encode());
    let damaged = fs::read(&catalog).unwrap();
    let faults = FailsAfter::on(CATALOG_FILE);
    for calls in 0.. {
        overwrite(&catalog, &damaged);
        faults.arm(false, calls);
        drop(open_with(home.path(), faults.clone()));
        let has_failed = faults.disarm();
        assert_eq!(open(home.path()).manifests().unwrap(), records, "after {calls} calls");
        if !has_failed {
            assert!(calls > 20, "{calls}");
            break;
        }
    }
}

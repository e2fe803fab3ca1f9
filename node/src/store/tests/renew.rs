//! Tables that are begun anew because a page of them is damaged: what they knew is in the new ones.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

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
    let mut found = super::verify::Found::default();
    store.verify_tables(true, &mut found).unwrap_err();
    assert!(catalog.exists());
    assert_eq!(store.manifests().unwrap(), records);
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

//! Bytes that change on the disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::super::record::tests::sample;
use super::super::{CATALOG_FILE, INDEX_FILE, ReadError, SEGMENTS_FOLDER};
use super::*;

pub(super) fn segments(home: &Path) -> Vec<PathBuf> {
    fs::read_dir(home.join(SEGMENTS_FOLDER)).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Flips a bit of the first occurrence of `bytes` in the files; says in which.
pub(super) fn flip_in(files: &[PathBuf], bytes: &[u8], bit: usize) -> PathBuf {
    for file in files {
        let mut content = fs::read(file).unwrap();
        if let Some(at) = content.windows(bytes.len()).position(|window| window == bytes) {
            content[at + bit / 8] ^= 1 << (bit % 8);
            overwrite(file, &content);
            return file.clone();
        }
    }
    panic!("the bytes are in no file");
}

/// Writes a file's bytes in place, whatever its mode, and leaves the mode as it is.
pub(super) fn overwrite(file: &Path, content: &[u8]) {
    let permissions = fs::metadata(file).unwrap().permissions();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(file, content).unwrap();
    fs::set_permissions(file, permissions).unwrap();
}

#[test]
fn a_flipped_bit_of_payload_is_noticed_and_healed_by_putting_again() {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(11);
    let chunks: Vec<_> = (0..60).map(|_| chunk(&mut rng, 30_000)).filter(|chunk| chunk.bytes().len() > 64).collect();
    let store = open(home.path());
    put_all(&store, &chunks).unwrap();
    wait(store.close()).unwrap();
    drop(store);
    for (at, victim) in chunks.iter().enumerate().step_by(6) {
        let file = flip_in(&segments(home.path()), &victim.bytes()[..24], at * 3);
        let store = open(home.path());
        for _ in 0..2 {
            let error = store.read_chunk(&victim.id()).unwrap_err();
            assert!(matches!(&error, ReadError::Damaged { file: named, .. } if *named == file), "{error}");
        }
        assert_eq!(store.holds_chunks(&[victim.id()]).unwrap(), [false]);
        put_all(&store, [victim]).unwrap();
        assert_holds(&store, &chunks);
        wait(store.close()).unwrap();
    }
}

#[test]
fn damage_found_stays_known_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let victim = chunk(&mut random(12), 30_000);
    let store = open(home.path());
    put_all(&store, [&victim]).unwrap();
    wait(store.close()).unwrap();
    flip_in(&segments(home.path()), &victim.bytes()[..victim.bytes().len().min(24)], 3);
    let store = open(home.path());
    assert!(store.read_chunk(&victim.id()).is_err());
    drop(store);
    let store = open(home.path());
    assert_eq!(store.holds_chunks(&[victim.id()]).unwrap(), [false]);
}

/// Whatever bytes of `file` change: no panic, no wrong bytes, and a store that opens or says why not.
fn any_flip(file: impl Fn(&Path) -> PathBuf, seeds: std::ops::Range<u64>) -> usize {
    let mut unopened = 0;
    for seed in seeds {
        let home = tempfile::tempdir().unwrap();
        let mut rng = random(seed);
        let chunks: Vec<_> = (0..40).map(|_| chunk(&mut rng, 20_000)).collect();
        let store = open(home.path());
        put_all(&store, &chunks).unwrap();
        wait(store.put_manifest(sample("kept"))).unwrap();
        wait(store.close()).unwrap();
        drop(store);
        let file = file(home.path());
        let mut content = fs::read(&file).unwrap();
        // In bytes in use: flips elsewhere change nothing.
        let used: Vec<_> =
            content.chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0)).collect();
        let page = used[below(&mut rng, used.len())].0 * 4096;
        for _ in 0..8 {
            let at = (page + below(&mut rng, 4096)).min(content.len() - 1);
            content[at] ^= 1 << below(&mut rng, 8);
        }
        overwrite(&file, &content);
        println!("seed {seed}: page {page} of {}", file.display());
        let store = match Store::open(home.path(), small()) {
            Ok(store) => store,
            Err(error) => {
                assert!(error.to_string().contains(home.path().to_str().unwrap()), "{error}");
                unopened += 1;
                continue;
            }
        };
        for chunk in &chunks {
            if let Ok(Some(bytes)) = store.read_chunk(&chunk.id()) {
                assert_eq!(bytes, *chunk.bytes());
            }
        }
        let _ = store.manifests().map(|records| {
            for record in records {
                assert_eq!(record, sample("kept"));
            }
        });
    }
    unopened
}

#[test]
fn flips_in_a_segment_never_give_wrong_bytes() {
    let unopened = any_flip(|home| segments(home).remove(0), 0..16);
    assert_eq!(unopened, 0, "one segment's damage kept the store from opening");
}

#[test]
fn flips_in_the_index_never_give_wrong_bytes() {
    any_flip(|home| home.join(INDEX_FILE), 100..116);
}

#[test]
fn flips_in_the_catalog_never_give_wrong_records() {
    any_flip(|home| home.join(CATALOG_FILE), 200..216);
}

#[test]
fn one_damaged_copy_of_a_record_costs_nothing() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let record = sample("a name that is easily found");
    wait(store.put_manifest(record.clone())).unwrap();
    wait(store.close()).unwrap();
    flip_in(&[home.path().join(CATALOG_FILE)], record.name.as_deref().unwrap().as_bytes(), 9);
    let store = open(home.path());
    assert_eq!(store.manifest(&record.hash).unwrap().as_ref(), Some(&record));
    assert_eq!(store.manifests().unwrap(), [record]);
}

#[test]
fn a_segment_that_is_half_there_is_named_and_what_it_held_is_taken_again() {
    for (seed, keep) in [(0u64, 0u64), (1, 100), (2, 4096), (3, 40_000), (4, 200_000)] {
        let home = tempfile::tempdir().unwrap();
        let mut rng = random(seed);
        let chunks: Vec<_> = (0..80).map(|_| chunk(&mut rng, 30_000)).collect();
        let store = open(home.path());
        put_all(&store, &chunks).unwrap();
        wait(store.close()).unwrap();
        drop(store);
        let file = home.path().join(SEGMENTS_FOLDER).join("000001.redb");
        let content = fs::read(&file).unwrap();
        overwrite(&file, &content[..content.len().min(keep as usize)]);
        let store = open(home.path());
        let mut lost = Vec::new();
        for chunk in &chunks {
            match store.read_chunk(&chunk.id()) {
                Ok(read) => assert_eq!(read.as_ref(), Some(chunk.bytes())),
                Err(error) => {
                    assert!(error.to_string().contains("000001.redb"), "{error}");
                    lost.push(chunk.clone());
                }
            }
        }
        assert!(!lost.is_empty(), "{keep} bytes were left of it");
        put_all(&store, &lost).unwrap();
        assert_holds(&store, &chunks);
    }
}

#[test]
fn a_wrong_bit_at_the_head_of_the_catalog_costs_no_record_and_no_pin() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    wait(store.put_manifest(sample("a"))).unwrap();
    wait(store.put_manifest(sample("b"))).unwrap();
    wait(store.pin_manifest(sample("a").hash, true)).unwrap();
    let records = store.manifests().unwrap();
    wait(store.close()).unwrap();
    drop(store);
    let catalog = home.path().join(CATALOG_FILE);
    let original = fs::read(&catalog).unwrap();
    let mut rng = random(11);
    // What no checksum guards, each byte and bit that means something; then the two commits.
    let unguarded = (0..32).flat_map(|byte| (0..8).map(move |bit| (byte, bit)));
    let commits: Vec<_> = (64..320).step_by(5).map(|byte| (byte, below(&mut rng, 8))).collect();
    for (byte, bit) in unguarded.chain(commits) {
        let mut content = original.clone();
        content[byte] ^= 1 << bit;
        overwrite(&catalog, &content);
        let store = match Store::open(home.path(), small()) {
            // The pages of the commit before are used again in part.
            Err(error) if byte >= 64 && error.is_damage() => continue,
            opened => opened.unwrap_or_else(|error| panic!("byte {byte}, bit {bit}: {error}")),
        };
        assert_eq!(store.manifests().unwrap(), records, "byte {byte}, bit {bit}");
        wait(store.close()).unwrap();
    }
}

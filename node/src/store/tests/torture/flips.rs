//! Single bits turned at random places of the files that a store is made of.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::super::record::tests::sample;
use super::super::super::{CATALOG_FILE, INDEX_FILE};
use super::super::damage::{overwrite, segments};
use super::super::verify::{filled, verify};
use super::*;

/// Turns a bit of a closed store; gives the file.
fn flip(home: &Path, seed: u64) -> PathBuf {
    let mut rng = random(seed ^ 0x5eed);
    let mut files: Vec<PathBuf> = segments(home);
    files.extend([home.join(INDEX_FILE), home.join(CATALOG_FILE)]);
    let file = files.swap_remove(below(&mut rng, files.len()));
    let mut content = fs::read(&file).unwrap();
    let used: Vec<usize> = (0..content.len()).filter(|at| content[*at] != 0).collect();
    let at = used[below(&mut rng, used.len())];
    content[at] ^= 1 << below(&mut rng, 8);
    overwrite(&file, &content);
    println!("seed {seed}: byte {at} of {}", file.strip_prefix(home).unwrap().display());
    file
}

/// What a turned bit may do: be found and mended, or change nothing at all. `true`: found.
fn one_flip(seed: u64) -> bool {
    let home = scratch();
    let chunks = filled(home.path(), seed);
    flip(home.path(), seed);
    let store = match Store::open(home.path(), small()) {
        Ok(store) => store,
        Err(error) => {
            // Of the catalog, which follows from nothing, or of another version: by name.
            assert!(error.to_string().contains(home.path().to_str().unwrap()), "{error}");
            println!("seed {seed}: it is not opened: {error}");
            return true;
        }
    };
    let found = verify(&store, true);
    // A peer gives again what cannot be mended from within.
    let ids: Vec<_> = chunks.iter().map(VerifiedChunk::id).collect();
    let held = store.holds_chunks(&ids).unwrap();
    let lost: Vec<_> = chunks.iter().zip(held).filter(|(_, held)| !held).map(|(chunk, _)| chunk.clone()).collect();
    let was_found = !found.damage.is_empty() || !lost.is_empty();
    put_all(&store, &lost).unwrap();
    assert_holds(&store, &chunks);
    assert_eq!(store.manifests().unwrap(), [sample("kept")]);
    wait(store.close()).unwrap();
    drop(store);
    // What was not found changes nothing, not even for an index that is built anew.
    fs::remove_file(home.path().join(INDEX_FILE)).unwrap();
    let store = open(home.path());
    let lost: Vec<_> = chunks.iter().filter(|chunk| !matches!(store.read_chunk(&chunk.id()), Ok(Some(_)))).collect();
    assert!(was_found || lost.is_empty(), "seed {seed}: {} chunks are lost, and verify found nothing", lost.len());
    put_all(&store, lost).unwrap();
    assert_holds(&store, &chunks);
    was_found
}

/// Of a store that is filled with this seed it is a byte of the catalog …
const UNLUCKY: u64 = 2_007;

/// … in rows in which redb keeps what is free: at such a one it panics while it commits, and again while that unwinds,
/// which ends the process. So pages are looked at before anything is written, or closed.
#[test]
fn a_flip_in_what_redb_keeps_for_itself_does_not_end_the_process() {
    assert!(one_flip(UNLUCKY), "it is another byte than it was when this test was made");
}

#[test]
fn a_table_that_is_damaged_and_cannot_be_begun_anew_is_left_as_it_is() {
    let home = scratch();
    filled(home.path(), UNLUCKY);
    let catalog = flip(home.path(), UNLUCKY);
    assert_eq!(catalog, home.path().join(CATALOG_FILE));
    let damaged = fs::read(&catalog).unwrap();
    // Where the new one would be made there is something else.
    let passage = catalog.with_extension(super::super::super::PASSAGE_EXTENSION);
    fs::create_dir(&passage).unwrap();
    let store = open(home.path());
    assert_eq!(store.manifests().unwrap(), [sample("kept")]);
    let error = wait(store.pin_manifest(sample("kept").hash, false)).unwrap_err();
    assert!(error.to_string().contains(catalog.to_str().unwrap()), "{error}");
    wait(store.close()).unwrap();
    drop(store);
    assert!(fs::read(&catalog).unwrap() == damaged, "nothing was written to it");
    fs::remove_dir(&passage).unwrap();
    let store = open(home.path());
    assert!(verify(&store, false).damage.iter().all(|damage| damage.mended));
    assert!(wait(store.pin_manifest(sample("kept").hash, false)).unwrap());
}

#[test]
fn a_flip_anywhere_is_found_and_mended_or_changes_nothing() {
    let wanted = amount(24, 1_000);
    let found = AtomicU64::new(0);
    let is_wanted = |flips| {
        assert!(flips < 40 * wanted + 100, "flips are not found");
        found.load(Ordering::Relaxed) < wanted
    };
    let flips = side_by_side(1_000, is_wanted, |seed| {
        found.fetch_add(one_flip(seed).into(), Ordering::Relaxed);
    });
    println!("{found:?} of {flips} flips were in bytes in use, and were found; the others changed nothing");
}

//! Single bits turned at random places of the files that a store is made of.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::super::database::check_pages;
use super::super::super::record::tests::sample;
use super::super::super::{CATALOG_FILE, INDEX_FILE, PASSAGE_EXTENSION};
use super::super::damage::{overwrite, segments};
use super::super::verify::{filled, verify};
use super::*;

/// Turns a bit of one of the files of a closed store.
fn flip(home: &Path, files: &[PathBuf], seed: u64) {
    let mut rng = random(seed ^ 0x5eed);
    let file = &files[below(&mut rng, files.len())];
    let mut content = fs::read(file).unwrap();
    let used: Vec<usize> = (0..content.len()).filter(|at| content[*at] != 0).collect();
    let at = used[below(&mut rng, used.len())];
    content[at] ^= 1 << below(&mut rng, 8);
    overwrite(file, &content);
    println!("seed {seed}: byte {at} of {}", file.strip_prefix(home).unwrap().display());
}

/// What a turned bit may do: be found and mended, or change nothing at all. `true`: found.
fn one_flip(seed: u64) -> bool {
    let home = scratch();
    let chunks = filled(home.path(), seed);
    let mut files = segments(home.path());
    files.extend([home.path().join(INDEX_FILE), home.path().join(CATALOG_FILE)]);
    flip(home.path(), &files, seed);
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

/// redb commits when it is closed, and may panic twice at once if what it keeps for itself is damaged: the process ends.
#[test]
fn a_table_that_is_damaged_and_cannot_be_begun_anew_is_left_as_it_is() {
    let mut begun_anew = 0;
    for seed in 0..8 {
        let home = scratch();
        filled(home.path(), seed);
        let catalog = home.path().join(CATALOG_FILE);
        let sound = fs::read(&catalog).unwrap();
        let is_in_use = |seed: &u64| {
            overwrite(&catalog, &sound);
            flip(home.path(), std::slice::from_ref(&catalog), *seed);
            // Behind the header, which is mended in another way.
            fs::read(&catalog).unwrap()[..4096] == sound[..4096] && check_pages(&catalog, 64 << 10, None).is_err()
        };
        assert!((1_000 * seed..).take(1_000).any(|seed| is_in_use(&seed)), "no page is in use");
        let damaged = fs::read(&catalog).unwrap();
        // Where the new one would be made there is something else.
        let passage = catalog.with_extension(PASSAGE_EXTENSION);
        fs::create_dir(&passage).unwrap();
        let is_named = |error: StoreError| assert!(error.to_string().contains(catalog.to_str().unwrap()), "{error}");
        match Store::open(home.path(), small()) {
            Ok(store) => {
                match store.manifests() {
                    Ok(held) => assert_eq!(held, [sample("kept")]),
                    Err(error) => is_named(error),
                }
                is_named(wait(store.pin_manifest(sample("kept").hash, false)).unwrap_err());
                wait(store.close()).unwrap();
            }
            // Not even that can be done with it.
            Err(error) => is_named(error),
        }
        assert!(fs::read(&catalog).unwrap() == damaged, "seed {seed}: it was written to");
        fs::remove_dir(&passage).unwrap();
        let store = match Store::open(home.path(), small()) {
            Ok(store) => store,
            Err(error) => {
                is_named(error);
                continue;
            }
        };
        assert!(verify(&store, false).damage.iter().any(|damage| damage.mended));
        assert!(wait(store.pin_manifest(sample("kept").hash, false)).unwrap());
        begun_anew += 1;
    }
    assert!(begun_anew > 0);
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

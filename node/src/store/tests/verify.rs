//! Verifying: what is damaged is found, and mended from within where that is possible.

use std::fs;

use super::super::record::tests::sample;
use super::super::recovery;
use super::super::shared::Shared;
use super::super::{CATALOG_FILE, ContentState, Damage, Effort, INDEX_FILE, Watcher};
use super::content::Sample;
use super::damage::{flip_in, overwrite, segments};
use super::*;

#[derive(Default)]
pub(super) struct Found {
    objects: u64,
    bytes: u64,
    pub(super) damage: Vec<Damage>,
}

impl Watcher for Found {
    fn checked(&mut self, objects: u64, bytes: u64) -> bool {
        self.objects += objects;
        self.bytes += bytes;
        true
    }

    fn damaged(&mut self, damage: Damage) {
        self.damage.push(damage);
    }
}

pub(super) fn verify(store: &Store, repair: bool) -> Found {
    let mut found = Found::default();
    store.verify_tables(repair, &mut found).unwrap();
    store.verify_objects(&mut found).unwrap();
    found
}

/// A store that lies on the disk in the same way each time.
pub(super) fn filled(home: &Path, seed: u64) -> Vec<VerifiedChunk> {
    let mut rng = random(seed);
    let chunks: Vec<_> = (0..60).map(|_| chunk(&mut rng, 30_000)).filter(|chunk| chunk.bytes().len() > 64).collect();
    let store = open_steady(home);
    put_all(&store, &chunks).unwrap();
    wait(store.put_manifest(sample("kept"))).unwrap();
    wait(store.close()).unwrap();
    chunks
}

#[test]
fn everything_that_is_sound_is_counted() {
    let home = tempfile::tempdir().unwrap();
    let chunks = filled(home.path(), 1);
    let found = verify(&open(home.path()), false);
    let bytes: u64 = chunks.iter().map(|chunk| chunk.bytes().len() as u64).sum();
    assert_eq!((found.objects, found.bytes, found.damage.len()), (chunks.len() as u64, bytes, 0));
}

#[test]
fn damage_is_found_where_it_is_and_forgiven_when_it_is_gone() {
    let home = tempfile::tempdir().unwrap();
    let chunks = filled(home.path(), 2);
    let victim = &chunks[7];
    let file = flip_in(&segments(home.path()), &victim.bytes()[..24], 5);
    let store = open(home.path());
    for _ in 0..2 {
        let found = verify(&store, false);
        assert_eq!(found.damage.len(), 1);
        assert_eq!((found.damage[0].id, &found.damage[0].file), (Some(*victim.id().as_bytes()), &file));
    }
    wait(store.close()).unwrap();
    drop(store);
    let mut wrong = victim.bytes()[..24].to_vec();
    wrong[0] ^= 1 << 5;
    flip_in(&[file], &wrong, 5);
    let store = open(home.path());
    assert_eq!(store.holds_chunks(&[victim.id()]).unwrap(), [false]);
    assert_eq!(verify(&store, false).damage.len(), 0);
    assert_holds(&store, &chunks);
}

#[test]
fn an_object_that_is_forgotten_is_damaged_no_more() {
    let home = tempfile::tempdir().unwrap();
    let chunks = filled(home.path(), 3);
    flip_in(&segments(home.path()), &chunks[3].bytes()[..24], 0);
    let store = open(home.path());
    let id = verify(&store, false).damage[0].id.unwrap();
    store.forget_damaged(&[id, *chunks[4].id().as_bytes()]).unwrap();
    assert_eq!(verify(&store, false).damage.len(), 0);
    assert_holds(&store, chunks.iter().enumerate().filter(|(at, _)| *at != 3).map(|(_, chunk)| chunk));
}

#[test]
fn a_damaged_directory_is_found_and_its_objects_are_written_anew() {
    let home = tempfile::tempdir().unwrap();
    let chunks = filled(home.path(), 4);
    // The id stands in the directory of its group; the index has it too, but is another file.
    let flipped: usize =
        segments(home.path()).iter().map(|file| flip_everywhere(file, chunks[9].id().as_bytes(), 77)).sum();
    assert!(flipped > 0);
    let store = open(home.path());
    assert_eq!(verify(&store, false).damage.len(), 1);
    let repaired = verify(&store, true);
    assert!(repaired.damage.iter().all(|damage| damage.mended) && repaired.damage.len() == 1, "{:?}", repaired.damage);
    assert_eq!(verify(&store, false).damage.len(), 0);
    wait(store.close()).unwrap();
    drop(store);
    fs::remove_file(home.path().join(INDEX_FILE)).unwrap();
    let store = open(home.path());
    assert_holds(&store, &chunks);
}

#[test]
fn a_damaged_index_is_found_and_built_anew_while_the_store_is_open() {
    for seed in 10..20 {
        let home = tempfile::tempdir().unwrap();
        let chunks = filled(home.path(), seed);
        let mut rng = random(seed);
        let victim = &chunks[below(&mut rng, chunks.len())];
        let bit = below(&mut rng, 32 * 8);
        assert!(flip_everywhere(&home.path().join(INDEX_FILE), victim.id().as_bytes(), bit) > 0);
        println!("seed {seed}");
        let store = open(home.path());
        assert!(!verify(&store, false).damage.is_empty());
        let repaired = verify(&store, true);
        assert!(repaired.damage.iter().all(|damage| damage.mended), "{:?}", repaired.damage);
        assert_eq!(verify(&store, false).damage.len(), 0);
        assert_holds(&store, &chunks);
        let more = chunk(&mut rng, 1_000);
        put_all(&store, [&more]).unwrap();
        assert_holds(&store, [&more]);
    }
}

/// Flips a bit of each occurrence of `bytes`, for pages that are not in use any more have them too; says how many.
pub(super) fn flip_everywhere(file: &Path, bytes: &[u8], bit: usize) -> usize {
    let mut content = fs::read(file).unwrap();
    let places: Vec<_> =
        (0..content.len() - bytes.len()).filter(|at| &content[*at..*at + bytes.len()] == bytes).collect();
    for at in &places {
        content[at + bit / 8] ^= 1 << (bit % 8);
    }
    overwrite(file, &content);
    places.len()
}

#[test]
fn a_damaged_copy_of_a_record_is_written_anew() {
    let home = tempfile::tempdir().unwrap();
    filled(home.path(), 5);
    let catalog = home.path().join(CATALOG_FILE);
    let name = sample("kept").name.unwrap();
    let store = open(home.path());
    wait(store.put_manifest(crate::store::ManifestRecord { name: Some("easily found".into()), ..sample("kept") }))
        .unwrap();
    wait(store.close()).unwrap();
    drop(store);
    flip_in(&[catalog], b"easily found", 9);
    let store = open(home.path());
    assert!(!verify(&store, false).damage.is_empty(), "{name}");
    assert!(verify(&store, true).damage.iter().all(|damage| damage.mended));
    assert_eq!(verify(&store, false).damage.len(), 0);
    assert_eq!(store.manifests().unwrap()[0].name.as_deref(), Some("easily found"));
}

#[test]
fn a_damaged_index_is_built_anew_while_garbage_is_collected() {
    for seed in 30..36 {
        let home = tempfile::tempdir().unwrap();
        let store = open(home.path());
        let mut rng = random(seed);
        let kept = Sample::random(&mut rng, 12);
        let ingest = store.ingest();
        kept.put(&store, &ingest);
        wait(ingest.record(kept.record(ContentState::Complete))).unwrap();
        let garbage: Vec<_> = (0..60).map(|_| chunk(&mut rng, 30_000)).collect();
        put_all(&store, &garbage).unwrap();
        drop(ingest);
        wait(store.close()).unwrap();
        drop(store);
        let victim = kept.chunks[below(&mut rng, 12)].id();
        let bit = below(&mut rng, 32 * 8);
        assert!(flip_everywhere(&home.path().join(INDEX_FILE), victim.as_bytes(), bit) > 0);
        let store = open(home.path());
        std::thread::scope(|scope| {
            let collecting = scope.spawn(|| {
                for _ in 0..4 {
                    // It may be overtaken, or not be able to tell what is needed until the index is built anew.
                    let _ = wait(store.collect(Effort::Thorough, false));
                }
            });
            verify(&store, true);
            collecting.join().unwrap();
        });
        assert_eq!(verify(&store, true).damage.iter().filter(|damage| !damage.mended).count(), 0);
        wait(store.collect(Effort::Thorough, false)).unwrap();
        kept.assert_whole(&store);
    }
}

#[test]
fn a_damaged_row_of_a_segment_has_the_index_built_anew() {
    let home = tempfile::tempdir().unwrap();
    let chunks = filled(home.path(), 40);
    let store = open(home.path());
    let rows = store.shared().index.segments().unwrap();
    let usage = store.usage().unwrap();
    wait(store.close()).unwrap();
    drop(store);
    let (number, row) = rows[0];
    assert!(flip_everywhere(&home.path().join(INDEX_FILE), &row.encode(number), 3) > 0);
    let store = open(home.path());
    assert_holds(&store, &chunks);
    assert!(home.path().join("index.damaged").exists());
    let again = store.usage().unwrap();
    assert_eq!((again.chunks, again.payload_bytes), (usage.chunks, usage.payload_bytes));
}

/// Opens the index anew as a fault or damage would, in the middle of the collector's work.
fn heal(shared: &Shared, anew: bool) {
    let mut healed = shared.healed.write().unwrap();
    if anew {
        shared.index.renew().unwrap();
    } else {
        shared.index.reopen().unwrap();
    }
    recovery::replay(&shared.index, &shared.segments, redb::Durability::None).unwrap();
    *healed += 1;
}

#[test]
fn an_index_that_is_opened_anew_at_any_step_of_a_collection_costs_nothing() {
    let mut overtaken = 0;
    for step in 0..40 {
        let home = tempfile::tempdir().unwrap();
        let store = open(home.path());
        let mut rng = random(50 + step);
        let (kept, garbage) = (Sample::random(&mut rng, 14), Sample::random(&mut rng, 14));
        Sample::publish_mixed(&store, &kept, &garbage);
        wait(store.remove_manifest(garbage.hash())).unwrap();
        let (mut steps, inside) = (0, Arc::clone(store.shared()));
        let at_step = move || {
            if steps == step {
                heal(&inside, step % 2 == 0);
            }
            steps += 1;
        };
        *store.shared().collector.steps.0.lock().unwrap() = Some(Box::new(at_step));
        // It is overtaken, and begins again.
        wait(store.collect(Effort::Thorough, false)).unwrap();
        overtaken += u64::from(store.shared().heals() > 0);
        *store.shared().collector.steps.0.lock().unwrap() = None;
        let check = |store: &Store| {
            kept.assert_whole(store);
            // What counts as held is there.
            for chunk in &garbage.chunks {
                let held = store.holds_chunks(&[chunk.id()]).unwrap()[0];
                assert!(!held || store.read_chunk(&chunk.id()).is_ok_and(|read| read.is_some()), "step {step}");
            }
        };
        check(&store);
        wait(store.collect(Effort::Thorough, false)).unwrap();
        check(&store);
        assert!(garbage.held(&store) < garbage.chunks.len() / 2, "step {step}");
        wait(store.close()).unwrap();
        drop(store);
        check(&open(home.path()));
    }
    assert!(overtaken > 0, "none of the steps was in the middle");
}

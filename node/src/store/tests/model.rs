//! Random operations against a map.

use std::collections::HashMap;

use shoal_protocol::hash::{ChunkId, ContentHash};

use super::super::record::tests::sample;
use super::super::{INDEX_FILE, ManifestRecord, SEGMENTS_FOLDER};
use super::*;

const SEQUENCES: u64 = 40;
const OPERATIONS: usize = 60;

#[derive(Default)]
struct Model {
    chunks: HashMap<ChunkId, VerifiedChunk>,
    records: HashMap<ContentHash, ManifestRecord>,
}

impl Model {
    fn check(&self, store: &Store) {
        assert_holds(store, self.chunks.values());
        let records: HashMap<_, _> =
            store.manifests().unwrap().into_iter().map(|record| (record.hash, record)).collect();
        assert_eq!(records, self.records);
    }
}

pub(super) fn run(home: &Path, seed: u64) {
    let mut rng = random(seed);
    let mut model = Model::default();
    let mut store = open(home);
    for _ in 0..OPERATIONS {
        match below(&mut rng, 10) {
            0..=3 => {
                let most = [100, 5_000, 70_000, 140_000][below(&mut rng, 4)];
                let count = 1 + below(&mut rng, 6);
                let mut chunks: Vec<_> = (0..count).map(|_| chunk(&mut rng, most)).collect();
                // Some that are held already.
                chunks.extend(model.chunks.values().take(below(&mut rng, 3)).cloned());
                put_all(&store, &chunks).unwrap();
                model.chunks.extend(chunks.into_iter().map(|chunk| (chunk.id(), chunk)));
            }
            4 => {
                let record =
                    ManifestRecord { created_unix_ms: rng.next_u64(), ..sample(&below(&mut rng, 5).to_string()) };
                wait(store.put_manifest(record.clone())).unwrap();
                // Since when it is here stays as it was.
                model.records.entry(record.hash).or_insert(record);
            }
            5 => {
                let hash = sample(&below(&mut rng, 5).to_string()).hash;
                let found = wait(store.remove_manifest(hash)).unwrap();
                assert_eq!(found, model.records.remove(&hash).is_some());
            }
            6 => {
                let absent: Vec<_> = (0..3).map(|_| chunk(&mut rng, 50).id()).collect();
                assert_eq!(store.holds_chunks(&absent).unwrap(), [false; 3]);
                assert!(store.read_chunks(&absent).unwrap().into_iter().all(|read| read.unwrap().is_none()));
            }
            7 => {
                wait(store.close()).unwrap();
                drop(store);
                store = open(home);
            }
            8 => {
                drop(store);
                if below(&mut rng, 3) == 0 {
                    std::fs::remove_file(home.join(INDEX_FILE)).unwrap();
                }
                // What a start of a segment leaves behind when it is cut short.
                std::fs::write(home.join(SEGMENTS_FOLDER).join("000900.new"), b"half").unwrap();
                store = open(home);
            }
            _ => model.check(&store),
        }
    }
    model.check(&store);
}

#[test]
fn the_store_does_what_a_map_does() {
    for seed in 0..SEQUENCES {
        println!("seed {seed}");
        run(tempfile::tempdir().unwrap().path(), seed);
    }
}

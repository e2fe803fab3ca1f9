//! The store as its users see it, in good and bad times.

#![allow(clippy::print_stdout, reason = "the seed of a failing case is in the test's output")]

mod collect;
mod content;
mod crash;
mod damage;
mod faults;
mod full;
mod in_place;
mod life;
mod losses;
mod model;
mod quota;
mod recent;
mod renew;
mod replace;
mod torture;
mod verify;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use shoal_protocol::chunk::VerifiedChunk;

use super::backend::Faults;
use super::{ManifestRecord, Store, StoreConfig, StoreError};

/// Small enough that a test fills groups and seals segments all the time.
fn small() -> StoreConfig {
    StoreConfig {
        group_bytes: 64 << 10,
        group_delay: Duration::from_millis(1),
        writers: 2,
        segment_bytes: 400 << 10,
        queue_bytes: 256 << 10,
        index_cache_bytes: 1 << 20,
        segment_cache_bytes: 64 << 10,
        open_segments: 2,
        index_commit_groups: 3,
        ..StoreConfig::default()
    }
}

fn open(home: &Path) -> Store {
    Store::open(home, small()).unwrap()
}

/// A store that lays out what is put into it in the same way whoever runs when.
fn open_steady(home: &Path) -> Store {
    Store::open(home, StoreConfig { writers: 1, group_delay: Duration::from_secs(600), ..small() }).unwrap()
}

fn open_with(home: &Path, faults: Arc<dyn Faults>) -> Result<Store, StoreError> {
    Store::open_with(home, &small(), Some(faults))
}

fn random(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn below(rng: &mut ChaCha8Rng, limit: usize) -> usize {
    (rng.next_u64() % limit as u64) as usize
}

/// A chunk of 1 to `most` bytes that is like no other.
fn chunk(rng: &mut ChaCha8Rng, most: usize) -> VerifiedChunk {
    let mut bytes = vec![0; 1 + below(rng, most)];
    rng.fill_bytes(&mut bytes);
    VerifiedChunk::of(Bytes::from(bytes))
}

/// Runs what is async on this thread.
fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Puts the chunks and waits until they are acknowledged.
fn put_all<'a>(store: &Store, chunks: impl IntoIterator<Item = &'a VerifiedChunk>) -> Result<(), StoreError> {
    wait(async {
        let ingest = store.ingest();
        for chunk in chunks {
            ingest.put_chunk(chunk.clone()).await?;
        }
        ingest.flush().await
    })
}

/// Every chunk is there with its bytes, read one by one and all together.
fn assert_holds<'a>(store: &Store, chunks: impl IntoIterator<Item = &'a VerifiedChunk>) {
    let chunks: Vec<_> = chunks.into_iter().collect();
    let ids: Vec<_> = chunks.iter().map(|chunk| chunk.id()).collect();
    let together = store.read_chunks(&ids).unwrap();
    let held = store.holds_chunks(&ids).unwrap();
    for ((chunk, together), held) in chunks.iter().zip(together).zip(held) {
        assert!(held);
        assert_eq!(together.unwrap().as_ref(), Some(chunk.bytes()));
        assert_eq!(store.read_chunk(&chunk.id()).unwrap().as_ref(), Some(chunk.bytes()));
    }
}

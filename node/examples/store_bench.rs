//! Measures the store against floors taken in the same run: `cargo run --release -p shoal-node --example store_bench
//! [folder] [GiB] [writers] [group MiB]`.
//!
//! The floor of writing is a flat file of the same bytes with one sync at the end; the floor of reading is hashing the
//! same bytes in memory. Bytes are made before they are timed.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "a measuring program talks to its user and may give up")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use shoal_node::store::{Store, StoreConfig};
use shoal_protocol::chunk::VerifiedChunk;
use shoal_protocol::hash::ChunkId;

const MIB: f64 = 1e6;
/// Random bytes are made once; chunks differ by a counter written over their first bytes.
const POOL_BYTES: usize = 64 << 20;

struct Chunks {
    pool: Bytes,
    rng: ChaCha8Rng,
    left: u64,
    count: u64,
}

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let len = (65_536 + (self.rng.next_u32() as usize & 0xffff)).min(self.left as usize);
        let at = self.rng.next_u32() as usize % (POOL_BYTES - len);
        let mut bytes = self.pool[at..at + len].to_vec();
        let head = len.min(8);
        bytes[..head].copy_from_slice(&self.count.to_le_bytes()[..head]);
        self.left -= len as u64;
        self.count += 1;
        Some(Bytes::from(bytes))
    }
}

fn chunks(pool: &Bytes, bytes: u64) -> Chunks {
    Chunks { pool: pool.clone(), rng: ChaCha8Rng::seed_from_u64(7), left: bytes, count: 0 }
}

fn argument<T: std::str::FromStr>(at: usize, default: T) -> T {
    std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Processor seconds of this process so far. Only the sum is exact: Linux estimates how it splits into user and system
/// by sampling, and for runs this short the estimate has been seen below what hashing alone takes.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.split_whitespace().skip(13).take(2).filter_map(|field| field.parse::<f64>().ok());
    // In hundredths of a second, whatever the kernel's own tick.
    fields.sum::<f64>() / 100.0
}

fn flat_file(path: &Path, pool: &Bytes, bytes: u64) -> f64 {
    let began = Instant::now();
    let mut file = File::create(path).expect("the folder can be written to");
    for chunk in chunks(pool, bytes) {
        file.write_all(&chunk).expect("there is room");
    }
    file.sync_all().expect("the disk takes it");
    let rate = bytes as f64 / MIB / began.elapsed().as_secs_f64();
    std::fs::remove_file(path).expect("it was there");
    rate
}

fn main() {
    let folder = argument::<PathBuf>(1, std::env::temp_dir());
    let bytes = (argument::<f64>(2, 1.0) * (1u64 << 30) as f64) as u64;
    let group_bytes = argument::<usize>(4, 8) << 20;
    let config =
        StoreConfig { writers: argument(3, 2), group_bytes, queue_bytes: 3 * group_bytes, ..StoreConfig::default() };
    let home = tempfile::Builder::new().prefix("store-bench").tempdir_in(&folder).expect("a folder to work in");
    let mut pool = vec![0; POOL_BYTES];
    ChaCha8Rng::seed_from_u64(1).fill_bytes(&mut pool);
    let pool = Bytes::from(pool);
    let before = resident_mib();

    let ids: Vec<ChunkId> = chunks(&pool, bytes).map(|chunk| ChunkId::of(&chunk)).collect();
    let floor = flat_file(&home.path().join("flat"), &pool, bytes);
    println!("flat file, one sync             {floor:8.0} MB/s");

    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let processor = processor_seconds();
    let began = Instant::now();
    let store = Store::open(&home.path().join("home"), config).expect("a new store");
    runtime.block_on(async {
        let ingest = store.ingest();
        for chunk in chunks(&pool, bytes) {
            ingest.put_chunk(VerifiedChunk::of(chunk)).await.expect("the store takes it");
        }
        ingest.flush().await.expect("the disk takes it");
    });
    let rate = bytes as f64 / MIB / began.elapsed().as_secs_f64();
    println!("hash, put, durable              {rate:8.0} MB/s ({:.2} x the floor's time)", floor / rate);
    println!("  processor                     {:8.2} s", processor_seconds() - processor);
    println!("peak memory beyond the pool     {:8} MiB", resident_mib().saturating_sub(before));

    let began = Instant::now();
    let hashed: usize = chunks(&pool, bytes).map(|chunk| usize::from(ChunkId::of(&chunk).as_bytes()[0])).sum();
    println!("hashing alone                   {:8.0} MB/s", bytes as f64 / MIB / began.elapsed().as_secs_f64());
    assert!(hashed > 0);

    let began = Instant::now();
    for batch in ids.chunks(16) {
        for read in store.read_chunks(batch).expect("the index") {
            assert!(read.expect("sound").is_some());
        }
    }
    println!("verified reads in order         {:8.0} MB/s", bytes as f64 / MIB / began.elapsed().as_secs_f64());
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut shuffled = ids.clone();
    for at in (1..shuffled.len()).rev() {
        shuffled.swap(at, rng.next_u32() as usize % (at + 1));
    }
    let began = Instant::now();
    for id in &shuffled {
        assert!(store.read_chunk(id).expect("sound").is_some());
    }
    println!("verified reads at random        {:8.0} MB/s", bytes as f64 / MIB / began.elapsed().as_secs_f64());

    let began = Instant::now();
    runtime.block_on(async {
        let ingest = store.ingest();
        for chunk in chunks(&pool, bytes) {
            ingest.put_chunk(VerifiedChunk::of(chunk)).await.expect("the store takes it");
        }
        ingest.flush().await.expect("the disk takes it");
        assert_eq!(ingest.added().chunks, 0);
    });
    println!("the same again, nothing written {:8.0} MB/s", bytes as f64 / MIB / began.elapsed().as_secs_f64());

    let live = store.usage().expect("counts");
    let began = Instant::now();
    runtime.block_on(store.close()).expect("closes");
    println!("closing                         {:8.1} ms", began.elapsed().as_secs_f64() * 1e3);
    let began = Instant::now();
    let store = Store::open(&home.path().join("home"), StoreConfig::default()).expect("opens again");
    println!("opening                         {:8.1} ms", began.elapsed().as_secs_f64() * 1e3);
    let usage = store.usage().expect("counts");
    let share = |disk: u64| disk as f64 / usage.payload_bytes as f64;
    println!(
        "disk / payload                  {:8.4} while open, {:.4} closed",
        share(live.disk_bytes),
        share(usage.disk_bytes)
    );
    println!("peak memory beyond the pool     {:8} MiB", resident_mib().saturating_sub(before));
}

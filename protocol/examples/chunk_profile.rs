//! Measures chunk profiles on two versions of a real thing.
//!
//! ```text
//! cargo run --release -p shoal-protocol --example chunk_profile -- OLD NEW [--large BYTES]
//! ```
//!
//! `OLD` and `NEW` are files or folders (regular files count, links are not followed); both are held in memory. For
//! every profile it says how many chunks the new version has and how long they are, what of it the old version does
//! not have, and what the whole thing costs: bytes to move, a row of the store's index and of the manifest for each
//! chunk, and how fast one thread finds the cuts. `hit` is the length of the chunk in which a byte lies on average:
//! what a change of one byte costs.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool that prints")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs, io, process};

use shoal_protocol::chunker::{LARGE_FILE_BYTES, Profile};
use shoal_protocol::hash::ChunkId;

const KIB: u32 = 1024;
/// A row of the store's index (measured: 53 to 103 bytes) and of the chunk list.
const BYTES_PER_CHUNK: u64 = 75 + 36;

fn main() {
    let mut paths = Vec::new();
    let mut large = LARGE_FILE_BYTES;
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), paths.len()) {
            ("--large", _) => match arguments.next().and_then(|bytes| bytes.parse().ok()) {
                Some(bytes) => large = bytes,
                None => usage(),
            },
            (_, 0 | 1) => paths.push(PathBuf::from(argument)),
            _ => usage(),
        }
    }
    let [old, new] = paths.as_slice() else { usage() };
    let read = |path: &Path| {
        runs_of(path, large).unwrap_or_else(|error| {
            eprintln!("{}: {error}", path.display());
            process::exit(1)
        })
    };
    report(&read(old), &read(new));
}

fn usage() -> ! {
    eprintln!("usage: chunk_profile OLD NEW [--large BYTES]");
    process::exit(2)
}

/// The profiles: three targets; one mask, or two that differ by one or two bits on each side.
fn profiles() -> impl Iterator<Item = (String, Profile)> {
    [64, 128, 256].into_iter().flat_map(|target| {
        [(0, 4, "single"), (1, 4, "norm 1"), (2, 4, "norm 2"), (2, 2, "norm 2, min 1/2"), (3, 4, "norm 3")].map(
            |(by, min, name)| {
                let bits = (target * KIB).ilog2();
                let profile = Profile {
                    min: target * KIB / min,
                    target: target * KIB,
                    max: target * KIB * 4,
                    strict_bits: bits + by,
                    loose_bits: bits - by,
                };
                (format!("{target} KiB {name}"), profile)
            },
        )
    })
}

fn report(old: &[Vec<u8>], new: &[Vec<u8>]) {
    let bytes = |runs: &[Vec<u8>]| runs.iter().map(|run| run.len() as u64).sum::<u64>();
    let (old_bytes, new_bytes) = (bytes(old), bytes(new));
    println!("old {old_bytes} bytes in {} runs, new {new_bytes} bytes in {} runs", old.len(), new.len());
    println!(
        "{:24} {:>8} {:>9} {:>9} {:>7} {:>13} {:>7} {:>8} {:>9} {:>7}",
        "profile", "chunks", "mean", "hit", "at max", "new bytes", "new %", "new chk", "cost %", "GB/s"
    );
    for (name, profile) in profiles() {
        let held: HashMap<ChunkId, u32> = chunks_of(old, profile).collect();
        let start = Instant::now();
        let cuts: u64 = new.iter().map(|run| profile.cut(run).count() as u64).sum();
        let seconds = start.elapsed().as_secs_f64();
        let (mut fresh, mut seen) = ((0u64, 0u64), HashMap::new());
        let (mut squares, mut at_max) = (0u128, 0u64);
        for (id, len) in chunks_of(new, profile) {
            squares += u128::from(len).pow(2);
            at_max += u64::from(len == profile.max);
            if !held.contains_key(&id) && seen.insert(id, len).is_none() {
                fresh = (fresh.0 + u64::from(len), fresh.1 + 1);
            }
        }
        let cost = fresh.0 + fresh.1 * BYTES_PER_CHUNK;
        let percent = |part: u64| part as f64 * 100.0 / new_bytes.max(1) as f64;
        println!(
            "{name:24} {cuts:8} {:9} {:9} {at_max:7} {:13} {:7.3} {:8} {:9.3} {:7.2}",
            new_bytes / cuts.max(1),
            squares / u128::from(new_bytes.max(1)),
            fresh.0,
            percent(fresh.0),
            fresh.1,
            percent(cost),
            new_bytes as f64 / seconds / 1e9,
        );
    }
}

fn chunks_of(runs: &[Vec<u8>], profile: Profile) -> impl Iterator<Item = (ChunkId, u32)> {
    let chunks = runs.iter().flat_map(move |run| profile.cut(run));
    chunks.map(|chunk| (ChunkId::of(chunk), chunk.len() as u32))
}

/// The runs of a file or folder: all small files as one, each large file by itself.
fn runs_of(path: &Path, large: u64) -> io::Result<Vec<Vec<u8>>> {
    if !path.is_dir() {
        return Ok(vec![fs::read(path)?]);
    }
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(folder)? {
            let item = item?;
            let kind = item.file_type()?;
            if kind.is_dir() {
                folders.push(item.path());
            } else if kind.is_file() {
                files.push((item.path(), item.metadata()?.len()));
            }
        }
    }
    files.sort();
    let mut runs = vec![Vec::new()];
    for (path, size) in files {
        let bytes = fs::read(path)?;
        match runs.first_mut() {
            Some(small) if size < large => small.extend_from_slice(&bytes),
            _ => runs.push(bytes),
        }
    }
    Ok(runs)
}

//! Collecting garbage while a fetch runs: what is left of the fetch's rate.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use shoal_testnet::cluster::{Cluster, NodeOptions};
use shoal_testnet::command::FetchOptions;
use shoal_testnet::content;

use super::BenchError;
use super::floors::settle;
use super::lab::{Lab, Medium, remove};
use super::measure::{Runs, rate};
use super::report::{Bar, Row};

/// What is fetched.
const FETCHED_BYTES: u64 = 1 << 30;
/// What there is to collect from, in bytes: in an ordinary run, and when it is asked for.
pub(super) const SOME: u64 = 2 << 30;
/// See [`SOME`].
pub(super) const MUCH: u64 = 10 << 30;
/// What is made and published of it at a time.
const PART_BYTES: u64 = 1 << 30;
/// One file of the garbage, and of what lies among it.
const FILE_BYTES: u64 = 4 << 20;
const RATE_BAR: Bar = Bar::AtLeast(80.0);

/// Two rows: whole segments of garbage, and segments of which every other file is garbage.
pub(super) async fn measure(lab: &mut Lab, garbage: u64) -> Result<Vec<Row>, BenchError> {
    let (bytes, garbage) = (lab.bytes(FETCHED_BYTES), lab.bytes(garbage));
    // Two sources and their stores, an output, a part of the garbage, all of it stored, and copies of what is needed.
    let folder = lab.folder(Medium::Disk, bytes * 8 + garbage * 2)?;
    let place = folder.path();
    let sources = [place.join("first"), place.join("second")];
    for (seed, source) in (11..).zip(&sources) {
        content::write_file(source, bytes, seed).map_err(BenchError::file(source))?;
    }
    let mut cluster = lab.publisher(place, NodeOptions::default()).await?;
    let mut links = Vec::new();
    for source in &sources {
        links.push(cluster.node(0).shoal().publish(source).await?.link);
    }
    let mut rows = Vec::new();
    for is_scattered in [false, true] {
        let (mut shares, mut undisturbed, mut disturbed) = (Runs::default(), Runs::default(), Runs::default());
        let mut reclaimed = 0;
        for _ in 0..lab.runs {
            let node = cluster.add(NodeOptions::default()).await?;
            let (before, during, back) = once(&cluster, node, place, &links, (garbage, is_scattered)).await?;
            undisturbed.push(rate(bytes, before));
            disturbed.push(rate(bytes, during));
            shares.push(before / during * 100.0);
            reclaimed = back;
            lab.discard(&mut cluster, node).await?;
        }
        let kind = if is_scattered { "half of each segment" } else { "whole segments" };
        let what = format!("fetch rate while {} MiB are collected ({kind} of garbage), of that without", garbage >> 20);
        let (during, before) = (disturbed.median(), undisturbed.median());
        let detail = format!("{during:.0} of {before:.0} MB/s; {} MiB came back", reclaimed >> 20);
        rows.push(lab.judged(Row::plain(what, shares, "%", RATE_BAR)).with_detail(detail));
    }
    Ok(rows)
}

/// Seconds of a fetch without and with a collection beside it, and what that gave back.
async fn once(
    cluster: &Cluster,
    node: usize,
    place: &Path,
    links: &[String],
    (garbage, is_scattered): (u64, bool),
) -> Result<(f64, f64, u64), BenchError> {
    let shoal = cluster.node(node).shoal();
    let mut doomed = Vec::new();
    for part in 0..garbage.div_ceil(PART_BYTES) {
        write_garbage(place, garbage.min(PART_BYTES), part)?;
        doomed.push(shoal.publish(&place.join("garbage")).await?.hash.to_string());
        if is_scattered {
            shoal.publish(&place.join("kept")).await?;
        }
    }
    settle(place)?;
    let output = place.join("fetched");
    let fetch = async |link: &str| -> Result<f64, BenchError> {
        let started = Instant::now();
        shoal.fetch(link, &output, &FetchOptions::default()).await?;
        let seconds = started.elapsed().as_secs_f64();
        remove(&output)?;
        Ok(seconds)
    };
    let (first, second) = match links {
        [first, second, ..] => (first, second),
        _ => return Ok((0.0, 0.0, 0)),
    };
    let before = fetch(first).await?;
    let back = |value: &Value| value.get("reclaimed_bytes").and_then(Value::as_u64).unwrap_or(0);
    let collect = async {
        let mut reclaimed = 0;
        for hash in &doomed {
            reclaimed += back(&shoal.json(["rm", hash]).await?);
        }
        Ok::<u64, BenchError>(reclaimed + back(&shoal.json(["gc"]).await?))
    };
    let (during, back) = tokio::join!(fetch(second), collect);
    Ok((before, during?, back?))
}

/// A folder of files that follow each other in the segments, and another with every second of them.
fn write_garbage(place: &Path, bytes: u64, part: u64) -> Result<(), BenchError> {
    let (all, kept) = (place.join("garbage"), place.join("kept"));
    for folder in [&all, &kept] {
        remove(folder)?;
        fs::create_dir_all(folder).map_err(BenchError::file(folder))?;
    }
    let first = part * bytes / FILE_BYTES;
    for number in first..first + bytes / FILE_BYTES {
        let name = format!("{number:06}");
        let file = all.join(&name);
        content::write_file(&file, FILE_BYTES, 1_000 + number).map_err(BenchError::file(&file))?;
        if number % 2 == 0 {
            fs::hard_link(&file, kept.join(&name)).map_err(BenchError::file(&file))?;
        }
    }
    Ok(())
}

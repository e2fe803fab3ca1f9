//! A flash crowd: one seeder, eight leechers that begin at the same moment, everybody limited to 20 MB/s up.
//!
//! Nobody can be done before the seeder has sent everything once, and all of it has to leave somebody eight times:
//! the lower bound is the longer of the two.

use std::path::{Path, PathBuf};
use std::time::Instant;

use shoal_testnet::cluster::{Cluster, NodeOptions};
use shoal_testnet::command::FetchOptions;
use shoal_testnet::content;
use tokio::task::JoinSet;

use super::BenchError;
use super::lab::{Lab, Medium, remove, same};
use super::measure::Runs;
use super::report::{Bar, Row};

const LEECHERS: usize = 8;
const RATE: u64 = 20_000_000;
const BYTES: u64 = 200_000_000;

/// Two rows: the last leecher's time, and what the seeder sent.
pub(super) async fn measure(lab: &mut Lab) -> Result<Vec<Row>, BenchError> {
    let bytes = lab.bytes(BYTES);
    let folder = lab.folder(Medium::Memory, bytes * (2 * LEECHERS as u64 + 4))?;
    let source = folder.path().join("source");
    content::write_file(&source, bytes, 5).map_err(BenchError::file(&source))?;
    let limited = NodeOptions { limit_up: Some(RATE), ..NodeOptions::default() };
    let mut cluster = lab.publisher(folder.path(), limited.clone()).await?;
    let hash = cluster.node(0).shoal().publish(&source).await?.hash.to_string();
    let link = match cluster.node(0).addresses().first() {
        Some(address) => format!("shoal:{hash}?peer={address}"),
        None => hash,
    };
    let (mut last, mut copies) = (Runs::default(), Runs::default());
    for _ in 0..lab.runs {
        let mut leechers = Vec::new();
        for _ in 0..LEECHERS {
            leechers.push(cluster.add(limited.clone()).await?);
        }
        let before = cluster.node(0).shoal().status().await?.sent_bytes;
        last.push(all_fetch(&cluster, &leechers, &link, folder.path()).await?);
        let sent = cluster.node(0).shoal().status().await?.sent_bytes - before;
        copies.push(sent as f64 / bytes as f64);
        for leecher in leechers {
            let output = output(folder.path(), leecher);
            same(&source, &output)?;
            remove(&output)?;
            lab.discard(&mut cluster, leecher).await?;
        }
    }
    let all = (LEECHERS as u64 * bytes) as f64 / ((LEECHERS as u64 + 1) * RATE) as f64;
    let bound = all.max(bytes as f64 / RATE as f64);
    let what = format!("1 seeder, {LEECHERS} leechers, all limited to 20 MB/s up, {} MB", bytes / 1_000_000);
    let detail = format!("{:.1} s, the lower bound is {bound:.1} s", last.median());
    let time =
        Row::plain(format!("{what}: last one done"), last.map(|seconds| seconds / bound), "x", Bar::AtMost(1.25));
    let sent = Row::plain(format!("{what}: the seeder sent"), copies, "copies", Bar::AtMost(1.2));
    Ok([time.with_detail(detail), sent].map(|row| lab.judged(row)).into())
}

/// Lets all begin at the same moment; how many seconds until the last is done.
async fn all_fetch(cluster: &Cluster, leechers: &[usize], link: &str, folder: &Path) -> Result<f64, BenchError> {
    let mut fetches = JoinSet::new();
    let begun = Instant::now();
    for leecher in leechers {
        let (shoal, link, output) = (cluster.node(*leecher).shoal(), link.to_owned(), output(folder, *leecher));
        fetches.spawn(async move { shoal.fetch(&link, &output, &FetchOptions::default()).await });
    }
    for fetched in fetches.join_all().await {
        fetched?;
    }
    Ok(begun.elapsed().as_secs_f64())
}

fn output(folder: &Path, leecher: usize) -> PathBuf {
    folder.join(format!("fetched-{leecher}"))
}

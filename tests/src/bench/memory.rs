//! The most resident memory of each end while 4 GiB are fetched.

use shoal_testnet::cluster::NodeOptions;
use shoal_testnet::content;
use shoal_testnet::resources::Usage;

use super::BenchError;
use super::lab::{Lab, Medium};
use super::measure::Runs;
use super::report::{Bar, Row};

const MIB: f64 = (1 << 20) as f64;

/// Four rows: publisher, a node that holds it all and does nothing, provider and fetcher. One run is enough: the kernel
/// keeps the highest mark.
pub(super) async fn measure(lab: &mut Lab) -> Result<Vec<Row>, BenchError> {
    let bytes = lab.bytes(4 << 30);
    let folder = lab.folder(Medium::Disk, bytes * 4 + bytes / 4)?;
    let source = folder.path().join("source");
    content::write_file(&source, bytes, 4).map_err(BenchError::file(&source))?;
    let mut cluster = lab.publisher(folder.path(), NodeOptions::default()).await?;
    let published = cluster.node(0).shoal().publish(&source).await?;
    // A new process for serving: what publishing took is another figure.
    let publishing = peak(&cluster, 0)?;
    cluster.stop(0).await?;
    cluster.restart(0).await?;
    let idle = peak(&cluster, 0)?;
    let node = cluster.add(NodeOptions::default()).await?;
    let link = match cluster.node(0).addresses().first() {
        Some(address) => format!("shoal:{}?peer={address}", published.hash),
        None => published.hash.to_string(),
    };
    lab.fetch(&cluster, node, &link, &source, &folder.path().join("fetched")).await?;
    let row = |what: &str, bytes: f64, most: f64| {
        let mut runs = Runs::default();
        runs.push(bytes / MIB);
        Row::plain(what, runs, "MiB", Bar::AtMost(most))
    };
    let publisher = row(&format!("resident memory while {} MiB are imported", bytes >> 20), publishing, 150.0);
    let holder = row(&format!("resident memory of a node that starts with {} MiB", bytes >> 20), idle, 40.0);
    let what = format!("resident memory, provider, while {} MiB are fetched", bytes >> 20);
    let provider = row(&what, peak(&cluster, 0)?, 150.0);
    let what = format!("resident memory, fetcher, while {} MiB are fetched", bytes >> 20);
    let fetcher = row(&what, peak(&cluster, node)?, 150.0);
    Ok([publisher, holder, provider, fetcher].into_iter().map(|row| lab.judged(row)).collect())
}

fn peak(cluster: &shoal_testnet::cluster::Cluster, node: usize) -> Result<f64, BenchError> {
    let pid = cluster.node(node).pid().unwrap_or(0);
    let usage = Usage::of(pid).map_err(BenchError::file(format!("/proc/{pid}")))?;
    Ok(usage.peak_resident_bytes as f64)
}

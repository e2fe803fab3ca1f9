//! Fifty peers at once: what a node takes of memory while it fetches from them, and while it serves them.

use std::path::Path;

use shoal_node::api::Published;
use shoal_testnet::cluster::{Cluster, NodeOptions};
use shoal_testnet::command::FetchOptions;
use shoal_testnet::content;
use shoal_testnet::resources::Usage;
use tokio::task::JoinSet;

use super::BenchError;
use super::lab::{Lab, Medium, remove, same};
use super::measure::Runs;
use super::report::{Bar, Row};

const PEERS: usize = 50;
const MIB: u64 = 1 << 20;
/// What is fetched from all.
const FETCHED: u64 = 1024 * MIB;
/// What each of them fetches.
const SERVED: u64 = 48 * MIB;

/// Two rows. One run is enough: the kernel keeps the highest mark.
pub(super) async fn measure(lab: &mut Lab) -> Result<Vec<Row>, BenchError> {
    let (fetched, served) = (lab.bytes(FETCHED), lab.bytes(SERVED));
    let folder = lab.folder(Medium::Memory, fetched * 2 + served * (PEERS as u64 + 2) * 5 / 4)?;
    let (all, each) = (folder.path().join("all"), folder.path().join("each"));
    content::write_file(&all, fetched, 17).map_err(BenchError::file(&all))?;
    content::write_file(&each, served, 18).map_err(BenchError::file(&each))?;
    let mut cluster = lab.publisher(folder.path(), NodeOptions::default()).await?;
    cluster.add_all(vec![NodeOptions::default(); PEERS]).await?;
    let mut hash = String::new();
    for node in 1..=PEERS {
        hash = publish(&cluster, node, &all).await?;
    }
    let output = folder.path().join("fetched");
    let in_place = FetchOptions { in_place: true, ..FetchOptions::default() };
    let (seconds, _) = lab.fetch_with(&cluster, 0, &hash, &in_place, &all, &output).await?;
    remove(&output)?;
    let fetching = peak(&cluster)?;
    // A new process: each has its own highest mark.
    cluster.stop(0).await?;
    cluster.restart(0).await?;
    let hash = publish(&cluster, 0, &each).await?;
    let link = match cluster.node(0).addresses().first() {
        Some(address) => format!("shoal:{hash}?peer={address}"),
        None => hash,
    };
    let mut fetches = JoinSet::new();
    for node in 1..=PEERS {
        let (shoal, link, output) = (cluster.node(node).shoal(), link.clone(), folder.path().join(node.to_string()));
        fetches.spawn(async move {
            let options = FetchOptions { in_place: true, ..FetchOptions::default() };
            shoal.fetch(&link, &output, &options).await.map(|_| output)
        });
    }
    for output in fetches.join_all().await {
        same(&each, &output?)?;
    }
    let serving = peak(&cluster)?;
    let row = |what: String, bytes: u64| {
        let mut runs = Runs::default();
        runs.push(bytes as f64 / MIB as f64);
        Row::plain(what, runs, "MiB", Bar::AtMost(200.0))
    };
    let rate = fetched as f64 / seconds / 1e6;
    let fetching = row(format!("resident memory of a node that fetches {} MiB from {PEERS}", fetched / MIB), fetching);
    let serving =
        row(format!("resident memory of a node that serves {} MiB to {PEERS} at once", served / MIB), serving);
    Ok(vec![lab.judged(fetching.with_detail(format!("{rate:.0} MB/s"))), lab.judged(serving)])
}

async fn publish(cluster: &Cluster, node: usize, source: &Path) -> Result<String, BenchError> {
    let words = [Path::new("publish"), source, Path::new("--in-place")];
    let published: Published = cluster.node(node).shoal().json(words).await?;
    Ok(published.hash.to_string())
}

fn peak(cluster: &Cluster) -> Result<u64, BenchError> {
    let pid = cluster.node(0).pid().unwrap_or(0);
    Ok(Usage::of(pid).map_err(BenchError::file(format!("/proc/{pid}")))?.peak_resident_bytes)
}

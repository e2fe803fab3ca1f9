//! Four providers that may each give 20 MB/s: how much of the 80 arrives.

use shoal_testnet::cluster::NodeOptions;
use shoal_testnet::content;

use super::BenchError;
use super::lab::{Lab, Medium, remove};
use super::measure::{Runs, rate};
use super::report::{Bar, Row};

const PROVIDERS: usize = 4;
const RATE: u64 = 20_000_000;
const BYTES: u64 = 400_000_000;

/// One row.
pub(super) async fn measure(lab: &mut Lab) -> Result<Row, BenchError> {
    let bytes = lab.bytes(BYTES);
    let folder = lab.folder(Medium::Memory, bytes * (PROVIDERS as u64 + 4))?;
    let source = folder.path().join("source");
    content::write_file(&source, bytes, 2).map_err(BenchError::file(&source))?;
    let limited = NodeOptions { limit_up: Some(RATE), ..NodeOptions::default() };
    let mut cluster = lab.publisher(folder.path(), limited.clone()).await?;
    for _ in 1..PROVIDERS {
        cluster.add(limited.clone()).await?;
    }
    let mut hash = String::new();
    for node in 0..PROVIDERS {
        hash = cluster.node(node).shoal().publish(&source).await?.hash.to_string();
    }
    let addresses = (0..PROVIDERS).filter_map(|node| cluster.node(node).addresses().first().cloned());
    let hints: Vec<String> = addresses.map(|address| format!("peer={address}")).collect();
    let link = format!("shoal:{hash}?{}", hints.join("&"));
    let (mut ours, mut waste) = (Runs::default(), Runs::default());
    for _ in 0..lab.runs {
        let node = cluster.add(NodeOptions::default()).await?;
        let output = folder.path().join("fetched");
        let (seconds, fetched) = lab.fetch(&cluster, node, &link, &source, &output).await?;
        ours.push(seconds);
        waste.push(fetched.wasted_bytes as f64 / bytes as f64 * 100.0);
        remove(&output)?;
        lab.discard(&mut cluster, node).await?;
    }
    let full_rate = (PROVIDERS as u64 * RATE) as f64 / 1e6;
    let detail = format!(
        "{:.1} of {full_rate:.0} MB/s, {:.1} s; {:.1} % came in vain",
        rate(bytes, ours.median()),
        ours.median(),
        waste.median(),
    );
    let shares = ours.map(|seconds| rate(bytes, seconds) / full_rate * 100.0);
    let what = format!("{PROVIDERS} providers, each limited to 20 MB/s, {} MB", bytes / 1_000_000);
    Ok(lab.judged(Row::plain(what, shares, "%", Bar::AtLeast(95.0)).with_detail(detail)))
}

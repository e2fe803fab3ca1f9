//! Four providers with limits on what they may give: how much of the sum arrives.

use shoal_testnet::cluster::NodeOptions;
use shoal_testnet::content;

use super::BenchError;
use super::lab::{Lab, Medium, remove};
use super::measure::{Runs, rate};
use super::report::{Bar, Row};

const MB: u64 = 1_000_000;
const BYTES: u64 = 400 * MB;

/// Two rows: providers of the same rate, and of different ones.
pub(super) async fn measure(lab: &mut Lab) -> Result<Vec<Row>, BenchError> {
    let equal = row(lab, "each limited to 20 MB/s", [20 * MB; 4]).await?;
    let unequal = row(lab, "limited to 5, 10, 20 and 40 MB/s", [5 * MB, 10 * MB, 20 * MB, 40 * MB]).await?;
    Ok(vec![equal, unequal])
}

async fn row(lab: &mut Lab, limits: &str, rates: [u64; 4]) -> Result<Row, BenchError> {
    let bytes = lab.bytes(BYTES);
    let folder = lab.folder(Medium::Memory, bytes * (rates.len() as u64 + 4))?;
    let source = folder.path().join("source");
    content::write_file(&source, bytes, 2).map_err(BenchError::file(&source))?;
    let limited = |rate| NodeOptions { limit_up: Some(rate), ..NodeOptions::default() };
    let mut cluster = lab.publisher(folder.path(), limited(rates[0])).await?;
    for rate in &rates[1..] {
        cluster.add(limited(*rate)).await?;
    }
    let mut hash = String::new();
    for node in 0..rates.len() {
        hash = cluster.node(node).shoal().publish(&source).await?.hash.to_string();
    }
    let addresses = (0..rates.len()).filter_map(|node| cluster.node(node).addresses().first().cloned());
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
    let full_rate = rates.iter().sum::<u64>() as f64 / 1e6;
    let detail = format!(
        "{:.1} of {full_rate:.0} MB/s, {:.1} s; {:.1} % came in vain",
        rate(bytes, ours.median()),
        ours.median(),
        waste.median(),
    );
    let shares = ours.map(|seconds| rate(bytes, seconds) / full_rate * 100.0);
    let what = format!("{} providers, {limits}, {} MB", rates.len(), bytes / MB);
    Ok(lab.judged(Row::plain(what, shares, "%", Bar::AtLeast(95.0)).with_detail(detail)))
}

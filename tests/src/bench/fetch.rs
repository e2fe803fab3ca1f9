//! Fetching 1 GiB from one provider to a finished, durable file: rate against nginx and curl, CPU time of both ends.

use std::path::Path;

use shoal_node::api::Published;
use shoal_testnet::cluster::NodeOptions;
use shoal_testnet::command::FetchOptions;
use shoal_testnet::content;
use shoal_testnet::resources::Usage;

use super::BenchError;
use super::lab::{Lab, Medium, remove};
use super::measure::{Runs, rate};
use super::report::{Bar, Row};
use super::web_server::{INSTALL, WebServer};

const GIB: u64 = 1 << 30;

/// How much is written of what arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copies {
    /// The store has one and the output is another.
    Two,
    /// The output is the store's copy, and the source the provider's (`--in-place`).
    One,
}

impl Copies {
    /// What rate is to be reached, relative to the floor, and in how many CPU seconds.
    const fn bars(self) -> (Bar, Bar) {
        match self {
            Self::Two => (Bar::AtLeast(0.5), Bar::AtMost(5.0)),
            Self::One => (Bar::AtLeast(0.8), Bar::AtMost(4.0)),
        }
    }
}

/// Two rows for a medium: rate and CPU time.
pub(super) async fn measure(lab: &mut Lab, medium: Medium, copies: Copies) -> Result<Vec<Row>, BenchError> {
    let in_place = copies == Copies::One;
    let (rate_bar, cpu_bar) = copies.bars();
    let bytes = lab.bytes(GIB);
    // The source, two stores, our output and curl's.
    let folder = lab.folder(medium, bytes * 5 + bytes / 4)?;
    let source = folder.path().join("source");
    content::write_file(&source, bytes, 1).map_err(BenchError::file(&source))?;
    let server = WebServer::start(folder.path(), &source)?;
    let mut cluster = lab.publisher(folder.path(), NodeOptions::default()).await?;
    let words = [Path::new("publish"), source.as_path(), Path::new("--in-place")];
    let words = &words[..if in_place { 3 } else { 2 }];
    let published: Published = cluster.node(0).shoal().json(words).await?;
    let (mut ours, mut floor, mut cpu) = (Runs::default(), Runs::default(), Runs::default());
    for _ in 0..lab.runs {
        if let Some(server) = &server {
            let output = folder.path().join("downloaded");
            lab.warm(bytes * 5 / 2)?;
            floor.push(server.download(&output)?);
            remove(&output)?;
        }
        let node = cluster.add(NodeOptions::default()).await?;
        lab.warm(bytes * 5 / 2)?;
        let before = cpu_seconds(&cluster, node)?;
        let output = folder.path().join("fetched");
        let options = FetchOptions { in_place, ..FetchOptions::default() };
        let (seconds, _) = lab.fetch_with(&cluster, node, &published.link, &options, &source, &output).await?;
        let used = cpu_seconds(&cluster, node)? - before;
        ours.push(seconds);
        cpu.push(used * GIB as f64 / bytes as f64);
        remove(&output)?;
        lab.discard(&mut cluster, node).await?;
    }
    let place = if in_place { format!("{}, in place", medium.place()) } else { medium.place().to_owned() };
    let what = format!("fetch {} MiB from one provider, {place}, rate to nginx TLS + curl + fsync", bytes >> 20);
    let our_rate = rate(bytes, ours.median());
    let row = if server.is_some() {
        let detail = format!("{our_rate:.0} MB/s, floor {:.0} MB/s", rate(bytes, floor.median()));
        Row::against(what, ours, floor, |ours, floor| floor / ours, rate_bar).with_detail(detail)
    } else {
        Row::skipped(what, rate_bar, INSTALL).with_detail(format!("{our_rate:.0} MB/s"))
    };
    let what = format!("CPU seconds of both ends per GiB fetched, {place}");
    Ok(vec![lab.judged(row), lab.judged(Row::plain(what, cpu, "s", cpu_bar))])
}

/// CPU seconds so far of the publisher and another node.
fn cpu_seconds(cluster: &shoal_testnet::cluster::Cluster, node: usize) -> Result<f64, BenchError> {
    let mut seconds = 0.0;
    for pid in [0, node].into_iter().filter_map(|node| cluster.node(node).pid()) {
        seconds += Usage::of(pid).map_err(BenchError::file(format!("/proc/{pid}")))?.cpu.as_secs_f64();
    }
    Ok(seconds)
}

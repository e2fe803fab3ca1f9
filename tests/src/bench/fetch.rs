//! Fetching 1 GiB from one provider to a finished, durable file: rate against nginx and curl, CPU time of both ends.

use shoal_testnet::cluster::NodeOptions;
use shoal_testnet::content;
use shoal_testnet::resources::Usage;

use super::BenchError;
use super::lab::{Lab, Medium, remove};
use super::measure::{Runs, rate};
use super::report::{Bar, Row};
use super::web_server::{INSTALL, WebServer};

const GIB: u64 = 1 << 30;
const RATE_BAR: Bar = Bar::AtLeast(0.45);
const CPU_BAR: Bar = Bar::AtMost(5.0);

/// Two rows for a medium: rate and CPU time.
pub(super) async fn measure(lab: &mut Lab, medium: Medium) -> Result<Vec<Row>, BenchError> {
    let bytes = lab.bytes(GIB);
    // The source, two stores, our output and curl's.
    let folder = lab.folder(medium, bytes * 5 + bytes / 4)?;
    let source = folder.path().join("source");
    content::write_file(&source, bytes, 1).map_err(BenchError::file(&source))?;
    let server = WebServer::start(folder.path(), &source)?;
    let mut cluster = lab.publisher(folder.path(), NodeOptions::default()).await?;
    let published = cluster.node(0).shoal().publish(&source).await?;
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
        let (seconds, _) = lab.fetch(&cluster, node, &published.link, &source, &output).await?;
        let used = cpu_seconds(&cluster, node)? - before;
        ours.push(seconds);
        cpu.push(used * GIB as f64 / bytes as f64);
        remove(&output)?;
        lab.discard(&mut cluster, node).await?;
    }
    let what =
        format!("fetch {} MiB from one provider, {}, rate to nginx TLS + curl + fsync", bytes >> 20, medium.place());
    let our_rate = rate(bytes, ours.median());
    let row = if server.is_some() {
        let detail = format!("{our_rate:.0} MB/s, floor {:.0} MB/s", rate(bytes, floor.median()));
        Row::against(what, ours, floor, |ours, floor| floor / ours, RATE_BAR).with_detail(detail)
    } else {
        Row::skipped(what, RATE_BAR, INSTALL).with_detail(format!("{our_rate:.0} MB/s"))
    };
    let what = format!("CPU seconds of both ends per GiB fetched, {}", medium.place());
    Ok(vec![lab.judged(row), lab.judged(Row::plain(what, cpu, "s", CPU_BAR))])
}

/// CPU seconds so far of the publisher and another node.
fn cpu_seconds(cluster: &shoal_testnet::cluster::Cluster, node: usize) -> Result<f64, BenchError> {
    let mut seconds = 0.0;
    for pid in [0, node].into_iter().filter_map(|node| cluster.node(node).pid()) {
        seconds += Usage::of(pid).map_err(BenchError::file(format!("/proc/{pid}")))?.cpu.as_secs_f64();
    }
    Ok(seconds)
}

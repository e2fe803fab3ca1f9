//! Small contents between two nodes in this process: with the connection still to be made, and over one that is there.

use std::path::Path;
use std::time::Instant;

use futures::StreamExt;
use shoal_node::api::{Event, FetchRequest, PublishRequest};
use shoal_node::config::NetworkOptions;
use shoal_node::control::{Events, Service};
use shoal_node::{Config, Node};
use shoal_testnet::content;

use super::BenchError;
use super::lab::{Lab, Medium, remove};
use super::measure::Runs;
use super::report::{Bar, Row};

const KIB: u64 = 1024;
/// So short a thing can be measured more often: so many nodes in a run.
const TIMES: usize = 8;
/// Fetches of each over the connection that its first one has made.
const WARM: usize = 4;

/// Four rows: 1 KiB and 1 MiB, each cold and warm.
pub(super) async fn measure(lab: &mut Lab) -> Result<Vec<Row>, BenchError> {
    let folder = lab.folder(Medium::Memory, 1 << 30)?;
    let provider = start(&folder.path().join("provider")).await?;
    let mut rows = Vec::new();
    for (name, bytes, cold_bar, warm_bar) in [("1 KiB", KIB, 4.0, 0.5), ("1 MiB", KIB * KIB, 8.0, 4.0)] {
        let (mut cold, mut warm) = (Runs::default(), Runs::default());
        for run in 0..lab.runs * TIMES {
            let mut requests = Vec::new();
            for number in 0..=WARM {
                let source = folder.path().join(format!("{bytes}-{run}-{number}"));
                let seed = (run * (1 + WARM) + number) as u64;
                content::write_file(&source, bytes, seed).map_err(BenchError::file(&source))?;
                requests.push(publish(&provider, &source).await?);
            }
            let home = folder.path().join("fetcher");
            let fetcher = start(&home).await?;
            for (number, request) in requests.into_iter().enumerate() {
                let begun = Instant::now();
                result(fetcher.fetch(request)).await?;
                let runs = if number == 0 { &mut cold } else { &mut warm };
                runs.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
            fetcher.shutdown().await.map_err(part)?;
            drop(fetcher);
            remove(&home)?;
        }
        let row = |how: &str, runs: Runs, bar| {
            let what = format!("{name} between nodes in one process, known address, durable: {how}");
            Row::plain(what, runs, "ms", Bar::AtMost(bar))
        };
        rows.push(lab.judged(row("with connecting", cold, cold_bar)));
        rows.push(lab.judged(row("connected already", warm, warm_bar)));
    }
    provider.shutdown().await.map_err(part)?;
    Ok(rows)
}

async fn start(home: &Path) -> Result<Node, BenchError> {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
    let network = NetworkOptions { listen, mdns: false, ..NetworkOptions::default() };
    Node::start(Config { network, ..Config::new(home) }).await.map_err(part)
}

/// Publishes a file; says how it is asked for.
async fn publish(provider: &Node, source: &Path) -> Result<FetchRequest, BenchError> {
    let request = PublishRequest {
        paths: vec![source.to_owned()],
        name: None,
        import_only: true,
        in_place: false,
        wait_ms: None,
    };
    let published = result(provider.publish(request)).await?;
    let peers = provider.identity().await.map_err(part)?.addresses;
    Ok(FetchRequest {
        hash: published.hash,
        output: None,
        peers,
        name: None,
        limit_down: None,
        timeout_ms: 10_000,
        force: false,
        in_place: false,
        bases: Vec::new(),
        background: false,
    })
}

/// What came of an operation.
async fn result<T>(mut events: Events<T>) -> Result<T, BenchError> {
    while let Some(event) = events.next().await {
        match event {
            Event::Progress(_) | Event::Note { .. } => {}
            Event::Done(done) => return Ok(done),
            Event::Error(failure) => return Err(part(failure)),
        }
    }
    Err(BenchError::Part("an operation ended without a word".to_owned()))
}

fn part(error: impl ToString) -> BenchError {
    BenchError::Part(error.to_string())
}

//! One honest provider of 20 MB/s among many that are of no use: what they cost.

use shoal_testnet::cluster::NodeOptions;
use shoal_testnet::command::FetchOptions;
use shoal_testnet::content;

use super::BenchError;
use super::lab::{Lab, Medium, remove};
use super::measure::Runs;
use super::report::{Bar, Row};
use crate::hostile::{Behaviour, LyingPeer, Security, Served};

const RATE: u64 = 20_000_000;
const BYTES: u64 = 100_000_000;

/// Two rows: nineteen of twenty that never serve, and seven of eight that lie.
pub(super) async fn measure(lab: &mut Lab) -> Result<Vec<Row>, BenchError> {
    use Behaviour::{Drips, Endless, Noise, Replays, ShortChunks, Silent, WrongChunks, WrongIndex};
    let honest = BYTES as f64 / RATE as f64;
    let idle: Vec<_> = [Silent, Drips].into_iter().cycle().take(19).collect();
    let idle = row(lab, "19 of 20 providers silent or dripping", &idle, honest * 1.2 + 2.0).await?;
    let liars = [WrongChunks, ShortChunks, WrongIndex, Replays, Endless, Noise, WrongChunks];
    let liars = row(lab, "7 of 8 providers lying", &liars, honest * 1.2 + 2.0).await?;
    Ok(vec![idle, liars])
}

async fn row(lab: &mut Lab, who: &str, behaviours: &[Behaviour], bar: f64) -> Result<Row, BenchError> {
    let bytes = lab.bytes(BYTES);
    let folder = lab.folder(Medium::Memory, bytes * 6)?;
    let source = folder.path().join("source");
    content::write_file(&source, bytes, 7).map_err(BenchError::file(&source))?;
    let slow = NodeOptions { limit_up: Some(RATE), ..NodeOptions::default() };
    let mut cluster = lab.publisher(folder.path(), slow).await?;
    let hash = cluster.node(0).shoal().publish(&source).await?.hash.to_string();
    let served = Served::file(&std::fs::read(&source).map_err(BenchError::file(&source))?);
    let served = served.map_err(|error| BenchError::Part(error.to_string()))?;
    let (mut ours, mut waste) = (Runs::default(), Runs::default());
    for _ in 0..lab.runs {
        let mut crowd = Vec::new();
        for behaviour in behaviours {
            let peer = LyingPeer::start(served.clone(), *behaviour, Security::Tls).await;
            crowd.push(peer.map_err(|error| BenchError::Part(error.to_string()))?);
        }
        let honest = cluster.node(0).addresses().first().cloned();
        let peers = crowd.iter().map(LyingPeer::address).chain(honest).collect();
        let node = cluster.add(NodeOptions::default()).await?;
        let output = folder.path().join("fetched");
        let options = FetchOptions { peers, ..FetchOptions::default() };
        let (seconds, fetched) = lab.fetch_with(&cluster, node, &hash, &options, &source, &output).await?;
        ours.push(seconds);
        waste.push(fetched.wasted_bytes as f64 / (1 << 20) as f64);
        remove(&output)?;
        lab.discard(&mut cluster, node).await?;
    }
    let detail = format!("slowest {:.1} s; {:.1} MiB came in vain", ours.highest(), waste.median());
    let what = format!("{who}, 1 honest at 20 MB/s, {} MB", bytes / 1_000_000);
    Ok(lab.judged(Row::plain(what, ours, "s", Bar::AtMost(bar)).with_detail(detail)))
}

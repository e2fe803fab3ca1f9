//! Four providers with limits on what they may give: how much of the sum arrives, also when the fourth comes late or
//! leaves early.

use std::time::{Duration, Instant};

use shoal_testnet::cluster::{Cluster, NodeOptions};
use shoal_testnet::command::FetchOptions;
use shoal_testnet::content;

use super::BenchError;
use super::lab::{Lab, Medium, remove, same};
use super::measure::{Runs, rate};
use super::report::{Bar, Row};

const MB: u64 = 1_000_000;
const BYTES: u64 = 400 * MB;
/// The number of the fourth provider.
const FOURTH: usize = 3;

/// When the fourth provider comes or leaves.
const MIDDLE: Duration = Duration::from_secs(2);

/// What the fourth provider does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fourth {
    Stays,
    ComesLate,
    LeavesEarly,
}

/// Four rows: providers of the same rate, and of different ones; then with a fourth that is not there all the time.
pub(super) async fn measure(lab: &mut Lab) -> Result<Vec<Row>, BenchError> {
    use Fourth::{ComesLate, LeavesEarly, Stays};
    let (same, different) = ([20 * MB; 4], [5 * MB, 10 * MB, 20 * MB, 40 * MB]);
    Ok(vec![
        row(lab, "each limited to 20 MB/s", same, Stays).await?,
        row(lab, "limited to 5, 10, 20 and 40 MB/s", different, Stays).await?,
        row(lab, "each limited to 20 MB/s, the fourth comes after 2 s", same, ComesLate).await?,
        row(lab, "each limited to 20 MB/s, the fourth dies after 2 s", same, LeavesEarly).await?,
    ])
}

async fn row(lab: &mut Lab, limits: &str, rates: [u64; 4], fourth: Fourth) -> Result<Row, BenchError> {
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
    let (mut ours, mut shares, mut waste) = (Runs::default(), Runs::default(), Runs::default());
    for _ in 0..lab.runs {
        if fourth == Fourth::ComesLate {
            cluster.stop(FOURTH).await?;
        } else if cluster.node(FOURTH).pid().is_none() {
            cluster.restart(FOURTH).await?;
        }
        let there = (0..rates.len()).filter(|node| cluster.node(*node).pid().is_some());
        let addresses = there.filter_map(|node| cluster.node(node).addresses().first().cloned());
        let hints: Vec<String> = addresses.map(|address| format!("peer={address}")).collect();
        let link = format!("shoal:{hash}?{}", hints.join("&"));
        let node = cluster.add(NodeOptions::default()).await?;
        let output = folder.path().join("fetched");
        let shoal = cluster.node(node).shoal();
        let begun = Instant::now();
        let options = FetchOptions::default();
        let fetch = async {
            let fetched = shoal.fetch(&link, &output, &options).await?;
            Ok::<_, BenchError>((begun.elapsed().as_secs_f64(), fetched))
        };
        let (fetched, fourth_for) = tokio::join!(fetch, change(&mut cluster, fourth, begun));
        let (seconds, fetched) = fetched?;
        same(&source, &output)?;
        ours.push(seconds);
        let given = match (fourth, fourth_for?) {
            (Fourth::Stays, _) => seconds,
            (Fourth::ComesLate, at) => (seconds - at).max(0.0),
            (Fourth::LeavesEarly, at) => at.min(seconds),
        };
        let could = rates[..FOURTH].iter().sum::<u64>() as f64 * seconds + rates[FOURTH] as f64 * given;
        shares.push(bytes as f64 / could * 100.0);
        waste.push(fetched.wasted_bytes as f64 / bytes as f64 * 100.0);
        remove(&output)?;
        lab.discard(&mut cluster, node).await?;
    }
    let detail = format!(
        "{:.1} MB/s, {:.1} s; {:.1} % came in vain",
        rate(bytes, ours.median()),
        ours.median(),
        waste.median(),
    );
    let what = format!("{} providers, {limits}, {} MB", rates.len(), bytes / MB);
    let bar = Bar::AtLeast(if rates[0] == rates[FOURTH] { 97.0 } else { 95.0 });
    Ok(lab.judged(Row::plain(what, shares, "%", bar).with_detail(detail)))
}

/// Lets the fourth come or leave; when that was, in seconds since the fetch began.
async fn change(cluster: &mut Cluster, fourth: Fourth, begun: Instant) -> Result<f64, BenchError> {
    tokio::time::sleep_until((begun + MIDDLE).into()).await;
    match fourth {
        Fourth::Stays => {}
        Fourth::ComesLate => cluster.restart(FOURTH).await?,
        Fourth::LeavesEarly => cluster.kill(FOURTH).await?,
    }
    Ok(begun.elapsed().as_secs_f64())
}

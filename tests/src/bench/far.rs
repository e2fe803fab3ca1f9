//! A provider at the other end of a long line: 500 Mbit/s and 200 ms there and back, made by the testnet's relays.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shoal_node::api::Published;
use shoal_testnet::cluster::NodeOptions;
use shoal_testnet::command::FetchOptions;
use shoal_testnet::content;
use shoal_testnet::links::{Links, NodeLink};
use shoal_testnet::scenario::Line;

use super::BenchError;
use super::lab::{Lab, Medium, remove, same};
use super::measure::{Runs, rate};
use super::report::{Bar, Row};

/// 500 Mbit/s.
const RATE: u64 = 62_500_000;
const BYTES: u64 = 1_100_000_000;
/// Each way.
const DELAY: Duration = Duration::from_millis(100);
/// The seconds between which the rate counts: it has had time to grow, and the end is not near.
const FROM: f64 = 5.0;
const TO: f64 = 15.0;

/// One row.
pub(super) async fn measure(lab: &mut Lab) -> Result<Vec<Row>, BenchError> {
    let folder = lab.folder(Medium::Memory, BYTES * 3)?;
    let source = folder.path().join("source");
    content::write_file(&source, BYTES, 13).map_err(BenchError::file(&source))?;
    let far = Line { up: Some(RATE), delay: DELAY, ..Line::default() };
    let mut lines = vec![far];
    lines.resize(lab.runs + 1, Line::default());
    let links = Arc::new(Links::start(lines, 1).map_err(BenchError::file("the relays"))?);
    let at =
        |node: usize| NodeOptions { link: Some(NodeLink { links: links.clone(), node }), ..NodeOptions::default() };
    let mut cluster = lab.publisher(folder.path(), at(0)).await?;
    let words = [Path::new("publish"), source.as_path(), Path::new("--in-place")];
    let published: Published = cluster.node(0).shoal().json(words).await?;
    let (mut shares, mut times) = (Runs::default(), Runs::default());
    for run in 1..=lab.runs {
        let node = cluster.add(at(run)).await?;
        let output = folder.path().join("fetched");
        let shoal = cluster.node(node).shoal();
        let options = FetchOptions { in_place: true, ..FetchOptions::default() };
        let begun = tokio::time::Instant::now();
        let fetch = async {
            let fetched = shoal.fetch(&published.link, &output, &options).await;
            fetched.map(|_| begun.elapsed().as_secs_f64())
        };
        let received = async |at: f64| {
            tokio::time::sleep_until(begun + Duration::from_secs_f64(at)).await;
            let received = shoal.status().await?.received_bytes;
            Ok::<_, BenchError>((begun.elapsed().as_secs_f64(), received))
        };
        let watch = async { Ok::<_, BenchError>((received(FROM).await?, received(TO).await?)) };
        let (seconds, watched) = tokio::join!(fetch, watch);
        times.push(seconds?);
        let ((from, before), (to, after)) = watched?;
        shares.push(rate(after - before, to - from) / rate(RATE, 1.0) * 100.0);
        same(&source, &output)?;
        remove(&output)?;
        lab.discard(&mut cluster, node).await?;
    }
    let what = "500 Mbit/s with 200 ms round trip, 1 provider: share of the line between seconds 5 and 15";
    let ideal = BYTES as f64 / RATE as f64;
    let detail = format!("1.1 GB in {:.1} s, of which the line takes {ideal:.1} s", times.median());
    Ok(vec![lab.judged(Row::plain(what, shares, "%", Bar::AtLeast(85.0)).with_detail(detail))])
}

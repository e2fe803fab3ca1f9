//! The raw transfer stream over libp2p TCP and TLS against plain rustls over TCP.
//!
//! Both are measured by an example of the node's crate, which prints one JSON document:
//! `{"transfer_mb_s": …, "rustls_mb_s": …}`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

use super::BenchError;
use super::lab::Lab;
use super::measure::Runs;
use super::report::{Bar, Row};

const EXAMPLE: &str = "raw_stream";
const BAR: Bar = Bar::AtLeast(0.6);
const DEADLINE: Duration = Duration::from_secs(300);

#[derive(Deserialize)]
struct Rates {
    transfer_mb_s: f64,
    rustls_mb_s: f64,
}

/// One row; skipped where the example has not been built beside this program.
pub(super) async fn measure(lab: &Lab) -> Result<Row, BenchError> {
    let what = "raw transfer stream over libp2p TCP + TLS, rate to plain rustls";
    let Some(example) = example() else {
        return Ok(Row::skipped(what, BAR, format!("cargo build --release -p shoal-node --example {EXAMPLE}")));
    };
    let (mut ours, mut floor) = (Runs::default(), Runs::default());
    for _ in 0..lab.runs {
        let mut command = Command::new(&example);
        command.arg("--json").stdin(Stdio::null()).kill_on_drop(true);
        let output = match timeout(DEADLINE, command.output()).await {
            Ok(output) => output.map_err(BenchError::file(&example))?,
            Err(_) => return Err(BenchError::Floor { program: EXAMPLE, words: format!("no end after {DEADLINE:?}") }),
        };
        let rates: Rates = serde_json::from_slice(&output.stdout).map_err(|error| {
            let words = format!("{error}; it said {}", String::from_utf8_lossy(&output.stderr));
            BenchError::Floor { program: EXAMPLE, words }
        })?;
        ours.push(rates.transfer_mb_s);
        floor.push(rates.rustls_mb_s);
    }
    let detail = format!("{:.0} MB/s, floor {:.0} MB/s", ours.median(), floor.median());
    Ok(lab.judged(Row::against(what, ours, floor, |ours, floor| ours / floor, BAR).with_detail(detail)))
}

/// Where cargo puts an example of the same profile.
fn example() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent()?.join("examples").join(EXAMPLE);
    path.exists().then_some(path)
}

//! The raw transfer stream over libp2p TCP and TLS against plain rustls over TCP.
//!
//! Both are measured by an example of the node's crate, which prints a row for each run: plain TLS, our stream over
//! TCP, our stream over QUIC (MB/s), and a ratio.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::BenchError;
use super::lab::Lab;
use super::measure::Runs;
use super::report::{Bar, Row};

const EXAMPLE: &str = "raw_stream";
const BAR: Bar = Bar::AtLeast(0.6);
const DEADLINE: Duration = Duration::from_secs(300);

/// One row; skipped where the example has not been built beside this program.
pub(super) async fn measure(lab: &Lab) -> Result<Row, BenchError> {
    let what = "raw transfer stream over libp2p TCP + TLS, rate to plain rustls";
    let Some(example) = example() else {
        return Ok(Row::skipped(what, BAR, format!("cargo build --release -p shoal-node --example {EXAMPLE}")));
    };
    let mib = lab.bytes(2048).to_string();
    let mut command = Command::new(&example);
    command.args([mib, lab.runs.to_string()]).stdin(Stdio::null()).kill_on_drop(true);
    // Its own verdict is in its exit code; here the rows count.
    let output = match timeout(DEADLINE, command.output()).await {
        Ok(output) => output.map_err(BenchError::file(&example))?,
        Err(_) => return Err(BenchError::Floor { program: EXAMPLE, words: format!("no end after {DEADLINE:?}") }),
    };
    let (ours, floor) = read(&String::from_utf8_lossy(&output.stdout));
    if ours.is_empty() {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BenchError::Floor { program: EXAMPLE, words });
    }
    let detail = format!("{:.0} MB/s, floor {:.0} MB/s", ours.median(), floor.median());
    Ok(lab.judged(Row::against(what, ours, floor, |ours, floor| ours / floor, BAR).with_detail(detail)))
}

/// Our rates over TCP and the floor's, from the rows that hold four numbers and nothing else.
fn read(text: &str) -> (Runs, Runs) {
    let (mut ours, mut floor) = (Runs::default(), Runs::default());
    for line in text.lines() {
        let numbers: Result<Vec<f64>, _> = line.split_whitespace().map(str::parse).collect();
        if let Ok([plain, tcp, _, _]) = numbers.as_deref() {
            ours.push(*tcp);
            floor.push(*plain);
        }
    }
    (ours, floor)
}

/// Where cargo puts an example of the same profile.
fn example() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent()?.join("examples").join(EXAMPLE);
    path.exists().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_runs_and_nothing_else() {
        let text = "2048 MiB a run, 2 runs, MB/s\n   plain TLS   TCP stream  QUIC stream  TCP / plain\n\
            1000 800 200 0.80\n1100 700 210 0.64\n1050 750 205 0.71  median, bar 0.6\n";
        let (ours, floor) = read(text);
        assert_eq!((ours.median(), floor.median()), (750.0, 1050.0));
    }
}

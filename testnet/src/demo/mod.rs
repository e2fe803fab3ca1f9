//! The story that `shoal testnet demo` tells: five real nodes, a folder and a large file, a dead provider, and every
//! byte arrives.
//!
//! The story goes through the same command line that people use. What happens is told as it happens, through a
//! writer that the caller hands in; the outcome is a [`DemoReport`]. However it ends (done, failed, Ctrl-C, SIGTERM,
//! or this process killed), no process stays; the folder stays only after SIGKILL.

mod error;
mod narrator;
mod report;
mod story;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

pub use error::DemoError;
pub use report::{DemoFetch, DemoPublish, DemoReport};

use crate::narrator::Narrator;

/// What the demo does and how it shows it.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// The `shoal` executable that every node runs.
    pub program: PathBuf,
    /// Bytes of the large file. Default 256 MiB: big enough to watch, small enough for a minute and 3 GB of disk.
    pub file_bytes: u64,
    /// Most bytes a second for a fetch during which a provider is killed, so that there is a middle to kill it in.
    pub watched_rate: u64,
    /// Seed of the made-up content; another seed gives other hashes.
    pub seed: u64,
    /// Whether the writer is a terminal on which a line may be drawn over.
    pub live: bool,
    /// When to give up.
    pub deadline: Duration,
}

impl DemoOptions {
    /// The README's demo with this executable.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            file_bytes: 256 << 20,
            watched_rate: 32 << 20,
            seed: 1,
            live: false,
            deadline: Duration::from_secs(300),
        }
    }
}

/// Runs the demo to its end and cleans up, also on Ctrl-C and SIGTERM.
///
/// # Errors
/// [`DemoError`] says what went wrong and at which node; [`DemoError::Interrupted`] is the end on a signal.
pub async fn run(options: DemoOptions, out: &mut (dyn Write + Send)) -> Result<DemoReport, DemoError> {
    let catch = |kind| signal(kind).map_err(DemoError::Signals);
    let mut signals = [catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?, catch(SignalKind::hangup())?];
    let deadline = options.deadline;
    let mut narrator = Narrator::new(out, options.live);
    let ended = {
        // Dropping the story drops the cluster, and with it every process and file.
        let story = story::tell(options, &mut narrator);
        tokio::select! {
            ended = tokio::time::timeout(deadline, story) => ended.unwrap_or(Err(DemoError::TooLong(deadline))),
            () = any(&mut signals) => Err(DemoError::Interrupted),
        }
    };
    match &ended {
        Ok(report) => narrator.outcome(report)?,
        Err(DemoError::Narration(_)) => {}
        Err(_) => narrator.say("stopped: all nodes and files of the demo are gone")?,
    }
    ended
}

/// Waits for the first of the signals.
async fn any(signals: &mut [Signal; 3]) {
    let [interrupt, terminate, hangup] = signals;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

#[cfg(test)]
mod tests;

//! How a person sees that a long operation goes on.
//!
//! What is shown is a [`ProgressSink`]'s business: a bar on a terminal, a line now and then elsewhere, nothing when
//! quiet. With `--json` the same go to stderr; stdout has the result alone.

mod bar;
mod lines;

use std::time::Duration;

use shoal_node::api::{Phase, Progress};

use crate::count::show_count;
use crate::duration::show_duration;
use crate::output::Output;
use crate::size::{show_rate, show_size};

pub(crate) use bar::Bar;
pub(crate) use lines::Lines;

/// Takes the progress of one operation.
pub(crate) trait ProgressSink: Send {
    /// How far it is now.
    fn update(&mut self, progress: &Progress, output: &mut Output);

    /// Something a person should know, without spoiling what is drawn.
    fn note(&mut self, message: &str, output: &mut Output) {
        output.note(message);
    }

    /// The operation is over: what is drawn goes away.
    fn finish(&mut self) {}
}

/// Shows nothing but notes.
pub(crate) struct Silent;

impl ProgressSink for Silent {
    fn update(&mut self, _progress: &Progress, _output: &mut Output) {}
}

/// What the operation is at, in a word.
pub(crate) fn show_phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Scanning => "scanning",
        Phase::Importing => "importing",
        Phase::Announcing => "announcing",
        Phase::Confirming => "waiting until others find it",
        Phase::Searching => "searching",
        Phase::Manifest => "reading manifest",
        Phase::Fetching => "fetching",
        Phase::Writing => "writing",
        Phase::Verifying => "verifying",
    }
}

/// Bytes, rate, time left and peers, as far as they are known.
pub(crate) fn describe(progress: &Progress) -> String {
    let mut parts = Vec::new();
    match progress.total_bytes {
        Some(total) => parts.push(format!("{} of {}", show_size(progress.done_bytes), show_size(total))),
        None if progress.done_bytes > 0 => parts.push(show_size(progress.done_bytes)),
        None => {}
    }
    if progress.rate > 0 {
        parts.push(show_rate(progress.rate));
    }
    let left = progress.total_bytes.map(|total| total.saturating_sub(progress.done_bytes));
    if let Some(seconds) = left.filter(|left| *left > 0).and_then(|left| left.checked_div(progress.rate)) {
        parts.push(format!("{} left", show_duration(Duration::from_secs(seconds.max(1)))));
    }
    match (progress.peers, progress.seeders) {
        (0, _) => {}
        (1, 1..) => parts.push("1 peer, a seeder".to_owned()),
        (peers, 0) => parts.push(show_count(peers, "peer")),
        (peers, seeders) => parts.push(format!("{}, {}", show_count(peers, "peer"), show_count(seeders, "seeder"))),
    }
    if let Some(what) = &progress.waits_for {
        parts.push(format!("waits for {what}"));
    }
    parts.join(" · ")
}

/// Keeps what it is told, for tests.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) seen: Vec<String>,
}

#[cfg(test)]
impl ProgressSink for Recorder {
    fn update(&mut self, progress: &Progress, _output: &mut Output) {
        self.seen.push(format!("{} {}", show_phase(progress.phase), describe(progress)));
    }

    fn note(&mut self, message: &str, _output: &mut Output) {
        self.seen.push(format!("note {message}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_shown() {
        let progress = |done_bytes, total_bytes, rate, peers, seeders| Progress {
            phase: Phase::Fetching,
            done_bytes,
            total_bytes,
            rate,
            peers,
            seeders,
            waits_for: None,
        };
        for (progress, text) in [
            (progress(0, None, 0, 0, 0), ""),
            (progress(512, None, 0, 1, 0), "512 B · 1 peer"),
            (progress(0, Some(0), 0, 1, 1), "0 B of 0 B · 1 peer, a seeder"),
            (
                progress(1 << 20, Some(3 << 20), 1 << 20, 3, 2),
                "1.0 MiB of 3.0 MiB · 1.0 MiB/s · 2.0 s left · 3 peers, 2 seeders",
            ),
            (progress(9, Some(3), 1, 0, 0), "9 B of 3 B · 1 B/s"),
            (progress(0, None, 0, 3, 1), "3 peers, 1 seeder"),
            (progress(0, None, 0, 3, 0), "3 peers"),
            (
                Progress { waits_for: Some("a first provider".into()), ..progress(0, None, 0, 0, 0) },
                "waits for a first provider",
            ),
        ] {
            assert_eq!(describe(&progress), text);
        }
    }
}

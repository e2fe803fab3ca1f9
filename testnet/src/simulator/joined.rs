//! A run as the report that clusters have, too: a table, JSON and pictures.

use std::time::Duration;

use super::report::Report;
use super::setup::{Holds, Nature};
use super::world::World;
use crate::report::{ContentReport, FetchOutcome, FetchReport, Figure, NodeReport, RunKind, Sample, SentBy, Transfer};

/// Peers of which it is told who sent how much to whom.
const MAX_PAIRED: usize = 64;

impl World {
    /// Whether a peer had everything from the beginning.
    fn is_publisher(&self, number: usize) -> bool {
        let setup = self.setup.peers.get(number);
        setup.is_some_and(|setup| setup.holds == Holds::All && setup.nature == Nature::Honest)
    }

    /// Notes how far everything is.
    pub(super) fn sample(&mut self, at: u64) {
        let mut sent = SentBy::default();
        for (number, peer) in self.peers.iter().enumerate() {
            if self.is_publisher(number) {
                sent.publishers += peer.tally.sent_bytes;
            } else {
                sent.others += peer.tally.sent_bytes;
            }
        }
        let fetching = self.peers.iter().zip(&self.setup.peers).filter(|(_, setup)| setup.fetches.is_some());
        let done_bytes = if self.peers.len() <= MAX_PAIRED {
            fetching.map(|(peer, _)| peer.tally.kept_bytes.min(self.content.bytes)).collect()
        } else {
            Vec::new()
        };
        self.samples.push(Sample { at_us: at / 1000, done_bytes, sent });
    }

    pub(super) fn joined(&self, report: &Report) -> crate::report::Report {
        let peers = || self.peers.iter().zip(&self.setup.peers).enumerate();
        let group = |number: usize| if self.is_publisher(number) { "seeder" } else { "peer" };
        let nodes = peers().map(|(number, (peer, _))| NodeReport {
            name: format!("{}-{number}", group(number)),
            group: group(number).to_owned(),
            sent_bytes: peer.tally.sent_bytes,
            received_bytes: peer.tally.kept_bytes + peer.tally.wasted_bytes,
            peak_memory_bytes: None,
        });
        let fetches =
            peers().filter(|(_, (_, setup))| setup.fetches.is_some()).map(|(number, (peer, _))| FetchReport {
                node: number,
                content: 0,
                started_us: peer.began.map(|at| at / 1000),
                ended_us: peer.done.map(|at| at / 1000),
                outcome: match (peer.done, peer.excuse()) {
                    (Some(_), _) => FetchOutcome::Done,
                    (None, Some(excuse)) => FetchOutcome::Excused(excuse.to_owned()),
                    (None, None) if peer.began.is_none() => FetchOutcome::Failed("its turn never came".to_owned()),
                    (None, None) => FetchOutcome::Failed("it was not done when the run ended".to_owned()),
                },
                attempts: 1,
                fetched_bytes: peer.tally.kept_bytes,
                reused_bytes: self.content.bytes.saturating_sub(peer.tally.kept_bytes),
                wasted_bytes: peer.tally.wasted_bytes,
            });
        crate::report::Report {
            kind: RunKind::Simulation,
            scenario: report.name.clone(),
            seed: report.seed,
            nodes: nodes.collect(),
            contents: vec![ContentReport {
                name: "content".to_owned(),
                hash: None,
                bytes: self.content.bytes,
                publishers: (0..self.peers.len()).filter(|number| self.is_publisher(*number)).collect(),
            }],
            fetches: fetches.collect(),
            transfers: self.transfers(),
            events: Vec::new(),
            samples: self.samples.clone(),
            lower_bound_us: report.lower_bound_us,
            length_us: Duration::from_nanos(self.now).as_micros().try_into().unwrap_or(u64::MAX),
            figures: figures(report),
            checks: Vec::new(),
        }
    }

    fn transfers(&self) -> Vec<Transfer> {
        if self.peers.len() > MAX_PAIRED {
            return Vec::new();
        }
        let mut pairs = std::collections::BTreeMap::<(u32, u32), u64>::new();
        for channel in self.channels.iter().filter(|channel| channel.kept_bytes > 0) {
            *pairs.entry((channel.server, channel.client)).or_default() += channel.kept_bytes;
        }
        pairs.into_iter().map(|((from, to), bytes)| Transfer { from: from as usize, to: to as usize, bytes }).collect()
    }
}

/// What a simulation shows beyond what a cluster can: the lines of its report, without the heading.
fn figures(report: &Report) -> Vec<Figure> {
    let text = report.to_string();
    let lines = text.lines().skip(1).filter_map(|line| line.trim().split_once("  "));
    lines.map(|(name, value)| Figure { name: name.to_owned(), value: value.trim().to_owned() }).collect()
}

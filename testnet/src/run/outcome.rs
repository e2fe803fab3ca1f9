//! What came of a run, as a report.

use std::collections::BTreeMap;

use super::conductor::Conductor;
use super::fetching::Fetching;
use crate::report::{
    Check, ContentReport, FetchOutcome, FetchReport, Figure, NodeReport, Report, RunKind, Transfer, judge,
};
use crate::scenario::{ContentIndex, NodeIndex, Scenario};

impl Conductor<'_, '_> {
    /// Ends the run and tells what came of it.
    pub(super) fn report(mut self) -> Report {
        self.stop();
        let length_us = self.at_us(tokio::time::Instant::now());
        let mut report = Report {
            kind: RunKind::Cluster,
            scenario: self.scenario.name.clone(),
            seed: self.plan.seed,
            nodes: self.nodes(),
            contents: (0..self.scenario.contents.len()).map(|index| self.content(ContentIndex(index))).collect(),
            fetches: self.fetches.iter().map(|fetch| self.fetch(fetch)).collect(),
            transfers: self.transfers(),
            events: std::mem::take(&mut self.events),
            samples: std::mem::take(&mut self.samples),
            lower_bound_us: None,
            length_us,
            figures: self.figures(),
            checks: Vec::new(),
        };
        judge(self.scenario, &mut report);
        report.figures.extend(report.standstill(&self.struck.iter().map(|node| node.0).collect()));
        report.checks.push(self.nobody_fell());
        report
    }

    fn nodes(&self) -> Vec<NodeReport> {
        let each = self.scenario.nodes().zip(&self.seen);
        each.map(|((_, name, group), seen)| NodeReport {
            name,
            group: group.name.clone(),
            sent_bytes: seen.sent.total(),
            received_bytes: seen.received.total(),
            peak_memory_bytes: Some(seen.peak_memory_bytes).filter(|bytes| *bytes > 0),
        })
        .collect()
    }

    fn content(&self, index: ContentIndex) -> ContentReport {
        let hash = self.hashes.get(index.0).and_then(|hash| *hash.borrow());
        ContentReport {
            name: self.scenario.content(index).map_or_else(String::new, |content| content.name.clone()),
            hash: hash.map(|hash| hash.to_string()),
            bytes: self.bytes(index),
            publishers: honest_publishers(self.scenario, index),
        }
    }

    fn fetch(&self, fetch: &Fetching) -> FetchReport {
        let state = fetch.state();
        let condition = self.stage.conditions.get(fetch.node.0).copied().unwrap_or_default();
        let outcome = state.outcome.unwrap_or_else(|| match condition.excuse() {
            _ if condition.fell => FetchOutcome::Failed("its node has ended by itself".to_owned()),
            Some(excuse) => FetchOutcome::Excused(excuse.to_owned()),
            None if state.began.is_none() => FetchOutcome::Failed("its turn never came".to_owned()),
            None => {
                let said = state.last_error.map(|error| format!("; the node said last: {error}"));
                FetchOutcome::Failed(format!("not done when the run was given up{}", said.unwrap_or_default()))
            }
        });
        FetchReport {
            node: fetch.node.0,
            content: fetch.content.0,
            started_us: state.began.map(|at| self.at_us(at)),
            ended_us: state.ended.map(|at| self.at_us(at)),
            outcome,
            attempts: state.attempts,
            fetched_bytes: state.fetched_bytes,
            reused_bytes: state.reused_bytes,
            wasted_bytes: state.wasted_bytes,
        }
    }

    /// What each fetch that is done got from whom.
    fn transfers(&self) -> Vec<Transfer> {
        let place: BTreeMap<&str, usize> =
            self.seen.iter().enumerate().map(|(index, seen)| (seen.peer_id.as_str(), index)).collect();
        let mut sums: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        for fetch in &self.fetches {
            for share in fetch.state().shares {
                if let Some(from) = place.get(share.peer.as_str()) {
                    *sums.entry((*from, fetch.node.0)).or_default() += share.bytes;
                }
            }
        }
        let transfers = sums.into_iter().filter(|(_, bytes)| *bytes > 0);
        transfers.map(|((from, to), bytes)| Transfer { from, to, bytes }).collect()
    }

    fn figures(&self) -> Vec<Figure> {
        let planned = self.plan.faults().count();
        let mut figures: Vec<Figure> = Figure::of_faults(planned - self.left_undone(), planned).into_iter().collect();
        let memory: Vec<u64> = self.seen.iter().map(|seen| seen.peak_memory_bytes).filter(|m| *m > 0).collect();
        if !memory.is_empty() {
            let mean = memory.iter().sum::<u64>() / memory.len() as u64;
            let name = "memory of a node at its peak, on average".to_owned();
            figures.push(Figure { name, value: crate::size::show_size(mean) });
        }
        figures
    }

    /// Nodes end when they are told to, and only then.
    fn nobody_fell(&self) -> Check {
        let fallen = self.stage.conditions.iter().enumerate().filter(|(_, condition)| condition.fell);
        let fallen: Vec<String> = fallen.map(|(index, _)| self.scenario.node_name(NodeIndex(index))).collect();
        Check {
            what: "no node ends by itself".to_owned(),
            found: if fallen.is_empty() { "none did".to_owned() } else { fallen.join(", ") },
            passed: fallen.is_empty(),
        }
    }
}

/// The honest nodes that publish a content.
pub(super) fn honest_publishers(scenario: &Scenario, content: ContentIndex) -> Vec<usize> {
    let of_it = scenario.publishes.iter().filter(|publish| publish.content == content);
    let honest = |node: &NodeIndex| scenario.group_of(*node).is_some_and(|group| group.lie.is_none());
    of_it.flat_map(|publish| publish.nodes.iter().filter(move |node| honest(node)).map(|node| node.0)).collect()
}

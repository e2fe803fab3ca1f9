//! What came of a run, of real nodes or simulated ones: a table for people, JSON, and pictures.
//!
//! A [`Report`] is plain data: times are microseconds since the run began, nodes and contents go by their place in
//! the lists. [`judge()`] adds what the scenario demands. [`Report::text`], [`Report::pictures`] and
//! [`Report::write_to`] show it. Numbers are integers and nothing depends on the machine, so equal reports are equal
//! bytes.

mod completion;
mod files;
mod judge;
mod matrix;
mod summary;
mod svg;
mod text;
mod traffic;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use files::{ReportError, make_folder};
pub use judge::judge;
pub use summary::Summary;
pub use svg::Picture;
pub(crate) use text::seconds;

/// All that a run showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What ran.
    pub kind: RunKind,
    /// The scenario's name.
    pub scenario: String,
    /// What its plan was drawn from.
    pub seed: u64,
    /// Every node, in the scenario's order.
    pub nodes: Vec<NodeReport>,
    /// Every content, in the scenario's order.
    pub contents: Vec<ContentReport>,
    /// Every fetch.
    pub fetches: Vec<FetchReport>,
    /// Who sent how many chunk bytes to whom that were kept; pairs without any are left out.
    pub transfers: Vec<Transfer>,
    /// What happened, in order.
    pub events: Vec<Happened>,
    /// How far everything was at moments of the run, in order; the pictures are drawn from it.
    pub samples: Vec<Sample>,
    /// The least time in which it could have been done, in microseconds, if rates are limited.
    pub lower_bound_us: Option<u64>,
    /// Length of the run in microseconds.
    pub length_us: u64,
    /// More figures of one kind of run, for people: a name and a value with its unit.
    pub figures: Vec<Figure>,
    /// What the scenario demands and what was found; empty until it is judged.
    pub checks: Vec<Check>,
}

/// What ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// Real processes.
    Cluster,
    /// Virtual peers on a virtual clock.
    Simulation,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// The group that it belongs to.
    pub group: String,
    /// Chunk bytes that it sent, by its own count.
    pub sent_bytes: u64,
    /// Chunk bytes that it took in, by its own count.
    pub received_bytes: u64,
    /// The most memory that it had, in bytes, where that is known.
    pub peak_memory_bytes: Option<u64>,
}

/// One content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentReport {
    /// Its name in the scenario.
    pub name: String,
    /// Its content hash, if it has one.
    pub hash: Option<String>,
    /// Its bytes.
    pub bytes: u64,
    /// The nodes that published it, by their places, liars not among them.
    pub publishers: Vec<usize>,
}

/// One fetch, with all its attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchReport {
    /// The node's place.
    pub node: usize,
    /// The content's place.
    pub content: usize,
    /// When it began; `None` if it never did.
    pub started_us: Option<u64>,
    /// When it was over, if it was.
    pub ended_us: Option<u64>,
    /// How it ended.
    pub outcome: FetchOutcome,
    /// How often it was asked for: a node that dies or fails is asked again.
    pub attempts: u32,
    /// Chunk bytes that came and were kept, over all attempts that told.
    pub fetched_bytes: u64,
    /// Bytes that were held already.
    pub reused_bytes: u64,
    /// Chunk bytes that came in vain, over all attempts that told.
    pub wasted_bytes: u64,
}

/// How a fetch ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "why")]
pub enum FetchOutcome {
    /// It is whole and equal to the original.
    Done,
    /// It is not done, and its node was in no state to: dead, paused, cut off or full at the end.
    Excused(String),
    /// It is not done.
    Failed(String),
    /// It ended, and what it wrote or kept is not what was published.
    Wrong(String),
}

/// Bytes from one node to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The sender's place.
    pub from: usize,
    /// The receiver's place.
    pub to: usize,
    /// Chunk bytes.
    pub bytes: u64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// When.
    pub at_us: u64,
    /// What, in words.
    pub what: String,
    /// Whether it was a fault, or the end of one: marked in the pictures.
    pub fault: bool,
}

/// How far everything was at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at_us: u64,
    /// Bytes done of each fetch, in the order of the fetches; may be empty where there are too many.
    pub done_bytes: Vec<u64>,
    /// Chunk bytes that all nodes together had sent by then, publishers and others apart.
    pub sent: SentBy,
}

/// Who had sent how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SentBy {
    /// The nodes that published something.
    pub publishers: u64,
    /// All others.
    pub others: u64,
}

/// The name of the figure that says for how long the worst fetch got nothing.
pub(crate) const STANDSTILL: &str = "longest standstill";

/// A figure for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// How much, with the unit.
    pub value: String,
}

impl Figure {
    /// How many of the plan's faults, and of what undoes them, came before all was over; `None` if there are none.
    pub(crate) fn of_faults(came: usize, planned: usize) -> Option<Self> {
        let value = format!("{came} of {planned}, then all was over");
        (planned > 0).then(|| Self { name: "faults and their ends".to_owned(), value })
    }
}

/// Something that the scenario demands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What is demanded.
    pub what: String,
    /// What was found.
    pub found: String,
    /// Whether that will do.
    pub passed: bool,
}

impl Report {
    /// Whether every check passed. False as long as it was not judged.
    pub fn passed(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.passed)
    }

    /// The time from the first start of a fetch of this content to the last end of one, in microseconds.
    pub fn span_us(&self, content: usize) -> Option<u64> {
        let of_it = || self.fetches.iter().filter(move |fetch| fetch.content == content);
        let first = of_it().filter_map(|fetch| fetch.started_us).min()?;
        let last = of_it().filter_map(|fetch| fetch.ended_us).max()?;
        Some(last.saturating_sub(first))
    }

    /// Chunk bytes that the publishers of a content sent: as far as it is told who sent to whom, those that were kept.
    pub(crate) fn sent_by_publishers(&self, content: &ContentReport) -> u64 {
        let of_them = self.transfers.iter().filter(|transfer| content.publishers.contains(&transfer.from));
        match self.transfers.is_empty() {
            false => of_them.map(|transfer| transfer.bytes).sum(),
            true => {
                content.publishers.iter().filter_map(|node| self.nodes.get(*node)).map(|node| node.sent_bytes).sum()
            }
        }
    }

    /// How long the fetches that are done took, in microseconds, the quickest first.
    pub fn durations_us(&self) -> Vec<u64> {
        let done = self.fetches.iter().filter(|fetch| fetch.outcome == FetchOutcome::Done);
        let mut all: Vec<u64> =
            done.filter_map(|fetch| Some(fetch.ended_us?.saturating_sub(fetch.started_us?))).collect();
        all.sort_unstable();
        all
    }

    /// The longest stretch of samples in which a fetch that had begun and was not over got nothing, with the fetch, its
    /// length and when it began, both in microseconds; of the fetches at these nodes that went on after a moment, and
    /// not counting what was before it. What is shorter than two samples is not seen.
    pub fn longest_standstill(&self, counts: impl Fn(usize) -> bool, after_us: u64) -> Option<(usize, u64, u64)> {
        let went_on = |fetch: &FetchReport| fetch.ended_us.is_none_or(|ended| ended > after_us);
        let fetches = self.fetches.iter().enumerate().filter(|(_, fetch)| counts(fetch.node) && went_on(fetch));
        let each = fetches.filter_map(|(place, fetch)| {
            let (began, ended) = (fetch.started_us?, fetch.ended_us.unwrap_or(u64::MAX));
            let (mut since, mut had) = (began, 0);
            let mut worst = (0, began.max(after_us));
            for sample in self.samples.iter().filter(|sample| (began..ended).contains(&sample.at_us)) {
                let done = sample.done_bytes.get(place).copied()?;
                if done > had {
                    (since, had) = (sample.at_us, done);
                }
                let from = since.max(after_us);
                worst = worst.max((sample.at_us.saturating_sub(from), from));
            }
            Some((place, worst.0, worst.1))
        });
        each.max_by_key(|(_, length, _)| *length)
    }

    /// How long it took the others to go round what was struck: the longest time, after the first fault if there is
    /// one, in which a fetch at a node that is not among those `struck` got nothing.
    pub(crate) fn standstill(&self, struck: &BTreeSet<usize>) -> Option<Figure> {
        let first_fault = self.events.iter().find(|event| event.fault).map(|event| event.at_us);
        let unharmed = |node| !struck.contains(&node);
        let (fetch, length, began) = self.longest_standstill(unharmed, first_fault.unwrap_or(0))?;
        let name = &self.nodes.get(self.fetches.get(fetch)?.node)?.name;
        let after = if first_fault.is_some() { " after the first fault" } else { "" };
        let value = match length {
            0 => format!("{}{after}", seconds(0)),
            _ => format!("{}{after}, from {} on, at {name}", seconds(length), seconds(began)),
        };
        Some(Figure { name: format!("{STANDSTILL} of a fetch at a node that was left alone"), value })
    }

    /// The duration that so many percent of the fetches that are done did not exceed.
    pub fn percentile_us(&self, percent: usize) -> Option<u64> {
        let all = self.durations_us();
        let place = (all.len() * percent).div_ceil(100).saturating_sub(1);
        all.get(place).copied()
    }
}

#[cfg(test)]
mod tests;

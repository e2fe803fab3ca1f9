//! What fetches tell of themselves while they run and for a while after: what `shoal explain` shows.
//!
//! A fetch tells a few times a second and once when it ends. What is kept is bounded in number and time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shoal_protocol::hash::ContentHash;

use crate::api::{FetchReport, FetchState};

/// Fetches that are remembered, those that run among them.
const MOST: usize = 64;
/// How long after its end.
const LIFE: Duration = Duration::from_secs(600);

/// The reports of all fetches of a node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reports {
    /// A std mutex: each section moves a report or two.
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    next: u64,
    fetches: VecDeque<Told>,
}

#[derive(Debug)]
struct Told {
    number: u64,
    hash: ContentHash,
    at: Instant,
    report: FetchReport,
}

impl Reports {
    /// A fetch begins.
    pub(super) fn begin(&self, hash: ContentHash, report: FetchReport) -> Telling {
        let mut kept = self.lock();
        let number = kept.next;
        kept.next += 1;
        if kept.fetches.len() >= MOST {
            // One that has ended makes room, or else the one that began first.
            let ended = kept.fetches.iter().position(|told| told.report.state != FetchState::Running);
            kept.fetches.remove(ended.unwrap_or(0));
        }
        kept.fetches.push_back(Told { number, hash, at: Instant::now(), report });
        Telling { reports: self.clone(), number }
    }

    /// The fetches of a content, the latest first.
    pub(crate) fn of(&self, hash: &ContentHash) -> Vec<FetchReport> {
        let mut kept = self.lock();
        kept.fetches.retain(|told| told.report.state == FetchState::Running || told.at.elapsed() < LIFE);
        kept.fetches.iter().rev().filter(|told| told.hash == *hash).map(|told| told.report.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fetch that tells. Dropping it while the fetch runs means that nobody wants it any more.
#[derive(Debug)]
pub(super) struct Telling {
    reports: Reports,
    number: u64,
}

impl Telling {
    /// This is how it is now.
    pub(super) fn tell(&self, report: FetchReport) {
        self.change(|told| *told = report);
    }

    /// It is over.
    pub(super) fn end(&self, state: FetchState, error: Option<String>) {
        self.change(|told| {
            told.state = state;
            told.error = error;
            told.waits_for = None;
        });
    }

    fn change(&self, change: impl FnOnce(&mut FetchReport)) {
        let mut kept = self.reports.lock();
        if let Some(told) = kept.fetches.iter_mut().find(|told| told.number == self.number) {
            change(&mut told.report);
            told.at = Instant::now();
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.change(|told| {
            if told.state == FetchState::Running {
                told.state = FetchState::Cancelled;
                told.waits_for = None;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_protocol::hash::NodeId;

    fn hash(of: u64) -> ContentHash {
        ContentHash::from_root(NodeId::of(&of.to_le_bytes()))
    }

    #[test]
    fn the_latest_comes_first_and_ends_are_told() {
        let reports = Reports::default();
        let first = reports.begin(hash(1), FetchReport::default());
        let second = reports.begin(hash(1), FetchReport { waits_for: Some("rain".into()), ..FetchReport::default() });
        first.end(FetchState::Failed, Some("no".into()));
        drop(second);
        let states: Vec<_> = reports.of(&hash(1)).into_iter().map(|report| (report.state, report.error)).collect();
        assert_eq!(states, [(FetchState::Cancelled, None), (FetchState::Failed, Some("no".into()))]);
        assert_eq!((reports.of(&hash(1))[0].waits_for.clone(), reports.of(&hash(2)).len()), (None, 0));
    }

    #[test]
    fn those_that_have_ended_make_room_first() {
        let reports = Reports::default();
        let running = reports.begin(hash(0), FetchReport::default());
        for number in 1..1000 {
            reports.begin(hash(number), FetchReport::default()).end(FetchState::Done, None);
        }
        assert_eq!(reports.of(&hash(0)).len(), 1);
        assert_eq!(reports.lock().fetches.len(), MOST);
        drop(running);
    }
}

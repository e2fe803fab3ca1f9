//! A report in one row, to compare it with others.

use super::judge::{percent, thousandths};
use super::{FetchOutcome, Report, STANDSTILL, seconds};

/// One row of a series of runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Fetches that are done, of how many.
    pub done: String,
    /// How long the slowest fetch took that is done.
    pub last: String,
    /// From the first start of a fetch to the last end of one, in lower bounds; `-` where there is none, or where
    /// several contents have one each.
    pub bounds: String,
    /// Bytes that came in vain, as a share of those that were kept.
    pub wasted: String,
    /// For how long the worst fetch got nothing.
    pub standstill: String,
    /// The checks that do not hold, and what was found; empty if all do.
    pub failed: Vec<String>,
}

impl Summary {
    /// The headings of [`cells`](Self::cells).
    pub const HEADINGS: [&'static str; 6] = ["DONE", "LAST IN", "BOUNDS", "IN VAIN", "STANDSTILL", "CHECKS"];

    /// A cell for each heading.
    pub fn cells(&self) -> [String; 6] {
        let checks =
            if self.failed.is_empty() { "all hold".to_owned() } else { "FAIL: ".to_owned() + &self.failed.join("; ") };
        [&self.done, &self.last, &self.bounds, &self.wasted, &self.standstill, &checks].map(Clone::clone)
    }
}

impl Report {
    /// The report in one row.
    pub fn summary(&self) -> Summary {
        let none = || "-".to_owned();
        let done = self.fetches.iter().filter(|fetch| fetch.outcome == FetchOutcome::Done).count();
        let bounds = match (self.contents.len(), self.lower_bound_us, self.span_us(0)) {
            (1, Some(bound), Some(span)) => {
                let times = u128::from(span) * 1_000 / u128::from(bound.max(1));
                format!("{} x", thousandths(u64::try_from(times).unwrap_or(u64::MAX)))
            }
            _ => none(),
        };
        let wasted: u64 = self.fetches.iter().map(|fetch| fetch.wasted_bytes).sum();
        let kept: u64 = self.fetches.iter().map(|fetch| fetch.fetched_bytes).sum();
        let still = self.figures.iter().find(|figure| figure.name.starts_with(STANDSTILL));
        // Its first words are the duration; where and when is in the whole report.
        let still = still.map(|figure| figure.value.split_inclusive(" s").next().unwrap_or_default().to_owned());
        let failed = self.checks.iter().filter(|check| !check.passed);
        Summary {
            done: format!("{done} of {}", self.fetches.len()),
            last: self.percentile_us(100).map_or_else(none, seconds),
            bounds,
            wasted: percent(wasted, kept),
            standstill: still.unwrap_or_else(none),
            failed: failed.map(|check| format!("{}: {}", check.what, check.found)).collect(),
        }
    }
}

//! Some runs of one thing and what can be said of them.

use serde::Serialize;

/// A floor that spreads by more than this says nothing.
pub(super) const MAX_FLOOR_SPREAD: f64 = 1.3;

/// What each run gave.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Runs(Vec<f64>);

impl Runs {
    /// Takes in a run.
    pub(super) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Whether there was no run.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value in the middle; of an even number, the mean of the two.
    pub(super) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        if sorted.len() % 2 == 1 { at(middle) } else { (at(middle.wrapping_sub(1)) + at(middle)) / 2.0 }
    }

    /// The highest over the lowest.
    pub(super) fn spread(&self) -> f64 {
        self.highest() / self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The highest.
    pub(super) fn highest(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Each value changed.
    pub(super) fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        Self(self.0.iter().copied().map(change).collect())
    }
}

/// MB/s (10^6) of so many bytes in so many seconds.
pub(super) fn rate(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / seconds / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[f64], median: f64, spread: f64) {
        let runs = Runs(values.to_vec());
        assert_eq!((runs.median(), runs.spread()), (median, spread));
    }

    #[test]
    fn medians_and_spreads() {
        check(&[3.0], 3.0, 1.0);
        check(&[4.0, 1.0, 2.0], 2.0, 4.0);
        check(&[4.0, 1.0, 2.0, 3.0], 2.5, 4.0);
    }
}

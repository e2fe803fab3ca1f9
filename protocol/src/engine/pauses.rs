//! How long sessions usually pause between two chunks: what tells a straggler from the usual.

use std::time::Duration;

/// Buckets of the histogram: the n-th counts pauses below 2^n µs.
const BUCKETS: usize = 32;
/// When so many have been counted, all counts are halved: the latest count for more.
const MOST: u32 = 4096;
/// Pauses that must be known before they say anything.
const LEAST: u32 = 8;

/// A histogram of the times between arrivals in one session that had something in flight, over all sessions.
#[derive(Debug, Clone, Default)]
pub(super) struct Pauses {
    counts: [u32; BUCKETS],
    total: u32,
}

impl Pauses {
    pub(super) fn add(&mut self, pause: Duration) {
        if self.total >= MOST {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
        let bucket = (128 - pause.as_micros().leading_zeros()) as usize;
        if let Some(count) = self.counts.get_mut(bucket.min(BUCKETS - 1)) {
            *count += 1;
            self.total += 1;
        }
    }

    /// No more than one in twenty-five pauses was longer. `None` while too little is known.
    pub(super) fn usual(&self) -> Option<Duration> {
        if self.total < LEAST {
            return None;
        }
        let mut longer = self.total;
        let bucket = self.counts.iter().position(|count| {
            longer -= count;
            longer * 25 <= self.total
        })?;
        Some(Duration::from_micros(1 << bucket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_is_a_percentile() {
        let mut pauses = Pauses::default();
        assert_eq!(pauses.usual(), None);
        for micros in 0..1000u64 {
            pauses.add(Duration::from_micros(if micros % 50 == 0 { 1_000_000 } else { micros % 7 + 100 }));
        }
        assert_eq!(pauses.usual(), Some(Duration::from_micros(128)));
        // What happened lately counts for more.
        for _ in 0..8000 {
            pauses.add(Duration::from_millis(3));
        }
        assert_eq!(pauses.usual(), Some(Duration::from_micros(4096)));
        pauses.add(Duration::MAX);
        pauses.add(Duration::ZERO);
    }
}

//! What asking twice may cost: a hundredth of a fetch, or a chunk or two if it is small.
//!
//! Whoever loses is sent a CANCEL, so most second copies never come. One counts for as long as it may still be on its
//! way; after that only if it did come.

use std::collections::VecDeque;
use std::time::Duration;

/// A fetch may always ask twice for this much: a chunk of ordinary length, or two short ones.
const LEAST_BYTES: u64 = 128 * 1024;
/// The part of what is fetched that may be asked for twice: less than a hundredth.
const PART: u64 = 128;
/// How long a copy may be on its way. What takes longer is counted when it comes.
const ON_THE_WAY: Duration = Duration::from_secs(1);

/// Bytes that have come in vain, and those that may.
#[derive(Debug, Clone, Default)]
pub(super) struct Waste {
    came_bytes: u64,
    /// What was asked for a second time, and when, oldest first. Together no more than may be left.
    asked: VecDeque<(Duration, u64)>,
    asked_bytes: u64,
}

impl Waste {
    /// So much is asked for a second time.
    pub(super) fn ask(&mut self, bytes: u64, now: Duration) {
        self.asked.push_back((now, bytes));
        self.asked_bytes = self.asked_bytes.saturating_add(bytes);
    }

    /// So much has come in vain.
    pub(super) fn came(&mut self, bytes: u64) {
        self.came_bytes = self.came_bytes.saturating_add(bytes);
    }

    /// Forgets what is not on its way any more.
    pub(super) fn settle(&mut self, now: Duration) {
        while let Some((at, bytes)) = self.asked.front()
            && now.saturating_sub(*at) > ON_THE_WAY
        {
            self.asked_bytes = self.asked_bytes.saturating_sub(*bytes);
            self.asked.pop_front();
        }
    }

    /// What may still be asked for twice in a fetch of so many bytes.
    pub(super) fn left(&self, fetched_bytes: u64) -> u64 {
        (fetched_bytes / PART).max(LEAST_BYTES).saturating_sub(self.came_bytes).saturating_sub(self.asked_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_counts_while_it_may_come_and_if_it_did() {
        let mut waste = Waste::default();
        let at = |millis| Duration::from_millis(millis);
        assert_eq!((waste.left(0), waste.left(256 * LEAST_BYTES)), (LEAST_BYTES, 2 * LEAST_BYTES));
        waste.ask(1000, at(0));
        waste.ask(500, at(600));
        assert_eq!(waste.left(0), LEAST_BYTES - 1500);
        waste.came(1000);
        waste.settle(at(1300));
        assert_eq!(waste.left(0), LEAST_BYTES - 1500, "one came, the other may");
        waste.settle(at(1700));
        assert_eq!(waste.left(0), LEAST_BYTES - 1000);
        waste.came(LEAST_BYTES);
        assert_eq!(waste.left(0), 0);
    }
}

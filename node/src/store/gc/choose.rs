//! Which segments are worth emptying, and when to look at all. Pure.

use std::time::Duration;

use crate::store::rows::SegmentNumber;

/// How much copying a collection may do for what it gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Segments of which at least half is garbage: on average, at most a byte is copied for each that comes back.
    Routine,
    /// Segments of which at least a sixteenth is garbage: for whoever asks for it.
    Thorough,
    /// As much as it takes to give back so many bytes, from whatever segment has the most garbage.
    Enough(u64),
}

/// Garbage below this, in bytes, is never worth a collection that nobody asked for.
const MIN_GARBAGE_BYTES: u64 = 64 << 20;
/// Nor is one within so long of the last.
const MIN_PAUSE: Duration = Duration::from_secs(30);

/// A segment and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Share {
    pub(in crate::store) number: SegmentNumber,
    /// Bytes of all its objects.
    pub(in crate::store) payload_bytes: u64,
    /// Bytes of those that are needed.
    pub(in crate::store) live_bytes: u64,
}

impl Share {
    /// Bytes that emptying it gives back.
    pub(in crate::store) const fn garbage_bytes(&self) -> u64 {
        self.payload_bytes.saturating_sub(self.live_bytes)
    }
}

/// The segments to empty, those with the lowest live share first.
pub(super) fn choose(mut shares: Vec<Share>, effort: Effort) -> Vec<Share> {
    // Whole segments of garbage cost nothing; among the others the cheapest comes first.
    shares.sort_by(|a, b| {
        let share = |this: &Share, other: &Share| u128::from(this.live_bytes) * u128::from(other.payload_bytes);
        share(a, b).cmp(&share(b, a)).then(b.payload_bytes.cmp(&a.payload_bytes)).then(a.number.cmp(&b.number))
    });
    let least = match effort {
        Effort::Routine => 2,
        Effort::Thorough => 16,
        // Emptying a segment of which almost nothing goes would take more room than it gives.
        Effort::Enough(_) => 64,
    };
    let mut wanted = match effort {
        Effort::Enough(bytes) => bytes,
        Effort::Routine | Effort::Thorough => u64::MAX,
    };
    let mut chosen = Vec::new();
    for share in shares {
        let garbage = share.garbage_bytes();
        if garbage == 0 || garbage.saturating_mul(least) < share.payload_bytes || wanted == 0 {
            continue;
        }
        wanted = wanted.saturating_sub(garbage);
        chosen.push(share);
    }
    chosen
}

/// Whether to collect without being asked: there seem to be at least 64 MiB of garbage and a quarter of the store, and
/// the last time was not just now.
pub(super) fn is_due(suspected_bytes: u64, payload_bytes: u64, since_last: Option<Duration>) -> bool {
    suspected_bytes >= MIN_GARBAGE_BYTES
        && suspected_bytes.saturating_mul(4) >= payload_bytes
        && since_last.is_none_or(|since| since >= MIN_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(shares: &[(u64, u64)], effort: Effort) -> Vec<u32> {
        let shares = (1..).zip(shares).map(|(number, &(payload_bytes, live_bytes))| Share {
            number: SegmentNumber(number),
            payload_bytes,
            live_bytes,
        });
        choose(shares.collect(), effort).iter().map(|share| share.number.0).collect()
    }

    #[test]
    fn the_emptiest_go_first_and_full_ones_stay() {
        let shares = [(100, 100), (100, 49), (100, 0), (200, 0), (100, 90), (0, 0), (1_000, 999), (10, 10)];
        assert_eq!(numbers(&shares, Effort::Routine), [4, 3, 2]);
        assert_eq!(numbers(&shares, Effort::Thorough), [4, 3, 2, 5]);
        assert_eq!(numbers(&shares, Effort::Enough(1)), [4]);
        assert_eq!(numbers(&shares, Effort::Enough(301)), [4, 3, 2]);
        assert_eq!(numbers(&shares, Effort::Enough(u64::MAX)), [4, 3, 2, 5]);
        assert_eq!(numbers(&[(u64::MAX, u64::MAX - 1), (u64::MAX, 1)], Effort::Routine), [2]);
    }

    #[test]
    fn it_is_due_when_there_is_much_and_not_again_at_once() {
        let mib = |mib: u64| mib << 20;
        assert!(is_due(mib(64), mib(256), None));
        assert!(!is_due(mib(63), mib(63), None));
        assert!(!is_due(mib(64), mib(257), None));
        assert!(!is_due(mib(640), mib(700), Some(Duration::from_secs(29))));
        assert!(is_due(u64::MAX, u64::MAX, Some(Duration::from_secs(30))));
    }
}

//! A rate limit that reads no clock.
//!
//! A [`TokenBucket`] fills at a rate up to its burst. Whoever wants to move bytes asks how long to wait, then takes
//! them. All arithmetic is in integers: the same calls give the same answers on every machine.

use std::time::Duration;

const NANOS: u128 = 1_000_000_000;
/// How much unused allowance is kept: 50 ms of the rate, so that a late wake-up costs nothing, …
const BURST_MILLIS: u64 = 50;
/// … but at least this much, so that a frame of the longest chunk passes without splitting.
const MIN_BURST_BYTES: u64 = 256 * 1024;

/// A bucket of bytes that fills with time.
///
/// Debt is allowed: a take larger than what is there succeeds once the bucket is not in debt, and the debt is waited
/// for by whoever comes next. So no take is ever too large, and the long-run rate holds exactly.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    bytes_per_second: u64,
    burst_bytes: u64,
    /// Allowance in byte-nanoseconds (bytes × 10⁹), so that no fraction is ever lost; negative when in debt.
    level: i128,
    at: Duration,
}

impl TokenBucket {
    /// A full bucket with the usual burst: 50 ms of the rate, at least 256 KiB.
    pub fn new(bytes_per_second: u64, now: Duration) -> Self {
        let burst = (bytes_per_second / 1000).saturating_mul(BURST_MILLIS).max(MIN_BURST_BYTES);
        Self::with_burst(bytes_per_second, burst, now)
    }

    /// A full bucket with a burst of one's own. A rate or burst of 0 counts as 1.
    pub fn with_burst(bytes_per_second: u64, burst_bytes: u64, now: Duration) -> Self {
        let burst_bytes = burst_bytes.max(1);
        Self { bytes_per_second: bytes_per_second.max(1), burst_bytes, level: scaled(burst_bytes), at: now }
    }

    /// The rate in bytes a second.
    pub const fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second
    }

    /// Changes the rate from `now` on; what has gathered stays, up to the burst.
    pub fn set_rate(&mut self, bytes_per_second: u64, now: Duration) {
        self.refill(now);
        let fresh = Self::new(bytes_per_second, now);
        self.bytes_per_second = fresh.bytes_per_second;
        self.burst_bytes = fresh.burst_bytes;
        self.level = self.level.min(scaled(self.burst_bytes));
    }

    /// How long until `bytes` are allowed; zero when they are now. For more than the burst: until the bucket is full.
    pub fn wait_for(&mut self, bytes: u64, now: Duration) -> Duration {
        self.refill(now);
        let lacking = scaled(bytes.min(self.burst_bytes)) - self.level;
        if lacking <= 0 {
            return Duration::ZERO;
        }
        let nanos = lacking.unsigned_abs().div_ceil(u128::from(self.bytes_per_second));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Takes `bytes` if they are allowed now (more than the burst: if the bucket is full), else says how long to wait.
    pub fn try_take(&mut self, bytes: u64, now: Duration) -> Result<(), Duration> {
        let wait = self.wait_for(bytes, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.level -= scaled(bytes);
        Ok(())
    }

    /// Takes `bytes` whether they are allowed or not: for what has already been moved.
    pub fn take(&mut self, bytes: u64, now: Duration) {
        self.refill(now);
        self.level = self.level.saturating_sub(scaled(bytes));
    }

    /// Takes out what has gathered; a debt stays.
    pub fn empty(&mut self) {
        self.level = self.level.min(0);
    }

    /// Gives back what was taken and not moved.
    pub fn give_back(&mut self, bytes: u64, now: Duration) {
        self.refill(now);
        self.level = self.level.saturating_add(scaled(bytes)).min(scaled(self.burst_bytes));
    }

    fn refill(&mut self, now: Duration) {
        let Some(passed) = now.checked_sub(self.at) else {
            return;
        };
        self.at = now;
        let gained = passed.as_nanos().saturating_mul(u128::from(self.bytes_per_second));
        let gained = i128::try_from(gained).unwrap_or(i128::MAX);
        self.level = self.level.saturating_add(gained).min(scaled(self.burst_bytes));
    }
}

fn scaled(bytes: u64) -> i128 {
    i128::try_from(u128::from(bytes) * NANOS).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    /// Moves `total` bytes in takes of `size`, waking `late` after each wait; returns the seconds in nanoseconds.
    fn time_for(rate: u64, total: u64, size: u64, late: Duration) -> u64 {
        let mut bucket = TokenBucket::new(rate, Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut moved = 0;
        while moved < total {
            match bucket.try_take(size, now) {
                Ok(()) => moved += size,
                Err(wait) => now += wait + late,
            }
        }
        u64::try_from(now.as_nanos()).unwrap()
    }

    #[test]
    fn rate_holds_within_the_burst_even_with_late_wake_ups() {
        for (rate, size) in [(20 * MB, 64 * 1024), (20 * MB, 200_000), (5 * MB, 128 * 1024), (700 * MB, 131_072)] {
            for late in [0, 1, 5] {
                let total = rate * 5;
                let nanos = time_for(rate, total, size, Duration::from_millis(late));
                let reached = u128::from(total) * NANOS / u128::from(nanos) * 1000 / u128::from(rate);
                assert!((985..=1015).contains(&reached), "{rate} B/s by {size}, {late} ms late: {reached} ‰");
            }
        }
    }

    #[test]
    fn more_than_the_burst_passes_when_full_and_leaves_a_debt() {
        let mut bucket = TokenBucket::with_burst(1000, 100, Duration::ZERO);
        assert_eq!(bucket.try_take(1100, Duration::ZERO), Ok(()));
        assert_eq!(bucket.try_take(1, Duration::ZERO), Err(Duration::from_millis(1001)));
        assert_eq!(bucket.wait_for(1, Duration::from_millis(1001)), Duration::ZERO);
    }

    #[test]
    fn time_that_runs_backwards_gives_nothing_and_takes_nothing() {
        let mut bucket = TokenBucket::with_burst(1000, 100, Duration::from_secs(5));
        bucket.take(100, Duration::from_secs(5));
        assert_eq!(bucket.wait_for(10, Duration::from_secs(1)), Duration::from_millis(10));
    }

    #[test]
    fn a_new_rate_holds_from_now_on() {
        let mut bucket = TokenBucket::new(MB, Duration::ZERO);
        bucket.take(MIN_BURST_BYTES, Duration::ZERO);
        bucket.set_rate(10 * MB, Duration::ZERO);
        assert_eq!(bucket.wait_for(100_000, Duration::ZERO), Duration::from_millis(10));
    }
}

//! How much to have in flight from a session: bandwidth × delay, measured, in integers.

use std::time::Duration;

use super::config::EngineConfig;
use crate::chunker::TARGET_CHUNK_BYTES;

/// A rate is measured over at least this long, …
const SPAN: Duration = Duration::from_millis(50);
/// … but the first time over a tenth of it, once so many bytes have come: a fast session shows itself soon.
const FIRST_BYTES: u64 = 256 * 1024;
/// Where sessions are compared, a span that has just begun will do once so much has come.
const RECKONED_BYTES: u64 = 64 * 1024;

/// In a crowd, a session whose round trip is no more than this part of the time of a chunk has half of the smallest
/// window.
const NEAR: u32 = 16;

/// Measures how fast a session delivers while it has something to deliver.
#[derive(Debug, Clone, Default)]
pub(super) struct RateMeter {
    /// When the span that is being measured began: at an arrival, whose own bytes do not count.
    since: Option<Duration>,
    bytes: u64,
    /// Bytes a second, or 0 before the first measurement.
    rate: u64,
    /// All bytes that ever came.
    delivered: u64,
    round_trip: Option<Duration>,
}

impl RateMeter {
    pub(super) const fn rate(&self) -> u64 {
        self.rate
    }

    /// The rate, or what the span that is being measured shows so far.
    pub(super) fn reckoned(&self, now: Duration) -> Option<u64> {
        if self.rate > 0 {
            return Some(self.rate);
        }
        let passed = now.saturating_sub(self.since?);
        (self.bytes >= RECKONED_BYTES && !passed.is_zero()).then(|| rate_of(self.bytes, passed))
    }

    pub(super) const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Bytes have arrived, and more are in flight (or not: then the span ends here).
    pub(super) fn arrived(&mut self, bytes: u64, more: bool, now: Duration) {
        self.delivered = self.delivered.saturating_add(bytes);
        match self.since {
            None => {
                self.since = Some(now);
                self.bytes = 0;
            }
            Some(since) => {
                self.bytes += bytes;
                let passed = now.saturating_sub(since);
                let first = self.rate == 0 && self.bytes >= FIRST_BYTES && passed >= SPAN / 10;
                if passed >= SPAN || first {
                    self.measured(rate_of(self.bytes, passed));
                    self.since = Some(now);
                    self.bytes = 0;
                }
            }
        }
        if !more {
            self.since = None;
        }
    }

    /// A question was answered after this long: the shortest such time is taken for the round trip.
    pub(super) fn answered(&mut self, after: Duration) {
        let after = after.max(Duration::from_micros(1));
        self.round_trip = Some(self.round_trip.map_or(after, |known| known.min(after)));
    }

    /// Forgets the rate: the session starts over as one of which nothing is known.
    pub(super) fn start_over(&mut self) {
        *self = Self { round_trip: self.round_trip, ..Self::default() };
    }

    /// What to have in flight at most, `share` being this session's part of the budget.
    ///
    /// Twice the bandwidth × round trip, or the round trip and `queue_time` (`queue_bytes` at most) if that is longer:
    /// half of it may drain before more is asked for, and the pipe stays full. Never more than has been delivered
    /// before (and the initial window): so it at most doubles per round trip, however wild a first measurement was.
    pub(super) fn window_bytes(&self, config: &EngineConfig, share: u64, is_crowd: bool) -> u64 {
        let wanted = if self.rate == 0 {
            config.initial_window_bytes
        } else {
            let round_trip = self.round_trip.unwrap_or(Duration::ZERO);
            let grown = config.initial_window_bytes.saturating_add(self.delivered);
            let pipe = bytes_in(self.rate, round_trip);
            let queue = bytes_in(self.rate, config.queue_time).min(config.queue_bytes).max(pipe);
            pipe.saturating_add(queue).min(grown)
        };
        wanted.min(share).min(config.max_window_bytes).max(self.least_bytes(config, is_crowd))
    }

    /// What is worth asking for at least. A near session of a crowd gives a chunk as soon as its server's turn comes to
    /// it again: more would only lie in that server's queue, and be asked of nobody else. If it is the line that is
    /// slow, the pause after each chunk costs it a sixteenth.
    fn least_bytes(&self, config: &EngineConfig, is_crowd: bool) -> u64 {
        let chunk = time_for(u64::from(TARGET_CHUNK_BYTES), self.rate);
        let is_near =
            self.rate > 0 && self.round_trip.is_some_and(|round_trip| round_trip.saturating_mul(NEAR) <= chunk);
        if is_crowd && is_near { config.min_window_bytes / 2 } else { config.min_window_bytes }
    }

    /// What one round trip takes in.
    pub(super) fn pipe_bytes(&self) -> u64 {
        bytes_in(self.rate, self.round_trip.unwrap_or(Duration::ZERO))
    }

    fn measured(&mut self, rate: u64) {
        let rate = rate.max(1);
        self.rate = if self.rate == 0 { rate } else { self.rate / 2 + rate / 2 + 1 };
    }
}

/// Bytes a second.
pub(super) fn rate_of(bytes: u64, passed: Duration) -> u64 {
    parts(bytes, 1_000_000_000, u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX))
}

/// How many bytes a rate moves in a time.
pub(super) fn bytes_in(rate: u64, time: Duration) -> u64 {
    parts(rate, u64::try_from(time.as_micros()).unwrap_or(u64::MAX), 1_000_000)
}

/// How long a rate takes for so many bytes.
pub(super) fn time_for(bytes: u64, rate: u64) -> Duration {
    Duration::from_nanos(parts(bytes, 1_000_000_000, rate))
}

/// `amount * times / by`, at most `u64::MAX`; `by` counts as one at least. What is small enough is reckoned in 64 bits:
/// this is done more often than anything else here.
fn parts(amount: u64, times: u64, by: u64) -> u64 {
    let by = by.max(1);
    match amount.checked_mul(times) {
        Some(product) => product / by,
        None => u64::try_from(u128::from(amount) * u128::from(times) / u128::from(by)).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_near_session_of_a_crowd_has_less_than_the_least() {
        let config = EngineConfig::default();
        let check = |rate, millis, is_crowd, part: u64| {
            let round_trip = Some(Duration::from_millis(millis));
            let meter = RateMeter { rate, round_trip, ..RateMeter::default() };
            let window = meter.window_bytes(&config, u64::MAX, is_crowd);
            assert_eq!(window, config.min_window_bytes / part, "{rate} B/s, {millis} ms, a crowd: {is_crowd}");
        };
        check(600_000, 4, true, 2);
        check(600_000, 4, false, 1);
        check(600_000, 8, true, 1);
    }

    #[test]
    fn what_does_not_fit_64_bits_is_reckoned_all_the_same() {
        let check = |amount, times, by, expected| assert_eq!(parts(amount, times, by), expected);
        check(7, 10, 4, 17);
        check(u64::MAX, 1_000_000_000, 1_000_000_000, u64::MAX);
        check(1 << 50, 1_000_000, 1 << 40, 1_024_000_000);
        check(u64::MAX, 2, 1, u64::MAX);
        check(5, 5, 0, 25);
    }
}

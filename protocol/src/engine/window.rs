//! How much to have in flight from a session: bandwidth × delay, measured, in integers.

use std::time::Duration;

use super::config::EngineConfig;

/// A rate is measured over at least this long, …
const SPAN: Duration = Duration::from_millis(50);
/// … but the first time over a tenth of it, once so many bytes have come: a fast session shows itself soon.
const FIRST_BYTES: u64 = 256 * 1024;
/// Where sessions are compared, a span that has just begun will do once so much has come.
const RECKONED_BYTES: u64 = 64 * 1024;

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
    /// half of it may drain before more is asked for, and the pipe stays full. Never more than has been delivered before (and the initial
    /// window): so it at most doubles per round trip, however wild a first measurement was.
    pub(super) fn window_bytes(&self, config: &EngineConfig, share: u64) -> u64 {
        let wanted = if self.rate == 0 {
            config.initial_window_bytes
        } else {
            let round_trip = self.round_trip.unwrap_or(Duration::ZERO);
            let grown = config.initial_window_bytes.saturating_add(self.delivered);
            let pipe = bytes_in(self.rate, round_trip);
            let queue = bytes_in(self.rate, config.queue_time).min(config.queue_bytes).max(pipe);
            pipe.saturating_add(queue).min(grown)
        };
        wanted.min(share).min(config.max_window_bytes).max(config.min_window_bytes)
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
    let nanos = passed.as_nanos().max(1);
    u64::try_from(u128::from(bytes) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

/// How many bytes a rate moves in a time.
pub(super) fn bytes_in(rate: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(rate) * time.as_micros() / 1_000_000).unwrap_or(u64::MAX)
}

/// How long a rate takes for so many bytes.
pub(super) fn time_for(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

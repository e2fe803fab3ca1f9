//! How many bytes a second, lately.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What "lately" means.
const WINDOW: Duration = Duration::from_secs(3);
/// Bytes within so long of each other are kept as one.
const STEP: Duration = Duration::from_millis(100);

/// Adds up bytes over the last few seconds.
#[derive(Debug, Default)]
pub(crate) struct RateMeter {
    steps: VecDeque<(Instant, u64)>,
    began: Option<Instant>,
}

impl RateMeter {
    /// Counts bytes that came now.
    pub(crate) fn add(&mut self, bytes: u64, now: Instant) {
        self.began.get_or_insert(now);
        match self.steps.back_mut() {
            Some((at, sum)) if now.duration_since(*at) < STEP => *sum += bytes,
            _ => self.steps.push_back((now, bytes)),
        }
        self.forget(now);
    }

    /// Bytes a second over the window, or over the time since the first byte if that is shorter.
    pub(crate) fn per_second(&mut self, now: Instant) -> u64 {
        self.forget(now);
        let Some(began) = self.began else {
            return 0;
        };
        let span = now.duration_since(began).clamp(STEP, WINDOW);
        let bytes: u64 = self.steps.iter().map(|(_, bytes)| bytes).sum();
        let per_second = u128::from(bytes) * 1_000_000 / span.as_micros().max(1);
        u64::try_from(per_second).unwrap_or(u64::MAX)
    }

    fn forget(&mut self, now: Instant) {
        while self.steps.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            self.steps.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_its_rate_and_a_pause_ends_it() {
        let start = Instant::now();
        let mut meter = RateMeter::default();
        assert_eq!(meter.per_second(start), 0);
        for tenth in 0..50 {
            meter.add(1000, start + STEP * tenth);
        }
        let rate = meter.per_second(start + STEP * 50);
        assert!((9_000..=11_000).contains(&rate), "{rate}");
        assert_eq!(meter.per_second(start + STEP * 50 + WINDOW * 2), 0);
    }
}

//! Rates: of the node, of a content. A peer's is with the [`Peer`](super::peer::Peer).
//!
//! Whoever is granted something takes it from all three buckets, which may run into debt by one batch; nobody is
//! granted anything from a bucket in debt. So a batch may be larger than what has gathered, and the rate holds.

use std::time::Duration;

use super::spread::Spread;
use crate::token_bucket::TokenBucket;

/// A grant that its limit spreads over more than this is to be written at the limit's pace.
const PACED_FROM: Duration = Duration::from_millis(250);

/// The limit over all peers.
#[derive(Debug)]
pub(super) struct NodeLimit {
    pub(super) bucket: Option<TokenBucket>,
    /// Since when it has kept somebody waiting.
    used_up_since: Option<Duration>,
    kept_waiting: Duration,
}

/// A content that has sessions.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) sessions: usize,
    pub(super) chunks: u64,
    pub(super) holds_all: bool,
    pub(super) bucket: Option<TokenBucket>,
    pub(super) spread: Spread,
}

impl NodeLimit {
    pub(super) fn new(limit: Option<u64>) -> Self {
        let bucket = limit.map(|rate| TokenBucket::new(rate, Duration::ZERO));
        Self { bucket, used_up_since: None, kept_waiting: Duration::ZERO }
    }

    /// When somebody who waits may go on; `None`: now.
    pub(super) fn blocked(&mut self, now: Duration) -> Option<Duration> {
        let wait = wait_for(&mut self.bucket, now);
        if wait.is_some() {
            self.used_up_since.get_or_insert(now);
        } else {
            self.free(now);
        }
        wait
    }

    /// Nobody waits for it any more.
    pub(super) fn free(&mut self, now: Duration) {
        if let Some(since) = self.used_up_since.take() {
            self.kept_waiting += now.saturating_sub(since);
        }
    }

    pub(super) const fn is_used_up(&self) -> bool {
        self.used_up_since.is_some()
    }

    /// For how long it has kept somebody waiting, in all.
    pub(super) fn kept_waiting(&self, now: Duration) -> Duration {
        self.kept_waiting + self.used_up_since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }
}

/// When the bucket is out of debt; `None`: it is.
pub(super) fn wait_for(bucket: &mut Option<TokenBucket>, now: Duration) -> Option<Duration> {
    let wait = bucket.as_mut()?.wait_for(1, now);
    (!wait.is_zero()).then(|| now + wait)
}

/// What to add to what a bucket has given: positive takes, negative gives back.
pub(super) fn adjust(bucket: &mut Option<TokenBucket>, bytes: i64, now: Duration) {
    if let Some(bucket) = bucket {
        match bytes {
            0 => {}
            1.. => bucket.take(bytes.unsigned_abs(), now),
            _ => bucket.give_back(bytes.unsigned_abs(), now),
        }
    }
}

/// The lowest of these limits, if it is so low that so many bytes are to be written at its pace.
pub(super) fn pace(limits: &[Option<u64>], bytes: u64) -> Option<u64> {
    let lowest = limits.iter().flatten().copied().min()?.max(1);
    (time_for(bytes, lowest) > PACED_FROM).then_some(lowest)
}

/// How long so many bytes take at a rate.
pub(super) fn time_for(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

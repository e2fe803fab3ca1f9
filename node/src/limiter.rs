//! A rate limit that tasks wait on: `protocol`'s token bucket with a clock and a queue.

use std::time::{Duration, Instant};

use shoal_protocol::token_bucket::TokenBucket;
use tokio::sync::Mutex;

/// Lets through so many bytes a second, to whoever asked first.
#[derive(Debug)]
pub(crate) struct Limiter {
    started: Instant,
    /// Held across the wait on purpose: tokio's mutex is fair, so waiting for it is the queue.
    bucket: Option<Mutex<TokenBucket>>,
}

impl Limiter {
    /// A limit of so many bytes a second; `None` lets everything through.
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        Self {
            started: Instant::now(),
            bucket: bytes_per_second.map(|rate| Mutex::new(TokenBucket::new(rate, Duration::ZERO))),
        }
    }

    /// Waits until `bytes` may pass. A dropped future has taken nothing.
    pub(crate) async fn pass(&self, bytes: u64) {
        let Some(bucket) = &self.bucket else {
            return;
        };
        let mut bucket = bucket.lock().await;
        while let Err(wait) = bucket.try_take(bytes, self.started.elapsed()) {
            tokio::time::sleep(wait).await;
        }
    }
}

//! The peers of the simulated world.

use std::time::Duration;

use crate::availability::{Availability, ChunkRange};

/// How a peer behaves once asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    Honest,
    /// Advertises, never serves.
    Silent,
    /// Serves a byte a second.
    Drips,
    /// Sends wrong bytes, every chunk.
    Lies,
    /// Its session ends at this time.
    Leaves(Duration),
    /// Its session ends at the first time and another begins at the second.
    Returns(Duration, Duration),
    /// It serves nothing from the first time to the second.
    Stalls(Duration, Duration),
    /// It says BUSY to the first wants, so many times.
    Busy(u32),
    /// It declines every n-th chunk.
    Declines(u64),
}

#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) rate: u64,
    /// One way.
    pub(super) delay: Duration,
    pub(super) nature: Nature,
    pub(super) joins: Duration,
    pub(super) holds: Availability,
    /// Chunks it comes to hold later, and when.
    pub(super) gains: Vec<(Duration, ChunkRange)>,
    /// Whether the rate comes from a token bucket, in bursts, instead of a steady line.
    pub(super) bursts: bool,
    /// Bytes that it reads ahead, and that no CANCEL reaches any more.
    pub(super) commits: u64,
}

impl Peer {
    pub(super) fn seeder(rate: u64, chunks: u64) -> Self {
        Self {
            rate,
            delay: Duration::from_micros(500),
            nature: Nature::Honest,
            joins: Duration::ZERO,
            holds: Availability::all(chunks),
            gains: Vec::new(),
            bursts: false,
            commits: 1024 * 1024,
        }
    }
}

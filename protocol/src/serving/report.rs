//! What the policy can tell of itself: plain numbers for status and for explaining.

use std::time::Duration;

use super::action::{ContentNumber, PeerNumber, ServingWait, SessionId};

/// Serving as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServingReport {
    /// Sessions that are open.
    pub sessions: usize,
    /// Peers that want something, or to whom something is under way.
    pub active_peers: usize,
    /// Peers that may be served at once, within the limit.
    pub places: usize,
    /// Chunks that are wanted and not under way.
    pub wanted_chunks: u64,
    /// Bytes under way from the store to streams that take them.
    pub under_way_bytes: u64,
    /// Totals since the beginning, of sessions that have ended too.
    pub counters: Counters,
    /// How long the node's limit has kept everybody waiting.
    pub limited: Duration,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionReport {
    /// Which one.
    pub session: SessionId,
    /// With whom.
    pub peer: PeerNumber,
    /// Of what.
    pub content: ContentNumber,
    /// What it does now, or why it waits.
    pub wait: ServingWait,
    /// How long it has spent at each, in the order of [`ServingWait::ALL`].
    pub waited: [Duration; ServingWait::ALL.len()],
    /// Its numbers.
    pub counters: Counters,
    /// Chunks that it wants and that are not under way.
    pub wanted_chunks: u64,
    /// Nodes that it wants and that are not under way.
    pub wanted_nodes: usize,
    /// Bytes under way to it.
    pub under_way_bytes: u64,
    /// Chunks that are put off and have not been offered yet.
    pub put_off_chunks: usize,
}

/// What has been done, ever growing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Bytes that streams have taken, of chunks and nodes.
    pub sent_bytes: u64,
    /// Chunks that were sent or answered otherwise.
    pub chunks: u64,
    /// Chunks that left for the first time.
    pub first_copies: u64,
    /// Chunks that were cancelled before anything was done for them.
    pub cancelled_chunks: u64,
    /// Chunks that were put off, because another had just got them.
    pub put_off_chunks: u64,
    /// Chunks that were asked for again after having been put off.
    pub came_back_chunks: u64,
    /// How often BUSY was said.
    pub busy: u64,
    /// How often a stream did not take what it was given.
    pub stuck: u64,
}

impl Counters {
    /// Does the same to a session's numbers and to those of all.
    pub(super) fn both(one: &mut Self, all: &mut Self, count: impl Fn(&mut Self)) {
        count(one);
        count(all);
    }
}

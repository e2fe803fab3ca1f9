//! What the engine can tell of itself: plain numbers for progress and for explaining.

use std::time::Duration;

use super::action::{SessionId, Wait};

/// A fetch as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Chunks of the layout handed in so far.
    pub layout_chunks: u64,
    /// Bytes of the layout handed in so far.
    pub layout_bytes: u64,
    /// Chunks of it that are held.
    pub held_chunks: u64,
    /// Bytes of it that are held.
    pub held_bytes: u64,
    /// Chunk bytes that came and were kept.
    pub received_bytes: u64,
    /// Chunk bytes that came and were of no use.
    pub wasted_bytes: u64,
    /// Bytes of manifest nodes that came and were of use.
    pub node_bytes: u64,
    /// Bytes in flight, each copy counted.
    pub in_flight_bytes: u64,
    /// Chunks that are missing and have not been asked of anybody.
    pub unassigned_chunks: u64,
    /// Manifest nodes that are wanted.
    pub wanted_nodes: usize,
    /// Sessions that are open.
    pub sessions: usize,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionReport {
    /// Which one.
    pub session: SessionId,
    /// What it does now.
    pub wait: Wait,
    /// How long it has spent at each, in the order of [`Wait::ALL`].
    pub waited: [Duration; Wait::ALL.len()],
    /// Its numbers.
    pub counters: Counters,
    /// Bytes in flight.
    pub in_flight_bytes: u64,
    /// Chunks in flight.
    pub in_flight_chunks: usize,
    /// Nodes in flight.
    pub in_flight_nodes: usize,
    /// Its window now.
    pub window_bytes: u64,
    /// The rate measured last, in bytes a second; 0: none yet.
    pub rate: u64,
    /// The shortest round trip seen.
    pub round_trip: Option<Duration>,
    /// Faults since it last did well.
    pub faults: u32,
}

/// What a session has done, ever growing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Chunks that were kept.
    pub chunks: u64,
    /// Bytes of chunks that were kept.
    pub bytes: u64,
    /// Chunks that were of no use.
    pub wasted_chunks: u64,
    /// Bytes of chunks that were of no use.
    pub wasted_bytes: u64,
    /// Nodes that were of use.
    pub nodes: u64,
    /// Their bytes.
    pub node_bytes: u64,
    /// Chunks that it was asked for.
    pub asked_chunks: u64,
    /// Chunks that were taken back because it made no progress, was busy or ended.
    pub reassigned_chunks: u64,
    /// Chunks that were taken back because a faster session took them over, or delivered them first.
    pub stolen_chunks: u64,
    /// Chunks that it declined.
    pub declined_chunks: u64,
    /// How often it made no progress by its deadline.
    pub deadlines_missed: u64,
    /// How often it was busy.
    pub busy: u64,
}

//! The engine's knobs.

use std::time::Duration;

/// In which order chunks are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// What the fewest peers hold comes first, ties are broken at random: good for everybody.
    RarestFirst,
    /// From the front: for a reader who waits.
    Sequential,
}

/// Settings of one fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// In which order chunks are asked for. Default: rarest first.
    pub order: Order,
    /// Bytes of layout that are handed in and not held yet, before `needs_layout` says no. For a reader this is the
    /// look-ahead. Default 8 GiB, which bounds the engine's own memory together with `look_ahead_chunks`.
    pub look_ahead_bytes: u64,
    /// The same in chunks. Default 65,536: 1.6 MB of engine.
    pub look_ahead_chunks: u64,
    /// Window of a session of which nothing is known. Default 1 MiB: a small file comes in one round trip, and a liar
    /// costs no more.
    pub initial_window_bytes: u64,
    /// The smallest window, for a slow session. Default 192 KiB: three chunks of the length that is aimed at; one of
    /// the longest is asked for all the same. Half of it for a near session among many, where more would lie in the
    /// queue of a server whose turns take long.
    pub min_window_bytes: u64,
    /// The largest window. Default 32 MiB: 1 Gbit/s × 200 ms is 25 MB.
    pub max_window_bytes: u64,
    /// Bytes in flight over all sessions. Default 64 MiB.
    pub budget_bytes: u64,
    /// How much time's worth of data a window holds beyond the round trip, at least. Default 100 ms: it covers the
    /// pauses of disks, schedulers and rate limits.
    pub queue_time: Duration,
    /// The same in bytes, at most: a fast near session needs no 100 ms, and what is asked for may come to lie in
    /// memory. Default 8 MiB.
    pub queue_bytes: u64,
    /// A session with something in flight that moves no 16 KiB for so long is at fault. Default 5 s.
    pub progress_deadline: Duration,
    /// The first rest after that; it doubles each time. Default 1 s.
    pub back_off: Duration,
    /// The longest rest. Default 60 s.
    pub max_back_off: Duration,
    /// Faults in a row that end the session. Default 3.
    pub max_faults: u32,
    /// After so long without an answer a node is asked of more sessions, twice as many each time. Default 250 ms.
    pub node_hedge: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            order: Order::RarestFirst,
            look_ahead_bytes: 8192 * MIB,
            look_ahead_chunks: 65_536,
            initial_window_bytes: MIB,
            min_window_bytes: MIB * 3 / 16,
            max_window_bytes: 32 * MIB,
            budget_bytes: 64 * MIB,
            queue_time: Duration::from_millis(100),
            queue_bytes: 8 * MIB,
            progress_deadline: Duration::from_secs(5),
            back_off: Duration::from_secs(1),
            max_back_off: Duration::from_secs(60),
            max_faults: 3,
            node_hedge: Duration::from_millis(250),
        }
    }
}

impl EngineConfig {
    /// For a reader who waits for the next byte: from the front, no further ahead than `look_ahead_bytes`.
    pub fn sequential(look_ahead_bytes: u64) -> Self {
        Self { order: Order::Sequential, look_ahead_bytes, ..Self::default() }
    }
}

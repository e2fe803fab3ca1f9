//! The policy's knobs.

use std::time::Duration;

const KIB: u64 = 1024;
/// A turn at a limited rate lasts about so long: 1/64 s.
const TURNS_PER_SECOND: u64 = 64;

/// Settings of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServingConfig {
    /// Most bytes a second to all peers together. Default: no limit.
    pub limit: Option<u64>,
    /// Most bytes a second to one peer, over all of its sessions. Default: no limit.
    pub limit_per_peer: Option<u64>,
    /// Most bytes a second of one content, to all peers together. Default: no limit.
    pub limit_per_content: Option<u64>,
    /// Bytes that a peer may be sent when its turn comes and others wait. Default: 1/64 s of the limit, from 32 KiB to
    /// 256 KiB, which is also the default without a limit: large enough to spread the cost of a turn over several
    /// chunks.
    pub quantum_bytes: u64,
    /// Bytes that are read for a session in one go while nobody else waits. Default 512 KiB; a session holds two such
    /// batches at most, and one that does not read a smaller one.
    pub batch_bytes: u64,
    /// Bytes that may be under way to all sessions together, from the grant until the stream has taken them, before
    /// others wait. What lies there for longer than `patience` does not count. Default 8 MiB.
    pub out_bytes: u64,
    /// How long a stream may take for what it was given before it counts as one that does not read. Default 250 ms.
    pub patience: Duration,
    /// Within so much time each peer that is being served should have its turn; as many get a place as the limit
    /// allows, the others are told BUSY. Default 2 s: requesters lose patience after 5 s.
    pub round: Duration,
    /// Turns that a peer has before it gives way to others who found no place. Default 8.
    pub turns: u32,
    /// How long a chunk that has just left for one leecher is not sent to another. Default 2 s, within which it should
    /// have been stored, announced and asked for. Zero: nothing is ever put off.
    pub put_off: Duration,
    /// Most chunks whose copies are counted for each content: one byte each. Default 1 Mi. What lies beyond is served
    /// as if it had never left.
    pub max_counted_chunks: u64,
}

impl ServingConfig {
    /// The defaults, for a limit over all peers in bytes a second, if there is one.
    pub fn new(limit: Option<u64>) -> Self {
        let most = 256 * KIB;
        Self {
            limit,
            limit_per_peer: None,
            limit_per_content: None,
            quantum_bytes: limit.map_or(most, |rate| (rate / TURNS_PER_SECOND).clamp(32 * KIB, most)),
            batch_bytes: 512 * KIB,
            out_bytes: 8192 * KIB,
            patience: Duration::from_millis(250),
            round: Duration::from_secs(2),
            turns: 8,
            put_off: Duration::from_secs(2),
            max_counted_chunks: 1024 * 1024,
        }
    }
}

impl Default for ServingConfig {
    fn default() -> Self {
        Self::new(None)
    }
}

//! One seeder, and many who want the same at the same moment.

use std::time::Duration;

use shoal_protocol::engine::EngineConfig;

use super::line::Line;
use super::setup::{Meeting, PeerSetup, Setup};
use super::store::Durability;

/// What a flash crowd is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlashCrowd {
    /// How many fetch.
    pub peers: u64,
    /// Bytes of the content. Default 200 MB.
    pub bytes: u64,
    /// Bytes of a chunk on average. Default: the chunker's target.
    pub chunk_bytes: u32,
    /// What everybody may send, in bytes a second. Default 20 MB/s.
    pub up: u64,
    /// What the seeder may send; `None`: as much as the others.
    pub seeder_up: Option<u64>,
    /// What everybody can take in; `None`: as much as comes.
    pub down: Option<u64>,
    /// One way between two peers. Default 2 ms: a fleet in one place.
    pub delay: Duration,
}

impl FlashCrowd {
    /// The defaults, for so many who fetch.
    pub fn new(peers: u64) -> Self {
        Self {
            peers,
            bytes: 200_000_000,
            chunk_bytes: shoal_protocol::chunker::TARGET_CHUNK_BYTES,
            up: 20_000_000,
            seeder_up: None,
            down: None,
            delay: Duration::from_millis(2),
        }
    }

    /// The setup of it.
    pub fn setup(&self) -> Setup {
        let line = Line { down: self.down, delay: self.delay / 2, ..Line::default() };
        let seeder = PeerSetup { line, limit_up: Some(self.seeder_up.unwrap_or(self.up)), ..PeerSetup::seeder() };
        let leecher = PeerSetup { line, limit_up: Some(self.up), ..PeerSetup::leecher() };
        let count = usize::try_from(self.peers).unwrap_or(usize::MAX);
        Setup {
            name: "flash-crowd".to_owned(),
            bytes: self.bytes,
            chunk_bytes: self.chunk_bytes,
            peers: std::iter::once(seeder).chain(std::iter::repeat_n(leecher, count)).collect(),
            faults: Vec::new(),
            meeting: Meeting::near(),
            durability: Durability::default(),
            engine: EngineConfig::default(),
            quantum_bytes: None,
            limit: Duration::from_secs(3600),
        }
    }
}

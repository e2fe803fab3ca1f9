//! The download engine: what to ask of whom.

mod action;
mod config;
mod report;

use std::time::Duration;

pub use action::{Action, ChunkVerdict, CloseReason, SessionId, Stall, Wait};
pub use config::{EngineConfig, Order};
pub use report::{Counters, Progress, SessionReport};

use crate::availability::{AvailabilityPart, ChunkIndex, ChunkRange};
use crate::hash::NodeId;

/// Decides, for one fetch, what to ask of which session. (Signatures first: bodies follow.)
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
}

#[allow(unused_variables, clippy::needless_pass_by_ref_mut, clippy::unused_self)]
impl Engine {
    /// An engine without sessions and layout.
    pub fn new(config: EngineConfig, seed: u64) -> Self {
        Self { config }
    }
    /// A session has been accepted by its server.
    pub fn handle_opened(&mut self, session: SessionId, now: Duration) {}
    /// A session has ended; what was in flight from it goes to others.
    pub fn handle_closed(&mut self, session: SessionId, now: Duration) {}
    /// The verified root says how many chunks the manifest has.
    pub fn set_chunk_count(&mut self, chunks: u64, now: Duration) {}
    /// AVAILABILITY came.
    pub fn handle_availability(&mut self, session: SessionId, part: &AvailabilityPart, now: Duration) {}
    /// HAVE came.
    pub fn handle_have(&mut self, session: SessionId, ranges: &[ChunkRange], now: Duration) {}
    /// A verified chunk leaf has been read: chunks `first..` with these lengths are wanted, but those for which `held`
    /// (offset in `lens`) says true.
    pub fn handle_layout(&mut self, first: ChunkIndex, lens: &[u32], held: &dyn Fn(usize) -> bool, now: Duration) {}
    /// No more layout will come.
    pub fn layout_finished(&mut self) {}
    /// Whether the shell should walk on in the manifest.
    pub fn needs_layout(&self) -> bool {
        false
    }
    /// A node is wanted.
    pub fn want_node(&mut self, id: NodeId, now: Duration) {}
    /// A node is wanted no more.
    pub fn forget_node(&mut self, id: &NodeId, now: Duration) {}
    /// A verified node came; says whether it was wanted.
    pub fn handle_node(&mut self, session: SessionId, id: &NodeId, bytes: usize, now: Duration) -> bool {
        false
    }
    /// A node's bytes are not what its id says.
    pub fn handle_bad_node(&mut self, session: SessionId, id: &NodeId, now: Duration) {}
    /// NO_NODES came.
    pub fn handle_no_nodes(&mut self, session: SessionId, ids: &[NodeId], now: Duration) {}
    /// Bytes of a frame have arrived that is not whole yet.
    pub fn handle_progress(&mut self, session: SessionId, bytes: usize, now: Duration) {}
    /// Whether the chunk is wanted and not held: others need not be verified.
    pub fn is_missing(&self, index: ChunkIndex) -> bool {
        false
    }
    /// A chunk of so many bytes came: verified, or not missing and so not verified.
    pub fn handle_chunk(&mut self, session: SessionId, index: ChunkIndex, bytes: usize, now: Duration) -> ChunkVerdict {
        ChunkVerdict::Unasked
    }
    /// A chunk's bytes are not what its id says.
    pub fn handle_bad_chunk(&mut self, session: SessionId, index: ChunkIndex, now: Duration) {}
    /// NO_CHUNKS came.
    pub fn handle_no_chunks(&mut self, session: SessionId, ranges: &[ChunkRange], now: Duration) {}
    /// BUSY came.
    pub fn handle_busy(&mut self, session: SessionId, retry_after: Duration, now: Duration) {}
    /// A chunk is held by other means.
    pub fn handle_held(&mut self, index: ChunkIndex, now: Duration) {}
    /// The next thing to do.
    pub fn poll(&mut self, now: Duration) -> Option<Action> {
        None
    }
    /// When to poll again at the latest.
    pub fn next_timeout(&self) -> Option<Duration> {
        None
    }
    /// Whether everything is held.
    pub fn is_complete(&self) -> bool {
        false
    }
    /// The fetch as a whole.
    pub fn progress(&self) -> Progress {
        Progress::default()
    }
    /// Each session that is open.
    pub fn sessions(&self, now: Duration) -> Vec<SessionReport> {
        Vec::new()
    }
    /// Why nothing moves, if nothing does.
    pub fn stall(&self) -> Option<Stall> {
        None
    }
}

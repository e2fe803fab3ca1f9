//! Reading the chunk list of a manifest.

use std::ops::Range;

use super::chunk_tree::{ChunkBounds, ChunkBranch, ChunkRow, ChunkTree};
use super::error::ManifestError;
use super::root::Root;
use super::walk::{Step, Walk};
use crate::hash::NodeId;

/// Goes through the chunks of a manifest in order. It asks for nodes ([`needs`](Self::needs)), is fed their bytes in
/// any order ([`feed`](Self::feed)) and hands out leaves in order ([`step`](Self::step)).
#[derive(Debug, Clone)]
pub struct ChunkWalk(Walk<ChunkTree>);

/// Chunks that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkLeaf {
    /// The index of the first one in the manifest.
    pub first: u64,
    /// Where the first one begins in the stream.
    pub offset: u64,
    /// The chunks; at least one, at most some 1,024.
    pub rows: Vec<ChunkRow>,
}

impl ChunkWalk {
    /// All chunks.
    pub fn all(root: &Root) -> Self {
        Self::chunks(root, 0..u64::MAX)
    }

    /// The chunks with these indices.
    pub fn chunks(root: &Root, chunks: Range<u64>) -> Self {
        Self::new(root, ChunkBounds::Chunks(chunks))
    }

    /// The chunks in which any byte of this range of the stream lies. None for an empty range.
    pub fn bytes(root: &Root, bytes: Range<u64>) -> Self {
        let bytes = if bytes.is_empty() { 0..0 } else { bytes };
        Self::new(root, ChunkBounds::Bytes(bytes))
    }

    fn new(root: &Root, bounds: ChunkBounds) -> Self {
        let is_empty = match &bounds {
            ChunkBounds::Chunks(range) | ChunkBounds::Bytes(range) => range.is_empty(),
        };
        let top = root.chunk_root.filter(|_| !is_empty);
        Self(Walk::new(top.map(|id| ChunkBranch::new(id, root.chunk_sum())), bounds))
    }

    /// The nodes to get next, nearest first, each once: at most `limit`, and few above the leaves so that what is
    /// kept stays small. The answer is the same until a node is fed or a leaf taken; what is already asked for is
    /// the caller's to remember. A node that stands in several places may come up again.
    pub fn needs(&self, limit: usize) -> Vec<NodeId> {
        self.0.needs(limit)
    }

    /// Takes the bytes of a node. One that is not needed is ignored. After [`ManifestError::WrongBytes`] the walk
    /// goes on as if nothing had been fed; after anything else the manifest is worthless.
    pub fn feed(&mut self, id: NodeId, bytes: &[u8]) -> Result<(), ManifestError> {
        self.0.feed(id, bytes)
    }

    /// Passes over the chunks below the node that [`step`](Self::step) asks for: for whoever looks at what is there
    /// and not for what is missing. `false`: it asks for none.
    pub fn skip(&mut self) -> bool {
        self.0.skip()
    }

    /// The next chunks in order.
    pub fn step(&mut self) -> Result<Step<ChunkLeaf>, ManifestError> {
        Ok(match self.0.step()? {
            Step::Leaf(leaf) => {
                Step::Leaf(ChunkLeaf { first: leaf.before.chunks, offset: leaf.before.bytes, rows: leaf.rows })
            }
            Step::Need(id) => Step::Need(id),
            Step::Done => Step::Done,
        })
    }
}

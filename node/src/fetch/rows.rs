//! The rows of the chunk list that a fetch is working on: what tells a session which bytes an index must have.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use shoal_protocol::availability::ChunkIndex;
use shoal_protocol::hash::ChunkId;
use shoal_protocol::manifest::{ChunkLeaf, ChunkRow};

/// A row and where its chunk begins in the content's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlacedRow {
    pub(super) row: ChunkRow,
    pub(super) offset: u64,
}

/// Leaves by the index of their first chunk. A leaf leaves when all its chunks are here, so there are never more than
/// the engine's look-ahead.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// A std lock: each section is one look-up. Written once per leaf, read once per chunk.
    leaves: RwLock<BTreeMap<u64, Leaf>>,
}

#[derive(Debug)]
struct Leaf {
    rows: Arc<[PlacedRow]>,
    /// Chunks that are not here yet.
    missing: usize,
}

impl Rows {
    /// Adds a leaf of which so many chunks are missing.
    pub(super) fn insert(&self, leaf: &ChunkLeaf, missing: usize) {
        let mut offset = leaf.offset;
        let place = |row: &ChunkRow| {
            let placed = PlacedRow { row: *row, offset };
            offset += u64::from(row.len);
            placed
        };
        let rows = leaf.rows.iter().map(place).collect();
        let mut leaves = self.leaves.write().unwrap_or_else(PoisonError::into_inner);
        leaves.insert(leaf.first, Leaf { rows, missing });
    }

    /// The row of a chunk, if it is being worked on.
    pub(super) fn find(&self, index: ChunkIndex) -> Option<PlacedRow> {
        let leaves = self.leaves.read().unwrap_or_else(PoisonError::into_inner);
        let (first, leaf) = leaves.range(..=index.0).next_back()?;
        leaf.rows.get(usize::try_from(index.0 - first).ok()?).copied()
    }

    /// Every chunk of the leaves, here or not.
    pub(super) fn all(&self) -> Vec<(ChunkIndex, ChunkId)> {
        let leaves = self.leaves.read().unwrap_or_else(PoisonError::into_inner);
        let rows = leaves.iter().flat_map(|(first, leaf)| (*first..).zip(leaf.rows.iter()));
        rows.map(|(index, placed)| (ChunkIndex(index), placed.row.id)).collect()
    }

    /// Notes that a chunk that was missing is here.
    pub(super) fn arrived(&self, index: ChunkIndex) {
        let mut leaves = self.leaves.write().unwrap_or_else(PoisonError::into_inner);
        let Some((&first, leaf)) = leaves.range_mut(..=index.0).next_back() else {
            return;
        };
        leaf.missing = leaf.missing.saturating_sub(1);
        if leaf.missing == 0 {
            leaves.remove(&first);
        }
    }
}

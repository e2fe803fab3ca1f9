//! Leaves of chunk lists that were read lately, kept for all serving sessions.
//!
//! Requesters ask for chunks in random order, so one after the other lies below another leaf. Reading a leaf anew for
//! each of them means to hash it, and each node above it, as often: measured with one requester of 1 GiB, half of all
//! that the provider hashed. What is kept here has been checked when it was read.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use shoal_protocol::availability::ChunkIndex;
use shoal_protocol::hash::ContentHash;
use shoal_protocol::manifest::ChunkLeaf;

/// Rows that are kept, some 40 bytes each: 5 MiB, or the chunks of 9 GiB.
const MOST_ROWS: usize = 128 * 1024;

/// The leaves of all contents.
#[derive(Debug, Default)]
pub(crate) struct Leaves {
    /// A std mutex: each section is a look-up or an insertion.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Each content's by the index of their first chunk.
    leaves: HashMap<ContentHash, BTreeMap<u64, Arc<ChunkLeaf>>>,
    /// The one that came first goes first.
    order: VecDeque<(ContentHash, u64)>,
    rows: usize,
}

impl Leaves {
    /// The leaf with the row of this chunk, if it is kept.
    pub(crate) fn find(&self, content: &ContentHash, index: ChunkIndex) -> Option<Arc<ChunkLeaf>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, leaf) = kept.leaves.get(content)?.range(..=index.0).next_back()?;
        covers(leaf, index).then(|| Arc::clone(leaf))
    }

    /// Keeps a leaf; others make room for it.
    pub(crate) fn keep(&self, content: ContentHash, leaf: Arc<ChunkLeaf>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, rows) = (leaf.first, leaf.rows.len());
        match kept.leaves.entry(content).or_default().insert(first, leaf) {
            // Another session has read it at the same time.
            Some(same) => kept.rows -= same.rows.len(),
            None => kept.order.push_back((content, first)),
        }
        kept.rows += rows;
        while kept.rows > MOST_ROWS && kept.drop_oldest() {}
    }
}

impl Kept {
    fn drop_oldest(&mut self) -> bool {
        let Some((content, first)) = self.order.pop_front() else {
            return false;
        };
        if let Some(leaves) = self.leaves.get_mut(&content) {
            if let Some(leaf) = leaves.remove(&first) {
                self.rows -= leaf.rows.len();
            }
            if leaves.is_empty() {
                self.leaves.remove(&content);
            }
        }
        true
    }
}

/// Whether a leaf has the row of a chunk.
pub(crate) fn covers(leaf: &ChunkLeaf, index: ChunkIndex) -> bool {
    index.0 >= leaf.first && index.0 - leaf.first < leaf.rows.len() as u64
}

#[cfg(test)]
mod tests {
    use shoal_protocol::hash::{ChunkId, NodeId};
    use shoal_protocol::manifest::ChunkRow;

    use super::*;

    const ROWS: usize = 1024;

    fn leaf(first: u64) -> Arc<ChunkLeaf> {
        let row = ChunkRow { id: ChunkId::of(&first.to_le_bytes()), len: 1 };
        Arc::new(ChunkLeaf { first, offset: first, rows: vec![row; ROWS] })
    }

    fn content(name: &[u8]) -> ContentHash {
        ContentHash::from_root(NodeId::of(name))
    }

    #[test]
    fn a_leaf_is_found_by_each_of_its_chunks_and_by_no_other() {
        let (leaves, one, rows) = (Leaves::default(), content(b"one"), ROWS as u64);
        leaves.keep(one, leaf(rows));
        for (index, found) in [(0, false), (rows - 1, false), (rows, true), (2 * rows - 1, true), (2 * rows, false)] {
            assert_eq!(leaves.find(&one, ChunkIndex(index)).is_some(), found, "{index}");
        }
        assert!(leaves.find(&content(b"two"), ChunkIndex(rows)).is_none());
    }

    #[test]
    fn old_leaves_make_room_and_nothing_of_them_stays() {
        let leaves = Leaves::default();
        let most = MOST_ROWS / ROWS;
        for number in 0..3 * most {
            let content = content(&(number / 2).to_le_bytes());
            let leaf = leaf((number % 2 * ROWS) as u64);
            leaves.keep(content, Arc::clone(&leaf));
            // Kept twice, it counts once.
            leaves.keep(content, leaf);
        }
        let kept = leaves.kept.lock().unwrap();
        assert_eq!((kept.rows, kept.order.len(), kept.leaves.len()), (MOST_ROWS, most, most / 2));
    }
}

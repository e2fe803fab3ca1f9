//! Chunks that stand more than once in a content: they are asked for once.

use std::collections::{HashMap, HashSet, VecDeque};

use shoal_protocol::availability::ChunkIndex;
use shoal_protocol::hash::ChunkId;
use shoal_protocol::manifest::ChunkLeaf;

/// Chunks that are remembered as arrived. By the time as many others have come, the store knows them itself.
const RECENT: usize = 16 * 1024;

/// What is known of the chunks of a leaf.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Looked {
    /// Of each, whether it need not be asked for.
    pub(super) known: Vec<bool>,
    /// Those that have arrived and that the store does not hold durably yet.
    pub(super) on_their_way: Vec<ChunkIndex>,
}

/// Which chunks have been asked for, and where else each of them stands.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// Bounded by the engine's look-ahead, but for the places of chunks that repeat: 8 bytes each.
    missing: HashMap<ChunkId, Vec<ChunkIndex>>,
    arrived: HashSet<ChunkId>,
    order: VecDeque<ChunkId>,
}

impl Repeats {
    /// Takes in a leaf of which the store holds some chunks.
    pub(super) fn add(&mut self, leaf: &ChunkLeaf, held: &[bool]) -> Looked {
        let mut looked = Looked { known: Vec::with_capacity(leaf.rows.len()), on_their_way: Vec::new() };
        for ((index, row), held) in (leaf.first..).map(ChunkIndex).zip(&leaf.rows).zip(held) {
            let has_arrived = !held && self.arrived.contains(&row.id);
            if has_arrived {
                looked.on_their_way.push(index);
            }
            looked.known.push(*held || has_arrived || self.is_asked_for(row.id, index));
        }
        looked
    }

    fn is_asked_for(&mut self, id: ChunkId, place: ChunkIndex) -> bool {
        match self.missing.get_mut(&id) {
            Some(others) => {
                others.push(place);
                true
            }
            None => {
                self.missing.insert(id, Vec::new());
                false
            }
        }
    }

    /// Notes that a chunk is here, and says where else it stands.
    pub(super) fn arrived(&mut self, id: &ChunkId) -> Vec<ChunkIndex> {
        if self.arrived.insert(*id) {
            self.order.push_back(*id);
            if self.order.len() > RECENT
                && let Some(old) = self.order.pop_front()
            {
                self.arrived.remove(&old);
            }
        }
        self.missing.remove(id).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use shoal_protocol::manifest::ChunkRow;

    use super::*;

    fn leaf(first: u64, ids: &[u8]) -> ChunkLeaf {
        let rows = ids.iter().map(|id| ChunkRow { id: ChunkId::of(&[*id]), len: 10 }).collect();
        ChunkLeaf { first, offset: first * 10, rows }
    }

    fn looked(known: &[bool], on_their_way: &[u64]) -> Looked {
        Looked { known: known.to_vec(), on_their_way: on_their_way.iter().copied().map(ChunkIndex).collect() }
    }

    #[test]
    fn each_chunk_is_asked_for_once() {
        let mut repeats = Repeats::default();
        let held = [true, false, false, false];
        assert_eq!(repeats.add(&leaf(0, &[1, 2, 3, 2]), &held), looked(&[true, false, false, true], &[]));
        assert_eq!(repeats.add(&leaf(4, &[2]), &[false]), looked(&[true], &[]));
        assert_eq!(repeats.arrived(&ChunkId::of(&[2])), [ChunkIndex(3), ChunkIndex(4)]);
        assert_eq!(repeats.add(&leaf(5, &[2, 3, 4]), &[false; 3]), looked(&[true, true, false], &[5]));
        assert_eq!(repeats.arrived(&ChunkId::of(&[9])), []);
    }
}

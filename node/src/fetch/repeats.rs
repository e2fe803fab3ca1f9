//! Chunks that stand more than once in a content: they are asked for once.

use std::collections::{HashMap, HashSet, VecDeque};

use shoal_protocol::availability::ChunkIndex;
use shoal_protocol::hash::ChunkId;
use shoal_protocol::manifest::ChunkLeaf;

/// Chunks that are remembered as arrived. By the time as many others have come, the store knows them itself.
const RECENT: usize = 16 * 1024;

/// A further place of a chunk that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) index: ChunkIndex,
    /// Where it begins in the stream.
    pub(super) offset: u64,
}

/// Which chunks are on their way, and where else each of them stands.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// Bounded by the engine's look-ahead, but for the places of chunks that repeat: 16 bytes each.
    missing: HashMap<ChunkId, Vec<Place>>,
    arrived: HashSet<ChunkId>,
    order: VecDeque<ChunkId>,
}

impl Repeats {
    /// Takes in a leaf of which the store holds some chunks; says of each chunk whether it need not be asked for.
    pub(super) fn add(&mut self, leaf: &ChunkLeaf, held: &[bool]) -> Vec<bool> {
        let mut offset = leaf.offset;
        let mut known = Vec::with_capacity(leaf.rows.len());
        for ((index, row), held) in (leaf.first..).zip(&leaf.rows).zip(held) {
            let place = Place { index: ChunkIndex(index), offset };
            offset += u64::from(row.len);
            known.push(*held || self.arrived.contains(&row.id) || self.is_on_its_way(row.id, place));
        }
        known
    }

    fn is_on_its_way(&mut self, id: ChunkId, place: Place) -> bool {
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
    pub(super) fn arrived(&mut self, id: &ChunkId) -> Vec<Place> {
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

    #[test]
    fn each_chunk_is_asked_for_once() {
        let mut repeats = Repeats::default();
        let held = [true, false, false, false];
        assert_eq!(repeats.add(&leaf(0, &[1, 2, 3, 2]), &held), [true, false, false, true]);
        assert_eq!(repeats.add(&leaf(4, &[2]), &[false]), [true]);
        let places = [3, 4].map(|index| Place { index: ChunkIndex(index), offset: index * 10 });
        assert_eq!(repeats.arrived(&ChunkId::of(&[2])), places);
        assert_eq!(repeats.add(&leaf(5, &[2, 3, 4]), &[false; 3]), [true, true, false]);
        assert_eq!(repeats.arrived(&ChunkId::of(&[9])), []);
    }
}

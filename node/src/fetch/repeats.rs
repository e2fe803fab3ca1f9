//! Chunks that stand more than once in a content: they are asked for once.

use std::collections::{HashMap, HashSet, VecDeque};

use shoal_protocol::availability::{ChunkIndex, ChunkRange, push_index};
use shoal_protocol::hash::ChunkId;
use shoal_protocol::manifest::ChunkLeaf;

/// Chunks that are remembered as arrived. By the time as many others have come, the store knows them itself.
const RECENT: usize = 16 * 1024;
/// Runs of places, 16 bytes each, that may wait for chunks that were asked for.
const MAX_RUNS: usize = 64 * 1024;

/// What is known of the chunks of a leaf.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Looked {
    /// Of each, whether it need not be asked for.
    pub(super) known: Vec<bool>,
    /// Those that have arrived and that the store does not hold durably yet.
    pub(super) on_their_way: Vec<ChunkRange>,
}

/// Which chunks have been asked for, and where else each of them stands.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// As many as the engine's look-ahead allows.
    missing: HashMap<ChunkId, Vec<ChunkRange>>,
    /// Runs in `missing`.
    runs: usize,
    arrived: HashSet<ChunkId>,
    order: VecDeque<ChunkId>,
}

impl Repeats {
    /// Whether so many places wait for chunks that were asked for that the walk should wait too. The engine bounds how
    /// far it goes by what is missing, and a repeated chunk is missing but once.
    pub(super) fn is_full(&self) -> bool {
        self.runs >= MAX_RUNS
    }

    /// Takes in a leaf of which the store holds some chunks.
    pub(super) fn add(&mut self, leaf: &ChunkLeaf, held: &[bool]) -> Looked {
        let mut looked = Looked { known: Vec::with_capacity(leaf.rows.len()), on_their_way: Vec::new() };
        for ((index, row), held) in (leaf.first..).map(ChunkIndex).zip(&leaf.rows).zip(held) {
            let has_arrived = !held && self.arrived.contains(&row.id);
            if has_arrived {
                push_index(&mut looked.on_their_way, index);
            }
            looked.known.push(*held || has_arrived || self.is_asked_for(row.id, index));
        }
        looked
    }

    fn is_asked_for(&mut self, id: ChunkId, place: ChunkIndex) -> bool {
        match self.missing.get_mut(&id) {
            Some(others) => {
                let before = others.len();
                push_index(others, place);
                self.runs += others.len() - before;
                true
            }
            None => {
                self.missing.insert(id, Vec::new());
                false
            }
        }
    }

    /// Notes that a chunk is here, and says where else it stands.
    pub(super) fn arrived(&mut self, id: &ChunkId) -> Vec<ChunkRange> {
        if self.arrived.insert(*id) {
            self.order.push_back(*id);
            if self.order.len() > RECENT
                && let Some(old) = self.order.pop_front()
            {
                self.arrived.remove(&old);
            }
        }
        let others = self.missing.remove(id).unwrap_or_default();
        self.runs -= others.len();
        others
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

    fn looked(known: &[bool], on_their_way: &[ChunkRange]) -> Looked {
        Looked { known: known.to_vec(), on_their_way: on_their_way.to_vec() }
    }

    fn run(start: u64, count: u32) -> ChunkRange {
        ChunkRange { start: ChunkIndex(start), count }
    }

    #[test]
    fn each_chunk_is_asked_for_once() {
        let mut repeats = Repeats::default();
        let held = [true, false, false, false];
        assert_eq!(repeats.add(&leaf(0, &[1, 2, 3, 2]), &held), looked(&[true, false, false, true], &[]));
        assert_eq!(repeats.add(&leaf(4, &[2]), &[false]), looked(&[true], &[]));
        assert_eq!(repeats.arrived(&ChunkId::of(&[2])), [run(3, 2)]);
        assert_eq!(repeats.add(&leaf(5, &[2, 3, 4]), &[false; 3]), looked(&[true, true, false], &[run(5, 1)]));
        assert_eq!(repeats.arrived(&ChunkId::of(&[9])), []);
    }

    #[test]
    fn a_content_of_one_chunk_costs_one_run() {
        let mut repeats = Repeats::default();
        for first in (0..1 << 20).step_by(1 << 10) {
            repeats.add(&leaf(first, &[7; 1 << 10]), &[false; 1 << 10]);
        }
        assert_eq!((repeats.runs, repeats.is_full()), (1, false));
        assert_eq!(repeats.arrived(&ChunkId::of(&[7])), [run(1, (1 << 20) - 1)]);
        assert_eq!(repeats.runs, 0);
    }

    #[test]
    fn the_walk_waits_when_too_many_places_wait() {
        let mut repeats = Repeats::default();
        let mut first = 0;
        while !repeats.is_full() {
            assert!(repeats.runs < MAX_RUNS);
            repeats.add(&leaf(first, &[1, 2].repeat(512)), &[false; 1024]);
            first += 1024;
        }
        assert_eq!(repeats.runs, first as usize - 2);
        repeats.arrived(&ChunkId::of(&[1]));
        assert!(!repeats.is_full(), "half of them are free");
        assert_eq!(repeats.runs, first as usize / 2 - 1);
    }
}

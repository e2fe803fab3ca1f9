//! Which chunks of another content are chunks of the one that is fetched.
//!
//! A session about a base speaks of the base's indices. Here they become indices of what is fetched, and back.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use shoal_protocol::availability::{ChunkIndex, ChunkRange, push_index};
use shoal_protocol::hash::ChunkId;

/// Most chunks of a base that are looked at: 40 GiB of content, 36 bytes each.
pub(super) const MAX_BASE_CHUNKS: u64 = 512 * 1024;

/// The chunks of a base, and those of them that the content has too.
#[derive(Debug)]
pub(super) struct Translation {
    /// By id.
    rows: Vec<(ChunkId, u32)>,
    /// A std lock: each section is a few look-ups.
    shared: RwLock<Shared>,
}

/// No larger than the base.
#[derive(Debug, Default)]
struct Shared {
    theirs: BTreeMap<ChunkIndex, ChunkIndex>,
    ours: BTreeMap<ChunkIndex, ChunkIndex>,
}

impl Translation {
    /// For a base with these chunks and their indices.
    pub(super) fn new(mut rows: Vec<(ChunkId, u32)>) -> Self {
        rows.sort_unstable();
        rows.dedup_by_key(|(id, _)| *id);
        Self { rows, shared: RwLock::default() }
    }

    /// Takes in a chunk of what is fetched; gives its index in the base, if it is there.
    pub(super) fn add(&self, ours: ChunkIndex, id: &ChunkId) -> Option<ChunkIndex> {
        let at = self.rows.binary_search_by(|(known, _)| known.cmp(id)).ok()?;
        let theirs = ChunkIndex(self.rows.get(at)?.1.into());
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        shared.theirs.insert(ours, theirs);
        shared.ours.insert(theirs, ours);
        Some(theirs)
    }

    /// What the base's chunk is here.
    pub(super) fn ours(&self, theirs: ChunkIndex) -> Option<ChunkIndex> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner).ours.get(&theirs).copied()
    }

    /// What chunks of these runs are here, as far as `accept` takes them.
    pub(super) fn all_ours(
        &self,
        theirs: impl IntoIterator<Item = (ChunkIndex, u64)>,
        accept: impl Fn(ChunkIndex) -> bool,
    ) -> Vec<ChunkRange> {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<ChunkIndex> = Vec::new();
        for (start, end) in theirs.into_iter().filter(|(start, end)| start.0 < *end) {
            let run = shared.ours.range(start..ChunkIndex(end));
            found.extend(run.filter(|(theirs, _)| accept(**theirs)).map(|(_, ours)| *ours));
        }
        runs(found)
    }

    /// What these chunks are in the base.
    pub(super) fn all_theirs(&self, ours: &[ChunkRange]) -> Vec<ChunkRange> {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        let indices = ours.iter().flat_map(ChunkRange::indices);
        let mut ranges = Vec::new();
        for theirs in indices.filter_map(|index| shared.theirs.get(&index)) {
            push_index(&mut ranges, *theirs);
        }
        ranges
    }
}

/// Puts indices together to runs.
pub(super) fn runs(mut indices: Vec<ChunkIndex>) -> Vec<ChunkRange> {
    indices.sort_unstable();
    indices.dedup();
    let mut ranges = Vec::new();
    for index in indices {
        push_index(&mut ranges, index);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(of: u8) -> ChunkId {
        ChunkId::of(&[of])
    }

    fn run(start: u64, count: u32) -> ChunkRange {
        ChunkRange { start: ChunkIndex(start), count }
    }

    #[test]
    fn indices_go_both_ways() {
        // Chunk 2 stands twice in the base.
        let translation = Translation::new(vec![(id(9), 0), (id(1), 1), (id(2), 2), (id(3), 3), (id(2), 4)]);
        for (ours, chunk) in [(10, 1), (11, 2), (12, 3), (13, 7)] {
            let theirs = translation.add(ChunkIndex(ours), &id(chunk));
            assert_eq!(theirs.is_some(), chunk != 7, "{ours}");
        }
        assert_eq!(translation.ours(ChunkIndex(1)), Some(ChunkIndex(10)));
        assert_eq!(translation.ours(ChunkIndex(0)), None);
        assert_eq!(translation.all_theirs(&[run(10, 2), run(12, 5)]), [run(1, 3)]);
        assert_eq!(translation.all_ours([(ChunkIndex(0), u64::MAX)], |_| true), [run(10, 3)]);
        assert_eq!(translation.all_ours([(ChunkIndex(0), 3)], |theirs| theirs.0 != 1), [run(11, 1)]);
        assert_eq!(translation.all_ours([(ChunkIndex(3), 1)], |_| true), []);
    }
}

//! Chunks by their place in a manifest, and runs of them.

/// The place of a chunk in a manifest's chunk list, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkIndex(pub u64);

/// A run of chunks that follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkRange {
    /// The first chunk.
    pub start: ChunkIndex,
    /// How many there are.
    pub count: u32,
}

impl ChunkRange {
    /// One chunk.
    pub const fn one(index: ChunkIndex) -> Self {
        Self { start: index, count: 1 }
    }

    /// The index after the last one.
    pub const fn end(&self) -> u64 {
        self.start.0.saturating_add(self.count as u64)
    }

    /// The indices from first to last.
    pub fn indices(&self) -> impl Iterator<Item = ChunkIndex> + use<> {
        (self.start.0..self.end()).map(ChunkIndex)
    }
}

/// Appends `index` to runs that are being built: the last run grows when the index follows it.
pub fn push_index(ranges: &mut Vec<ChunkRange>, index: ChunkIndex) {
    if let Some(last) = ranges.last_mut()
        && last.end() == index.0
        && last.count < u32::MAX
    {
        last.count += 1;
        return;
    }
    ranges.push(ChunkRange::one(index));
}

//! The tree of a manifest's chunk list.

use std::ops::Range;

use super::error::Defect;
use super::root::MAX_CONTENT_BYTES;
use super::tree::{Branch, Row, Sum, Tree, total};
use crate::chunker::MAX_CHUNK_BYTES;
use crate::codec::{Reader, Writer};
use crate::hash::{ChunkId, HASH_BYTES, NodeId};

/// A chunk in a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRow {
    /// The hash of its bytes.
    pub id: ChunkId,
    /// How many bytes it has: 1 to [`MAX_CHUNK_BYTES`].
    pub len: u32,
}

/// A subtree of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkBranch {
    id: NodeId,
    sum: ChunkSum,
}

/// How much a part of the chunk list holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChunkSum {
    /// How many chunks.
    pub chunks: u64,
    /// Bytes in them.
    pub bytes: u64,
}

impl Sum for ChunkSum {
    fn plus(self, other: Self) -> Option<Self> {
        let bytes = self.bytes.checked_add(other.bytes).filter(|&bytes| bytes <= MAX_CONTENT_BYTES)?;
        Some(Self { chunks: self.chunks.checked_add(other.chunks)?, bytes })
    }
}

/// Which part of the chunk list is wanted.
#[derive(Debug, Clone)]
pub(super) enum ChunkBounds {
    /// Chunks by their index.
    Chunks(Range<u64>),
    /// Chunks that have any byte of this range of the stream.
    Bytes(Range<u64>),
}

fn precedes(bounds: &ChunkBounds, before: &ChunkSum, sum: &ChunkSum) -> bool {
    match bounds {
        ChunkBounds::Chunks(range) => before.chunks.saturating_add(sum.chunks) <= range.start,
        ChunkBounds::Bytes(range) => before.bytes.saturating_add(sum.bytes) <= range.start,
    }
}

fn succeeds(bounds: &ChunkBounds, before: &ChunkSum) -> bool {
    match bounds {
        ChunkBounds::Chunks(range) => before.chunks >= range.end,
        ChunkBounds::Bytes(range) => before.bytes >= range.end,
    }
}

/// The low 32 bits of an id.
fn word_of(id: &[u8; HASH_BYTES]) -> u32 {
    let [a, b, c, d, ..] = *id;
    u32::from_le_bytes([a, b, c, d])
}

impl Row for ChunkRow {
    type Sum = ChunkSum;
    type Bounds = ChunkBounds;

    fn encode(&self, _previous: Option<&Self>, out: &mut Vec<u8>) {
        out.put_raw(self.id.as_bytes());
        out.put_dword(self.len);
    }

    fn decode(reader: &mut Reader<'_>, _previous: Option<&Self>) -> Result<Self, Defect> {
        let id = ChunkId::from_bytes(*reader.array()?);
        let len = reader.u32()?;
        if len == 0 || len > MAX_CHUNK_BYTES {
            return Err(Defect::ChunkLength { length: len });
        }
        Ok(Self { id, len })
    }

    fn sum(&self) -> ChunkSum {
        ChunkSum { chunks: 1, bytes: self.len.into() }
    }

    fn cut_word(&self) -> u32 {
        word_of(self.id.as_bytes())
    }

    fn weight(&self) -> usize {
        HASH_BYTES + 4
    }

    fn precedes(&self, bounds: &ChunkBounds, before: &ChunkSum, _next: Option<&Self>) -> bool {
        precedes(bounds, before, &self.sum())
    }

    fn succeeds(&self, bounds: &ChunkBounds, before: &ChunkSum) -> bool {
        succeeds(bounds, before)
    }
}

impl Row for ChunkBranch {
    type Sum = ChunkSum;
    type Bounds = ChunkBounds;

    fn encode(&self, _previous: Option<&Self>, out: &mut Vec<u8>) {
        out.put_raw(self.id.as_bytes());
        out.put_qword(self.sum.chunks);
        out.put_qword(self.sum.bytes);
    }

    fn decode(reader: &mut Reader<'_>, _previous: Option<&Self>) -> Result<Self, Defect> {
        let id = NodeId::from_bytes(*reader.array()?);
        Ok(Self { id, sum: ChunkSum { chunks: reader.u64()?, bytes: reader.u64()? } })
    }

    fn sum(&self) -> ChunkSum {
        self.sum
    }

    fn cut_word(&self) -> u32 {
        word_of(self.id.as_bytes())
    }

    fn weight(&self) -> usize {
        HASH_BYTES + 16
    }

    fn precedes(&self, bounds: &ChunkBounds, before: &ChunkSum, _next: Option<&Self>) -> bool {
        precedes(bounds, before, &self.sum)
    }

    fn succeeds(&self, bounds: &ChunkBounds, before: &ChunkSum) -> bool {
        succeeds(bounds, before)
    }
}

impl ChunkBranch {
    /// The row that a root stands in for.
    pub(super) const fn new(id: NodeId, sum: ChunkSum) -> Self {
        Self { id, sum }
    }
}

impl Branch<ChunkRow> for ChunkBranch {
    fn over_leaves(id: NodeId, rows: &[ChunkRow]) -> Result<Option<Self>, Defect> {
        Ok(if rows.is_empty() { None } else { Some(Self { id, sum: total(rows)? }) })
    }

    fn over_branches(id: NodeId, rows: &[Self]) -> Result<Option<Self>, Defect> {
        Ok(if rows.is_empty() { None } else { Some(Self { id, sum: total(rows)? }) })
    }

    fn id(&self) -> NodeId {
        self.id
    }

    fn promises(&self, made: &Self) -> Result<(), Defect> {
        if self.sum == made.sum { Ok(()) } else { Err(Defect::Totals) }
    }
}

/// The tree of the chunk list.
#[derive(Debug, Clone)]
pub(super) struct ChunkTree;

impl Tree for ChunkTree {
    const TAG: u8 = b'C';
    type Sum = ChunkSum;
    type Bounds = ChunkBounds;
    type Leaf = ChunkRow;
    type Branch = ChunkBranch;
    type Order = ();

    fn accept(_order: &mut (), _row: &ChunkRow) -> Result<(), Defect> {
        Ok(())
    }
}

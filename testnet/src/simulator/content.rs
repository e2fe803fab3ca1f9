//! What is fetched: a real manifest of chunks that have lengths and ids, and no bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use shoal_protocol::chunker::{MAX_CHUNK_BYTES, MIN_CHUNK_BYTES};
use shoal_protocol::hash::{ChunkId, NodeId};
use shoal_protocol::manifest::{BuildError, ContentKind, ManifestBuilder, Root};

use super::dice::Dice;

/// A content, shared by all peers.
#[derive(Debug)]
pub(super) struct Content {
    /// The length of each chunk.
    pub(super) lens: Vec<u32>,
    pub(super) bytes: u64,
    pub(super) root: Root,
    pub(super) root_id: NodeId,
    /// Every node, the root last.
    pub(super) nodes: Vec<(NodeId, Bytes)>,
    places: BTreeMap<NodeId, u32>,
    /// The places of the first nodes, as far as they are sent before they are asked for: see
    /// `node/src/serve/beginning.rs`.
    pub(super) beginning: Vec<u32>,
}

/// Bytes of a node's frame before the node's own: the frame's header and the id.
pub(super) const NODE_HEADER_BYTES: u64 = 5 + 32;
/// Most bytes that are sent before they are asked for.
const BEGINNING_BYTES: u64 = 4096;

impl Content {
    /// About so many bytes in chunks of about so many: lengths vary by half, as far as the chunker's bounds allow.
    ///
    /// # Errors
    /// More than a content may hold.
    pub(super) fn new(bytes: u64, chunk_bytes: u32, seed: u64) -> Result<Self, BuildError> {
        let mut dice = Dice::new(seed);
        let mean = chunk_bytes.clamp(MIN_CHUNK_BYTES, MAX_CHUNK_BYTES);
        let spread = (mean / 2).min(mean - MIN_CHUNK_BYTES).min(MAX_CHUNK_BYTES - mean);
        let mut builder = ManifestBuilder::new(ContentKind::File);
        let (mut lens, mut left) = (Vec::new(), bytes.max(1));
        while left > 0 {
            let drawn = dice.between(u64::from(mean - spread), u64::from(mean + spread));
            // What is left at the end makes one chunk.
            let len = if left < drawn + u64::from(MIN_CHUNK_BYTES) { left } else { drawn };
            let len = u32::try_from(len).unwrap_or(MAX_CHUNK_BYTES).min(MAX_CHUNK_BYTES);
            builder.push_chunk(ChunkId::of(&(lens.len() as u64).to_le_bytes()), len)?;
            lens.push(len);
            left -= u64::from(len);
        }
        let finished = builder.finish()?;
        let nodes: Vec<_> = finished.nodes.into_iter().map(|node| (node.id, node.bytes)).collect();
        let places: BTreeMap<NodeId, u32> = nodes.iter().enumerate().map(|(at, (id, _))| (*id, at as u32)).collect();
        let first = [Some(finished.hash.root()), finished.root.entry_root, finished.root.chunk_root];
        let mut room = BEGINNING_BYTES;
        let fits = |place: &u32| {
            let bytes =
                nodes.get(*place as usize).map_or(u64::MAX, |(_, bytes)| NODE_HEADER_BYTES + bytes.len() as u64);
            room.checked_sub(bytes).map(|left| room = left).is_some()
        };
        let first = first.into_iter().flatten().filter_map(|id| places.get(&id).copied());
        let beginning = first.take_while(fits).collect();
        Ok(Self {
            beginning,
            bytes: lens.iter().map(|len| u64::from(*len)).sum(),
            lens,
            root: finished.root,
            root_id: finished.hash.root(),
            nodes,
            places,
        })
    }

    pub(super) fn chunks(&self) -> u64 {
        self.lens.len() as u64
    }

    /// The length of a chunk.
    pub(super) fn len(&self, index: u64) -> u32 {
        usize::try_from(index).ok().and_then(|index| self.lens.get(index)).copied().unwrap_or(0)
    }

    /// The place of a node in [`nodes`](Self::nodes).
    pub(super) fn place(&self, id: &NodeId) -> Option<u32> {
        self.places.get(id).copied()
    }

    pub(super) fn mean_chunk_bytes(&self) -> u32 {
        u32::try_from(self.bytes / self.chunks().max(1)).unwrap_or(MAX_CHUNK_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_has_the_size_it_should_have() {
        for (bytes, chunk_bytes) in [(1, 65_536), (16_385, 1), (10_000_000, 65_536), (3_000_000, 1 << 30)] {
            let content = Content::new(bytes, chunk_bytes, 3).unwrap();
            assert_eq!((content.bytes, content.root.bytes), (bytes, bytes));
            assert_eq!(content.root.chunks, content.chunks());
            assert!(content.lens.iter().all(|len| *len <= MAX_CHUNK_BYTES));
        }
        let content = Content::new(200_000_000, 50_000, 3).unwrap();
        assert!((3_900..4_100).contains(&content.chunks()), "{}", content.chunks());
    }
}

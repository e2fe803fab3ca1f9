//! A content as a peer has it: manifest nodes and chunks, all in memory.

use std::collections::HashMap;

use bytes::Bytes;
use shoal_protocol::chunker::Chunker;
use shoal_protocol::hash::{ChunkId, ContentHash, NodeId};
use shoal_protocol::manifest::{BuildError, ContentKind, ManifestBuilder, Root};

/// What a [`LyingPeer`](super::LyingPeer) has to give.
#[derive(Debug, Clone)]
pub struct Served {
    /// What it calls the content.
    pub hash: ContentHash,
    /// The root, as far as it is a real one.
    pub root: Root,
    /// Every node by its id.
    pub nodes: HashMap<NodeId, Bytes>,
    /// Every chunk, in order.
    pub chunks: Vec<Bytes>,
}

impl Served {
    /// A file with these bytes, exactly as a node would describe it.
    ///
    /// # Errors
    /// None for what fits in memory; the builder's type says more.
    pub fn file(bytes: &[u8]) -> Result<Self, BuildError> {
        let mut chunks = Vec::new();
        let mut chunker = Chunker::new();
        let mut rest = bytes;
        let mut open = Vec::new();
        while let Some(count) = chunker.next_cut(rest) {
            let (completes, after) = rest.split_at(count);
            open.extend_from_slice(completes);
            chunks.push(Bytes::from(std::mem::take(&mut open)));
            rest = after;
        }
        open.extend_from_slice(rest);
        if chunker.finish() > 0 {
            chunks.push(Bytes::from(open));
        }
        let mut builder = ManifestBuilder::new(ContentKind::File);
        for chunk in &chunks {
            builder.push_chunk(ChunkId::of(chunk), u32::try_from(chunk.len()).unwrap_or(u32::MAX))?;
        }
        let finished = builder.finish()?;
        let nodes = finished.nodes.into_iter().map(|node| (node.id, node.bytes)).collect();
        Ok(Self { hash: finished.hash, root: finished.root, nodes, chunks })
    }

    /// Puts another root in place of the true one, however wrong: the content gets its hash.
    pub fn with_root(mut self, encoding: Vec<u8>) -> Self {
        self.hash = ContentHash::from_root(self.add_node(encoding));
        self
    }

    /// Adds a node, however wrong, and says what it is called.
    pub fn add_node(&mut self, encoding: Vec<u8>) -> NodeId {
        let id = NodeId::of(&encoding);
        self.nodes.insert(id, encoding.into());
        id
    }
}

//! Making a manifest, node by node, in memory that does not grow with the content.

use bytes::Bytes;

use super::chunk_tree::{ChunkRow, ChunkTree};
use super::entry::Entry;
use super::entry_tree::EntryTree;
use super::error::Defect;
use super::node;
use super::root::{ContentKind, Root};
use super::tree::{Branch, Row, Sum, Tree, ends_node};
use crate::chunker::MAX_CHUNK_BYTES;
use crate::hash::{ChunkId, ContentHash, NodeId};

/// A finished node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedNode {
    /// Its id.
    pub id: NodeId,
    /// Its bytes.
    pub bytes: Bytes,
}

impl EncodedNode {
    fn new(bytes: Vec<u8>) -> Self {
        Self { id: NodeId::of(&bytes), bytes: bytes.into() }
    }
}

/// Why something cannot be published as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// An entry cannot come here.
    #[error(transparent)]
    Order(#[from] super::path::OrderError),
    /// A file has no entries.
    #[error("a single file has no entries")]
    EntryOfFile,
    /// A chunk that is empty or longer than any chunk.
    #[error("a chunk of {length} bytes")]
    ChunkLength {
        /// Its length.
        length: u32,
    },
    /// More bytes than a content may have.
    #[error("it is larger than a content may be")]
    Overflow,
    /// The chunks hold another number of bytes than the files, or are more than these can make.
    #[error("its files have {entry_bytes} bytes and its {chunks} chunks hold {chunk_bytes}")]
    Totals {
        /// Bytes in files.
        entry_bytes: u64,
        /// Bytes in chunks.
        chunk_bytes: u64,
        /// How many chunks.
        chunks: u64,
    },
}

/// Makes a manifest from chunks in the order of the stream and entries in the order of their paths. The two may come
/// interleaved in any way. After an error the builder is of no more use.
#[derive(Debug)]
pub struct ManifestBuilder {
    kind: ContentKind,
    chunks: TreeBuilder<ChunkTree>,
    entries: TreeBuilder<EntryTree>,
    order: super::path::PathOrder,
    nodes: Vec<EncodedNode>,
}

/// A finished manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The content hash.
    pub hash: ContentHash,
    /// The root.
    pub root: Root,
    /// The nodes that had not been drained; the last one is the root's.
    pub nodes: Vec<EncodedNode>,
}

impl ManifestBuilder {
    /// Begins a manifest.
    pub fn new(kind: ContentKind) -> Self {
        Self {
            kind,
            chunks: TreeBuilder::default(),
            entries: TreeBuilder::default(),
            order: Default::default(),
            nodes: Vec::new(),
        }
    }

    /// Adds the next chunk of the stream.
    pub fn push_chunk(&mut self, id: ChunkId, len: u32) -> Result<(), BuildError> {
        if len == 0 || len > MAX_CHUNK_BYTES {
            return Err(BuildError::ChunkLength { length: len });
        }
        self.chunks.push(ChunkRow { id, len }, &mut self.nodes).ok_or(BuildError::Overflow)
    }

    /// Adds the entry with the next path.
    pub fn push_entry(&mut self, entry: Entry) -> Result<(), BuildError> {
        if self.kind == ContentKind::File {
            return Err(BuildError::EntryOfFile);
        }
        self.order.accept(&entry.path)?;
        self.entries.push(entry, &mut self.nodes).ok_or(BuildError::Overflow)
    }

    /// Takes the nodes that are finished. Whoever does so after every few thousand pushes needs memory for the open
    /// nodes only.
    pub fn drain_nodes(&mut self) -> Vec<EncodedNode> {
        std::mem::take(&mut self.nodes)
    }

    /// Finishes the manifest.
    pub fn finish(mut self) -> Result<Finished, BuildError> {
        let (chunk_root, chunk_sum) = self.chunks.finish(&mut self.nodes).ok_or(BuildError::Overflow)?;
        let (entry_root, entry_sum) = self.entries.finish(&mut self.nodes).ok_or(BuildError::Overflow)?;
        let root = Root {
            kind: self.kind,
            bytes: chunk_sum.bytes,
            chunks: chunk_sum.chunks,
            entries: entry_sum.entries,
            small_bytes: entry_sum.small_bytes,
            chunk_root,
            entry_root,
        };
        let entry_bytes = entry_sum.small_bytes.saturating_add(entry_sum.large_bytes);
        let is_whole = self.kind == ContentKind::File || entry_bytes == chunk_sum.bytes;
        if !is_whole || root.check().is_err() {
            let (chunk_bytes, chunks) = (chunk_sum.bytes, chunk_sum.chunks);
            return Err(BuildError::Totals { entry_bytes, chunk_bytes, chunks });
        }
        let node = EncodedNode::new(root.encode());
        let hash = ContentHash::from_root(node.id);
        self.nodes.push(node);
        Ok(Finished { hash, root, nodes: self.nodes })
    }
}

/// Makes one tree: keeps the open node of each level.
#[derive(Debug)]
struct TreeBuilder<T: Tree> {
    leaves: Level<T::Leaf>,
    above: Vec<Level<T::Branch>>,
    sum: T::Sum,
}

/// The open node of a level.
#[derive(Debug)]
struct Level<R> {
    rows: Vec<R>,
    weight: usize,
    /// How many nodes are finished, and the last of them.
    finished: u64,
    last: Option<NodeId>,
}

impl<R> Default for Level<R> {
    fn default() -> Self {
        Self { rows: Vec::new(), weight: 0, finished: 0, last: None }
    }
}

impl<T: Tree> Default for TreeBuilder<T> {
    fn default() -> Self {
        Self { leaves: Level::default(), above: Vec::new(), sum: T::Sum::default() }
    }
}

impl<R: Row> Level<R> {
    /// Adds a row; says whether its node is full.
    fn push(&mut self, row: R) -> bool {
        self.weight += row.weight();
        let rows = self.rows.len() + 1;
        let is_full = ends_node(&row, rows, self.weight);
        self.rows.push(row);
        is_full
    }

    /// Finishes the open node; gives its rows.
    fn seal(&mut self, tag: u8, level: usize, nodes: &mut Vec<EncodedNode>) -> (NodeId, Vec<R>) {
        let rows = std::mem::take(&mut self.rows);
        let node = EncodedNode::new(node::encode(tag, level as u8, &rows));
        let id = node.id;
        nodes.push(node);
        self.weight = 0;
        self.finished += 1;
        self.last = Some(id);
        (id, rows)
    }

    /// The only node of this level, if it has just one.
    fn only(&self) -> Option<NodeId> {
        self.last.filter(|_| self.finished == 1 && self.rows.is_empty())
    }
}

impl<T: Tree> TreeBuilder<T> {
    /// Adds a row. `None` if the tree would hold more than a content may.
    fn push(&mut self, row: T::Leaf, nodes: &mut Vec<EncodedNode>) -> Option<()> {
        self.sum = self.sum.plus(row.sum())?;
        if self.leaves.push(row) {
            self.seal_leaf(nodes).ok()?;
        }
        Some(())
    }

    fn seal_leaf(&mut self, nodes: &mut Vec<EncodedNode>) -> Result<(), Defect> {
        let (id, rows) = self.leaves.seal(T::TAG, 0, nodes);
        self.push_branch(0, T::Branch::over_leaves(id, &rows)?, nodes)
    }

    fn seal_branch(&mut self, index: usize, nodes: &mut Vec<EncodedNode>) -> Result<(), Defect> {
        let Some(level) = self.above.get_mut(index) else { return Ok(()) };
        let (id, rows) = level.seal(T::TAG, index + 1, nodes);
        self.push_branch(index + 1, T::Branch::over_branches(id, &rows)?, nodes)
    }

    fn push_branch(
        &mut self,
        index: usize,
        row: Option<T::Branch>,
        nodes: &mut Vec<EncodedNode>,
    ) -> Result<(), Defect> {
        let Some(row) = row else { return Ok(()) };
        if self.above.len() <= index {
            self.above.push(Level::default());
        }
        if self.above.get_mut(index).is_some_and(|level| level.push(row)) {
            self.seal_branch(index, nodes)?;
        }
        Ok(())
    }

    /// Finishes all levels; gives the top, if there is a row, and the sum.
    fn finish(&mut self, nodes: &mut Vec<EncodedNode>) -> Option<(Option<NodeId>, T::Sum)> {
        if !self.leaves.rows.is_empty() {
            self.seal_leaf(nodes).ok()?;
        }
        let mut top = self.leaves.only();
        let mut index = 0;
        while top.is_none() && index < self.above.len() {
            if self.above.get(index).is_some_and(|level| !level.rows.is_empty()) {
                self.seal_branch(index, nodes).ok()?;
            }
            top = self.above.get(index).and_then(Level::only);
            index += 1;
        }
        Some((top, self.sum))
    }
}

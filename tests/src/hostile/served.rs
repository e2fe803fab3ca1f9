//! A content as a peer has it: manifest nodes and chunks, all in memory.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;

use bytes::Bytes;
use shoal_protocol::chunker::Profile;
use shoal_protocol::hash::{ChunkId, ContentHash, NodeId};
use shoal_protocol::manifest::{BuildError, ContentKind, Entry, EntryKind, EntryPath, ManifestBuilder, Root, Target};
use shoal_testnet::tree::{Item, Tree};

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
        Self::build(ManifestBuilder::new(ContentKind::File), cut(bytes).collect())
    }

    /// A folder as a node would describe it: the stream is all small files in the order of their paths, then all
    /// large ones, of which each begins and ends a chunk.
    ///
    /// # Errors
    /// When the folder cannot be read or holds what a content cannot.
    pub fn folder(root: &Path) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut entries = Vec::new();
        for (path, item) in Tree::read(root)?.items() {
            let path = path.to_str().ok_or("a name is not UTF-8")?;
            let kind = match item {
                Item::File { bytes, executable, .. } => EntryKind::File { size: *bytes, executable: *executable },
                Item::EmptyFolder => EntryKind::EmptyFolder,
                Item::Symlink(target) => EntryKind::Symlink(Target::new(target.to_str().ok_or("not UTF-8")?)?),
                Item::Special => return Err("a special file".into()),
            };
            entries.push(Entry { path: EntryPath::new(path)?, kind });
        }
        // By the bytes of the whole path, which is not how paths sort by their components.
        entries.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        let mut small = Vec::new();
        let mut chunks = Vec::new();
        let read = |entry: &Entry| std::fs::read(root.join(entry.path.as_str()));
        for entry in entries.iter().filter(|entry| is_file(entry) && !entry.kind.is_large()) {
            small.extend(read(entry)?);
        }
        chunks.extend(cut(&small));
        for entry in entries.iter().filter(|entry| entry.kind.is_large()) {
            chunks.extend(cut(&read(entry)?));
        }
        let mut builder = ManifestBuilder::new(ContentKind::Folder);
        for entry in entries {
            builder.push_entry(entry)?;
        }
        Ok(Self::build(builder, chunks)?)
    }

    fn build(mut builder: ManifestBuilder, chunks: Vec<Bytes>) -> Result<Self, BuildError> {
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

fn is_file(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::File { .. })
}

/// The chunks of one run of bytes.
fn cut(run: &[u8]) -> impl Iterator<Item = Bytes> {
    Profile::V1.cut(run).map(Bytes::copy_from_slice)
}

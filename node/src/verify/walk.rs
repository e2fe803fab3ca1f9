//! Walking over one content: which of its nodes and chunks are held, and, on request, whether each is what it should
//! be.

use shoal_protocol::hash::{ChunkId, ContentHash, NodeId};
use shoal_protocol::manifest::{ChunkLeaf, ChunkWalk, ContentKind, EntryWalk, Root, Step};

use crate::manifests::ManifestReadError;
use crate::store::{ReadError, Store};

/// Chunks that are read in one go: some MiB.
const BATCH_CHUNKS: usize = 32;

/// Whoever follows a walk.
pub(super) trait Follower {
    /// So many objects have been read, of so many bytes. `false` ends the walk.
    fn read(&mut self, objects: u64, bytes: u64) -> bool;
    /// An object was found damaged.
    fn damaged(&mut self, id: [u8; 32], error: ReadError);
    /// An object is not held.
    fn missing(&mut self, id: [u8; 32], what: &str);
}

/// A walk over a content.
pub(super) struct Walk<'a> {
    pub(super) store: &'a Store,
    pub(super) hash: ContentHash,
    /// Whether chunks are read, or only looked for.
    pub(super) deep: bool,
    pub(super) follower: &'a mut dyn Follower,
}

impl Walk<'_> {
    /// Walks over all of it; says whether everything is held. Blocks.
    pub(super) fn run(&mut self) -> Result<bool, ManifestReadError> {
        let Some(bytes) = self.node(self.hash.root())? else {
            return Ok(false);
        };
        let root = Root::decode(&self.hash, &bytes)?;
        let entries = root.kind == ContentKind::File || self.entries(&root)?;
        Ok(self.chunks(&root)? && entries)
    }

    fn entries(&mut self, root: &Root) -> Result<bool, ManifestReadError> {
        let mut walk = EntryWalk::all(root);
        let mut whole = true;
        loop {
            match walk.step()? {
                Step::Leaf(_) => {}
                Step::Done => return Ok(whole),
                Step::Need(id) => match self.node(id)? {
                    Some(bytes) => walk.feed(id, &bytes)?,
                    None => {
                        whole = false;
                        walk.skip();
                    }
                },
            }
        }
    }

    fn chunks(&mut self, root: &Root) -> Result<bool, ManifestReadError> {
        let mut walk = ChunkWalk::all(root);
        let mut whole = true;
        loop {
            match walk.step()? {
                Step::Leaf(leaf) => whole &= self.leaf(&leaf)?,
                Step::Done => return Ok(whole),
                Step::Need(id) => match self.node(id)? {
                    Some(bytes) => walk.feed(id, &bytes)?,
                    None => {
                        whole = false;
                        walk.skip();
                    }
                },
            }
        }
    }

    fn leaf(&mut self, leaf: &ChunkLeaf) -> Result<bool, ManifestReadError> {
        let mut whole = true;
        for rows in leaf.rows.chunks(BATCH_CHUNKS) {
            let ids: Vec<ChunkId> = rows.iter().map(|row| row.id).collect();
            if !self.deep {
                for (id, held) in ids.iter().zip(self.store.holds_chunks(&ids)?) {
                    if !held {
                        whole = false;
                        self.follower.missing(*id.as_bytes(), "a chunk");
                    }
                }
                continue;
            }
            let mut bytes = 0;
            for (id, read) in ids.iter().zip(self.store.read_chunks(&ids)?) {
                match read {
                    Ok(Some(read)) => bytes += read.len() as u64,
                    Ok(None) => {
                        whole = false;
                        self.follower.missing(*id.as_bytes(), "a chunk");
                    }
                    Err(error) => {
                        whole = false;
                        self.follower.damaged(*id.as_bytes(), error);
                    }
                }
            }
            if !self.follower.read(ids.len() as u64, bytes) {
                return Ok(whole);
            }
        }
        Ok(whole)
    }

    fn node(&mut self, id: NodeId) -> Result<Option<bytes::Bytes>, ManifestReadError> {
        match self.store.read_node(&id) {
            Ok(Some(bytes)) => {
                if self.deep {
                    self.follower.read(1, bytes.len() as u64);
                }
                Ok(Some(bytes))
            }
            Ok(None) => {
                self.follower.missing(*id.as_bytes(), "a manifest node");
                Ok(None)
            }
            Err(error @ ReadError::Damaged { .. }) => {
                self.follower.damaged(*id.as_bytes(), error);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

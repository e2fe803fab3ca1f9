//! Manifests out of the store: the root of a content and the rows of its chunk list. Everything here blocks on the
//! disk, and takes nothing for granted that the store gives: nodes are checked as if a stranger had sent them.

use shoal_protocol::availability::ChunkIndex;
use shoal_protocol::hash::ContentHash;
use shoal_protocol::manifest::{ChunkLeaf, ChunkWalk, ManifestError, Root, Step};

use crate::store::{ReadError, Store, StoreError};

/// Why a manifest could not be read from the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ManifestReadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A node could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A node is not what a manifest can have.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// The root node of a content; `None` if it is not held.
pub(crate) fn read_root(store: &Store, hash: &ContentHash) -> Result<Option<Root>, ManifestReadError> {
    let Some(bytes) = store.read_node(&hash.root())? else {
        return Ok(None);
    };
    Ok(Some(Root::decode(hash, &bytes)?))
}

/// Looks up rows of a chunk list by index. Keeps the leaf it used last: whoever asks for a chunk asks for its
/// neighbours next.
#[derive(Debug)]
pub(crate) struct ChunkRows {
    store: Store,
    root: Root,
    last: Option<ChunkLeaf>,
}

impl ChunkRows {
    /// Rows of the chunk list under this root.
    pub(crate) fn new(store: Store, root: Root) -> Self {
        Self { store, root, last: None }
    }

    /// The leaf that has the row of this chunk; `None` if it or a node above it is not held, or there is no such row.
    pub(crate) fn leaf_at(&mut self, index: ChunkIndex) -> Result<Option<&ChunkLeaf>, ManifestReadError> {
        let covers = |leaf: &ChunkLeaf| index.0 >= leaf.first && index.0 - leaf.first < leaf.rows.len() as u64;
        if !self.last.as_ref().is_some_and(covers) {
            self.last = self.find(index)?;
        }
        Ok(self.last.as_ref())
    }

    fn find(&self, index: ChunkIndex) -> Result<Option<ChunkLeaf>, ManifestReadError> {
        let mut walk = ChunkWalk::from_chunk(&self.root, index.0);
        loop {
            match walk.step()? {
                Step::Leaf(leaf) => return Ok(Some(leaf)),
                Step::Done => return Ok(None),
                Step::Need(id) => match self.store.read_node(&id)? {
                    Some(bytes) => walk.feed(id, &bytes)?,
                    None => return Ok(None),
                },
            }
        }
    }
}

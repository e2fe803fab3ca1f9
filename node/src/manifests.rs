//! Manifests out of the store: the root of a content and the rows of its chunk list. Everything here blocks on the
//! disk, and takes nothing for granted that the store gives: nodes are checked as if a stranger had sent them.

use std::sync::Arc;

use shoal_protocol::availability::{Availability, ChunkIndex};
use shoal_protocol::hash::ContentHash;
use shoal_protocol::manifest::{ChunkLeaf, ChunkWalk, ContentKind, ManifestError, Root, Step};

use crate::leaves::{Leaves, covers};
use crate::store::{self, ContentState, ManifestRecord, ReadError, Store, StoreError};

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

/// What the store is to remember of a content.
pub(crate) fn record(
    hash: ContentHash,
    root: &Root,
    state: ContentState,
    name: Option<String>,
    now_unix_ms: u64,
) -> ManifestRecord {
    let (kind, entries) = match root.kind {
        ContentKind::File => (store::ContentKind::File, 1),
        ContentKind::Folder => (store::ContentKind::Folder, root.entries),
    };
    ManifestRecord {
        hash,
        kind,
        bytes: root.bytes,
        chunks: root.chunks,
        entries,
        state,
        name,
        pinned: false,
        created_unix_ms: now_unix_ms,
        last_used_unix_ms: now_unix_ms,
    }
}

/// What is held of a content.
#[derive(Debug)]
pub(crate) struct Held {
    /// Which chunks.
    pub(crate) availability: Availability,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// Finds out which chunks of a content the store holds, as far as its chunk list is held.
pub(crate) fn held(store: &Store, root: &Root) -> Result<Held, ManifestReadError> {
    let mut held = Held { availability: Availability::new(root.chunks), bytes: 0 };
    let mut walk = ChunkWalk::all(root);
    loop {
        let leaf = match walk.step()? {
            Step::Leaf(leaf) => leaf,
            Step::Done => return Ok(held),
            Step::Need(id) => {
                match store.read_node(&id) {
                    Ok(Some(bytes)) => walk.feed(id, &bytes)?,
                    // A reader of some bytes fetches only the nodes above them.
                    Ok(None) | Err(ReadError::Damaged { .. }) => {
                        walk.skip();
                    }
                    Err(error) => return Err(error.into()),
                }
                continue;
            }
        };
        let ids: Vec<_> = leaf.rows.iter().map(|row| row.id).collect();
        for ((index, row), is_held) in (leaf.first..).zip(&leaf.rows).zip(store.holds_chunks(&ids)?) {
            if is_held {
                held.availability.insert(ChunkIndex(index));
                held.bytes += u64::from(row.len);
            }
        }
    }
}

/// Looks up rows of a chunk list by index. Keeps the leaf it used last: whoever asks for a chunk asks for its
/// neighbours next.
#[derive(Debug)]
pub(crate) struct ChunkRows {
    store: Store,
    root: Root,
    last: Option<Arc<ChunkLeaf>>,
    /// Where others find the leaves that were read, and their own are found.
    shared: Option<(Arc<Leaves>, ContentHash)>,
}

impl ChunkRows {
    /// Rows of the chunk list under this root.
    pub(crate) fn new(store: Store, root: Root) -> Self {
        Self { store, root, last: None, shared: None }
    }

    /// The same for one of several readers of this content, in whatever order.
    pub(crate) fn shared(self, leaves: Arc<Leaves>, content: ContentHash) -> Self {
        Self { shared: Some((leaves, content)), ..self }
    }

    /// The leaf that has the row of this chunk; `None` if it or a node above it is not held, or there is no such row.
    pub(crate) fn leaf_at(&mut self, index: ChunkIndex) -> Result<Option<&ChunkLeaf>, ManifestReadError> {
        if !self.last.as_ref().is_some_and(|leaf| covers(leaf, index)) {
            self.last = self.find(index)?;
        }
        Ok(self.last.as_deref())
    }

    fn find(&self, index: ChunkIndex) -> Result<Option<Arc<ChunkLeaf>>, ManifestReadError> {
        let Some((leaves, content)) = &self.shared else {
            return Ok(self.read(index)?.map(Arc::new));
        };
        if let Some(leaf) = leaves.find(content, index) {
            return Ok(Some(leaf));
        }
        let leaf = self.read(index)?.map(Arc::new);
        if let Some(leaf) = &leaf {
            leaves.keep(*content, Arc::clone(leaf));
        }
        Ok(leaf)
    }

    fn read(&self, index: ChunkIndex) -> Result<Option<ChunkLeaf>, ManifestReadError> {
        let mut walk = ChunkWalk::chunks(&self.root, index.0..index.0.saturating_add(1));
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

//! Reading the entries of a folder's manifest.

use std::ops::Range;

use super::entry::Entry;
use super::entry_tree::{EntryBounds, EntryBranch, EntryTree};
use super::error::ManifestError;
use super::path::EntryPath;
use super::root::Root;
use super::walk::{Step, Walk};
use crate::hash::NodeId;

/// Goes through the entries of a manifest in the order of their paths; works as [`ChunkWalk`](super::ChunkWalk) does.
///
/// A walk over [`all`](Self::all) entries refuses duplicates and clashes between files and folders anywhere; one over
/// a part of them sees only that part.
#[derive(Debug, Clone)]
pub struct EntryWalk {
    walk: Walk<EntryTree>,
    small_bytes: u64,
}

/// Entries that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryLeaf {
    /// The index of the first one in the manifest.
    pub first: u64,
    /// The entries; at least one, at most some 1,024.
    pub entries: Vec<PlacedEntry>,
}

/// An entry and the bytes of the stream that are its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedEntry {
    /// The entry.
    pub entry: Entry,
    /// Where its bytes lie; empty for what has none.
    pub stream: Range<u64>,
}

impl EntryWalk {
    /// All entries.
    pub fn all(root: &Root) -> Self {
        Self::new(root, EntryBounds { start: Box::default(), end: None })
    }

    /// The entry at this path, if there is one.
    pub fn at(root: &Root, path: &EntryPath) -> Self {
        let end = [path.as_bytes(), b"\0"].concat();
        Self::new(root, EntryBounds { start: path.as_bytes().into(), end: Some(end.into()) })
    }

    /// All entries below this folder.
    pub fn below(root: &Root, folder: &EntryPath) -> Self {
        let (start, end) = ([folder.as_bytes(), b"/"].concat(), [folder.as_bytes(), b"0"].concat());
        Self::new(root, EntryBounds { start: start.into(), end: Some(end.into()) })
    }

    fn new(root: &Root, bounds: EntryBounds) -> Self {
        let top = root.entry_root.map(|id| EntryBranch::new(id, root.entry_sum()));
        Self { walk: Walk::new(top, bounds), small_bytes: root.small_bytes }
    }

    /// The nodes to get next: see [`ChunkWalk::needs`](super::ChunkWalk::needs).
    pub fn needs(&self, limit: usize) -> Vec<NodeId> {
        self.walk.needs(limit)
    }

    /// Takes the bytes of a node: see [`ChunkWalk::feed`](super::ChunkWalk::feed).
    pub fn feed(&mut self, id: NodeId, bytes: &[u8]) -> Result<(), ManifestError> {
        self.walk.feed(id, bytes)
    }

    /// Passes over the entries below the node that [`step`](Self::step) asks for: see
    /// [`ChunkWalk::skip`](super::ChunkWalk::skip).
    pub fn skip(&mut self) -> bool {
        self.walk.skip()
    }

    /// The next entries in order.
    pub fn step(&mut self) -> Result<Step<EntryLeaf>, ManifestError> {
        Ok(match self.walk.step()? {
            Step::Leaf(leaf) => {
                let mut small = leaf.before.small_bytes;
                let mut large = self.small_bytes.saturating_add(leaf.before.large_bytes);
                let place = |entry: Entry| {
                    let next = if entry.kind.is_large() { &mut large } else { &mut small };
                    let start = *next;
                    *next = start.saturating_add(entry.kind.size());
                    PlacedEntry { entry, stream: start..*next }
                };
                Step::Leaf(EntryLeaf {
                    first: leaf.before.entries,
                    entries: leaf.rows.into_iter().map(place).collect(),
                })
            }
            Step::Need(id) => Step::Need(id),
            Step::Done => Step::Done,
        })
    }
}

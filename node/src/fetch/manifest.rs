//! Which nodes of a manifest a fetch needs, in which order, and what they say.
//!
//! Does no IO: it asks for nodes and is given them, from the store or from peers. What is fetched decides how far it
//! walks: everything, the entries below a path, or one file's bytes.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use shoal_protocol::hash::{ContentHash, NodeId};
use shoal_protocol::manifest::{
    ChunkLeaf, ChunkWalk, ContentKind, EntryKind, EntryPath, EntryWalk, Layout, LayoutBuilder, PlacedEntry, Root, Step,
};

use super::FetchError;

/// Nodes that are asked for ahead of the one that is needed next.
const READ_AHEAD: usize = 32;

/// How much of a content a fetch is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Everything,
    /// All that can be told of it without the nodes that are [passed over](ManifestCursor::pass_over).
    Held,
    /// The entry at a path, or those below it; all, without a path.
    Entries(Option<EntryPath>),
    /// So many chunks at most, and none of the entries.
    Chunks(u64),
    /// Bytes of the file at a path, or of a lone file: from the first number up to and with the second.
    Bytes(Option<EntryPath>, u64, Option<u64>),
}

/// What to do next.
#[derive(Debug)]
pub(super) enum ManifestStep {
    /// These nodes are needed and have not been asked for: look them up, then say so.
    Need(Vec<NodeId>),
    /// All nodes that are needed now have been asked for.
    Wait,
    /// The root is known.
    Root(Root),
    /// All entries are known: this is where their bytes lie.
    Layout(Arc<Layout>),
    /// Entries that were asked for, in order.
    Entries(Vec<PlacedEntry>),
    /// The bytes that were asked for lie here in the stream.
    Stream(Range<u64>),
    /// Chunks that are needed, in order.
    Chunks(ChunkLeaf),
    /// That was all.
    Done,
}

/// A walk over the part of a manifest that a fetch needs.
#[derive(Debug)]
pub(super) struct ManifestCursor {
    hash: ContentHash,
    extent: Extent,
    root: Option<Root>,
    stage: Stage,
    asked: HashSet<NodeId>,
    absent: HashSet<NodeId>,
    /// Leaves of chunks that have been handed out.
    leaves: usize,
}

#[derive(Debug)]
enum Stage {
    Root,
    Entries {
        walk: EntryWalk,
        layout: LayoutBuilder,
    },
    /// The entry at a path; if there is none, `below` tells a folder from nothing.
    Find {
        walk: EntryWalk,
        path: EntryPath,
    },
    Below {
        walk: EntryWalk,
        path: EntryPath,
        found: bool,
    },
    /// A lone file, of which bytes are wanted.
    Lone,
    Chunks(ChunkWalk),
    Done,
}

impl ManifestCursor {
    pub(super) fn new(hash: ContentHash, extent: Extent) -> Self {
        Self { hash, extent, root: None, stage: Stage::Root, asked: HashSet::new(), absent: HashSet::new(), leaves: 0 }
    }

    /// Whether the next step would hand out chunks: the caller may want to pause there.
    pub(super) fn is_at_chunks(&self) -> bool {
        matches!(self.stage, Stage::Chunks(_))
    }

    /// Notes that nodes have been asked for, so that they are not named again.
    pub(super) fn asked(&mut self, ids: &[NodeId]) {
        self.asked.extend(ids);
    }

    /// Does without a node that was asked for, and all below it; not for the root.
    pub(super) fn pass_over(&mut self, id: NodeId) {
        self.absent.insert(id);
    }

    /// Whether a node was asked for and has not come yet.
    pub(super) fn has_asked(&self, id: &NodeId) -> bool {
        self.asked.contains(id)
    }

    /// Takes a node that was needed. Its bytes have been checked against its id. `true`: it was of use.
    pub(super) fn supply(&mut self, id: NodeId, bytes: &[u8]) -> Result<bool, FetchError> {
        self.asked.remove(&id);
        let malformed = |error| FetchError::malformed(self.hash, error);
        match &mut self.stage {
            Stage::Root if id == self.hash.root() => {
                self.root = Some(Root::decode(&self.hash, bytes).map_err(malformed)?);
            }
            Stage::Entries { walk, .. } | Stage::Find { walk, .. } | Stage::Below { walk, .. } => {
                walk.feed(id, bytes).map_err(malformed)?;
            }
            Stage::Chunks(walk) => walk.feed(id, bytes).map_err(malformed)?,
            Stage::Root | Stage::Lone | Stage::Done => return Ok(false),
        }
        Ok(true)
    }

    /// The next thing to do or to know.
    pub(super) fn next(&mut self) -> Result<ManifestStep, FetchError> {
        let hash = self.hash;
        let malformed = |error| FetchError::malformed(hash, error);
        loop {
            match &mut self.stage {
                Stage::Root => {
                    let Some(root) = self.root.clone() else {
                        return Ok(self.demand(vec![hash.root()]));
                    };
                    self.after_root(&root)?;
                    return Ok(ManifestStep::Root(root));
                }
                Stage::Entries { walk, layout } => match walk.step().map_err(malformed)? {
                    Step::Leaf(leaf) => {
                        let known = if self.extent == Extent::Held { &[][..] } else { &leaf.entries };
                        for placed in known {
                            layout.push(&placed.entry).map_err(|_| FetchError::Broken)?;
                        }
                        if matches!(self.extent, Extent::Entries(_)) {
                            return Ok(ManifestStep::Entries(leaf.entries));
                        }
                    }
                    Step::Done => {
                        let layout = Arc::new(std::mem::take(layout).finish());
                        self.stage = self.chunks_or_done();
                        return Ok(ManifestStep::Layout(layout));
                    }
                    Step::Need(id) if self.absent.contains(&id) => drop(walk.skip()),
                    Step::Need(_) => {
                        let ids = walk.needs(READ_AHEAD);
                        return Ok(self.demand(ids));
                    }
                },
                Stage::Find { walk, path } => match walk.step().map_err(malformed)? {
                    Step::Leaf(leaf) => {
                        if let Some(placed) = leaf.entries.into_iter().next() {
                            return self.found(placed);
                        }
                    }
                    Step::Done => {
                        let path = path.clone();
                        let root = self.root.as_ref().ok_or(FetchError::Broken)?;
                        self.stage = Stage::Below { walk: EntryWalk::below(root, &path), path, found: false };
                    }
                    Step::Need(_) => {
                        let ids = walk.needs(READ_AHEAD);
                        return Ok(self.demand(ids));
                    }
                },
                Stage::Below { walk, path, found } => match walk.step().map_err(malformed)? {
                    Step::Leaf(_) if !matches!(self.extent, Extent::Entries(_)) => {
                        return Err(FetchError::NotAFile { path: path.as_str().to_owned(), what: "a folder" });
                    }
                    Step::Leaf(leaf) => {
                        *found = true;
                        return Ok(ManifestStep::Entries(leaf.entries));
                    }
                    Step::Done if *found => self.stage = Stage::Done,
                    Step::Done => return Err(FetchError::NoSuchEntry { hash, path: path.as_str().to_owned() }),
                    Step::Need(_) => {
                        let ids = walk.needs(READ_AHEAD);
                        return Ok(self.demand(ids));
                    }
                },
                Stage::Chunks(walk) => match walk.step().map_err(malformed)? {
                    Step::Leaf(leaf) => {
                        self.leaves += 1;
                        return Ok(ManifestStep::Chunks(leaf));
                    }
                    Step::Done => self.stage = Stage::Done,
                    Step::Need(id) if self.absent.contains(&id) => drop(walk.skip()),
                    Step::Need(_) => {
                        // Few at first: the first chunks wait for the first leaf, and whoever has it may be the only
                        // one, with many who ask.
                        let ids = walk.needs((1 + self.leaves).min(READ_AHEAD));
                        return Ok(self.demand(ids));
                    }
                },
                Stage::Lone => {
                    let bytes = self.root.as_ref().map_or(0, |root| root.bytes);
                    return self.stream(0..bytes, String::new());
                }
                Stage::Done => return Ok(ManifestStep::Done),
            }
        }
    }

    fn demand(&self, mut ids: Vec<NodeId>) -> ManifestStep {
        ids.retain(|id| !self.asked.contains(id));
        if ids.is_empty() { ManifestStep::Wait } else { ManifestStep::Need(ids) }
    }

    /// Chooses the walk that the extent needs.
    fn after_root(&mut self, root: &Root) -> Result<(), FetchError> {
        let hash = self.hash;
        self.stage = match (&self.extent, root.kind) {
            (Extent::Everything | Extent::Held | Extent::Entries(None), ContentKind::Folder) => {
                Stage::Entries { walk: EntryWalk::all(root), layout: Layout::builder() }
            }
            (Extent::Entries(Some(path)) | Extent::Bytes(Some(path), ..), ContentKind::Folder) => {
                Stage::Find { walk: EntryWalk::at(root, path), path: path.clone() }
            }
            (Extent::Everything | Extent::Held, ContentKind::File) => Stage::Chunks(ChunkWalk::all(root)),
            (Extent::Chunks(most), _) => Stage::Chunks(ChunkWalk::chunks(root, 0..root.chunks.min(*most))),
            (Extent::Entries(None), ContentKind::File) => Stage::Done,
            (Extent::Bytes(None, ..), ContentKind::File) => Stage::Lone,
            (Extent::Bytes(None, ..), ContentKind::Folder) => {
                return Err(FetchError::NotAFile { path: String::new(), what: "a folder" });
            }
            (Extent::Entries(Some(path)) | Extent::Bytes(Some(path), ..), ContentKind::File) => {
                return Err(FetchError::NoSuchEntry { hash, path: path.as_str().to_owned() });
            }
        };
        Ok(())
    }

    fn chunks_or_done(&self) -> Stage {
        match (&self.extent, &self.root) {
            (Extent::Everything | Extent::Held, Some(root)) => Stage::Chunks(ChunkWalk::all(root)),
            _ => Stage::Done,
        }
    }

    fn found(&mut self, placed: PlacedEntry) -> Result<ManifestStep, FetchError> {
        if matches!(self.extent, Extent::Entries(_)) {
            self.stage = Stage::Done;
            return Ok(ManifestStep::Entries(vec![placed]));
        }
        let path = || placed.entry.path.as_str().to_owned();
        match &placed.entry.kind {
            EntryKind::File { .. } => self.stream(placed.stream.clone(), path()),
            EntryKind::EmptyFolder => Err(FetchError::NotAFile { path: path(), what: "an empty folder" }),
            EntryKind::Symlink(target) => {
                tracing::debug!(target = target.as_str(), "asked for the bytes of a link");
                Err(FetchError::NotAFile { path: path(), what: "a symbolic link" })
            }
        }
    }

    /// Cuts the range that was asked for out of a file's part of the stream, and walks there.
    fn stream(&mut self, file: Range<u64>, path: String) -> Result<ManifestStep, FetchError> {
        let (Extent::Bytes(_, start, end), Some(root)) = (&self.extent, &self.root) else {
            return Err(FetchError::Broken);
        };
        let bytes = file.end - file.start;
        let last = end.unwrap_or_else(|| bytes.saturating_sub(1)).max(*start);
        if bytes > 0 && last >= bytes || bytes == 0 && (*start > 0 || end.is_some()) {
            return Err(FetchError::BeyondTheEnd { path, last: last.max(*start), bytes });
        }
        let stream = file.start + start..file.start + bytes.min(last.saturating_add(1));
        self.stage = Stage::Chunks(ChunkWalk::bytes(root, stream.clone()));
        Ok(ManifestStep::Stream(stream))
    }
}

//! What several tests of the content model need: bytes to chunk, manifests to read, a place to keep nodes.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic, reason = "no test needs all of it")]

use std::collections::HashMap;

use bytes::Bytes;
use shoal_protocol::chunker::Profile;
use shoal_protocol::hash::{ChunkId, ContentHash, NodeId};
use shoal_protocol::manifest::{
    ChunkLeaf, ChunkRow, ChunkWalk, ContentKind, Entry, EntryKind, EntryPath, EntryWalk, Finished, Layout,
    ManifestBuilder, ManifestError, PlacedEntry, Root, Step, Target,
};

/// Bytes without any pattern, always the same for the same label.
pub fn noise(label: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(label.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

pub fn path(text: &str) -> EntryPath {
    EntryPath::new(text).unwrap()
}

pub fn file(at: &str, size: u64) -> Entry {
    Entry { path: path(at), kind: EntryKind::File { size, executable: false } }
}

pub fn program(at: &str, size: u64) -> Entry {
    Entry { path: path(at), kind: EntryKind::File { size, executable: true } }
}

pub fn empty_folder(at: &str) -> Entry {
    Entry { path: path(at), kind: EntryKind::EmptyFolder }
}

pub fn symlink(at: &str, target: &str) -> Entry {
    Entry { path: path(at), kind: EntryKind::Symlink(Target::new(target).unwrap()) }
}

/// The chunks of a run.
pub fn chunks_of(run: &[u8]) -> Vec<ChunkRow> {
    Profile::V1.cut(run).map(|chunk| ChunkRow { id: ChunkId::of(chunk), len: chunk.len() as u32 }).collect()
}

/// Chunk rows that stand for no bytes: enough for tests of trees.
pub fn made_up_chunks(label: &str, count: usize) -> Vec<ChunkRow> {
    let ids = noise(label, count * 32);
    let len = |index: usize| 20_000 + (index as u32 * 7919) % 200_000;
    ids.chunks(32)
        .enumerate()
        .map(|(index, id)| ChunkRow { id: ChunkId::from_bytes(id.try_into().unwrap()), len: len(index) })
        .collect()
}

/// A manifest and all its nodes.
pub struct Built {
    pub hash: ContentHash,
    pub root: Root,
    pub nodes: HashMap<NodeId, Bytes>,
}

pub fn build(kind: ContentKind, chunks: &[ChunkRow], entries: &[Entry]) -> Built {
    let mut builder = ManifestBuilder::new(kind);
    let mut nodes = Vec::new();
    for row in chunks {
        builder.push_chunk(row.id, row.len).unwrap();
        nodes.extend(builder.drain_nodes());
    }
    for entry in entries {
        builder.push_entry(entry.clone()).unwrap();
    }
    let Finished { hash, root, nodes: rest } = builder.finish().unwrap();
    nodes.extend(rest);
    Built { hash, root, nodes: nodes.into_iter().map(|node| (node.id, node.bytes)).collect() }
}

/// Publishes files as a folder: `(path, bytes)`, sorted by path.
pub fn publish_folder(files: &[(&str, &[u8])]) -> Built {
    let entries: Vec<_> = files.iter().map(|(at, bytes)| file(at, bytes.len() as u64)).collect();
    let mut layout = Layout::builder();
    entries.iter().for_each(|entry| {
        layout.push(entry).unwrap();
    });
    let (mut small, mut chunks) = (Vec::new(), Vec::new());
    let layout = layout.finish();
    for (view, entry) in layout.files().map(|view| (view.clone(), &entries[view.index.get() as usize])) {
        let bytes = files.iter().find(|(at, _)| *at == view.path).unwrap().1;
        if entry.kind.is_large() {
            chunks.push(chunks_of(bytes));
        } else {
            small.extend_from_slice(bytes);
        }
    }
    let chunks = [vec![chunks_of(&small)], chunks].concat().concat();
    build(ContentKind::Folder, &chunks, &entries)
}

impl Built {
    /// Everything that a walk over chunks hands out, with nodes fed one at a time.
    pub fn read_chunks(&self, mut walk: ChunkWalk) -> Result<Vec<ChunkLeaf>, ManifestError> {
        let mut leaves = Vec::new();
        loop {
            match walk.step()? {
                Step::Leaf(leaf) => leaves.push(leaf),
                Step::Need(id) => walk.feed(id, &self.nodes[&id])?,
                Step::Done => return Ok(leaves),
            }
        }
    }

    pub fn read_entries(&self, mut walk: EntryWalk) -> Result<Vec<PlacedEntry>, ManifestError> {
        let mut entries = Vec::new();
        loop {
            match walk.step()? {
                Step::Leaf(leaf) => {
                    assert!(!leaf.entries.is_empty());
                    entries.extend(leaf.entries);
                }
                Step::Need(id) => walk.feed(id, &self.nodes[&id])?,
                Step::Done => return Ok(entries),
            }
        }
    }
}

pub fn rows_of(leaves: &[ChunkLeaf]) -> Vec<ChunkRow> {
    leaves.iter().flat_map(|leaf| leaf.rows.clone()).collect()
}

//! What a node of a manifest refers to, whatever its place in the tree.
//!
//! For those who want to know what must be kept, and not what it means: sums, shape and order are not looked at, and
//! nobody walks the same subtree twice.

use super::chunk_tree::ChunkTree;
use super::entry_tree::EntryTree;
use super::error::Defect;
use super::node::Node;
use super::root::Root;
use super::tree::{Branch, Tree};
use crate::hash::{ChunkId, NodeId};

/// What a node refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// Nodes below it.
    pub nodes: Vec<NodeId>,
    /// Chunks that it names.
    pub chunks: Vec<ChunkId>,
}

/// What the node with this encoding refers to: a root, or a node of either tree.
///
/// # Errors
/// When it is none of these.
pub fn references(encoding: &[u8]) -> Result<References, Defect> {
    match encoding.first() {
        Some(&ChunkTree::TAG) => Ok(match Node::<ChunkTree>::decode(encoding, None)? {
            Node::Leaf(rows) => References { chunks: rows.iter().map(|row| row.id).collect(), ..References::default() },
            Node::Inner { rows, .. } => inner(rows.iter().map(Branch::id)),
        }),
        Some(&EntryTree::TAG) => Ok(match Node::<EntryTree>::decode(encoding, None)? {
            Node::Leaf(_) => References::default(),
            Node::Inner { rows, .. } => inner(rows.iter().map(Branch::id)),
        }),
        _ => {
            let root = Root::decode_unverified(encoding)?;
            Ok(inner([root.chunk_root, root.entry_root].into_iter().flatten()))
        }
    }
}

fn inner(nodes: impl Iterator<Item = NodeId>) -> References {
    References { nodes: nodes.collect(), ..References::default() }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::super::{ContentKind, Entry, EntryKind, EntryPath, ManifestBuilder};
    use super::*;
    use crate::chunker::MIN_CHUNK_BYTES;

    /// Follows every reference from the root, and compares what is found with what was made.
    fn check(mut builder: ManifestBuilder, chunks: &HashSet<ChunkId>) {
        let mut nodes: HashMap<NodeId, bytes::Bytes> = HashMap::new();
        nodes.extend(builder.drain_nodes().into_iter().map(|node| (node.id, node.bytes)));
        let finished = builder.finish().unwrap();
        nodes.extend(finished.nodes.into_iter().map(|node| (node.id, node.bytes)));
        assert!(nodes.len() > 100);
        let (mut found, mut seen, mut ahead) = (HashSet::new(), HashSet::new(), vec![finished.hash.root()]);
        while let Some(id) = ahead.pop() {
            if seen.insert(id) {
                let References { nodes, chunks } = references(&nodes[&id]).unwrap();
                ahead.extend(nodes);
                found.extend(chunks);
            }
        }
        assert_eq!(seen, nodes.keys().copied().collect());
        assert_eq!(found, *chunks);
    }

    #[test]
    fn everything_of_a_manifest_is_found_from_its_root() {
        let chunks: Vec<ChunkId> = (0..40_000u32).map(|n| ChunkId::of(&n.to_le_bytes())).collect();
        let mut builder = ManifestBuilder::new(ContentKind::File);
        for id in &chunks {
            builder.push_chunk(*id, MIN_CHUNK_BYTES).unwrap();
        }
        check(builder, &chunks.into_iter().collect());
        let mut builder = ManifestBuilder::new(ContentKind::Folder);
        for n in 0..40_000 {
            let path = EntryPath::new(format!("folder {n:06}")).unwrap();
            builder.push_entry(Entry { path, kind: EntryKind::EmptyFolder }).unwrap();
        }
        check(builder, &HashSet::new());
    }

    #[test]
    fn what_is_no_node_is_refused() {
        for bytes in [&b""[..], b"C", b"E\0\x01", b"shoal", b"noise"] {
            assert!(references(bytes).is_err(), "{bytes:?}");
        }
    }
}

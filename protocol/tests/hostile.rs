//! Manifests that are made to harm are refused, by words that say what is wrong.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::collections::HashMap;

use proptest::prelude::*;
use shoal_protocol::chunker::MAX_CHUNK_BYTES;
use shoal_protocol::codec::Writer;
use shoal_protocol::hash::{ContentHash, NodeId};
use shoal_protocol::manifest::{
    BuildError, ChunkWalk, ContentKind, Defect, EntryPath, EntryWalk, ManifestBuilder, ManifestError, OrderError,
    PathError, Root, Step,
};
use support::*;

/// Nodes made by hand.
#[derive(Default)]
struct Forge(HashMap<NodeId, Vec<u8>>);

impl Forge {
    fn node(&mut self, bytes: Vec<u8>) -> NodeId {
        let id = NodeId::of(&bytes);
        self.0.insert(id, bytes);
        id
    }

    /// Reads everything below a root made by hand; says what was wrong.
    fn defect(&self, root: &Root) -> Option<Defect> {
        let of = |error: ManifestError| match error {
            ManifestError::Malformed { defect, .. } => defect,
            other => panic!("{other}"),
        };
        let (mut chunks, mut entries) = (ChunkWalk::all(root), EntryWalk::all(root));
        loop {
            match chunks.step() {
                Ok(Step::Leaf(_)) => {}
                Ok(Step::Done) => break,
                Ok(Step::Need(id)) => match chunks.feed(id, &self.0[&id]) {
                    Ok(()) => {}
                    Err(error) => return Some(of(error)),
                },
                Err(error) => return Some(of(error)),
            }
        }
        loop {
            match entries.step() {
                Ok(Step::Leaf(_)) => {}
                Ok(Step::Done) => return None,
                Ok(Step::Need(id)) => match entries.feed(id, &self.0[&id]) {
                    Ok(()) => {}
                    Err(error) => return Some(of(error)),
                },
                Err(error) => return Some(of(error)),
            }
        }
    }
}

fn node(tag: u8, level: u8, rows: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![tag, level];
    out.put_word(rows.len() as u16);
    rows.iter().for_each(|row| out.put_raw(row));
    out
}

fn chunk_row(len: u32) -> Vec<u8> {
    let mut out = vec![7; 32];
    out.put_dword(len);
    out
}

fn chunk_branch(id: NodeId, chunks: u64, bytes: u64) -> Vec<u8> {
    let mut out = id.as_bytes().to_vec();
    out.put_qword(chunks);
    out.put_qword(bytes);
    out
}

fn entry_row(shared: u16, rest: &str, size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_word(shared);
    out.put_bytes(rest.as_bytes());
    out.put_byte(0);
    out.put_qword(size);
    out
}

fn entry_branch(id: NodeId, entries: u64, shared: u16, rest: &str) -> Vec<u8> {
    let mut out = id.as_bytes().to_vec();
    [entries, 0, 0].iter().for_each(|&part| out.put_qword(part));
    out.put_word(shared);
    out.put_bytes(rest.as_bytes());
    out
}

fn file_root(chunk_root: NodeId, chunks: u64, bytes: u64) -> Root {
    Root {
        kind: ContentKind::File,
        bytes,
        chunks,
        entries: 0,
        small_bytes: 0,
        chunk_root: Some(chunk_root),
        entry_root: None,
    }
}

/// A folder of empty files.
fn folder_root(entry_root: NodeId, entries: u64) -> Root {
    Root {
        kind: ContentKind::Folder,
        bytes: 0,
        chunks: 0,
        entries,
        small_bytes: 0,
        chunk_root: None,
        entry_root: Some(entry_root),
    }
}

/// What is wrong with a chunk tree of this one node.
fn chunk_defect(bytes: Vec<u8>, chunks: u64, total: u64) -> Option<Defect> {
    let mut forge = Forge::default();
    let id = forge.node(bytes);
    forge.defect(&file_root(id, chunks, total))
}

/// What is wrong with an entry tree of this one leaf.
fn entry_defect(rows: &[Vec<u8>]) -> Option<Defect> {
    let mut forge = Forge::default();
    let id = forge.node(node(b'E', 0, rows));
    forge.defect(&folder_root(id, rows.len() as u64))
}

#[test]
fn the_forge_makes_good_ones_too() {
    assert_eq!(chunk_defect(node(b'C', 0, &[chunk_row(9), chunk_row(1)]), 2, 10), None);
    assert_eq!(entry_defect(&[entry_row(0, "a", 0), entry_row(1, "b", 0), entry_row(0, "b", 0)]), None);
}

/// A node, the totals claimed for it, and the defect to be found.
type Case = (Vec<u8>, u64, u64, fn(&Defect) -> bool);

#[test]
fn chunk_nodes_that_lie_are_refused() {
    let good = node(b'C', 0, &[chunk_row(9)]);
    let cases: Vec<Case> = vec![
        (good.clone(), 2, 9, |d| *d == Defect::Totals),
        (good.clone(), 1, 10, |d| *d == Defect::Totals),
        (good[..39].to_vec(), 1, 9, |d| matches!(d, Defect::Encoding(_))),
        ([&good[..], &[0]].concat(), 1, 9, |d| matches!(d, Defect::Encoding(_))),
        (node(b'C', 0, &[chunk_row(0)]), 1, 9, |d| *d == Defect::ChunkLength { length: 0 }),
        (node(b'C', 0, &[chunk_row(MAX_CHUNK_BYTES + 1)]), 1, 9, |d| matches!(d, Defect::ChunkLength { .. })),
        (node(b'C', 0, &[]), 1, 9, |d| *d == Defect::Shape { rows: 0 }),
        (node(b'E', 0, &[chunk_row(9)]), 1, 9, |d| matches!(d, Defect::Misplaced { .. })),
        (node(b'C', 255, &[chunk_row(9)]), 1, 9, |d| matches!(d, Defect::Misplaced { .. })),
        // Claims 65,535 rows and has none: nothing may be allocated for them.
        (vec![b'C', 0, 255, 255], 1, 9, |d| matches!(d, Defect::Encoding(_))),
        (vec![0; 70_000], 1, 9, |d| *d == Defect::TooBig { bytes: 70_000 }),
        (node(b'C', 0, &vec![chunk_row(9); 1025]), 1025, 9225, |d| *d == Defect::Shape { rows: 1025 }),
        // A top above a single node.
        (node(b'C', 1, &[chunk_branch(NodeId::of(&good), 1, 9)]), 1, 9, |d| *d == Defect::Shape { rows: 1 }),
    ];
    for (index, (bytes, chunks, total, is_right)) in cases.into_iter().enumerate() {
        let defect = chunk_defect(bytes, chunks, total).unwrap_or_else(|| panic!("case {index} was taken"));
        assert!(is_right(&defect), "case {index}: {defect}");
    }
}

#[test]
fn depth_and_sums_are_checked_on_the_way_down() {
    let mut forge = Forge::default();
    let full = forge.node(node(b'C', 0, &vec![chunk_row(9); 1024]));
    let tail = forge.node(node(b'C', 0, &[chunk_row(9)]));
    let mut of = |rows: &[Vec<u8>], chunks: u64, bytes: u64| {
        let top = forge.node(node(b'C', 1, rows));
        forge.defect(&file_root(top, chunks, bytes))
    };
    let (first, last) = (chunk_branch(full, 1024, 9216), chunk_branch(tail, 1, 9));
    assert_eq!(of(&[first.clone(), last.clone()], 1025, 9225), None);
    // A node that ends early may only be the last one; no part may hold more than it should.
    assert_eq!(of(&[last.clone(), last.clone()], 2, 18), Some(Defect::Shape { rows: 1 }));
    assert_eq!(of(&[chunk_branch(full, 1024, 9000), chunk_branch(tail, 1, 225)], 1025, 9225), Some(Defect::Totals));
    assert_eq!(of(&[chunk_branch(full, u64::MAX, 9216), last.clone()], 1025, 9225), Some(Defect::Overflow));
    assert_eq!(of(&[chunk_branch(full, 1024, u64::MAX), last], 1025, 9225), Some(Defect::Overflow));
    // A child of the wrong level.
    let inner = forge.node(node(b'C', 1, &[first.clone(), chunk_branch(tail, 1, 9)]));
    let top = forge.node(node(b'C', 1, &[first, chunk_branch(inner, 1025, 9225)]));
    let defect = forge.defect(&file_root(top, 2049, 18441));
    assert!(matches!(defect, Some(Defect::Misplaced { expected_level: Some(0), level: 1, .. })), "{defect:?}");
}

#[test]
fn roots_that_contradict_themselves_are_refused() {
    let id = NodeId::of(b"any");
    let decode = |root: &Root| {
        let bytes = root.encode();
        Root::decode(&ContentHash::from_root(NodeId::of(&bytes)), &bytes)
    };
    let good = file_root(id, 1, 9);
    assert_eq!(decode(&good), Ok(good.clone()));
    let folder = Root { kind: ContentKind::Folder, entries: 1, entry_root: Some(id), ..good.clone() };
    assert_eq!(decode(&folder), Ok(folder.clone()));
    for bad in [
        Root { bytes: 0, ..good.clone() },
        Root { chunks: 0, chunk_root: None, ..good.clone() },
        Root { bytes: u64::MAX, chunks: u64::MAX, ..good.clone() },
        Root { bytes: 1 << 20, ..good.clone() },
        // A manifest far larger than its content.
        Root { bytes: 1_000_000, chunks: 1_000_000, ..good.clone() },
        Root { small_bytes: 10, ..folder.clone() },
        Root { entries: 0, entry_root: None, ..folder },
    ] {
        assert!(matches!(decode(&bad), Err(ManifestError::Malformed { .. })), "{bad:?}");
    }
    let bytes = good.encode();
    let hash = ContentHash::from_root(NodeId::of(b"other"));
    assert!(matches!(Root::decode(&hash, &bytes), Err(ManifestError::WrongBytes { .. })));
    let with = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        match Root::decode(&ContentHash::from_root(NodeId::of(&bytes)), &bytes) {
            Err(ManifestError::Malformed { defect, .. }) => defect,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(with(0, b'z'), Defect::NotARoot);
    assert_eq!(with(5, 2), Defect::Version { found: 2 });
    assert!(matches!(with(6, 9), Defect::Unknown { found: 9, .. }));
}

#[test]
fn paths_cannot_leave_the_folder() {
    let long = "x".repeat(256);
    let deep = vec!["folder"; 700].join("/");
    for (text, error) in [
        ("", PathError::Empty),
        ("/etc/passwd", PathError::EmptyComponent),
        ("a//b", PathError::EmptyComponent),
        ("a/", PathError::EmptyComponent),
        ("..", PathError::Dots),
        ("a/../../b", PathError::Dots),
        ("./a", PathError::Dots),
        ("a\0b", PathError::Nul),
        (&long, PathError::ComponentTooLong { bytes: 256 }),
        (&deep, PathError::TooLong { bytes: 4899 }),
    ] {
        assert_eq!(EntryPath::new(text), Err(error), "{text:?}");
        let defect = entry_defect(&[entry_row(0, text, 0)]).unwrap();
        let is_right = match text.len() {
            0 => defect == Defect::Sequence,
            1..=4096 => defect == Defect::Path(error),
            _ => matches!(defect, Defect::Encoding(_)),
        };
        assert!(is_right, "{text:?}: {defect}");
    }
    for text in ["a", "..a", "a/...", "C:\\x", "con", "\u{202e}", "-", "é/ä"] {
        assert!(EntryPath::new(text).is_ok(), "{text:?} is a legal name somewhere");
    }
}

#[test]
fn entries_out_of_place_are_refused() {
    let sequence = |rows: &[Vec<u8>]| assert_eq!(entry_defect(rows), Some(Defect::Sequence));
    sequence(&[entry_row(0, "b", 0), entry_row(0, "a", 0)]);
    sequence(&[entry_row(0, "a", 0), entry_row(1, "", 0)]);
    sequence(&[entry_row(0, "ab", 0), entry_row(0, "ac", 0)]);
    sequence(&[entry_row(0, "ab", 0), entry_row(1, "", 0)]);
    sequence(&[entry_row(0, "a", 0), entry_row(9, "b", 0)]);
    sequence(&[entry_row(1, "a", 0)]);
    // A file that is a folder too, even with others between.
    let clash =
        entry_defect(&[entry_row(0, "a", 0), entry_row(1, "!", 0), entry_row(1, "-b", 0), entry_row(1, "/b", 0)]);
    assert_eq!(clash, Some(Defect::Order(OrderError::Clash { path: path("a/b") })));
    let mut bad_utf8 = entry_row(0, "xx", 0);
    bad_utf8[4] = 0xff;
    assert!(matches!(entry_defect(&[bad_utf8]), Some(Defect::Encoding(_))));
    let mut kind = entry_row(0, "x", 0);
    kind[5] = 77;
    assert!(matches!(entry_defect(&[kind]), Some(Defect::Unknown { found: 77, .. })));
    assert_eq!(entry_defect(&[entry_row(0, "a", u64::MAX)]), Some(Defect::Overflow));
    assert_eq!(entry_defect(&[entry_row(0, "a", 1)]), Some(Defect::Totals));
}

#[test]
fn order_holds_from_leaf_to_leaf() {
    let many = |prefix: &str, count: usize| -> Vec<Vec<u8>> {
        let paths: Vec<_> = (0..count).map(|n| format!("{prefix}{n:04}{}", "x".repeat(250))).collect();
        let shared = |n: usize| {
            let (a, b) = (paths[n - 1].as_bytes(), paths[n].as_bytes());
            a.iter().zip(b).take_while(|(a, b)| a == b).count()
        };
        let cut = |n: usize| if n == 0 { 0 } else { shared(n) };
        (0..count).map(|n| entry_row(cut(n) as u16, &paths[n][cut(n)..], 0)).collect()
    };
    let mut forge = Forge::default();
    // Rows weigh so much that a leaf is full before its paths could end it; how many it takes is found by trying.
    let full = (32..160).find(|&count| {
        let mut forge = Forge::default();
        let leaf = forge.node(node(b'E', 0, &many("b", count)));
        let tail = forge.node(node(b'E', 0, &[entry_row(0, "c", 0)]));
        let first = format!("b0000{}", "x".repeat(250));
        let top =
            forge.node(node(b'E', 1, &[entry_branch(leaf, count as u64, 0, &first), entry_branch(tail, 1, 0, "c")]));
        forge.defect(&folder_root(top, count as u64 + 1)).is_none()
    });
    let count = full.unwrap();
    let first = format!("b0000{}", "x".repeat(250));
    let leaf = forge.node(node(b'E', 0, &many("b", count)));
    let mut of = |last: &str, shared: u16, claimed: &str| {
        let tail = forge.node(node(b'E', 0, &[entry_row(0, last, 0)]));
        let rows = [entry_branch(leaf, count as u64, 0, &first), entry_branch(tail, 1, shared, claimed)];
        let top = forge.node(node(b'E', 1, &rows));
        forge.defect(&folder_root(top, count as u64 + 1))
    };
    assert_eq!(of("c", 0, "d"), Some(Defect::FirstPath));
    assert_eq!(of("a", 0, "a"), Some(Defect::Sequence));
    let between = format!("b0000{}y", "x".repeat(249));
    assert!(matches!(of(&between, 254, "y"), Some(Defect::Order(OrderError::Unsorted { .. }))));
}

#[test]
fn builders_refuse_what_readers_would() {
    let mut builder = ManifestBuilder::new(ContentKind::Folder);
    builder.push_entry(file("a", 5)).unwrap();
    assert!(matches!(builder.push_entry(file("a", 5)), Err(BuildError::Order(OrderError::Duplicate { .. }))));
    assert!(matches!(builder.push_entry(file("a/b", 5)), Err(BuildError::Order(OrderError::Clash { .. }))));
    assert!(matches!(builder.push_entry(file("A", 5)), Err(BuildError::Order(OrderError::Unsorted { .. }))));
    let row = made_up_chunks("x", 1)[0];
    assert_eq!(builder.push_chunk(row.id, 0), Err(BuildError::ChunkLength { length: 0 }));
    builder.push_chunk(row.id, 4).unwrap();
    assert_eq!(builder.finish(), Err(BuildError::Totals { entry_bytes: 5, chunk_bytes: 4, chunks: 1 }));
    assert_eq!(ManifestBuilder::new(ContentKind::File).push_entry(file("a", 0)), Err(BuildError::EntryOfFile));
    let mut builder = ManifestBuilder::new(ContentKind::Folder);
    assert_eq!(builder.push_entry(file("a", i64::MAX as u64)), Ok(()));
    assert_eq!(builder.push_entry(file("b", 1)), Err(BuildError::Overflow));
}

fn feed_anything(bytes: &[u8]) {
    let _ = Root::decode(&ContentHash::from_root(NodeId::of(bytes)), bytes);
    let id = NodeId::of(bytes);
    let root = Root { entry_root: Some(id), entries: 3, kind: ContentKind::Folder, ..file_root(id, 3, 30) };
    let (mut chunks, mut entries) = (ChunkWalk::all(&root), EntryWalk::all(&root));
    let _ = (chunks.feed(id, bytes), chunks.step(), entries.feed(id, bytes), entries.step());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), tag in prop_oneof![Just(b'C'), Just(b'E')], level in 0u8..3) {
        feed_anything(&bytes);
        feed_anything(&[&[tag, level], bytes.as_slice()].concat());
        feed_anything(&[b"shoal\x01\x01", bytes.as_slice()].concat());
    }

    #[test]
    fn good_nodes_with_a_wrong_byte_do_not_panic(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), value: u8) {
        let entries: Vec<_> = (0..200).map(|n| file(&format!("f/{n:04}"), 0)).collect();
        let built = build(ContentKind::Folder, &[], &entries);
        let nodes: Vec<_> = built.nodes.values().collect();
        let mut bytes = nodes[which.index(nodes.len())].to_vec();
        let at = at.index(bytes.len());
        bytes[at] = value;
        feed_anything(&bytes);
    }
}

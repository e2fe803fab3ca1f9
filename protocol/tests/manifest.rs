//! Manifests: what is built reads back, from anywhere; the same content is the same nodes; a change changes few.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::collections::HashSet;

use proptest::prelude::*;
use shoal_protocol::chunker::LARGE_FILE_BYTES;
use shoal_protocol::manifest::{
    ChunkWalk, ContentKind, Entry, EntryPath, EntryWalk, MAX_NODE_BYTES, ManifestBuilder, ManifestError, PathOrder,
    PlacedEntry, Root, Step,
};
use support::*;

/// Some thousand entries in folders, sorted, of `bytes` in total small sizes.
fn many_entries(count: usize) -> Vec<Entry> {
    let mut entries: Vec<_> = (0..count)
        .map(|n| {
            let at = format!("folder-{:02}/sub-{:03}/file number {n}.txt", n % 37, n % 411);
            match n % 50 {
                7 => symlink(&at, "../elsewhere"),
                8 => empty_folder(&at),
                9 => program(&at, 10),
                10 => file(&at, LARGE_FILE_BYTES + n as u64),
                _ => file(&at, n as u64 % 5000),
            }
        })
        .collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    entries
}

/// Chunk rows that hold exactly this many bytes.
fn chunks_for(bytes: u64) -> Vec<shoal_protocol::manifest::ChunkRow> {
    let mut rows = made_up_chunks("rows", (bytes / 20_000 + 2) as usize);
    let mut left = bytes;
    rows.retain_mut(|row| {
        row.len = u64::from(row.len).min(left) as u32;
        left -= u64::from(row.len);
        row.len > 0
    });
    assert_eq!(left, 0);
    rows
}

fn folder(entries: &[Entry]) -> Built {
    build(ContentKind::Folder, &chunks_for(entries.iter().map(|entry| entry.kind.size()).sum()), entries)
}

fn plain(entries: Vec<PlacedEntry>) -> Vec<Entry> {
    entries.into_iter().map(|placed| placed.entry).collect()
}

#[test]
fn nothing_is_something() {
    for kind in [ContentKind::File, ContentKind::Folder] {
        let built = build(kind, &[], &[]);
        assert_eq!(built.nodes.len(), 1, "the root alone");
        assert_eq!((built.root.bytes, built.root.chunk_root, built.root.entry_root), (0, None, None));
        assert_eq!(Root::decode(&built.hash, &built.nodes[&built.hash.root()]), Ok(built.root.clone()));
        assert_eq!(built.read_chunks(ChunkWalk::all(&built.root)), Ok(vec![]));
        assert_eq!(built.read_entries(EntryWalk::all(&built.root)), Ok(vec![]));
    }
}

#[test]
fn a_big_folder_reads_back_in_order_and_in_place() {
    let entries = many_entries(20_000);
    let built = folder(&entries);
    assert_eq!(Root::decode(&built.hash, &built.nodes[&built.hash.root()]), Ok(built.root.clone()));
    assert!(built.nodes.values().all(|bytes| bytes.len() <= MAX_NODE_BYTES));
    let placed = built.read_entries(EntryWalk::all(&built.root)).unwrap();
    let (mut small, mut large) = (0, built.root.small_bytes);
    for PlacedEntry { entry, stream } in &placed {
        let next = if entry.kind.is_large() { &mut large } else { &mut small };
        assert_eq!(*stream, *next..*next + entry.kind.size());
        *next = stream.end;
    }
    assert_eq!((small, large), (built.root.small_bytes, built.root.bytes));
    assert_eq!(plain(placed), entries);
}

#[test]
fn an_entry_is_found_by_the_way_down_to_it_alone() {
    let entries = many_entries(20_000);
    let built = folder(&entries);
    for entry in entries.iter().step_by(1711) {
        let mut walk = EntryWalk::at(&built.root, &entry.path);
        let mut asked = 0;
        let leaf = loop {
            match walk.step().unwrap() {
                Step::Leaf(leaf) => break leaf,
                Step::Need(id) => walk.feed(id, &built.nodes[&id]).unwrap(),
                Step::Done => panic!("{} is there", entry.path),
            }
            asked += 1;
        };
        assert!(asked <= 4, "{asked} nodes");
        assert_eq!(leaf.entries.len(), 1);
        assert_eq!(leaf.entries[0].entry, *entry);
        assert_eq!(walk.step(), Ok(Step::Done));
    }
    for missing in ["folder-00", "folder-99/x", "a", "zzz"] {
        assert_eq!(built.read_entries(EntryWalk::at(&built.root, &path(missing))), Ok(vec![]));
    }
    let below = plain(built.read_entries(EntryWalk::below(&built.root, &path("folder-03/sub-003"))).unwrap());
    let expected: Vec<_> =
        entries.iter().filter(|e| e.path.as_str().starts_with("folder-03/sub-003/")).cloned().collect();
    assert!(!expected.is_empty());
    assert_eq!(below, expected);
}

#[test]
fn chunks_are_read_from_any_index_and_offset() {
    let rows = made_up_chunks("seek", 30_000);
    let built = build(ContentKind::File, &rows, &[]);
    let starts: Vec<u64> =
        rows.iter().scan(0, |at, row| Some(std::mem::replace(at, *at + u64::from(row.len)))).collect();
    assert_eq!(rows_of(&built.read_chunks(ChunkWalk::all(&built.root)).unwrap()), rows);
    for (from, to) in [(0, 1), (1, 2), (777, 3_000), (29_999, 30_000), (12_345, 12_345), (29_000, 99_000)] {
        let leaves = built.read_chunks(ChunkWalk::chunks(&built.root, from..to)).unwrap();
        let to = (to as usize).min(rows.len());
        assert_eq!(rows_of(&leaves), rows[from as usize..to]);
        for leaf in &leaves {
            assert_eq!(leaf.offset, starts[leaf.first as usize]);
            assert_eq!(leaf.rows[0], rows[leaf.first as usize]);
        }
        if let [_, ..] = leaves.as_slice() {
            let bytes = starts[from as usize] + 1..starts[to - 1] + 2;
            assert_eq!(built.read_chunks(ChunkWalk::bytes(&built.root, bytes)), Ok(leaves));
        }
    }
    assert_eq!(built.read_chunks(ChunkWalk::bytes(&built.root, 5..5)), Ok(vec![]));
    assert_eq!(built.read_chunks(ChunkWalk::bytes(&built.root, built.root.bytes..u64::MAX)), Ok(vec![]));
}

#[test]
fn nodes_may_come_in_any_order_and_wrong_ones_change_nothing() {
    let rows = made_up_chunks("any order", 20_000);
    let built = build(ContentKind::File, &rows, &[]);
    let mut walk = ChunkWalk::all(&built.root);
    let (mut read, mut most) = (Vec::new(), 0);
    loop {
        match walk.step().unwrap() {
            Step::Leaf(leaf) => read.extend(leaf.rows),
            Step::Done => break,
            Step::Need(first) => {
                let mut needs = walk.needs(16);
                assert_eq!(needs[0], first);
                assert_eq!(needs.iter().collect::<HashSet<_>>().len(), needs.len());
                most = most.max(needs.len());
                needs.reverse();
                for id in needs {
                    assert!(matches!(walk.feed(id, b"noise"), Err(ManifestError::WrongBytes { .. })));
                    walk.feed(id, &built.nodes[&id]).unwrap();
                    walk.feed(id, b"no longer wanted").unwrap();
                }
            }
        }
    }
    assert_eq!(most, 16);
    assert_eq!(read, rows);
}

#[test]
fn the_same_chunk_a_million_times_is_few_nodes() {
    let row = made_up_chunks("zeros", 1)[0];
    let rows = vec![row; 1_000_000];
    let built = build(ContentKind::File, &rows, &[]);
    assert!(built.nodes.len() <= 8, "{} nodes", built.nodes.len());
    let leaves = built.read_chunks(ChunkWalk::all(&built.root)).unwrap();
    assert_eq!(leaves.iter().map(|leaf| leaf.rows.len()).sum::<usize>(), rows.len());
    assert!(leaves.windows(2).all(|pair| pair[0].first + pair[0].rows.len() as u64 == pair[1].first));
}

#[test]
fn a_change_changes_few_nodes() {
    let entries = many_entries(50_000);
    let before: HashSet<_> = folder(&entries).nodes.into_keys().collect();
    let mut more = entries.clone();
    more.insert(5, file(&format!("{}!", entries[4].path), 0));
    let mut other_size = entries.clone();
    other_size[100] = file(other_size[100].path.as_str(), 3);
    for (what, changed) in [("an early entry", more), ("another size", other_size)] {
        // The chunk list is the same but for its length; what is asked of here is the tree of entries.
        let after = folder(&changed);
        let fresh = after.nodes.keys().filter(|id| !before.contains(id)).count();
        assert!(before.len() > 300 && fresh <= 12, "{what} changed {fresh} of {} nodes", after.nodes.len());
    }
    let rows = made_up_chunks("change", 100_000);
    let before: HashSet<_> = build(ContentKind::File, &rows, &[]).nodes.into_keys().collect();
    let mut more = rows.clone();
    more.insert(3, made_up_chunks("new", 1)[0]);
    let fresh = build(ContentKind::File, &more, &[]).nodes.keys().filter(|id| !before.contains(id)).count();
    assert!(before.len() > 300 && fresh <= 8, "an early chunk changed {fresh} of {} nodes", before.len());
}

#[test]
fn a_large_file_has_the_same_chunks_anywhere() {
    let large = noise("large", LARGE_FILE_BYTES as usize + 1_234_567);
    let alone = build(ContentKind::File, &chunks_of(&large), &[]);
    let alone = rows_of(&alone.read_chunks(ChunkWalk::all(&alone.root)).unwrap());
    let small = noise("small", 300_000);
    for files in [
        vec![("a", small.as_slice()), ("m", &large), ("z", &small)],
        vec![("a", &large), ("m", &small[..10])],
        vec![("m", &large), ("n", &large)],
    ] {
        let built = publish_folder(&files);
        let rows = rows_of(&built.read_chunks(ChunkWalk::all(&built.root)).unwrap());
        let mut offset = 0;
        let at = rows.iter().position(|row| {
            let is_here = offset == built.root.small_bytes;
            offset += u64::from(row.len);
            is_here
        });
        assert_eq!(rows[at.unwrap()..][..alone.len()], alone);
    }
}

fn any_path() -> impl Strategy<Value = String> {
    prop::collection::vec("[ab./é-]{1,4}", 1..5).prop_map(|names| names.join("/"))
}

proptest! {
    #[test]
    fn any_folder_reads_back_whichever_way_it_is_built(
        paths in prop::collection::btree_set(any_path(), 0..60),
        sizes in prop::collection::vec(0u64..3_000_000, 60),
        interleave in any::<u64>(),
    ) {
        let mut order = PathOrder::default();
        let entries: Vec<_> = paths
            .iter()
            .zip(sizes)
            .filter_map(|(text, size)| Some((EntryPath::new(text.as_str()).ok()?, size)))
            .filter(|(at, _)| order.accept(at).is_ok())
            .map(|(at, size)| match size % 7 {
                0 => empty_folder(at.as_str()),
                1 => symlink(at.as_str(), "../../x"),
                2 => program(at.as_str(), size),
                _ => file(at.as_str(), size),
            })
            .collect();
        let chunks = chunks_for(entries.iter().map(|entry| entry.kind.size()).sum());
        let built = build(ContentKind::Folder, &chunks, &entries);
        prop_assert_eq!(plain(built.read_entries(EntryWalk::all(&built.root)).unwrap()), entries.clone());
        prop_assert_eq!(rows_of(&built.read_chunks(ChunkWalk::all(&built.root)).unwrap()), chunks.clone());

        let mut builder = ManifestBuilder::new(ContentKind::Folder);
        let (mut chunks, mut entries, mut turn) = (chunks.into_iter(), entries.into_iter(), interleave);
        let finished = loop {
            turn = turn.rotate_left(1);
            let next = if turn % 2 == 0 || entries.len() == 0 { (chunks.next(), None) } else { (None, entries.next()) };
            match next {
                (Some(row), _) => builder.push_chunk(row.id, row.len).unwrap(),
                (_, Some(entry)) => builder.push_entry(entry).unwrap(),
                _ if entries.len() == 0 => break builder.finish().unwrap(),
                _ => turn = u64::MAX,
            }
        };
        prop_assert_eq!(finished.hash, built.hash);
    }
}

proptest! {
    #[test]
    fn clashes_are_those_of_a_naive_search(texts in prop::collection::btree_set("[ab!/0-]{1,7}", 0..80)) {
        let mut order = PathOrder::default();
        let mut accepted: Vec<EntryPath> = Vec::new();
        for at in texts.iter().filter_map(|text| EntryPath::new(text.as_str()).ok()) {
            let is_below = |upper: &EntryPath| at.as_str().starts_with(&format!("{upper}/"));
            // A path that was refused is no entry: the order goes on as if it had not come.
            prop_assert_eq!(order.accept(&at).is_err(), accepted.iter().any(is_below), "{}", at);
            if !accepted.iter().any(is_below) {
                accepted.push(at);
            }
        }
    }
}

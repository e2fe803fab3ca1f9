//! Layouts: every byte of the stream is in one place of one file, and found there.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::mem::size_of;

use proptest::prelude::*;
use shoal_protocol::chunker::LARGE_FILE_BYTES;
use shoal_protocol::manifest::{
    ContentKind, Entry, EntryKind, EntryWalk, KindView, Layout, LayoutError, OrderError, Span,
};
use support::*;

fn layout_of(entries: &[Entry]) -> Layout {
    let mut builder = Layout::builder();
    for entry in entries {
        builder.push(entry).unwrap();
    }
    builder.finish()
}

fn sample() -> Vec<Entry> {
    vec![
        file("a", 5),
        file("b/large", LARGE_FILE_BYTES),
        file("b/none", 0),
        program("b/tool", 7),
        empty_folder("c"),
        file("d", LARGE_FILE_BYTES + 1),
        symlink("e", "a"),
        file("f", 3),
    ]
}

#[test]
fn small_files_come_first_then_large_ones() {
    let layout = layout_of(&sample());
    let order: Vec<_> = layout.files().map(|file| (file.path.to_owned(), file.stream)).collect();
    let large = LARGE_FILE_BYTES;
    let expected = [
        ("a", 0..5),
        ("b/none", 5..5),
        ("b/tool", 5..12),
        ("f", 12..15),
        ("b/large", 15..15 + large),
        ("d", 15 + large..16 + 2 * large),
    ];
    assert_eq!(order, expected.map(|(at, stream)| (at.to_owned(), stream)));
    assert_eq!((layout.len(), layout.bytes()), (8, 16 + 2 * large));
}

#[test]
fn entries_are_found_by_path_and_below_folders() {
    let layout = layout_of(&sample());
    assert_eq!(layout.find(&path("b/tool")).unwrap().kind, KindView::File { executable: true });
    assert_eq!(layout.find(&path("c")).unwrap().kind, KindView::EmptyFolder);
    assert_eq!(layout.find(&path("e")).unwrap().kind, KindView::Symlink("a"));
    for missing in ["b", "b/z", "A", "zz"] {
        assert_eq!(layout.find(&path(missing)), None);
    }
    let below: Vec<_> = layout.below(&path("b")).map(|entry| entry.path).collect();
    assert_eq!(below, ["b/large", "b/none", "b/tool"]);
    assert_eq!(layout.below(&path("a")).count(), 0);
}

#[test]
fn a_file_alone_is_one_entry_without_a_path() {
    let layout = Layout::of_file(10);
    let all: Vec<_> = layout.entries().collect();
    assert_eq!((all.len(), all[0].path, all[0].stream.clone()), (1, "", 0..10));
    let spans: Vec<_> = layout.spans(3..99).collect();
    assert_eq!(spans, [Span { entry: all[0].index, file_offset: 3, stream_offset: 3, len: 7 }]);
}

#[test]
fn entries_out_of_place_and_too_many_bytes_are_refused() {
    let mut builder = Layout::builder();
    builder.push(&file("a", i64::MAX as u64)).unwrap();
    assert!(matches!(builder.push(&file("a", 0)), Err(LayoutError::Order(OrderError::Duplicate { .. }))));
    assert!(matches!(builder.push(&file("a/b", 0)), Err(LayoutError::Order(OrderError::Clash { .. }))));
    assert_eq!(builder.push(&file("b", 1)), Err(LayoutError::Overflow));
}

#[test]
fn an_entry_costs_few_bytes() {
    // What is kept besides the text: one row and, for a file, its place in the order of the stream. Vectors that grow
    // hold up to twice what is in them until they are finished.
    assert!(Layout::row_bytes() + size_of::<u32>() <= 40, "{}", Layout::row_bytes());
}

#[test]
fn layouts_agree_with_walks() {
    let entries: Vec<_> = (0..3_000).map(|n| file(&format!("{:02}/{n:04}", n / 100), n)).collect();
    let bytes: u64 = (0..3_000).sum();
    let mut rows = made_up_chunks("layout", 200);
    rows.truncate(
        1 + rows
            .iter()
            .scan(0, |sum, row| {
                *sum += u64::from(row.len);
                Some(*sum)
            })
            .position(|sum| sum >= bytes)
            .unwrap(),
    );
    let excess = rows.iter().map(|row| u64::from(row.len)).sum::<u64>() - bytes;
    rows.last_mut().unwrap().len -= excess as u32;
    let built = build(ContentKind::Folder, &rows, &entries);
    let placed = built.read_entries(EntryWalk::all(&built.root)).unwrap();
    let layout = layout_of(&entries);
    assert!(layout.entries().zip(&placed).all(|(view, placed)| view.stream == placed.stream));
    assert_eq!(layout.bytes(), built.root.bytes);
}

proptest! {
    #[test]
    fn spans_are_those_of_a_naive_model(
        sizes in prop::collection::vec(prop_oneof![Just(0u64), 1u64..50, Just(LARGE_FILE_BYTES), Just(LARGE_FILE_BYTES - 1)], 0..30),
        from in 0u64..6_000_000,
        len in 0u64..4_000_000,
    ) {
        let entries: Vec<_> = sizes.iter().enumerate().map(|(n, &size)| file(&format!("{n:03}"), size)).collect();
        let layout = layout_of(&entries);
        let (small, large): (Vec<_>, Vec<_>) = entries.iter().enumerate().partition(|(_, e)| !e.kind.is_large());
        let (mut at, mut expected) = (0, Vec::new());
        for (index, entry) in small.into_iter().chain(large) {
            let EntryKind::File { size, .. } = entry.kind else { unreachable!() };
            let (start, end) = (at.max(from), (at + size).min(from + len));
            if start < end {
                expected.push((index as u32, start - at, start, end - start));
            }
            at += size;
        }
        let spans: Vec<_> = layout.spans(from..from + len).map(|s| (s.entry.get(), s.file_offset, s.stream_offset, s.len)).collect();
        prop_assert_eq!(spans, expected);
    }
}

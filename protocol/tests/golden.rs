//! What enters content hashes is frozen: docs/format.md states test vectors, this program makes them again.
//!
//! A difference means that the same content would have another hash than before: never change the page to make this
//! pass, unless the format version changes with it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use data_encoding::HEXLOWER;
use shoal_protocol::chunker::LARGE_FILE_BYTES;
use shoal_protocol::hash::NodeId;
use shoal_protocol::manifest::{ChunkRow, ContentKind, Entry};
use support::*;

const PAGE: &str = include_str!("../../docs/format.md");

/// All vectors of the page, in its order: `name = value` lines in blocks that are fenced as `vectors`.
fn stated() -> Vec<(String, String)> {
    let blocks = PAGE.split("```vectors\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter_map(|line| line.split_once(" = "));
    lines.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

/// Collects vectors under names.
#[derive(Default)]
struct Vectors(Vec<(String, String)>);

impl Vectors {
    fn put(&mut self, name: &str, value: impl ToString) {
        self.0.push((name.to_owned(), value.to_string()));
    }

    /// A manifest with all its nodes: for small ones.
    fn manifest(&mut self, name: &str, built: &Built) {
        let node = |id: NodeId| HEXLOWER.encode(&built.nodes[&id]);
        if let Some(id) = built.root.chunk_root {
            self.put(&format!("{name} chunk node"), node(id));
        }
        if let Some(id) = built.root.entry_root {
            self.put(&format!("{name} entry node"), node(id));
        }
        self.put(&format!("{name} root"), node(built.hash.root()));
        self.put(&format!("{name} hash"), built.hash);
    }
}

fn gear_table(vectors: &mut Vectors) {
    let mut table = vec![0; 2048];
    blake3::Hasher::new_derive_key("shoal v1 gear table").finalize_xof().fill(&mut table);
    let word = |index: usize| {
        let bytes = table[index * 8..][..8].try_into().unwrap();
        format!("{:016x}", u64::from_le_bytes(bytes))
    };
    vectors.put("gear table word 0", word(0));
    vectors.put("gear table word 255", word(255));
    vectors.put("gear table blake3", blake3::hash(&table).to_hex());
}

fn chunks(vectors: &mut Vectors) {
    let lengths = |rows: &[ChunkRow]| rows.iter().map(|row| row.len.to_string()).collect::<Vec<_>>().join(" ");
    let ids = |rows: &[ChunkRow]| {
        let all: Vec<u8> = rows.iter().flat_map(|row| *row.id.as_bytes()).collect();
        blake3::hash(&all).to_hex()
    };
    let rows = chunks_of(&noise("shoal test vector", 1 << 20));
    vectors.put("chunks of noise", lengths(&rows));
    vectors.put("chunks of noise ids blake3", ids(&rows));
    let text: String = (0..60_000).map(|n: u64| format!("line {} of many\n", n * n)).collect();
    let rows = chunks_of(text.as_bytes());
    vectors.put("chunks of lines", lengths(&rows));
    vectors.put("chunks of lines ids blake3", ids(&rows));
    vectors.put("chunks of zeros", lengths(&chunks_of(&[0; 600_000])));
}

fn every_kind() -> Vec<Entry> {
    vec![
        symlink("bin/latest", "../opt/tool-2"),
        program("bin/tool", 3),
        empty_folder("empty"),
        file("größe.txt", 2),
        file("größer.txt", 0),
    ]
}

fn manifests(vectors: &mut Vectors) {
    vectors.manifest("empty file", &build(ContentKind::File, &[], &[]));
    vectors.manifest("empty folder", &build(ContentKind::Folder, &[], &[]));
    let hello = build(ContentKind::File, &chunks_of(b"hello"), &[]);
    vectors.manifest("hello", &hello);
    vectors.put("hello discovery key", HEXLOWER.encode(hello.hash.discovery_key().as_bytes()));
    vectors.manifest("every kind", &build(ContentKind::Folder, &chunks_of(b"abcde"), &every_kind()));

    let large = noise("large", LARGE_FILE_BYTES as usize);
    let alone = build(ContentKind::File, &chunks_of(&large), &[]);
    vectors.put("large file hash", alone.hash);
    let among = publish_folder(&[("a", b"abc"), ("b/large", &large), ("c", b"defg")]);
    vectors.put("large file among small ones hash", among.hash);
}

/// Trees of several levels, with every rule for the ends of nodes at work.
fn trees(vectors: &mut Vectors) {
    let many = build(ContentKind::File, &made_up_chunks("tree", 50_000), &[]);
    vectors.put("50000 chunks nodes", many.nodes.len());
    vectors.put("50000 chunks hash", many.hash);
    let zeros = build(ContentKind::File, &vec![made_up_chunks("one", 1)[0]; 50_000], &[]);
    vectors.put("50000 equal chunks nodes", zeros.nodes.len());
    vectors.put("50000 equal chunks hash", zeros.hash);
    let entries: Vec<_> = (0..50_000).map(|n| file(&format!("folder {:03}/file {n:05}", n / 100), 0)).collect();
    let many = build(ContentKind::Folder, &[], &entries);
    vectors.put("50000 entries nodes", many.nodes.len());
    vectors.put("50000 entries hash", many.hash);
    let long = ["long name ".repeat(20).as_str(); 9].join("/");
    let entries: Vec<_> = (0..3_000).map(|n| file(&format!("{:03}/{long}/{n:04}", n / 10), 0)).collect();
    let heavy = build(ContentKind::Folder, &[], &entries);
    vectors.put("3000 long paths nodes", heavy.nodes.len());
    vectors.put("3000 long paths hash", heavy.hash);
}

#[test]
fn vectors_of_the_page_are_made_again() {
    let mut made = Vectors::default();
    gear_table(&mut made);
    chunks(&mut made);
    manifests(&mut made);
    trees(&mut made);
    let text = |vectors: &[(String, String)]| -> String {
        vectors.iter().map(|(name, value)| format!("{name} = {value}\n")).collect()
    };
    assert_eq!(text(&made.0), text(&stated()), "docs/format.md states other vectors than these");
}

//! Makes the manifest of a file or folder, and says what it costs; with a second path, what of it the first one has.
//!
//! ```text
//! cargo run --release -p shoal-protocol --example manifest_report -- PATH [NEWER PATH]
//! ```
//!
//! Reads every byte once, in memory that does not grow with it (but for the ids that are compared). Entries whose
//! names are not UTF-8 and special files are left out; the node refuses them when it publishes.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool that prints")]

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;
use std::{env, fs, process};

use shoal_protocol::chunker::{Candidates, Cutter};
use shoal_protocol::hash::{ChunkId, NodeId};
use shoal_protocol::manifest::{
    ContentKind, EncodedNode, Entry, EntryKind, EntryPath, Layout, ManifestBuilder, Root, Target,
};

fn main() {
    let paths: Vec<_> = env::args().skip(1).collect();
    if paths.is_empty() || paths.len() > 2 {
        eprintln!("usage: manifest_report PATH [NEWER PATH]");
        process::exit(2);
    }
    let mut held = Report::default();
    for path in &paths {
        let start = Instant::now();
        match Report::of(Path::new(path)) {
            Ok(report) => {
                report.print(path, start.elapsed().as_secs_f64(), &held);
                held = report;
            }
            Err(error) => {
                eprintln!("{path}: {error}");
                process::exit(1);
            }
        }
    }
}

/// A manifest, reduced to what is compared.
#[derive(Default)]
struct Report {
    root: Option<(String, Root)>,
    nodes: HashMap<NodeId, usize>,
    levels: u8,
    chunks: HashMap<ChunkId, u32>,
}

impl Report {
    fn of(path: &Path) -> io::Result<Self> {
        let mut report = Self::default();
        let finished = if path.is_dir() {
            let mut entries = Vec::new();
            collect(path, "", &mut entries)?;
            entries.sort_by(|a, b| a.path.cmp(&b.path));
            let mut builder = ManifestBuilder::new(ContentKind::Folder);
            let mut layout = Layout::builder();
            for entry in entries {
                layout.push(&entry).map_err(io::Error::other)?;
                builder.push_entry(entry).map_err(io::Error::other)?;
                report.keep(builder.drain_nodes());
            }
            let mut run = Run::default();
            let layout = layout.finish();
            let mut small_left = layout.files().filter(|file| is_small(&file.stream)).count();
            for file in layout.files() {
                run.read(&path.join(file.path), &mut builder, &mut report)?;
                small_left = small_left.saturating_sub(1);
                if small_left == 0 {
                    run.end(&mut builder, &mut report)?;
                }
            }
            builder.finish()
        } else {
            let mut builder = ManifestBuilder::new(ContentKind::File);
            let mut run = Run::default();
            run.read(path, &mut builder, &mut report)?;
            run.end(&mut builder, &mut report)?;
            builder.finish()
        };
        let finished = finished.map_err(io::Error::other)?;
        report.keep(finished.nodes);
        report.root = Some((finished.hash.to_string(), finished.root));
        Ok(report)
    }

    fn keep(&mut self, nodes: Vec<EncodedNode>) {
        for node in nodes {
            self.levels = self.levels.max(node.bytes.get(1).copied().filter(|&level| level < 32).unwrap_or(0));
            self.nodes.insert(node.id, node.bytes.len());
        }
    }

    fn print(&self, path: &str, seconds: f64, held: &Self) {
        let Some((hash, root)) = &self.root else { return };
        let bytes: usize = self.nodes.values().sum();
        println!("{path}: {hash}");
        println!("  {} bytes, {} entries, {} chunks; {seconds:.2} s", root.bytes, root.entries, root.chunks);
        let share = bytes as f64 * 100.0 / root.bytes.max(1) as f64;
        println!("  manifest: {} nodes, top at level {}, {bytes} bytes = {share:.3} %", self.nodes.len(), self.levels);
        if held.root.is_some() {
            let fresh: Vec<_> = self.nodes.iter().filter(|(id, _)| !held.nodes.contains_key(id)).collect();
            let node_bytes: usize = fresh.iter().map(|(_, len)| *len).sum();
            let chunks: Vec<_> = self.chunks.iter().filter(|(id, _)| !held.chunks.contains_key(id)).collect();
            let chunk_bytes: u64 = chunks.iter().map(|(_, len)| u64::from(**len)).sum();
            println!(
                "  new: {} nodes of {node_bytes} bytes, {} chunks of {chunk_bytes} bytes",
                fresh.len(),
                chunks.len()
            );
        }
    }
}

fn is_small(stream: &std::ops::Range<u64>) -> bool {
    stream.end - stream.start < shoal_protocol::chunker::LARGE_FILE_BYTES
}

/// An open run and its open chunk.
#[derive(Default)]
struct Run {
    cutter: Cutter,
    /// The last bytes that were read, on which the next candidates depend.
    before: Vec<u8>,
    open: Vec<u8>,
}

impl Run {
    fn read(&mut self, path: &Path, builder: &mut ManifestBuilder, report: &mut Report) -> io::Result<()> {
        let mut file = File::open(path)?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut buffer)?;
            let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { return Ok(()) };
            let mut rest = piece;
            for part in self.cutter.cut(&Candidates::of(&self.before, piece)) {
                let (head, behind) = rest.split_at_checked(part).unwrap_or_default();
                self.open.extend_from_slice(head);
                self.push(builder, report)?;
                rest = behind;
            }
            self.open.extend_from_slice(rest);
            self.before.extend_from_slice(piece);
            self.before.drain(..self.before.len().saturating_sub(Candidates::REACH_BYTES));
        }
    }

    fn end(&mut self, builder: &mut ManifestBuilder, report: &mut Report) -> io::Result<()> {
        self.before.clear();
        if self.cutter.finish() > 0 { self.push(builder, report) } else { Ok(()) }
    }

    fn push(&mut self, builder: &mut ManifestBuilder, report: &mut Report) -> io::Result<()> {
        let (id, len) = (ChunkId::of(&self.open), self.open.len() as u32);
        self.open.clear();
        report.chunks.insert(id, len);
        builder.push_chunk(id, len).map_err(io::Error::other)?;
        report.keep(builder.drain_nodes());
        Ok(())
    }
}

fn collect(folder: &Path, below: &str, entries: &mut Vec<Entry>) -> io::Result<()> {
    for item in fs::read_dir(folder)? {
        let item = item?;
        let Ok(name) = item.file_name().into_string() else { continue };
        let text = if below.is_empty() { name } else { format!("{below}/{name}") };
        let path = EntryPath::new(text.as_str()).map_err(io::Error::other)?;
        let (file_type, metadata) = (item.file_type()?, item.metadata()?);
        let kind = if file_type.is_dir() {
            let before = entries.len();
            collect(&item.path(), &text, entries)?;
            if entries.len() > before {
                continue;
            }
            EntryKind::EmptyFolder
        } else if file_type.is_symlink() {
            let Ok(target) = fs::read_link(item.path())?.into_os_string().into_string() else { continue };
            EntryKind::Symlink(Target::new(target).map_err(io::Error::other)?)
        } else if file_type.is_file() {
            EntryKind::File { size: metadata.len(), executable: metadata.permissions().mode() & 0o100 != 0 }
        } else {
            continue;
        };
        entries.push(Entry { path, kind });
    }
    Ok(())
}

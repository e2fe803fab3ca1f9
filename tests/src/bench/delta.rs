//! The next version of a large file with scattered edits: what moves.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use shoal_testnet::cluster::NodeOptions;
use shoal_testnet::content;

use super::BenchError;
use super::lab::{Lab, Medium, remove};
use super::measure::Runs;
use super::report::{Bar, Row};

const GIB: u64 = 1 << 30;
/// What a chunk is meant to be long.
const TARGET: u64 = 64 << 10;
/// One edit: with 1 % of the bytes changed, so many in all.
const EDIT: u64 = 4096;

/// Two rows: chunk bytes for each edit, in targets, and what the manifest takes of the file.
pub(super) async fn measure(lab: &mut Lab) -> Result<Vec<Row>, BenchError> {
    let bytes = lab.bytes(GIB);
    let folder = lab.folder(Medium::Memory, bytes * 6)?;
    let source = folder.path().join("source");
    content::write_file(&source, bytes, 3).map_err(BenchError::file(&source))?;
    let mut cluster = lab.publisher(folder.path(), NodeOptions::default()).await?;
    let one = cluster.node(0).shoal().publish(&source).await?.hash.to_string();
    let edits = bytes / 100 / EDIT;
    let two = folder.path().join("edited");
    std::fs::copy(&source, &two).map_err(BenchError::file(&two))?;
    edit(&two, bytes, edits).map_err(BenchError::file(&two))?;
    let next = cluster.node(0).shoal().publish(&two).await?.hash.to_string();
    let (mut targets, mut nodes) = (Runs::default(), Runs::default());
    let node = cluster.add(NodeOptions::default()).await?;
    let output = folder.path().join("fetched");
    lab.fetch(&cluster, node, &one, &source, &output).await?;
    remove(&output)?;
    // Bytes are the same each time: one run says it all.
    let (seconds, fetched) = lab.fetch(&cluster, node, &next, &two, &output).await?;
    let moved = fetched.fetched_bytes + fetched.wasted_bytes + fetched.manifest_bytes;
    targets.push(moved as f64 / (edits * TARGET) as f64);
    nodes.push(fetched.manifest_bytes as f64 / bytes as f64 * 100.0);
    lab.discard(&mut cluster, node).await?;
    let what =
        format!("version 2 of {} MiB with {edits} scattered edits of 4 KiB: targets moved per edit", bytes >> 20);
    let detail = format!("{:.1} MiB in {seconds:.2} s", moved as f64 / (1 << 20) as f64);
    let chunks = Row::plain(what, targets, "x", Bar::AtMost(1.5)).with_detail(detail);
    let manifest = Row::plain("of these, manifest nodes to the file", nodes, "%", Bar::AtMost(1.0));
    Ok(vec![lab.judged(chunks), lab.judged(manifest)])
}

/// Turns every byte of so many places over.
fn edit(path: &Path, bytes: u64, edits: u64) -> std::io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    for number in 0..edits {
        let at = number * (bytes / edits) + number * 7919 % (bytes / edits - EDIT);
        let mut piece = vec![0; EDIT as usize];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut piece)?;
        piece.iter_mut().for_each(|byte| *byte = !*byte);
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&piece)?;
    }
    file.sync_all()
}

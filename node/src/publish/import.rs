//! The storing part of an import.

use std::sync::Arc;

use shoal_protocol::hash::ContentHash;
use shoal_protocol::manifest::{ContentKind, EncodedNode, ManifestBuilder, Root};

use super::PublishError;
use super::input::Input;
use super::placer::Placer;
use super::read::{FileReader, ReadPieces, StreamReader};
use super::scan::Scan;
use super::workers::{Batch, Workers};
use crate::clock::unix_ms;
use crate::manifests;
use crate::store::{ContentState, Ingest, Store};

/// What an import made.
#[derive(Debug)]
pub(crate) struct Imported {
    /// The content hash.
    pub(crate) hash: ContentHash,
    /// The root node of its manifest.
    pub(crate) root: Root,
    /// Bytes of chunks that were not held before.
    pub(crate) new_bytes: u64,
}

/// Reads, chunks, hashes and stores the input, and records the manifest under `name`. With `in_place` large files are
/// not copied: the store notes where in them their chunks lie.
///
/// `on_bytes` is told how many bytes of content have been handed to the store, about once per MiB. When this
/// returns, everything is durable. Dropping the future leaves chunks in the store and no manifest.
pub(crate) async fn import(
    store: &Store,
    input: Input,
    name: Option<String>,
    in_place: bool,
    mut on_bytes: impl FnMut(u64) + Send,
) -> Result<Imported, PublishError> {
    let (scan, reader): (_, Box<dyn ReadPieces>) = match input {
        Input::Paths(scan) => {
            let scan = Arc::new(scan);
            (Some(Arc::clone(&scan)), Box::new(FileReader::new(scan)))
        }
        Input::Stream(stream) => (None, Box::new(StreamReader::new(stream))),
    };
    let mut workers = Workers::start(reader);
    let ingest = store.ingest();
    let in_place = scan.as_ref().filter(|_| in_place);
    let mut placer = in_place.map(|scan| Placer::new(store, ingest.hold(), scan));
    let entries = match scan.as_deref() {
        Some(Scan::Folder(entries)) => Some(entries),
        Some(Scan::File(_)) | None => None,
    };
    let kind = if entries.is_some() { ContentKind::Folder } else { ContentKind::File };
    let mut manifest = ManifestBuilder::new(kind);
    let mut done_bytes = 0;
    while let Some(Batch { chunks, mut origin }) = workers.next().await? {
        for chunk in chunks {
            let bytes = chunk.bytes().len();
            let len = u32::try_from(bytes).unwrap_or(u32::MAX);
            manifest.push_chunk(chunk.id(), len)?;
            match (&mut placer, &mut origin) {
                (Some(placer), Some(origin)) => {
                    placer.place(*origin, chunk.id(), len).await?;
                    origin.offset += u64::from(len);
                }
                _ => drop(ingest.put_chunk(chunk).await?),
            }
            done_bytes += bytes as u64;
        }
        put_nodes(&ingest, manifest.drain_nodes()).await?;
        on_bytes(done_bytes);
    }

    for scanned in entries.into_iter().flatten() {
        manifest.push_entry(scanned.entry.clone())?;
        put_nodes(&ingest, manifest.drain_nodes()).await?;
    }
    let finished = manifest.finish()?;
    put_nodes(&ingest, finished.nodes).await?;
    ingest.flush().await?;
    let mut added = ingest.added();
    if let Some(placer) = &mut placer {
        added.bytes += placer.flush().await?.bytes;
    }
    let record = manifests::record(finished.hash, &finished.root, ContentState::Complete, name, unix_ms());
    ingest.record(record).await?;
    Ok(Imported { hash: finished.hash, root: finished.root, new_bytes: added.bytes })
}

async fn put_nodes(ingest: &Ingest, nodes: Vec<EncodedNode>) -> Result<(), PublishError> {
    for node in nodes {
        ingest.put_node(node.id, node.bytes).await?;
    }
    Ok(())
}

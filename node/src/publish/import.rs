//! The hashing and storing third of an import.

use std::sync::Arc;

use futures::StreamExt;
use shoal_protocol::chunk::VerifiedChunk;
use shoal_protocol::hash::ContentHash;
use shoal_protocol::manifest::{ContentKind, EncodedNode, ManifestBuilder, Root};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;

use super::PublishError;
use super::cut::{Batch, cut_all};
use super::input::Input;
use super::placer::Placer;
use super::read::{Piece, read_all, read_stream};
use super::scan::Scan;
use crate::clock::unix_ms;
use crate::manifests;
use crate::store::{ContentState, Ingest, Store};

/// Pieces between the reader and the cutter.
const QUEUE_PIECES: usize = 4;
/// Batches between the cutter and the hashers, and between the hashers and the store.
const QUEUE_BATCHES: usize = 4;

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
/// `on_bytes` is told how many bytes of content have been handed to the store, a few times per MiB. When this
/// returns, everything is durable. Dropping the future leaves chunks in the store and no manifest.
pub(crate) async fn import(
    store: &Store,
    input: Input,
    name: Option<String>,
    in_place: bool,
    mut on_bytes: impl FnMut(u64) + Send,
) -> Result<Imported, PublishError> {
    let (pieces, uncut) = mpsc::channel::<Piece>(QUEUE_PIECES);
    let (scan, reader) = match input {
        Input::Paths(scan) => {
            let scan = Arc::new(scan);
            let read = Arc::clone(&scan);
            (Some(scan), spawn_blocking(move || read_all(&read, pieces)))
        }
        Input::Stream(stream) => (None, spawn_blocking(move || read_stream(stream, pieces))),
    };
    let (sink, batches) = mpsc::channel::<Batch>(QUEUE_BATCHES);
    let cutter = spawn_blocking(move || cut_all(uncut, &sink));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut hashed = ReceiverStream::new(batches)
        .map(|batch| {
            spawn_blocking(move || {
                let chunks: Vec<VerifiedChunk> = batch.chunks.into_iter().map(VerifiedChunk::of).collect();
                (chunks, batch.origin)
            })
        })
        .buffered(workers.min(QUEUE_BATCHES));

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
    while let Some(batch) = hashed.next().await {
        let (chunks, origin) = batch.map_err(|_| PublishError::Broken)?;
        let mut origin = origin;
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
    reader.await.map_err(|_| PublishError::Broken)??;
    cutter.await.map_err(|_| PublishError::Broken)?;

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

//! The last step of a fetch with an output: what was held already is read from the store and written.

use shoal_protocol::availability::{Availability, ChunkIndex};
use shoal_protocol::hash::{ChunkId, ContentHash};
use shoal_protocol::manifest::Root;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::FetchError;
use crate::manifests::ChunkRows;
use crate::output::Output;
use crate::store::Store;

/// Chunks that are read in one go.
const BATCH_CHUNKS: usize = 16;
/// Batches that may wait between the thread that reads and the one that writes.
const QUEUE_BATCHES: usize = 4;

/// Chunks with the place in the stream where the first of them begins.
type Batch = Vec<(u64, bytes::Bytes)>;

/// Writes every chunk that has not been `written` yet, then finishes the output. `on_bytes` is told how many bytes it
/// has written so far.
///
/// # Errors
/// Among others [`FetchError::Read`] when a chunk turns out to be damaged: the store has forgotten it then, and the
/// fetch can be begun anew.
pub(super) async fn export(
    store: &Store,
    hash: ContentHash,
    root: Root,
    output: Output,
    written: Availability,
    mut on_bytes: impl FnMut(u64) + Send + 'static,
) -> Result<(), FetchError> {
    if written.is_complete() {
        return spawn_blocking(move || Ok(output.finish()?)).await.map_err(|_| FetchError::Broken)?;
    }
    let (sink, mut batches) = mpsc::channel::<Batch>(QUEUE_BATCHES);
    let store = store.clone();
    let reader = spawn_blocking(move || read(store, hash, root, &written, &sink));
    let writer = spawn_blocking(move || -> Result<Output, FetchError> {
        let mut output = output;
        let mut done = 0;
        while let Some(batch) = batches.blocking_recv() {
            for (offset, bytes) in batch {
                output.write(offset, &bytes)?;
                done += bytes.len() as u64;
            }
            on_bytes(done);
        }
        Ok(output)
    });
    // A writer that failed is the cause when the reader finds nobody to read for.
    let output = writer.await.map_err(|_| FetchError::Broken)??;
    reader.await.map_err(|_| FetchError::Broken)??;
    spawn_blocking(move || Ok(output.finish()?)).await.map_err(|_| FetchError::Broken)?
}

fn read(
    store: Store,
    hash: ContentHash,
    root: Root,
    written: &Availability,
    sink: &mpsc::Sender<Batch>,
) -> Result<(), FetchError> {
    let chunks = root.chunks;
    let mut rows = ChunkRows::new(store.clone(), root);
    let mut next = 0;
    while next < chunks {
        let leaf = rows.leaf_at(ChunkIndex(next)).map_err(|error| FetchError::manifest(hash, error))?;
        let leaf = leaf.ok_or(FetchError::Broken)?;
        let mut offset = leaf.offset;
        let mut due: Vec<(u64, ChunkId)> = Vec::with_capacity(leaf.rows.len());
        for (index, row) in (leaf.first..).zip(&leaf.rows) {
            if !written.contains(ChunkIndex(index)) {
                due.push((offset, row.id));
            }
            offset += u64::from(row.len);
        }
        next = leaf.first + leaf.rows.len() as u64;
        for due in due.chunks(BATCH_CHUNKS) {
            let ids: Vec<ChunkId> = due.iter().map(|&(_, id)| id).collect();
            let read = store.read_chunks(&ids)?.into_iter().zip(due);
            let batch = read.map(|(read, &(offset, id))| match read? {
                Some(bytes) => Ok((offset, bytes)),
                None => Err(FetchError::Gone(id)),
            });
            if sink.blocking_send(batch.collect::<Result<_, FetchError>>()?).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

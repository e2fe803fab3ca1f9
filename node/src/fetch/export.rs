//! The last step of a fetch with an output: what was held already is read from the store and written.

use shoal_protocol::availability::{Availability, ChunkIndex};
use shoal_protocol::hash::{ChunkId, ContentHash};
use shoal_protocol::manifest::{ChunkRow, Root};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::FetchError;
use super::keep::Keeping;
use super::writer::Written;
use crate::manifests::ChunkRows;
use crate::output::Output;
use crate::store::{ReadError, Store};

/// Chunks that are read in one go.
const BATCH_CHUNKS: usize = 16;
/// Batches that may wait between the thread that reads and the one that writes.
const QUEUE_BATCHES: usize = 4;

/// Chunks with the place in the stream where the first of them begins.
type Batch = Vec<(u64, bytes::Bytes)>;

/// Writes every chunk that has not been `written` yet, then finishes the output. `on_bytes` is told how many bytes it
/// has written so far. What the output itself keeps is read and checked there, and not written again.
///
/// # Errors
/// Among others [`FetchError::Read`] when a chunk turns out to be damaged: the store has forgotten it then, and all
/// others that are damaged too, so that the fetch can be begun anew.
pub(super) async fn export(
    store: &Store,
    hash: ContentHash,
    root: Root,
    (output, keeping): Written,
    written: Availability,
    mut on_bytes: impl FnMut(u64) + Send + 'static,
) -> Result<(), FetchError> {
    if written.is_complete() {
        return spawn_blocking(move || finish(output, keeping)).await.map_err(|_| FetchError::Broken)?;
    }
    let (sink, mut batches) = mpsc::channel::<Batch>(QUEUE_BATCHES);
    let mut source = Source { rows: ChunkRows::new(store.clone(), root.clone()), store: store.clone(), keeping };
    let reader = spawn_blocking(move || {
        source.read(hash, root.chunks, &written, &sink)?;
        Ok::<_, FetchError>(source.keeping)
    });
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
    let keeping = reader.await.map_err(|_| FetchError::Broken)??;
    spawn_blocking(move || finish(output, keeping)).await.map_err(|_| FetchError::Broken)?
}

fn finish(output: Output, keeping: Option<Keeping>) -> Result<(), FetchError> {
    output.finish()?;
    if let Some(keeping) = keeping {
        keeping.finish();
    }
    Ok(())
}

/// Where the chunks come from.
struct Source {
    store: Store,
    rows: ChunkRows,
    keeping: Option<Keeping>,
}

impl Source {
    fn read(
        &mut self,
        hash: ContentHash,
        chunks: u64,
        written: &Availability,
        sink: &mpsc::Sender<Batch>,
    ) -> Result<(), FetchError> {
        let mut next = 0;
        let mut damage = None;
        while next < chunks {
            let leaf = self.rows.leaf_at(ChunkIndex(next)).map_err(|error| FetchError::manifest(hash, error))?;
            let leaf = leaf.ok_or(FetchError::Broken)?;
            let mut offset = leaf.offset;
            let mut due: Vec<(u64, ChunkRow)> = Vec::with_capacity(leaf.rows.len());
            for (index, row) in (leaf.first..).zip(&leaf.rows) {
                if !written.contains(ChunkIndex(index)) {
                    due.push((offset, *row));
                }
                offset += u64::from(row.len);
            }
            next = leaf.first + leaf.rows.len() as u64;
            for due in due.chunks(BATCH_CHUNKS) {
                let batch = self.batch(due, &mut damage)?;
                // Once something is damaged nothing more is written; the rest is looked at so that one round finds all.
                if damage.is_none() && sink.blocking_send(batch).is_err() {
                    return Ok(());
                }
            }
        }
        damage.map_or(Ok(()), |damage| Err(FetchError::Read(damage)))
    }

    fn batch(&mut self, due: &[(u64, ChunkRow)], damage: &mut Option<ReadError>) -> Result<Batch, FetchError> {
        let ids: Vec<ChunkId> = due.iter().map(|(_, row)| row.id).collect();
        let mut batch = Batch::with_capacity(due.len());
        for (read, &(offset, row)) in self.store.read_chunks(&ids)?.into_iter().zip(due) {
            match read {
                Ok(Some(bytes)) => {
                    let is_there = match &mut self.keeping {
                        Some(keeping) => keeping.lies_there(offset, row.id, row.len)?,
                        None => false,
                    };
                    if !is_there {
                        batch.push((offset, bytes));
                    }
                }
                Ok(None) => return Err(FetchError::Gone(row.id)),
                Err(error @ ReadError::Damaged { .. }) => drop(damage.get_or_insert(error)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(batch)
    }
}

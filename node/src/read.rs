//! Reading a file's bytes in order, while they are still being fetched or long after.

use bytes::Bytes;
use shoal_protocol::availability::ChunkIndex;
use shoal_protocol::hash::ChunkId;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::fetch::{FetchError, StreamPlace};
use crate::store::Store;

/// Chunks that are read in one go, if they are there.
const BATCH_CHUNKS: usize = 8;

/// A chunk that the reader needs, and which of its bytes.
#[derive(Debug, Clone, Copy)]
struct Due {
    index: ChunkIndex,
    id: ChunkId,
    skip: usize,
    take: usize,
}

/// Sends the bytes at `place`, in order, as they become durable. Ends early, without an error, when nobody takes them.
pub(crate) async fn read_in_order(
    store: &Store,
    mut place: StreamPlace,
    sink: &mpsc::Sender<Bytes>,
) -> Result<(), FetchError> {
    while let Some(leaf) = place.leaves.recv().await {
        let mut offset = leaf.offset;
        let mut due = Vec::new();
        for (index, row) in (leaf.first..).zip(&leaf.rows) {
            let end = offset + u64::from(row.len);
            let (from, to) = (place.range.start.max(offset), place.range.end.min(end));
            if from < to {
                let within = |at: u64| usize::try_from(at - offset).unwrap_or(usize::MAX);
                due.push(Due { index: ChunkIndex(index), id: row.id, skip: within(from), take: within(to) });
            }
            offset = end;
        }
        let mut rest = due.as_slice();
        while let Some(first) = rest.first() {
            place.live.wait_for(first.index).await;
            let ready = rest.iter().take(BATCH_CHUNKS).take_while(|due| place.live.has(due.index)).count().max(1);
            let (batch, later) = rest.split_at(ready);
            rest = later;
            if !send(store, batch.to_vec(), sink).await? {
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn send(store: &Store, batch: Vec<Due>, sink: &mpsc::Sender<Bytes>) -> Result<bool, FetchError> {
    let store = store.clone();
    let read = spawn_blocking(move || -> Result<Vec<Bytes>, FetchError> {
        let ids: Vec<ChunkId> = batch.iter().map(|due| due.id).collect();
        let read = store.read_chunks(&ids)?.into_iter().zip(batch);
        read.map(|(read, due)| {
            let bytes = read?.ok_or(FetchError::Gone(due.id))?;
            Ok(bytes.slice(due.skip.min(bytes.len())..due.take.min(bytes.len())))
        })
        .collect()
    });
    for bytes in read.await.map_err(|_| FetchError::Broken)?? {
        if !bytes.is_empty() && sink.send(bytes).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

//! What a fetch that was cut short has left in its output without the store knowing of it.
//!
//! An output that the store keeps becomes durable in groups, so after a kill some of what was written to it is in no
//! record. It is read, checked like what comes from a peer, and placed: only what is not there is transferred.

use std::sync::Arc;
use std::time::Instant;

use shoal_protocol::availability::ChunkIndex;
use shoal_protocol::chunk::VerifiedChunk;
use shoal_protocol::manifest::ChunkLeaf;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;

use super::FetchError;
use super::coordinator::Coordinator;
use crate::config::FETCH_QUEUE_BYTES;
use crate::output::Remains;

/// Chunks that may wait to be taken, besides the bytes that wait to be written.
const FOUND: usize = 1;

impl Coordinator<'_> {
    /// Takes those chunks of a leaf that are missing and lie in the output all the same.
    pub(super) async fn take_leftovers(&mut self, leaf: &ChunkLeaf) -> Result<(), FetchError> {
        let Some(keeper) = self.sink.keeper().cloned() else {
            return Ok(());
        };
        let begun = Instant::now();
        let indices = (leaf.first..).map(ChunkIndex).take(leaf.rows.len());
        let missing = indices.filter(|index| self.engine.is_missing(*index));
        let missing: Vec<_> = missing.filter_map(|index| Some((index, self.rows.find(index)?))).collect();
        let (found, mut chunks) = mpsc::channel(FOUND);
        let search = spawn_blocking(move || {
            let mut remains = Remains::of(keeper);
            for (index, placed) in missing {
                // What cannot be read is fetched: writing it says what is wrong.
                if let Some(bytes) = remains.read(placed.offset, placed.row.len)
                    && let Ok(chunk) = VerifiedChunk::verify(placed.row.id, bytes.into())
                    && found.blocking_send((index, placed, chunk)).is_err()
                {
                    return;
                }
            }
        });
        while let Some((index, placed, chunk)) = chunks.recv().await {
            let room = Arc::clone(&self.leftover_room).acquire_many_owned(placed.row.len).await;
            let permit = room.map_err(|_| FetchError::Broken)?;
            self.rows.arrived(index);
            let others = self.repeats.arrived(&chunk.id());
            self.engine.handle_held(index, self.now());
            self.sink.put(index, placed.offset, chunk, permit).await?;
            self.sink.expect(&others);
            if self.tell_settled()? {
                self.tell_progress(false);
            }
        }
        search.await.map_err(|_| FetchError::Broken)?;
        // It is this node's own disk that took its time, and no peer.
        self.held_up += begun.elapsed();
        self.last_progress += begun.elapsed();
        Ok(())
    }
}

/// Room for chunks that have been found so and wait to be written. Not that which sessions fill: they wait for the task
/// that takes these.
pub(super) fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(FETCH_QUEUE_BYTES))
}

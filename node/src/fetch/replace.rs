//! What the store has only in the files that an output is about to replace: it is taken over before they go.
//!
//! What the output keeps itself is placed there. The rest, all of it if the output keeps nothing, is stored.

use shoal_protocol::chunk::VerifiedChunk;
use shoal_protocol::hash::ChunkId;
use tokio::runtime::Handle;

use super::FetchError;
use super::export::Batch;
use super::keep::{Keeping, Kept};
use crate::store::{Ingest, Replacing};

/// Chunks that are placed in the output at once: 72 bytes each.
const GROUP_CHUNKS: usize = 16 * 1024;

/// What takes over chunks from the files that an output replaces.
#[derive(Debug)]
pub(super) struct TakeOver {
    replacing: Replacing,
    ingest: Ingest,
    /// Chunks that are to be placed in the output.
    due: Vec<Kept>,
}

impl TakeOver {
    pub(super) fn new(replacing: Replacing, ingest: Ingest) -> Self {
        Self { replacing, ingest, due: Vec::new() }
    }

    /// Takes over what of a batch the store would lose. All of it has been written to the output. Blocks.
    pub(super) fn take(&mut self, batch: &Batch, mut keeping: Option<&mut Keeping>) -> Result<(), FetchError> {
        let ids: Vec<ChunkId> = batch.iter().map(|(_, row, _)| row.id).collect();
        let lost = self.replacing.loses(&ids, &self.ingest.hold())?;
        for ((offset, row, bytes), _) in batch.iter().zip(lost).filter(|(_, lost)| *lost) {
            match keeping.as_ref().and_then(|keeping| keeping.place_of(*offset, row)) {
                Some(kept) => self.due.push(kept),
                None => {
                    let chunk = VerifiedChunk::of(bytes.clone());
                    Handle::current().block_on(self.ingest.put_chunk(chunk))?;
                }
            }
        }
        match &mut keeping {
            Some(keeping) if self.due.len() >= GROUP_CHUNKS => keeping.take_over(&std::mem::take(&mut self.due)),
            _ => Ok(()),
        }
    }

    /// Makes durable what has been taken over. Blocks.
    pub(super) fn finish(&mut self, keeping: Option<&mut Keeping>) -> Result<(), FetchError> {
        if let Some(keeping) = keeping {
            keeping.take_over(&std::mem::take(&mut self.due))?;
        }
        Ok(Handle::current().block_on(self.ingest.flush())?)
    }
}

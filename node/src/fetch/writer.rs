//! The thread that writes an output while a fetch goes on.

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};

use super::FetchError;
use crate::output::{Output, OutputError};

/// Pieces that may wait. Their bytes are bounded by the permits that they carry.
const PIECES: usize = 256;

/// Bytes for a place in the stream.
#[derive(Debug)]
struct Piece {
    offset: u64,
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

/// An output and the thread that writes it. Dropping it ends the thread and removes the output.
#[derive(Debug)]
pub(super) struct OutputWriter {
    pieces: mpsc::Sender<Piece>,
    thread: JoinHandle<Result<Output, OutputError>>,
}

impl OutputWriter {
    /// Starts to write.
    pub(super) fn start(mut output: Output) -> Self {
        let (pieces, mut inbox) = mpsc::channel::<Piece>(PIECES);
        let thread = spawn_blocking(move || {
            while let Some(piece) = inbox.blocking_recv() {
                output.write(piece.offset, &piece.bytes)?;
            }
            Ok(output)
        });
        Self { pieces, thread }
    }

    /// Has bytes written, soon. The permit is dropped once they are.
    pub(super) async fn write(
        &mut self,
        offset: u64,
        bytes: Bytes,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), FetchError> {
        if self.pieces.send(Piece { offset, bytes, _permit: permit }).await.is_ok() {
            return Ok(());
        }
        // The thread only stops taking pieces when one could not be written.
        match (&mut self.thread).await {
            Ok(Err(error)) => Err(error.into()),
            _ => Err(FetchError::Broken),
        }
    }

    /// Waits until all is written, and gives the output back.
    pub(super) async fn finish(self) -> Result<Output, FetchError> {
        drop(self.pieces);
        Ok(self.thread.await.map_err(|_| FetchError::Broken)??)
    }
}

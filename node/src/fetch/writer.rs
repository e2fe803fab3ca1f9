//! The thread that writes an output while a fetch goes on.

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout_at;

use super::FetchError;
use super::keep::{Groups, Keeping, Kept};
use crate::output::Output;

/// Pieces that may wait. Their bytes are bounded by the permits that they carry.
const PIECES: usize = 256;

/// Bytes for a place in the stream.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
    /// Present when the output is to be the store's copy of it.
    pub(super) kept: Option<Kept>,
    pub(super) _permit: OwnedSemaphorePermit,
}

/// What has been written: the output, and what the store knows of it if it keeps it.
pub(super) type Written = (Output, Option<Keeping>);

/// An output and the thread that writes it. Dropping it ends the thread and removes the output.
#[derive(Debug)]
pub(super) struct OutputWriter {
    // Taken away to end the thread.
    pieces: Option<mpsc::Sender<Piece>>,
    thread: JoinHandle<Result<Written, FetchError>>,
}

impl OutputWriter {
    /// Starts to write. `keeping` comes with the place where the numbers of chunks are told that have become durable.
    pub(super) fn start(output: Output, keeping: Option<(Keeping, watch::Sender<u64>)>) -> Self {
        let (pieces, inbox) = mpsc::channel::<Piece>(PIECES);
        let thread = spawn_blocking(move || match keeping {
            None => Ok((write(output, inbox)?, None)),
            Some((keeping, durable)) => write_and_keep(output, inbox, Groups::start(keeping, durable)),
        });
        Self { pieces: Some(pieces), thread }
    }

    /// Has bytes written, soon. The permit is dropped once they are.
    pub(super) async fn write(&mut self, piece: Piece) -> Result<(), FetchError> {
        match &self.pieces {
            Some(pieces) if pieces.send(piece).await.is_ok() => Ok(()),
            _ => Err(self.failure().await),
        }
    }

    /// Why the thread takes nothing more.
    pub(super) async fn failure(&mut self) -> FetchError {
        self.pieces = None;
        match (&mut self.thread).await {
            Ok(Err(error)) => error,
            _ => FetchError::Broken,
        }
    }

    /// Waits until all is written, and durable if it is kept, and gives the output back.
    pub(super) async fn finish(self) -> Result<Written, FetchError> {
        drop(self.pieces);
        self.thread.await.map_err(|_| FetchError::Broken)?
    }
}

fn write(mut output: Output, mut inbox: mpsc::Receiver<Piece>) -> Result<Output, FetchError> {
    while let Some(piece) = inbox.blocking_recv() {
        output.write(piece.offset, &piece.bytes)?;
    }
    Ok(output)
}

fn write_and_keep(
    mut output: Output,
    mut inbox: mpsc::Receiver<Piece>,
    mut groups: Groups,
) -> Result<Written, FetchError> {
    let runtime = Handle::current();
    loop {
        let piece = match (inbox.try_recv(), groups.deadline()) {
            (Ok(piece), _) => Some(piece),
            (Err(_), None) => inbox.blocking_recv(),
            (Err(_), Some(deadline)) => {
                match runtime.block_on(async { timeout_at(deadline.into(), inbox.recv()).await }) {
                    Ok(piece) => piece,
                    Err(_) if groups.hand_over() => continue,
                    // The other thread has ended, and says why.
                    Err(_) => None,
                }
            }
        };
        let Some(piece) = piece else { break };
        output.write(piece.offset, &piece.bytes)?;
        if let Some(kept) = piece.kept
            && !groups.push(kept)
        {
            break;
        }
    }
    Ok((output, Some(groups.finish()?)))
}

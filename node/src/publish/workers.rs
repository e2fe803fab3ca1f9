//! The threads that read, cut and hash what is imported, several pieces at a time.
//!
//! A worker takes the next piece, finds the places in it where chunks may end, waits for the worker that has the piece
//! before to say where the open chunk began, tells the next, and hashes the chunks that end in its piece. So all that
//! takes long is done side by side, and the chunks are those that one thread would cut.

use std::sync::{Arc, Mutex};

use shoal_protocol::chunk::VerifiedChunk;
use shoal_protocol::chunker::Candidates;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};

use super::PublishError;
use super::cut::OpenChunk;
use super::read::{Origin, Piece, ReadPieces};

/// Most threads, and with it pieces that are being cut and hashed at once.
const MAX_WORKERS: usize = 8;
/// Pieces that are cut and wait for being stored, or are still being hashed.
const QUEUE_PIECES: usize = 4;

/// Chunks that end in one piece, in stream order.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) chunks: Vec<VerifiedChunk>,
    /// Where the first of them begins, if they are those of a large file.
    pub(super) origin: Option<Origin>,
}

/// The workers of an import.
pub(super) struct Workers {
    batches: mpsc::Receiver<oneshot::Receiver<Batch>>,
    threads: Vec<JoinHandle<Result<(), PublishError>>>,
}

impl Workers {
    /// Starts them. They end by themselves when all is read, something fails or these are dropped.
    pub(super) fn start(input: Box<dyn ReadPieces>) -> Self {
        let (sink, batches) = mpsc::channel(QUEUE_PIECES);
        let (first, turn) = oneshot::channel();
        // Cannot fail: the receiver is here.
        drop(first.send(OpenChunk::default()));
        let queue = Arc::new(Mutex::new(Queue { input: Some(input), turn }));
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
        let start = |_| {
            let worker = Worker { queue: Arc::clone(&queue), sink: sink.clone() };
            spawn_blocking(move || worker.run())
        };
        Self { batches, threads: (0..count).map(start).collect() }
    }

    /// The next batch, in stream order; `None` after the last.
    ///
    /// # Errors
    /// When something could not be read.
    pub(super) async fn next(&mut self) -> Result<Option<Batch>, PublishError> {
        if let Some(batch) = self.batches.recv().await {
            return batch.await.map(Some).map_err(|_| PublishError::Broken);
        }
        for thread in self.threads.drain(..) {
            thread.await.map_err(|_| PublishError::Broken)??;
        }
        Ok(None)
    }
}

/// What the workers take their work from.
struct Queue {
    /// `None` when all is read, or something failed.
    input: Option<Box<dyn ReadPieces>>,
    /// Where the chunk comes from that is open when the next piece begins.
    turn: oneshot::Receiver<OpenChunk>,
}

/// A piece, and the order in which its worker may cut it.
struct Job {
    piece: Piece,
    /// Comes when the piece before is cut.
    turn: oneshot::Receiver<OpenChunk>,
    next: oneshot::Sender<OpenChunk>,
}

struct Worker {
    queue: Arc<Mutex<Queue>>,
    sink: mpsc::Sender<oneshot::Receiver<Batch>>,
}

impl Worker {
    fn run(self) -> Result<(), PublishError> {
        while let Some(Job { piece, turn, next }) = self.take()? {
            let candidates = Candidates::of(&piece.before, &piece.bytes);
            let Ok(mut open) = turn.blocking_recv() else {
                // The worker before has ended; it knows why.
                return Ok(());
            };
            let cut = open.cut(piece, &candidates);
            let (done, batch) = oneshot::channel();
            if self.sink.blocking_send(batch).is_err() {
                // Nobody wants the chunks any more.
                return Ok(());
            }
            // Nobody is there to take it after the last piece.
            drop(next.send(open));
            let chunks = cut.chunks.into_iter().map(VerifiedChunk::of).collect();
            drop(done.send(Batch { chunks, origin: cut.origin }));
        }
        Ok(())
    }

    /// The next piece; reads it, while the others wait.
    fn take(&self) -> Result<Option<Job>, PublishError> {
        let mut queue = self.queue.lock().map_err(|_| PublishError::Broken)?;
        let Some(input) = &mut queue.input else { return Ok(None) };
        let piece = input.next_piece();
        if !matches!(piece, Ok(Some(_))) {
            queue.input = None;
        }
        Ok(piece?.map(|piece| {
            let (next, after) = oneshot::channel();
            Job { piece, turn: std::mem::replace(&mut queue.turn, after), next }
        }))
    }
}

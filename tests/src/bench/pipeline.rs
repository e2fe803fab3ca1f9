//! What an import does, without a store: a file read, cut and hashed as a publish does it, and written as one flat
//! file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, available_parallelism};
use std::time::Instant;

use shoal_protocol::chunker::{Candidates, Cutter};
use shoal_protocol::hash::ChunkId;

use super::BenchError;

/// Bytes that are read and cut in one go, as in a publish.
const PIECE_BYTES: usize = 2 * 1024 * 1024;

/// Seconds of reading, cutting, hashing, writing and syncing.
pub(super) fn import_flat(source: &Path, copy: &Path) -> Result<f64, BenchError> {
    let started = Instant::now();
    run(source, copy).map_err(BenchError::file(copy))?;
    Ok(started.elapsed().as_secs_f64())
}

fn run(source: &Path, copy: &Path) -> io::Result<()> {
    let (input, output) = (File::open(source)?, File::create(copy)?);
    let (first, turn) = sync_channel(1);
    // Cannot fail: the receiver is here, and there is room.
    drop(first.send(OpenChunk::default()));
    let queue = Mutex::new(Queue { input, before: Vec::new(), offset: 0, turn });
    let workers = available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let work = |_| scope.spawn(|| work(&queue, &output));
        let workers: Vec<_> = (0..workers).map(work).collect();
        let broken = |_| Err(io::Error::other("a thread broke off"));
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(broken))
    })?;
    output.sync_all()
}

/// What the workers take pieces from.
struct Queue {
    input: File,
    /// The end of the piece before.
    before: Vec<u8>,
    offset: u64,
    /// Where the chunk comes from that is open when the next piece begins.
    turn: Receiver<OpenChunk>,
}

/// A piece, and the order in which it is cut.
struct Job {
    /// With the end of the piece before.
    bytes: Vec<u8>,
    before: usize,
    offset: u64,
    is_last: bool,
    turn: Receiver<OpenChunk>,
    next: SyncSender<OpenChunk>,
}

#[derive(Default)]
struct OpenChunk {
    cutter: Cutter,
    bytes: Vec<u8>,
}

impl Queue {
    /// The next piece; an empty one, which is the last, at the end.
    fn take(&mut self) -> io::Result<Job> {
        let mut bytes = Vec::with_capacity(PIECE_BYTES);
        bytes.append(&mut self.before);
        let before = bytes.len();
        let read = (&self.input).take((PIECE_BYTES - before) as u64).read_to_end(&mut bytes)?;
        self.before
            .extend_from_slice(bytes.get(bytes.len().saturating_sub(Candidates::REACH_BYTES)..).unwrap_or(&bytes));
        let (next, after) = sync_channel(1);
        let turn = std::mem::replace(&mut self.turn, after);
        let offset = self.offset;
        self.offset += read as u64;
        Ok(Job { bytes, before, offset, is_last: read == 0, turn, next })
    }
}

/// Cuts, hashes and writes pieces until there are none.
fn work(queue: &Mutex<Queue>, output: &File) -> io::Result<()> {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let (before, piece) = job.bytes.split_at(job.before);
        let candidates = Candidates::of(before, piece);
        // Whoever had the piece before has failed, and says why.
        let Ok(mut open) = job.turn.recv() else { return Ok(()) };
        let mut begun = std::mem::take(&mut open.bytes);
        let (mut chunks, mut rest) = (Vec::new(), piece);
        for part in open.cutter.cut(&candidates) {
            let (chunk, behind) = rest.split_at(part);
            chunks.push(chunk);
            rest = behind;
        }
        let mut chunks = chunks.into_iter();
        if let Some(end) = chunks.next() {
            begun.extend_from_slice(end);
            open.bytes.extend_from_slice(rest);
        } else {
            open.bytes = begun;
            open.bytes.extend_from_slice(rest);
            begun = if job.is_last { std::mem::take(&mut open.bytes) } else { Vec::new() };
        }
        // Nobody takes it after the last piece.
        drop(job.next.send(open));
        for chunk in std::iter::once(begun.as_slice()).filter(|chunk| !chunk.is_empty()).chain(chunks) {
            std::hint::black_box(ChunkId::of(chunk));
        }
        output.write_all_at(piece, job.offset)?;
        if job.is_last {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: u64) {
        let folder = tempfile::tempdir().unwrap();
        let (source, copy) = (folder.path().join("source"), folder.path().join("copy"));
        shoal_testnet::content::write_file(&source, bytes, 1).unwrap();
        import_flat(&source, &copy).unwrap();
        assert!(std::fs::read(&source).unwrap() == std::fs::read(&copy).unwrap(), "{bytes} bytes differ");
    }

    #[test]
    fn every_byte_is_written() {
        check(0);
        check(1);
        check(PIECE_BYTES as u64);
        check((3 << 20) + 17);
    }
}

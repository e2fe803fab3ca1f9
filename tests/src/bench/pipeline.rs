//! What an import does, without a store: a file read, cut and hashed as a publish does it, and written as one flat file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, available_parallelism};
use std::time::Instant;

use shoal_protocol::chunker::Chunker;
use shoal_protocol::hash::ChunkId;

use super::BenchError;

/// Bytes that are read and cut in one go, as in a publish.
const BUFFER_BYTES: usize = 512 * 1024;
/// Buffers that may wait.
const QUEUE: usize = 4;

/// Whole chunks: where the first begins, their bytes, and where in these each ends.
struct Cut {
    offset: u64,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Seconds of reading, cutting, hashing, writing and syncing.
pub(super) fn import_flat(source: &Path, copy: &Path) -> Result<f64, BenchError> {
    let started = Instant::now();
    run(source, copy).map_err(BenchError::file(copy))?;
    Ok(started.elapsed().as_secs_f64())
}

fn run(source: &Path, copy: &Path) -> io::Result<()> {
    let (input, output) = (File::open(source)?, File::create(copy)?);
    let (sink, cuts) = sync_channel(QUEUE);
    // It goes with the last worker, so that nobody waits for one that has failed.
    let cuts = Arc::new(Mutex::new(cuts));
    let workers = available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let output = &output;
        let work = |cuts: Arc<_>| scope.spawn(move || hash_and_write(&cuts, output));
        let workers: Vec<_> = (0..workers).map(|_| work(Arc::clone(&cuts))).collect();
        drop(cuts);
        let read = read_and_cut(input, &sink);
        drop(sink);
        let broken = |_| Err(io::Error::other("a thread broke off"));
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(broken)).chain([read]).collect::<io::Result<()>>()
    })?;
    output.sync_all()
}

fn read_and_cut(mut input: File, sink: &SyncSender<Cut>) -> io::Result<()> {
    let mut chunker = Chunker::new();
    let (mut bytes, mut scanned, mut offset) = (Vec::with_capacity(BUFFER_BYTES), 0, 0);
    loop {
        let room = (BUFFER_BYTES - bytes.len()) as u64;
        let is_last = (&mut input).take(room).read_to_end(&mut bytes)? == 0;
        let mut ends = Vec::new();
        while let Some(step) = bytes.get(scanned..).and_then(|fresh| chunker.next_cut(fresh)) {
            scanned += step;
            ends.push(scanned);
        }
        scanned = bytes.len();
        if is_last && ends.last().copied().unwrap_or(0) < bytes.len() {
            ends.push(bytes.len());
        }
        if let Some(&whole) = ends.last() {
            let mut rest = Vec::with_capacity(BUFFER_BYTES);
            rest.extend_from_slice(bytes.get(whole..).unwrap_or_default());
            scanned -= whole;
            let cut = Cut { offset, bytes: std::mem::replace(&mut bytes, rest), ends };
            if sink.send(cut).is_err() {
                // Every worker has ended with an error of its own.
                return Ok(());
            }
            offset += whole as u64;
        }
        if is_last {
            return Ok(());
        }
    }
}

fn hash_and_write(cuts: &Mutex<Receiver<Cut>>, output: &File) -> io::Result<()> {
    loop {
        let next = cuts.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Cut { offset, bytes, ends }) = next else { return Ok(()) };
        let mut start = 0;
        for end in ends {
            std::hint::black_box(ChunkId::of(bytes.get(start..end).unwrap_or_default()));
            start = end;
        }
        output.write_all_at(bytes.get(..start).unwrap_or_default(), offset)?;
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
        check(BUFFER_BYTES as u64);
        check((3 << 20) + 17);
    }
}

//! The reading half of an import: files in stream order, cut into chunks.
//!
//! Runs on a thread that may block. Bytes are read once, into buffers that the chunks then share: a chunk is copied
//! only where it straddles two buffers. What has been read is checked against the scan, so a file that changes under
//! the reader is an error and never a mixture.

use std::fs::File;
use std::io::{self, Read};

use bytes::Bytes;
use shoal_protocol::chunker::{Chunker, LARGE_FILE_BYTES};
use tokio::sync::mpsc;

use super::PublishError;
use super::scan::{Scan, Source};
use crate::store::FileStamp;

/// Bytes that are read before they are cut: several times the longest chunk, so that few chunks straddle.
const BUFFER_BYTES: usize = 512 * 1024;

/// The chunks of one buffer, in stream order.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) chunks: Vec<Bytes>,
    /// Where the first of them begins, if they are those of a large file.
    pub(super) origin: Option<Origin>,
}

/// A place in a large file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    /// Which of [`Scan::large_files`].
    pub(super) file: usize,
    /// Where in it.
    pub(super) offset: u64,
}

/// Reads everything that was scanned, in stream order, and sends its chunks. Ends early, without an error, when
/// nobody takes them any more.
pub(super) fn read_all(scan: &Scan, sink: mpsc::Sender<Batch>) -> Result<(), PublishError> {
    outcome(read_runs(scan, &mut Cutter::new(sink)))
}

/// Reads a stream to its end and sends its chunks, like those of a lone file; ends early in the same way.
pub(super) fn read_stream(stream: impl Read, sink: mpsc::Sender<Batch>) -> Result<(), PublishError> {
    outcome(Cutter::new(sink).read_stream(stream))
}

fn outcome(read: Result<(), Stop>) -> Result<(), PublishError> {
    match read {
        Ok(()) | Err(Stop::NobodyListens) => Ok(()),
        Err(Stop::Error(error)) => Err(error),
    }
}

/// Why the reader stops before the end.
enum Stop {
    NobodyListens,
    Error(PublishError),
}

impl From<PublishError> for Stop {
    fn from(error: PublishError) -> Self {
        Self::Error(error)
    }
}

fn read_runs(scan: &Scan, cutter: &mut Cutter) -> Result<(), Stop> {
    let (lone, entries) = match scan {
        Scan::File(source) => (Some(source), &[][..]),
        Scan::Folder(entries) => (None, entries.as_slice()),
    };
    let files = lone.into_iter().chain(entries.iter().filter_map(|scanned| scanned.source.as_ref()));
    for small in files.filter(|source| source.stamp.bytes < LARGE_FILE_BYTES) {
        cutter.read_file(small)?;
    }
    cutter.end_run()?;
    for (file, large) in scan.large_files().enumerate() {
        cutter.origin = Some(Origin { file, offset: 0 });
        cutter.read_file(large)?;
        cutter.end_run()?;
    }
    Ok(())
}

/// Gathers bytes in a buffer, and sends them on as chunks when it is full or a run ends.
struct Cutter {
    chunker: Chunker,
    /// What has been read since the last whole chunk.
    buffer: Vec<u8>,
    /// How much of the buffer the chunker has seen.
    scanned: usize,
    /// Where the buffer begins, while a large file is read.
    origin: Option<Origin>,
    sink: mpsc::Sender<Batch>,
}

impl Cutter {
    fn new(sink: mpsc::Sender<Batch>) -> Self {
        Self { chunker: Chunker::new(), buffer: Vec::with_capacity(BUFFER_BYTES), scanned: 0, origin: None, sink }
    }

    fn read_file(&mut self, source: &Source) -> Result<(), Stop> {
        let failed = |error| PublishError::read(&source.path, error);
        let changed = || Stop::from(PublishError::Changed { path: source.path.clone() });
        let stamp = |file: &File| file.metadata().map(|meta| FileStamp::of(&meta)).map_err(failed);

        let file = File::open(&source.path).map_err(failed)?;
        if stamp(&file)? != source.stamp {
            return Err(changed());
        }
        let mut left = source.stamp.bytes;
        while left > 0 {
            let read = self.fill(&file, left).map_err(failed)?;
            if read == 0 {
                return Err(changed());
            }
            left -= read;
            if self.buffer.len() == BUFFER_BYTES {
                self.cut(false)?;
            }
        }
        // A byte appended while it was read changes the stamp too.
        if stamp(&file)? == source.stamp { Ok(()) } else { Err(changed()) }
    }

    fn read_stream(&mut self, mut stream: impl Read) -> Result<(), Stop> {
        while self.fill(&mut stream, u64::MAX).map_err(PublishError::stream)? > 0 {
            if self.buffer.len() == BUFFER_BYTES {
                self.cut(false)?;
            }
        }
        self.end_run()
    }

    /// Reads until the buffer is full, `limit` is reached or the input ends. `take` keeps `read_to_end` from growing
    /// the buffer, and lets it read into memory that nobody has zeroed first.
    fn fill(&mut self, input: impl Read, limit: u64) -> io::Result<u64> {
        let room = (BUFFER_BYTES - self.buffer.len()) as u64;
        input.take(limit.min(room)).read_to_end(&mut self.buffer).map(|read| read as u64)
    }

    /// Ends a chunk here, so that what follows is cut as if it stood alone.
    fn end_run(&mut self) -> Result<(), Stop> {
        self.cut(true)?;
        self.chunker = Chunker::new();
        Ok(())
    }

    /// Sends the whole chunks of the buffer, with `to_the_end` also what is left, and keeps the rest.
    fn cut(&mut self, to_the_end: bool) -> Result<(), Stop> {
        let mut ends = Vec::new();
        while let Some(step) = self.buffer.get(self.scanned..).and_then(|fresh| self.chunker.next_cut(fresh)) {
            self.scanned += step;
            ends.push(self.scanned);
        }
        self.scanned = self.buffer.len();
        if to_the_end && ends.last().copied().unwrap_or(0) < self.buffer.len() {
            ends.push(self.buffer.len());
        }
        let Some(&whole) = ends.last() else {
            return Ok(());
        };
        let mut rest = Vec::with_capacity(BUFFER_BYTES);
        rest.extend_from_slice(self.buffer.get(whole..).unwrap_or_default());
        self.scanned -= whole;
        let mut bytes = Bytes::from(std::mem::replace(&mut self.buffer, rest));
        let mut start = 0;
        let chunks = ends.iter().map(|&end| bytes.split_to(end - std::mem::replace(&mut start, end))).collect();
        let origin = self.origin;
        if let Some(origin) = &mut self.origin {
            origin.offset += whole as u64;
        }
        self.sink.blocking_send(Batch { chunks, origin }).map_err(|_| Stop::NobodyListens)
    }
}

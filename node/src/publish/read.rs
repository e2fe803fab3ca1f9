//! The reading third of an import: files in stream order, as pieces of bytes.
//!
//! Runs on a thread that may block, ahead of the one that cuts. What has been read is checked against the scan, so a
//! file that changes under the reader is an error and never a mixture.

use std::fs::File;
use std::io::{self, Read};

use shoal_protocol::chunker::LARGE_FILE_BYTES;
use tokio::sync::mpsc;

use super::PublishError;
use super::scan::{Scan, Source};
use crate::store::FileStamp;

/// Bytes of a piece: several times the longest chunk, so that few chunks straddle two.
const PIECE_BYTES: usize = 512 * 1024;

/// Bytes that follow those of the piece before.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    /// Where they begin, if they are those of a large file.
    pub(super) origin: Option<Origin>,
    /// Whether a chunk ends with them, and what follows is cut as if it stood alone.
    pub(super) ends_run: bool,
}

/// A place in a large file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    /// Which of [`Scan::large_files`].
    pub(super) file: usize,
    /// Where in it.
    pub(super) offset: u64,
}

/// Reads everything that was scanned, in stream order. Ends early, without an error, when nobody takes it any more.
pub(super) fn read_all(scan: &Scan, sink: mpsc::Sender<Piece>) -> Result<(), PublishError> {
    outcome(Reader::new(sink).read_runs(scan))
}

/// Reads a stream to its end, as a run like that of a lone file; ends early in the same way.
pub(super) fn read_stream(stream: impl Read, sink: mpsc::Sender<Piece>) -> Result<(), PublishError> {
    outcome(Reader::new(sink).read_stream(stream))
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

/// Gathers bytes in a buffer, and sends them on when it is full or a run ends.
struct Reader {
    buffer: Vec<u8>,
    /// Where the buffer begins, while a large file is read.
    origin: Option<Origin>,
    sink: mpsc::Sender<Piece>,
}

impl Reader {
    fn new(sink: mpsc::Sender<Piece>) -> Self {
        Self { buffer: Vec::with_capacity(PIECE_BYTES), origin: None, sink }
    }

    fn read_runs(&mut self, scan: &Scan) -> Result<(), Stop> {
        let (lone, entries) = match scan {
            Scan::File(source) => (Some(source), &[][..]),
            Scan::Folder(entries) => (None, entries.as_slice()),
        };
        let files = lone.into_iter().chain(entries.iter().filter_map(|scanned| scanned.source.as_ref()));
        for small in files.filter(|source| source.stamp.bytes < LARGE_FILE_BYTES) {
            self.read_file(small)?;
        }
        self.send(true)?;
        for (file, large) in scan.large_files().enumerate() {
            self.origin = Some(Origin { file, offset: 0 });
            self.read_file(large)?;
            self.send(true)?;
        }
        Ok(())
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
            self.send_full()?;
        }
        // A byte appended while it was read changes the stamp too.
        if stamp(&file)? == source.stamp { Ok(()) } else { Err(changed()) }
    }

    fn read_stream(&mut self, mut stream: impl Read) -> Result<(), Stop> {
        while self.fill(&mut stream, u64::MAX).map_err(PublishError::stream)? > 0 {
            self.send_full()?;
        }
        self.send(true)
    }

    /// Reads until the buffer is full, `limit` is reached or the input ends. `take` keeps `read_to_end` from growing
    /// the buffer, and lets it read into memory that nobody has zeroed first.
    fn fill(&mut self, input: impl Read, limit: u64) -> io::Result<u64> {
        let room = (PIECE_BYTES - self.buffer.len()) as u64;
        input.take(limit.min(room)).read_to_end(&mut self.buffer).map(|read| read as u64)
    }

    fn send_full(&mut self) -> Result<(), Stop> {
        if self.buffer.len() == PIECE_BYTES { self.send(false) } else { Ok(()) }
    }

    fn send(&mut self, ends_run: bool) -> Result<(), Stop> {
        let bytes = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES));
        let origin = self.origin;
        if let Some(origin) = &mut self.origin {
            origin.offset += bytes.len() as u64;
        }
        self.sink.blocking_send(Piece { bytes, origin, ends_run }).map_err(|_| Stop::NobodyListens)
    }
}

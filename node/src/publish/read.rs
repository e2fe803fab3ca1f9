//! The reading part of an import: files in stream order, as pieces of bytes.
//!
//! Blocks. What has been read is checked against the scan, so a file that changes under the reader is an error and
//! never a mixture.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use shoal_protocol::chunker::{Candidates, LARGE_FILE_BYTES};

use super::PublishError;
use super::scan::{Scan, Source};
use crate::store::FileStamp;

/// Bytes of a piece, with those of the piece before: several times the longest chunk, so that few chunks straddle two.
pub(super) const PIECE_BYTES: usize = 2 * 1024 * 1024;

/// Bytes that follow those of the piece before.
#[derive(Debug)]
pub(super) struct Piece {
    /// The last bytes of the piece before, if it is of the same run: as many as [`Candidates`] asks for.
    pub(super) before: Bytes,
    pub(super) bytes: Bytes,
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

/// What pieces are read from.
pub(super) trait ReadPieces: Send {
    /// The next piece, in stream order; `None` after the last. Not to be asked again after an error.
    fn next_piece(&mut self) -> Result<Option<Piece>, PublishError>;
}

/// Reads what a scan found.
pub(super) struct FileReader {
    scan: Arc<Scan>,
    /// The entry to be looked at next, and whether it is the turn of the large files: those come last.
    next: usize,
    are_large: bool,
    large_files: usize,
    open: Option<OpenFile>,
    buffer: Buffer,
}

impl FileReader {
    pub(super) fn new(scan: Arc<Scan>) -> Self {
        Self { scan, next: 0, are_large: false, large_files: 0, open: None, buffer: Buffer::default() }
    }

    /// Opens the file that comes next; `false` if none is left among those whose turn it is.
    fn open_next(&mut self) -> Result<bool, PublishError> {
        while let Some(source) = self.scan.source(self.next) {
            self.next += 1;
            let Some(source) = source.filter(|source| self.are_large == (source.stamp.bytes >= LARGE_FILE_BYTES))
            else {
                continue;
            };
            if self.are_large {
                self.buffer.origin = Some(Origin { file: self.large_files, offset: 0 });
                self.large_files += 1;
            }
            self.open = Some(OpenFile::open(source)?);
            return Ok(true);
        }
        Ok(false)
    }
}

impl ReadPieces for FileReader {
    fn next_piece(&mut self) -> Result<Option<Piece>, PublishError> {
        while !self.buffer.is_full() {
            if let Some(open) = &mut self.open {
                if open.read(&mut self.buffer)? {
                    self.open = None;
                    if self.are_large {
                        return Ok(Some(self.buffer.take(true)));
                    }
                }
            } else if !self.open_next()? {
                if self.are_large {
                    return Ok(None);
                }
                // All small files together are a run.
                (self.next, self.are_large) = (0, true);
                return Ok(Some(self.buffer.take(true)));
            }
        }
        Ok(Some(self.buffer.take(false)))
    }
}

/// Reads a stream to its end, as a run like that of a lone file.
pub(super) struct StreamReader {
    stream: Option<Box<dyn Read + Send>>,
    buffer: Buffer,
}

impl StreamReader {
    pub(super) fn new(stream: Box<dyn Read + Send>) -> Self {
        Self { stream: Some(stream), buffer: Buffer::default() }
    }
}

impl ReadPieces for StreamReader {
    fn next_piece(&mut self) -> Result<Option<Piece>, PublishError> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        while !self.buffer.is_full() {
            if self.buffer.fill(&mut *stream, u64::MAX).map_err(PublishError::stream)? == 0 {
                self.stream = None;
                return Ok(Some(self.buffer.take(true)));
            }
        }
        Ok(Some(self.buffer.take(false)))
    }
}

/// A file that is being read.
struct OpenFile {
    file: File,
    source: Source,
    left: u64,
}

impl OpenFile {
    fn open(source: &Source) -> Result<Self, PublishError> {
        let file = File::open(&source.path).map_err(|error| PublishError::read(&source.path, error))?;
        let open = Self { file, source: source.clone(), left: source.stamp.bytes };
        open.check()?;
        Ok(open)
    }

    /// Reads until the buffer is full or the file has been read and is what it was: `true` then.
    fn read(&mut self, buffer: &mut Buffer) -> Result<bool, PublishError> {
        while self.left > 0 {
            if buffer.is_full() {
                return Ok(false);
            }
            let read = buffer.fill(&self.file, self.left).map_err(|error| self.failed(error))?;
            if read == 0 {
                return Err(self.changed());
            }
            self.left -= read;
        }
        // A byte appended while it was read changes the stamp too.
        self.check().map(|()| true)
    }

    /// That the file is the one that was scanned.
    fn check(&self) -> Result<(), PublishError> {
        let meta = self.file.metadata().map_err(|error| self.failed(error))?;
        if FileStamp::of(&meta) == self.source.stamp { Ok(()) } else { Err(self.changed()) }
    }

    fn failed(&self, error: io::Error) -> PublishError {
        PublishError::read(&self.source.path, error)
    }

    fn changed(&self) -> PublishError {
        PublishError::Changed { path: self.source.path.clone() }
    }
}

/// Gathers the bytes of a piece.
struct Buffer {
    bytes: Vec<u8>,
    /// How many of them are those of the piece before.
    before: usize,
    /// Where the others begin, while a large file is read.
    origin: Option<Origin>,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { bytes: Vec::with_capacity(PIECE_BYTES), before: 0, origin: None }
    }
}

impl Buffer {
    fn is_full(&self) -> bool {
        self.bytes.len() >= PIECE_BYTES
    }

    /// Reads until the buffer is full, `limit` is reached or the input ends. `take` keeps `read_to_end` from growing
    /// the buffer, and lets it read into memory that nobody has zeroed first.
    fn fill(&mut self, input: impl Read, limit: u64) -> io::Result<u64> {
        let room = PIECE_BYTES.saturating_sub(self.bytes.len()) as u64;
        input.take(limit.min(room)).read_to_end(&mut self.bytes).map(|read| read as u64)
    }

    /// The piece that has been gathered.
    fn take(&mut self, ends_run: bool) -> Piece {
        let bytes = Bytes::from(std::mem::replace(&mut self.bytes, Vec::with_capacity(PIECE_BYTES)));
        let reach = if ends_run { 0 } else { bytes.len().min(Candidates::REACH_BYTES) };
        self.bytes.extend_from_slice(bytes.split_at(bytes.len() - reach).1);
        let (before, origin) = (std::mem::replace(&mut self.before, reach), self.origin);
        let piece = Piece { before: bytes.slice(..before), bytes: bytes.slice(before..), origin, ends_run };
        if let Some(origin) = &mut self.origin {
            origin.offset += piece.bytes.len() as u64;
        }
        piece
    }
}

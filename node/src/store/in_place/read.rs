//! Reading chunks out of files of the user, each checked before anyone sees it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::OFlags;
use rustix::io::{Errno, pread};
use shoal_protocol::hash::ChunkId;

use super::super::error::{ReadError, StoreError};
use super::super::reader::{Read, name};
use super::super::rows::{Kind, ObjectId, Soundness};
use super::{FileNumber, FilePlace, FileRow, FileStamp, InPlace};

/// Opens without waiting for whoever is at the other end of a pipe that has taken the file's place.
const NO_WAIT: i32 = OFlags::NONBLOCK.bits().cast_signed();

/// A chunk that is wanted from a file.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Wanted<'a> {
    /// Where the result belongs.
    pub(in crate::store) at: usize,
    pub(in crate::store) id: &'a ObjectId,
    pub(in crate::store) place: FilePlace,
}

/// A file that has been opened to be read.
#[derive(Debug)]
struct Opened {
    file: File,
    path: PathBuf,
    row: FileRow,
}

impl InPlace {
    /// Reads chunks out of one file. Those that are not there any more are noted: they count as not held from then on.
    pub(in crate::store) fn read_chunks(&self, number: FileNumber, wanted: &[Wanted<'_>]) -> Vec<(usize, Read)> {
        let opened = match self.open_file(number) {
            Ok(opened) => opened,
            Err(error) => return wanted.iter().map(|wanted| (wanted.at, Err(named(&error, wanted.id)))).collect(),
        };
        let mut damaged = Vec::new();
        let mut results = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let read = match opened.read(wanted.id, &wanted.place) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(detail) => {
                    if wanted.place.soundness == Soundness::Sound {
                        damaged.push((*wanted.id, wanted.place));
                        if let Some(so_far) = self.told.count(number) {
                            let file = opened.path.display();
                            tracing::error!(%file, %detail, so_far, "chunks in place are not there any more");
                        }
                    }
                    Err(ReadError::Damaged { what: name(wanted.id, Kind::Chunk), file: opened.path.clone(), detail })
                }
            };
            results.push((wanted.at, read));
        }
        if let Err(error) = self.mark(&damaged, Soundness::Damaged) {
            tracing::warn!(%error, "could not note damage");
        }
        results
    }

    fn open_file(&self, number: FileNumber) -> Result<Opened, ReadError> {
        let Some(row) = self.file(number)? else {
            let detail = "its row is lost".to_owned();
            self.state().gone.insert(number);
            return Err(ReadError::Damaged { what: String::new(), file: self.path.clone(), detail });
        };
        let mut candidate: Option<(File, PathBuf)> = None;
        let mut failure = None;
        for path in row.paths() {
            match open(path) {
                Ok((file, stamp)) if stamp.is_same_file(&row.stamp) => {
                    candidate = Some((file, path.to_owned()));
                    break;
                }
                Ok((file, _)) => drop(candidate.get_or_insert_with(|| (file, path.to_owned()))),
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        let mut state = self.state();
        match candidate {
            Some((file, path)) => {
                state.gone.remove(&number);
                drop(state);
                Ok(Opened { file, path, row })
            }
            None => {
                if state.gone.insert(number) {
                    tracing::error!(file = %row.path.display(), "a file in place is gone");
                }
                let detail = match failure {
                    Some(error) if error.kind() != io::ErrorKind::NotFound => format!("it cannot be opened: {error}"),
                    _ => "the file is gone".to_owned(),
                };
                Err(ReadError::Damaged { what: String::new(), file: row.path, detail })
            }
        }
    }
}

impl Opened {
    /// The chunk, or in words why it is not there.
    fn read(&self, id: &ObjectId, place: &FilePlace) -> Result<Bytes, String> {
        let len = place.len as usize;
        if len > super::super::MAX_OBJECT_BYTES {
            return Err("its row claims more than a chunk can have".to_owned());
        }
        match read_at(&self.file, len, place.offset) {
            Ok(bytes) if ChunkId::of(&bytes).as_bytes() == id => Ok(Bytes::from(bytes)),
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(format!("it cannot be read: {error}")),
            Ok(_) | Err(_) => Err(self.cause()),
        }
    }

    fn cause(&self) -> String {
        match self.file.metadata() {
            Ok(_) if self.row.is_growing => "what was fetched into it is not there any more".to_owned(),
            Ok(meta) => self.row.stamp.change(&FileStamp::of(&meta)),
            Err(error) => format!("it cannot be looked at: {error}"),
        }
    }
}

/// So many bytes from there on, into memory that is not cleared before.
fn read_at(file: &File, len: usize, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = offset + bytes.len() as u64;
        match pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// Opens a regular file for reading.
fn open(path: &Path) -> io::Result<(File, FileStamp)> {
    let file = OpenOptions::new().read(true).custom_flags(NO_WAIT).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it is no file any more"));
    }
    Ok((file, FileStamp::of(&meta)))
}

/// Where a file is that still looks as its row says, so that nothing speaks against it.
pub(super) fn found_at(row: &FileRow) -> Option<&Path> {
    row.paths().find(|path| {
        std::fs::metadata(path).is_ok_and(|meta| {
            let now = FileStamp::of(&meta);
            if row.is_growing { now.is_same_file(&row.stamp) } else { now == row.stamp }
        })
    })
}

fn named(error: &ReadError, id: &ObjectId) -> ReadError {
    match error {
        ReadError::Damaged { file, detail, .. } => {
            ReadError::Damaged { what: name(id, Kind::Chunk), file: file.clone(), detail: detail.clone() }
        }
        ReadError::Store(error) => ReadError::Store(StoreError::clone(error)),
    }
}

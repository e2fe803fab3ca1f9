//! An output that the store keeps as its own copy: which of its files chunks lie in, and how they become durable.
//!
//! Only large files are kept so, since each of their chunks lies in one of them alone.

use std::fs::File;
use std::path::{Path, PathBuf};

use shoal_protocol::chunker::LARGE_FILE_BYTES;
use shoal_protocol::manifest::EntryIndex;

use super::{OutputError, Shape};

/// A file of an output: its entry; none for a lone file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeptFile(Option<EntryIndex>);

/// What there is to know of an output that is kept. It goes on being true once the output has its final name.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    part: PathBuf,
    target: PathBuf,
    shape: Shape,
}

impl Keeper {
    pub(super) fn new(part: &Path, target: &Path, shape: Shape) -> Self {
        Self { part: part.to_owned(), target: target.to_owned(), shape }
    }

    /// The file that keeps the bytes at an offset of the stream, and where in it they lie; `None` if none keeps them.
    pub(crate) fn file_of(&self, offset: u64, len: u32) -> Option<(KeptFile, u64)> {
        match &self.shape {
            Shape::File { bytes } => (*bytes >= LARGE_FILE_BYTES).then_some((KeptFile(None), offset)),
            Shape::Folder(layout) => {
                let end = offset.checked_add(u64::from(len))?;
                let span = layout.spans(offset..end).next().filter(|span| span.len == u64::from(len))?;
                let entry = layout.entry(span.entry)?;
                let is_large = entry.stream.end - entry.stream.start >= LARGE_FILE_BYTES;
                is_large.then_some((KeptFile(Some(span.entry)), span.file_offset))
            }
        }
    }

    /// Where a file is while it is written, and where it will be.
    pub(crate) fn paths(&self, file: KeptFile) -> Option<(PathBuf, PathBuf)> {
        match &self.shape {
            Shape::File { .. } => Some((self.part.clone(), self.target.clone())),
            Shape::Folder(layout) => {
                let path = layout.entry(file.0?)?.path;
                Some((self.part.join(path), self.target.join(path)))
            }
        }
    }

    /// Opens what makes it durable.
    pub(crate) fn syncer(&self) -> Result<Syncer, OutputError> {
        let open = |path: &Path| File::open(path).map_err(|error| OutputError::write(path, error));
        Ok(match &self.shape {
            Shape::File { .. } => {
                let parent = self.part.parent().unwrap_or(Path::new("."));
                // Its name, once: the data again and again.
                open(parent)?.sync_all().map_err(|error| OutputError::write(parent, error))?;
                Syncer { path: self.part.clone(), file: open(&self.part)?, is_folder: false }
            }
            Shape::Folder(_) => Syncer { path: self.part.clone(), file: open(&self.part)?, is_folder: true },
        })
    }
}

/// Makes what has been written to an output durable.
#[derive(Debug)]
pub(crate) struct Syncer {
    path: PathBuf,
    file: File,
    is_folder: bool,
}

impl Syncer {
    /// Returns once everything that was written before the call is durable. Blocks.
    pub(crate) fn sync(&self) -> Result<(), OutputError> {
        let synced = if self.is_folder {
            // With the names of the files, and in one go however many there are.
            rustix::fs::syncfs(&self.file).map_err(Into::into)
        } else {
            self.file.sync_data()
        };
        synced.map_err(|error| OutputError::write(&self.path, error))
    }
}

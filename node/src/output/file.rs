//! A lone file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::OutputError;

/// A file that is being written.
#[derive(Debug)]
pub(super) struct FileOutput {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl FileOutput {
    /// A file that will have so many bytes. It grows as they come: a manifest may claim any number.
    pub(super) fn new(path: &Path, file: File, bytes: u64) -> Self {
        Self { path: path.to_owned(), file, bytes }
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), OutputError> {
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.bytes) {
            return Err(OutputError::OutOfBounds);
        }
        self.file.write_all_at(bytes, offset).map_err(|error| OutputError::write(&self.path, error))
    }

    pub(super) fn finish(self) -> Result<(), OutputError> {
        self.file.sync_all().map_err(|error| OutputError::write(&self.path, error))
    }
}

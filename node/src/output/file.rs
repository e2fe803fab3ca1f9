//! A lone file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Leftovers, OutputError};

/// A file that is being written.
#[derive(Debug)]
pub(super) struct FileOutput {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl FileOutput {
    /// A file that will have so many bytes. It grows as they come: a manifest may claim any number.
    pub(super) fn new(path: &Path, file: File, bytes: u64, leftovers: Leftovers) -> Result<Self, OutputError> {
        let this = Self { path: path.to_owned(), file, bytes };
        if leftovers == Leftovers::Keep {
            let failed = |error| OutputError::write(path, error);
            // Of another's making: what belongs there is checked before it counts.
            if this.file.metadata().map_err(failed)?.len() > bytes {
                this.file.set_len(bytes).map_err(failed)?;
            }
        }
        Ok(this)
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

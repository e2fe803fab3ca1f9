//! A lone file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::flush::Flusher;
use super::{Leftovers, OutputError};

/// A file that is being written.
#[derive(Debug)]
pub(super) struct FileOutput {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Absent where what is written is flushed by whoever keeps it.
    flusher: Option<Flusher>,
}

impl FileOutput {
    /// A file that will have so many bytes. It grows as they come: a manifest may claim any number.
    pub(super) fn new(path: &Path, file: File, bytes: u64, leftovers: Leftovers) -> Result<Self, OutputError> {
        let flusher = (leftovers == Leftovers::Remove).then(Flusher::default);
        let this = Self { path: path.to_owned(), file, bytes, flusher };
        if leftovers == Leftovers::Keep {
            let failed = |error| OutputError::write(path, error);
            // Of another's making: what belongs there is checked before it counts.
            if this.file.metadata().map_err(failed)?.len() > bytes {
                this.file.set_len(bytes).map_err(failed)?;
            }
        }
        Ok(this)
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), OutputError> {
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.bytes) {
            return Err(OutputError::OutOfBounds);
        }
        let written = self.file.write_all_at(bytes, offset).and_then(|()| match &mut self.flusher {
            Some(flusher) => flusher.wrote(&self.file, bytes.len()),
            None => Ok(()),
        });
        written.map_err(|error| OutputError::write(&self.path, error))
    }

    pub(super) fn finish(mut self) -> Result<(), OutputError> {
        let early = self.flusher.as_mut().map_or(Ok(()), Flusher::finish);
        early.and_then(|()| self.file.sync_all()).map_err(|error| OutputError::write(&self.path, error))
    }
}

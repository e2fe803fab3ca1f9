//! One process per home.
//!
//! The lock is the operating system's (`flock`), so it is gone when its holder is, however that ended. The file keeps
//! the holder's process number for the error message only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::Path;

use super::error::StoreError;

/// Name of the lock file in a home.
pub(crate) const LOCK_FILE: &str = "lock";

/// The right to use a home, held until dropped.
#[derive(Debug)]
pub(super) struct HomeLock {
    _file: File,
}

impl HomeLock {
    /// Takes the lock of `home`, which must exist.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it.
    pub(super) fn take(home: &Path) -> Result<Self, StoreError> {
        let path = home.join(LOCK_FILE);
        let mut file = open(home, &path).map_err(|source| StoreError::io(&path, source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = (&file).take(16).read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(StoreError::Locked { home: home.into(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(StoreError::io(&path, source)),
        }
        // The number is a courtesy: a full disk must not keep the node from starting.
        let noted =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = noted {
            tracing::debug!(%error, "could not note the process number in the lock file");
        }
        Ok(Self { _file: file })
    }
}

/// The lock's file. Where nothing may be written it is opened as it is; the folder stands for one that is not there.
fn open(home: &Path, path: &Path) -> io::Result<File> {
    match OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path) {
        Err(error) if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => {
            match File::open(path) {
                Err(missing) if missing.kind() == ErrorKind::NotFound => File::open(home),
                opened => opened.map_err(|_| error),
            }
        }
        opened => opened,
    }
}

//! The file under a redb database.
//!
//! redb swallows errors when a database is dropped and does not say which call failed. This backend remembers both,
//! and lets tests fail any call. It changes nothing about what is written.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

/// A call to the operating system that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileCall {
    /// Reading bytes.
    Read,
    /// Writing bytes.
    Write {
        /// Where in the file.
        offset: u64,
        /// How many.
        bytes: usize,
    },
    /// Making the file longer or shorter.
    Resize,
    /// Waiting until all written bytes are on the disk.
    Sync,
    /// Waiting until the names in a folder are.
    SyncFolder,
}

/// Decides which calls fail; for tests.
pub(crate) trait Faults: Debug + Send + Sync {
    /// Called before each call on `file`; an error is returned in the call's place.
    fn before(&self, call: FileCall, file: &Path) -> io::Result<()>;

    /// Called after each call that was let through.
    fn after(&self, _call: FileCall) {}
}

/// What has failed on a file since it was opened.
#[derive(Debug, Default)]
pub(super) struct FileHealth {
    first: Mutex<Option<(FileCall, io::ErrorKind, Option<i32>)>>,
}

impl FileHealth {
    /// The first failure as an error of its own.
    pub(super) fn failure(&self) -> Option<io::Error> {
        let first = *self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.map(|(_, kind, code)| code.map_or_else(|| io::Error::from(kind), io::Error::from_raw_os_error))
    }

    /// Whether the first thing that failed was a sync: what the disk holds is then unknown.
    pub(super) fn sync_failed(&self) -> bool {
        let first = *self.first.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(first, Some((FileCall::Sync, ..)))
    }

    fn note<T>(&self, call: FileCall, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert((call, error.kind(), error.raw_os_error()));
        }
        result
    }
}

/// A file as redb's storage.
#[derive(Debug)]
pub(super) struct StoreFile {
    path: PathBuf,
    inner: FileBackend,
    health: Arc<FileHealth>,
    faults: Option<Arc<dyn Faults>>,
}

impl StoreFile {
    /// Takes over `file`, which was opened at `path`.
    pub(super) fn new(path: &Path, file: File, faults: Option<Arc<dyn Faults>>) -> Result<Self, redb::DatabaseError> {
        Ok(Self { path: path.into(), inner: FileBackend::new(file)?, health: Arc::default(), faults })
    }

    /// The record of failures, which outlives the file.
    pub(super) fn health(&self) -> Arc<FileHealth> {
        Arc::clone(&self.health)
    }

    fn call<T>(&self, call: FileCall, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let allowed = self.faults.as_ref().map_or(Ok(()), |faults| faults.before(call, &self.path));
        let result = allowed.and_then(|()| {
            let result = work();
            if let Some(faults) = &self.faults {
                faults.after(call);
            }
            result
        });
        self.health.note(call, result)
    }
}

impl StorageBackend for StoreFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.call(FileCall::Read, || self.inner.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.call(FileCall::Resize, || self.inner.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call(FileCall::Sync, || self.inner.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.call(FileCall::Write { offset, bytes: data.len() }, || self.inner.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

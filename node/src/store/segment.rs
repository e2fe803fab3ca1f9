//! A segment: one file of payload that says itself what is in it.
//!
//! Each commit group is one transaction: its payload and its directory together, or nothing. A segment is appended to
//! by one writer; readers look at what is committed and never wait for it. How payload is cut into rows is
//! `payload`'s business.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use redb::{
    Builder, Durability, ReadOnlyDatabase, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    TableDefinition,
};

use super::backend::Faults;
use super::database::{self, OpenDatabase, check_format, guarded};
use super::error::{StoreError, Trouble};
use super::panics::drop_quietly;
use super::payload::{PAYLOAD, PayloadReader, write_stream};
use super::record::ManifestRecord;
use super::rows::{Directory, SegmentNumber};
use super::segment_records;

const DIRECTORY: TableDefinition<u64, &[u8]> = TableDefinition::new("directory");

/// Directories read in one transaction.
const DIRECTORIES_AT_ONCE: usize = 64;

/// How a segment's file is opened.
#[derive(Debug, Clone)]
pub(super) struct SegmentOptions {
    /// redb's cache while it is appended to.
    pub(super) append_cache_bytes: usize,
    /// redb's cache while it is only read.
    pub(super) read_cache_bytes: usize,
    /// Failures to inject.
    pub(super) faults: Option<Arc<dyn Faults>>,
}

/// Where a segment's stream ends and which group comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Head {
    pub(super) groups: u64,
    pub(super) stream_bytes: u64,
}

/// One segment and, when it is open, its database.
#[derive(Debug)]
pub(super) struct Segment {
    number: SegmentNumber,
    path: PathBuf,
    options: SegmentOptions,
    // Held for reading during each read and each append, for writing only to open, seal or close.
    state: RwLock<State>,
    // A sync has failed, whoever has opened the file anew since.
    sync_failed: AtomicBool,
}

enum State {
    Closed,
    /// Open for append, or, where the disk takes no writes, to be read with what redb writes in memory.
    Append(OpenDatabase),
    Sealed(Sealed),
}

/// A segment that is open for reading alone.
struct Sealed {
    // There until it is dropped. The table comes first, so that it is dropped first.
    parts: Option<(ReadOnlyTable<u64, &'static [u8]>, ReadOnlyDatabase)>,
}

/// redb may panic when it closes a damaged file.
impl Drop for Sealed {
    fn drop(&mut self) {
        drop_quietly(self.parts.take());
    }
}

impl Sealed {
    fn parts(&self) -> Result<&(ReadOnlyTable<u64, &'static [u8]>, ReadOnlyDatabase), StoreError> {
        self.parts.as_ref().ok_or(StoreError::Closed)
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Closed => "Closed",
            Self::Append(_) => "Append",
            Self::Sealed(_) => "Sealed",
        })
    }
}

/// What its file says that it is.
pub(super) fn kind(number: SegmentNumber) -> String {
    format!("segment {}", number.0)
}

impl Segment {
    /// A segment whose file is at `path`; nothing is opened yet.
    pub(super) fn at(path: PathBuf, number: SegmentNumber, options: SegmentOptions) -> Self {
        Self { number, path, options, state: RwLock::new(State::Closed), sync_failed: AtomicBool::new(false) }
    }

    /// Makes a new, empty segment at `path`.
    pub(super) fn create(path: PathBuf, number: SegmentNumber, options: SegmentOptions) -> Result<Self, StoreError> {
        let (cache, faults) = (options.append_cache_bytes, options.faults.as_ref());
        let database = database::create(&path, &kind(number), cache, faults, |transaction| {
            transaction.open_table(PAYLOAD)?;
            transaction.open_table(DIRECTORY)?;
            segment_records::make_table(transaction)
        })?;
        Ok(Self {
            number,
            path,
            options,
            state: RwLock::new(State::Append(database)),
            sync_failed: AtomicBool::new(false),
        })
    }

    /// Its number.
    pub(super) const fn number(&self) -> SegmentNumber {
        self.number
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing may be added: the file's mode says so, which outlives the index.
    pub(super) fn is_frozen(&self) -> Result<bool, StoreError> {
        let metadata = std::fs::metadata(&self.path).map_err(|source| StoreError::io(&self.path, source))?;
        Ok(metadata.permissions().readonly())
    }

    /// Lets nothing be added any more.
    pub(super) fn freeze(&self) -> Result<(), StoreError> {
        self.set_read_only(true)
    }

    fn set_read_only(&self, read_only: bool) -> Result<(), StoreError> {
        let set = || {
            let mut permissions = std::fs::metadata(&self.path)?.permissions();
            if read_only {
                permissions.set_readonly(true);
            } else {
                use std::os::unix::fs::PermissionsExt;
                permissions.set_mode(0o600);
            }
            std::fs::set_permissions(&self.path, permissions)
        };
        set().map_err(|source| StoreError::io(&self.path, source))
    }

    /// Opens the file where it is not. Whatever an unclean end left is put right by this.
    pub(super) fn open(&self) -> Result<(), StoreError> {
        drop(self.opened()?);
        Ok(())
    }

    fn opened(&self) -> Result<RwLockReadGuard<'_, State>, StoreError> {
        loop {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if !matches!(*state, State::Closed) {
                return Ok(state);
            }
            drop(state);
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            if matches!(*state, State::Closed) {
                *state = if self.is_frozen()? { self.open_frozen()? } else { State::Append(self.open_append()?) };
            }
        }
    }

    fn open_append(&self) -> Result<OpenDatabase, StoreError> {
        let SegmentOptions { append_cache_bytes, faults, .. } = &self.options;
        database::open(&self.path, &kind(self.number), *append_cache_bytes, faults.as_ref())
    }

    /// Opens a frozen segment without writing to it. One that was not closed cleanly is first put right, or, where the
    /// disk takes no writes, put right in memory.
    fn open_frozen(&self) -> Result<State, StoreError> {
        let unclean = match self.open_read_only() {
            Ok(state) => return Ok(state),
            // One that may not be read stays as it is: its mode is its owner's business.
            Err(error) if !error.is_refusal() || error.is_denied() => return Err(error),
            Err(error) => error,
        };
        tracing::info!(error = %unclean, "a segment was not closed cleanly");
        if let Err(refusal) = self.set_read_only(false) {
            let SegmentOptions { read_cache_bytes, faults, .. } = &self.options;
            let opened = database::open_over(&self.path, *read_cache_bytes, faults.as_ref(), refusal)?;
            opened.read(&self.path, |transaction| check_format(transaction, &kind(self.number)))?;
            return Ok(State::Append(opened));
        }
        let repaired = self.open_append();
        self.freeze()?;
        let repaired = repaired?;
        if repaired.refusal().is_some() {
            return Ok(State::Append(repaired));
        }
        if let Err(error) = repaired.close(&self.path) {
            tracing::warn!(%error, "closing a segment that was not closed cleanly");
        }
        self.open_read_only()
    }

    fn open_read_only(&self) -> Result<State, StoreError> {
        guarded(&self.path, || {
            let database = Builder::new().set_cache_size(self.options.read_cache_bytes).open_read_only(&self.path)?;
            let transaction = database.begin_read()?;
            check_format(&transaction, &kind(self.number))?;
            Ok(State::Sealed(Sealed { parts: Some((transaction.open_table(PAYLOAD)?, database)) }))
        })
    }

    /// Where its stream ends.
    pub(super) fn head(&self) -> Result<Head, StoreError> {
        let state = self.opened()?;
        self.read_transaction(&state, |transaction| {
            let table = transaction.open_table(DIRECTORY)?;
            let Some((group, value)) = table.last()? else {
                return Ok(Head::default());
            };
            let directory = Directory::decode(self.number, group.value(), value.value())?;
            Ok(Head { groups: group.value() + 1, stream_bytes: directory.end() })
        })
    }

    fn read_transaction<T>(
        &self,
        state: &State,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        match state {
            State::Append(open) => open.read(&self.path, work),
            State::Sealed(sealed) => {
                let (_, database) = sealed.parts()?;
                guarded(&self.path, || work(&database.begin_read()?))
            }
            State::Closed => Err(StoreError::Closed),
        }
    }

    /// Up to 64 directories from group `from` on, each with its group; fewer than that only at the end. A directory
    /// that is damaged comes as the error it is, and those after it still come.
    #[allow(clippy::type_complexity, reason = "a list of pairs, used once")]
    pub(super) fn directories(&self, from: u64) -> Result<Vec<(u64, Result<Directory, StoreError>)>, StoreError> {
        let state = self.opened()?;
        self.read_transaction(&state, |transaction| {
            let table = transaction.open_table(DIRECTORY)?;
            let rows = table.range(from..)?.take(DIRECTORIES_AT_ONCE).map(|row| {
                let (group, value) = row?;
                let group = group.value();
                let directory = Directory::decode(self.number, group, value.value());
                Ok((group, directory.map_err(|trouble| trouble.about(&self.path))))
            });
            rows.collect()
        })
    }

    /// The records that came with group `from` and those after it, each with its group. What is damaged is left out.
    pub(super) fn records(&self, from: u64) -> Result<Vec<(u64, ManifestRecord)>, StoreError> {
        let state = self.opened()?;
        self.read_transaction(&state, |transaction| segment_records::read(transaction, from, &self.path))
    }

    /// Commits `objects` durably as group `group`, described by `directory`, and with them the records of contents that
    /// they complete. The bytes are let go as they are copied.
    pub(super) fn append(
        &self,
        group: u64,
        directory: &Directory,
        objects: impl Iterator<Item = Bytes>,
        records: &[ManifestRecord],
    ) -> Result<(), StoreError> {
        if self.is_refused() {
            // The cause may be gone.
            self.reopen()?;
        }
        let state = self.opened()?;
        let State::Append(open) = &*state else {
            return Err(StoreError::damaged(&self.path, "it was sealed while it was written to"));
        };
        if let Some(refusal) = open.refusal() {
            return Err(refusal.clone());
        }
        open.write(&self.path, Durability::Immediate, |transaction| {
            let mut payload = transaction.open_table(PAYLOAD)?;
            write_stream(&mut payload, directory.start, directory.end(), objects)?;
            let value = directory.encode(self.number, group);
            transaction.open_table(DIRECTORY)?.insert(group, value.as_slice())?;
            segment_records::write(transaction, group, records)
        })?;
        // Only what is there under its name is there for the next start.
        open.check_place(&self.path)
    }

    /// Runs `work` with a reader of this segment's payload. A handle that a fault of the disk has closed is opened
    /// anew, once.
    pub(super) fn read<T>(&self, mut work: impl FnMut(&mut PayloadReader<'_>) -> T) -> Result<T, StoreError> {
        match self.read_once(&mut work) {
            Err(error) if error.closes_handle() && !error.is_damage() => {
                self.reopen()?;
                self.read_once(&mut work)
            }
            result => result,
        }
    }

    fn read_once<T>(&self, work: &mut impl FnMut(&mut PayloadReader<'_>) -> T) -> Result<T, StoreError> {
        let state = self.opened()?;
        match &*state {
            State::Sealed(sealed) => Ok(work(&mut PayloadReader::new(&sealed.parts()?.0, &self.path))),
            State::Append(open) => open.read(&self.path, |transaction| {
                let table = transaction.open_table(PAYLOAD)?;
                Ok(work(&mut PayloadReader::new(&table, &self.path)))
            }),
            State::Closed => Err(StoreError::Closed),
        }
    }

    /// Drops the handle after a fault and opens the file anew; says whether a sync has ever failed, after which nothing
    /// may be added: what the disk holds and what the system's cache shows can differ from then on.
    pub(super) fn reopen(&self) -> Result<bool, StoreError> {
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            if let State::Append(open) = std::mem::replace(&mut *state, State::Closed) {
                let health = open.health();
                // Not closed, since that would write to it.
                drop(open);
                self.sync_failed.fetch_or(health.sync_failed(), Ordering::Relaxed);
            }
        }
        self.open()?;
        // Readers open it anew as well, and may have come first.
        Ok(self.sync_failed.load(Ordering::Relaxed))
    }

    /// Whether its file is gone.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.path.try_exists(), Ok(false))
    }

    /// Whether the disk took no writes when it was opened.
    fn is_refused(&self) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        matches!(&*state, State::Append(open) if open.refusal().is_some())
    }

    /// Closes the file and opens it for reading alone: it counts as sealed once that has succeeded.
    pub(super) fn seal(&self) -> Result<(), StoreError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let closed = match std::mem::replace(&mut *state, State::Closed) {
            State::Append(open) => open.close(&self.path),
            State::Sealed(_) | State::Closed => Ok(()),
        };
        closed?;
        *state = self.open_read_only()?;
        self.freeze()
    }

    /// Whether it is open for reading alone.
    pub(super) fn is_sealed(&self) -> bool {
        matches!(*self.state.read().unwrap_or_else(PoisonError::into_inner), State::Sealed(_))
    }

    /// Closes the file, if no reader is in the way.
    pub(super) fn close_if_idle(&self) -> bool {
        let Ok(mut state) = self.state.try_write() else {
            return false;
        };
        *state = State::Closed;
        true
    }

    /// Closes the file, waiting for readers.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Closed) {
            State::Append(open) => open.close(&self.path),
            State::Sealed(_) | State::Closed => Ok(()),
        }
    }
}

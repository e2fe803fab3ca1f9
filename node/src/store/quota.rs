//! The quota: how much of the disk the home may take, counted in blocks of all its files.
//!
//! Room is reserved before anything is written, with more than it can take, and the home is measured again when what is
//! reckoned no longer fits. Some room is never given to writers: the collector copies into it what is needed of the
//! segment that it empties, and the catalog's changes, which nobody refuses, take little of it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::INDEX_FILE;
use super::error::StoreError;
use super::usage::disk_bytes;

/// The least quota that is taken: below it, what the databases need by themselves leaves too little.
pub const MIN_QUOTA_BYTES: u64 = 64 << 20;

/// Bytes of one block as `stat` counts them.
const BLOCK_BYTES: u64 = 512;
/// What a group's commit may take beyond its payload: pages of the tree, and redb's own books, twice.
const GROUP_BYTES: u64 = 512 << 10;
/// What a changed row of the index may take until the index is durable: a page, copied, and one above it.
const ROW_PAGES_BYTES: u64 = 2 * 4096;
/// What a new row of the index takes in the end, generously.
const ROW_BYTES: u64 = 256;
/// What is kept free for the catalog and other small files.
const MIN_MARGIN_BYTES: u64 = 1 << 20;

/// Who wants room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A writer.
    Write,
    /// The collector, which gives back more than it takes.
    Collect,
}

/// What is reckoned.
#[derive(Debug, Default)]
struct Ledger {
    /// Bytes of all files when they were last measured, and what has been written since, at most.
    used: u64,
    /// Bytes that may be being written.
    reserved: u64,
    /// Rows of the index that were changed since it was last durable.
    rows: u64,
    /// Bytes of the index's file when it was last measured.
    index_bytes: u64,
}

impl Ledger {
    /// What the index may still take when it is made durable: never more than a copy of itself and its new rows.
    fn index_growth(&self, more_rows: u64) -> u64 {
        let rows = self.rows + more_rows;
        (rows * ROW_PAGES_BYTES).min(self.index_bytes + rows * ROW_BYTES + (1 << 20))
    }
}

/// Bytes that may be written; counted as written when dropped.
#[derive(Debug)]
pub(super) struct Room<'a> {
    quota: &'a Quota,
    bytes: u64,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut ledger = self.quota.ledger();
        ledger.reserved = ledger.reserved.saturating_sub(self.bytes);
        ledger.used = ledger.used.saturating_add(self.bytes);
    }
}

/// The quota of a home, if it has one.
#[derive(Debug)]
pub(super) struct Quota {
    home: PathBuf,
    limit: Option<u64>,
    segment_bytes: u64,
    // A std mutex: sums, and now and then a look at each file.
    ledger: Mutex<Ledger>,
}

impl Quota {
    /// A quota of `limit` bytes for `home`, whose segments have up to `segment_bytes` of payload.
    pub(super) fn new(home: &Path, limit: Option<u64>, segment_bytes: u64) -> Self {
        let used = if limit.is_some() { u64::MAX } else { 0 };
        Self { home: home.into(), limit, segment_bytes, ledger: Mutex::new(Ledger { used, ..Ledger::default() }) }
    }

    /// The limit, if there is one.
    pub(super) const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Room for a group of `payload` bytes in `objects` objects; `None` when there is not so much.
    pub(super) fn reserve(
        &self,
        payload: u64,
        objects: u64,
        purpose: Purpose,
    ) -> Result<Option<Room<'_>>, StoreError> {
        let Some(limit) = self.limit else {
            return Ok(Some(Room { quota: self, bytes: 0 }));
        };
        let bytes = payload + payload / 64 + GROUP_BYTES;
        let mut ledger = self.ledger();
        if self.missing(limit, &ledger, bytes, objects, purpose) > 0 {
            self.measure(&mut ledger)?;
            let is_shrinking = purpose == Purpose::Collect && ledger.used > limit;
            if !is_shrinking && self.missing(limit, &ledger, bytes, objects, purpose) > 0 {
                return Ok(None);
            }
        }
        ledger.reserved += bytes;
        ledger.rows += objects;
        Ok(Some(Room { quota: self, bytes }))
    }

    /// How many bytes there would have to be fewer for a writer to put so much; measured anew.
    pub(super) fn missing_for(&self, payload: u64, objects: u64) -> Result<u64, StoreError> {
        let Some(limit) = self.limit else { return Ok(0) };
        let mut ledger = self.ledger();
        self.measure(&mut ledger)?;
        Ok(self.missing(limit, &ledger, payload + payload / 64 + GROUP_BYTES, objects, Purpose::Write))
    }

    /// Whether the home takes more than it may, as it does when the quota has been lowered.
    pub(super) fn is_exceeded(&self) -> Result<bool, StoreError> {
        Ok(self.limit.is_some() && self.missing_for(0, 0)? > 0)
    }

    /// The index has become durable.
    pub(super) fn index_is_durable(&self) {
        if self.limit.is_some() {
            let mut ledger = self.ledger();
            ledger.used = ledger.used.saturating_add(ledger.index_growth(0));
            ledger.rows = 0;
        }
    }

    fn missing(&self, limit: u64, ledger: &Ledger, bytes: u64, rows: u64, purpose: Purpose) -> u64 {
        let margin = (limit / 64).max(MIN_MARGIN_BYTES);
        let kept = match purpose {
            // A segment's copy, the index twice over, and the books of both.
            Purpose::Write => margin + self.segment_bytes + ledger.index_bytes + 2 * GROUP_BYTES,
            Purpose::Collect => margin,
        };
        let wanted = ledger.used.saturating_add(ledger.reserved + ledger.index_growth(rows) + bytes + kept);
        wanted.saturating_sub(limit)
    }

    fn measure(&self, ledger: &mut Ledger) -> Result<(), StoreError> {
        ledger.used = home_bytes(&self.home)?;
        ledger.index_bytes = disk_bytes(&self.home.join(INDEX_FILE))?;
        Ok(())
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What everything in a folder takes on the disk, in blocks. What goes away meanwhile counts nothing.
pub(super) fn home_bytes(folder: &Path) -> Result<u64, StoreError> {
    let at = |path: &Path, source: io::Error| StoreError::io(path, source);
    let mut bytes = 0;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(at(&folder, error)),
        };
        for entry in entries {
            let path = entry.map_err(|error| at(&folder, error))?.path();
            match fs::symlink_metadata(&path) {
                Ok(about) => {
                    bytes += about.blocks() * BLOCK_BYTES;
                    if about.is_dir() {
                        folders.push(path);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(at(&path, error)),
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(home: &Path, limit: u64) -> Quota {
        Quota::new(home, Some(limit), 1 << 20)
    }

    #[test]
    fn without_a_limit_there_is_always_room() {
        let quota = Quota::new(Path::new("/nowhere"), None, 1 << 30);
        assert!(quota.reserve(u64::MAX / 128, 1, Purpose::Write).unwrap().is_some());
        assert!(!quota.is_exceeded().unwrap());
    }

    #[test]
    fn what_is_reserved_and_not_written_yet_counts() {
        let home = tempfile::tempdir().unwrap();
        let quota = quota(home.path(), 16 << 20);
        let first = quota.reserve(6 << 20, 10, Purpose::Write).unwrap().unwrap();
        assert!(quota.reserve(6 << 20, 10, Purpose::Write).unwrap().is_none());
        let collector = quota.reserve(6 << 20, 10, Purpose::Collect).unwrap();
        assert!(collector.is_some(), "the collector has room that writers have not");
        drop((first, collector));
        // Nothing of it was written, as the next measuring shows.
        assert!(quota.reserve(6 << 20, 10, Purpose::Write).unwrap().is_some());
    }

    #[test]
    fn what_lies_in_the_home_counts_in_blocks() {
        let home = tempfile::tempdir().unwrap();
        let quota = quota(home.path(), 16 << 20);
        let file = fs::File::create(home.path().join("sparse")).unwrap();
        file.set_len(1 << 30).unwrap();
        assert!(!quota.is_exceeded().unwrap());
        fs::create_dir(home.path().join("deep")).unwrap();
        fs::write(home.path().join("deep/file"), vec![1; 14 << 20]).unwrap();
        assert!(quota.is_exceeded().unwrap());
        assert!(quota.missing_for(1 << 20, 1).unwrap() > 1 << 20);
        assert!(quota.reserve(1, 1, Purpose::Write).unwrap().is_none());
    }
}

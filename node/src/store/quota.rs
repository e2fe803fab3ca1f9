//! The quota: how much of the disk the home may take, counted in blocks of all its files.
//!
//! Room is reserved before anything is written, with more than it can take, and the home is measured again when what is
//! reckoned no longer fits. Some room is never given to writers: the collector copies into it what is needed of the
//! segment that it empties, and the catalog's changes, which nobody refuses, take little of it. A home that was larger
//! when the quota was set shrinks first, and may take a little more while it does.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
/// What a commit of the index may take beyond its rows.
const INDEX_BYTES: u64 = 1 << 20;
/// How long writing a group takes at most, in general.
const WRITING: Duration = Duration::from_secs(10);
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
    /// How many are writing.
    rooms: usize,
    /// Rows of the index that are about to be changed.
    reserved_rows: u64,
    /// Rows of the index that were changed since it was last durable.
    changed_rows: u64,
    /// Bytes of the index's file when it was last measured.
    index_bytes: u64,
    /// Whether there has been room for writers since the start: there is not when the quota was lowered.
    has_fitted: bool,
}

impl Ledger {
    /// What the index may still take until so many changed rows are durable: never more than a copy of itself and its
    /// new rows.
    fn index_growth(&self, rows: u64) -> u64 {
        (rows * ROW_PAGES_BYTES).min(self.index_bytes + rows * ROW_BYTES + INDEX_BYTES)
    }
}

/// Bytes and rows of the index that may be written; they count as written when this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    quota: Arc<Quota>,
    bytes: u64,
    rows: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.quota.limit.is_some() {
            let mut ledger = self.quota.ledger();
            ledger.reserved = ledger.reserved.saturating_sub(self.bytes);
            ledger.used = ledger.used.saturating_add(self.bytes);
            ledger.reserved_rows = ledger.reserved_rows.saturating_sub(self.rows);
            ledger.changed_rows += self.rows;
            ledger.rooms = ledger.rooms.saturating_sub(1);
            drop(ledger);
            self.quota.given_back.notify_all();
        }
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
    /// Somebody has finished writing.
    given_back: Condvar,
}

impl Quota {
    /// A quota of `limit` bytes for `home`, whose segments have up to `segment_bytes` of payload.
    pub(super) fn new(home: &Path, limit: Option<u64>, segment_bytes: u64) -> Arc<Self> {
        // Measured before anything is taken.
        let ledger = Mutex::new(Ledger { used: u64::MAX, ..Ledger::default() });
        Arc::new(Self { home: home.into(), limit, segment_bytes, ledger, given_back: Condvar::new() })
    }

    /// The limit, if there is one.
    pub(super) const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Room for a group of `payload` bytes and for `rows` of the index; `None` when there is not so much.
    pub(super) fn reserve(
        self: &Arc<Self>,
        payload: u64,
        rows: u64,
        purpose: Purpose,
    ) -> Result<Option<Room>, StoreError> {
        let room = |bytes| Ok(Some(Room { quota: Arc::clone(self), bytes, rows }));
        let Some(limit) = self.limit else { return room(0) };
        let bytes = disk_need(payload);
        let mut ledger = self.ledger();
        if self.missing(limit, &ledger, bytes, rows, purpose) > 0 {
            self.measure(&mut ledger)?;
            // What copies nothing gives more than it takes, and a home that does not fit yet has to shrink.
            let is_shrinking = purpose == Purpose::Collect && (payload == 0 || !ledger.has_fitted);
            if !is_shrinking && self.missing(limit, &ledger, bytes, rows, purpose) > 0 {
                return Ok(None);
            }
        }
        ledger.reserved += bytes;
        ledger.reserved_rows += rows;
        ledger.rooms += 1;
        room(bytes)
    }

    /// Waits until those have finished who are writing: what they reserved is more than what they take. Says whether
    /// there was anybody to wait for. Never called by one who has room.
    pub(super) fn wait_for_writers(&self) -> bool {
        let ledger = self.ledger();
        if ledger.rooms == 0 {
            return false;
        }
        // A disk that is slower than that is asked again.
        let waited = self.given_back.wait_timeout_while(ledger, WRITING, |ledger| ledger.rooms > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        true
    }

    /// How many bytes there would have to be fewer for a writer to put so much; measured anew.
    pub(super) fn missing_for(&self, payload: u64, rows: u64) -> Result<u64, StoreError> {
        let Some(limit) = self.limit else { return Ok(0) };
        let mut ledger = self.ledger();
        self.measure(&mut ledger)?;
        Ok(self.missing(limit, &ledger, disk_need(payload), rows, Purpose::Write))
    }

    /// Whether contents of so many bytes can be all that the home holds.
    pub(super) fn check_fits(&self, bytes: u64) -> Result<(), StoreError> {
        let Some(quota) = self.limit else { return Ok(()) };
        let room = quota.saturating_sub(self.kept(quota, 0, Purpose::Write));
        if bytes <= room { Ok(()) } else { Err(StoreError::LargerThanQuota { bytes, quota, room }) }
    }

    /// Whether the home takes more than it may, as it does when the quota has been lowered.
    pub(super) fn is_exceeded(&self) -> Result<bool, StoreError> {
        let Some(limit) = self.limit else { return Ok(false) };
        let mut ledger = self.ledger();
        self.measure(&mut ledger)?;
        Ok(ledger.used > limit)
    }

    /// The index has become durable.
    pub(super) fn index_is_durable(&self) {
        if self.limit.is_some() {
            let mut ledger = self.ledger();
            ledger.used = ledger.used.saturating_add(ledger.index_growth(ledger.changed_rows));
            ledger.changed_rows = 0;
        }
    }

    fn missing(&self, limit: u64, ledger: &Ledger, bytes: u64, rows: u64, purpose: Purpose) -> u64 {
        let kept = self.kept(limit, ledger.index_bytes, purpose);
        let growth = ledger.index_growth(ledger.reserved_rows + ledger.changed_rows + rows);
        ledger.used.saturating_add(ledger.reserved + growth + bytes + kept).saturating_sub(limit)
    }

    /// What is kept free of a quota.
    fn kept(&self, limit: u64, index_bytes: u64, purpose: Purpose) -> u64 {
        let margin = (limit / 64).max(MIN_MARGIN_BYTES);
        match purpose {
            // A segment's copy, the index once more, and the books of both.
            Purpose::Write => margin + disk_need(self.segment_bytes) + index_bytes + INDEX_BYTES + GROUP_BYTES,
            Purpose::Collect => margin / 2,
        }
    }

    fn measure(&self, ledger: &mut Ledger) -> Result<(), StoreError> {
        ledger.used = home_bytes(&self.home)?;
        ledger.index_bytes = disk_bytes(&self.home.join(INDEX_FILE))?;
        ledger.has_fitted |= self.limit.is_none_or(|limit| self.missing(limit, ledger, 0, 0, Purpose::Write) == 0);
        Ok(())
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a group of so many bytes takes on the disk, at most.
const fn disk_need(payload: u64) -> u64 {
    if payload == 0 { 0 } else { payload + payload / 64 + GROUP_BYTES }
}

/// What everything in a folder takes on the disk, in blocks, each file once. What goes away meanwhile counts nothing.
pub(super) fn home_bytes(folder: &Path) -> Result<u64, StoreError> {
    let at = |path: &Path, source: io::Error| StoreError::io(path, source);
    let (mut bytes, mut seen) = (0, HashSet::new());
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
                    // A file that is given another name meanwhile may come twice.
                    if seen.insert((about.dev(), about.ino())) {
                        bytes += about.blocks() * BLOCK_BYTES;
                    }
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

    fn quota(home: &Path, limit: u64) -> Arc<Quota> {
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
        assert!(!quota.wait_for_writers());
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
        fs::write(home.path().join("deep/file"), vec![1; 17 << 20]).unwrap();
        assert!(quota.is_exceeded().unwrap());
        assert!(quota.missing_for(1 << 20, 1).unwrap() > 1 << 20);
        assert!(quota.reserve(1, 1, Purpose::Write).unwrap().is_none());
    }
}

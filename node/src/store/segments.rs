//! The segments of a store: their names, which take new groups, which are open.
//!
//! Sealed segments are opened when they are read and the longest unread are closed again, so that memory does not
//! grow with the store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::PASSAGE_EXTENSION;
use super::backend::Faults;
use super::config::StoreConfig;
use super::database::sync_folder;
use super::error::StoreError;
use super::rows::SegmentNumber;
use super::segment::{Head, Segment, SegmentOptions};
use super::usage;

const EXTENSION: &str = "redb";

/// A segment that one writer appends to.
#[derive(Debug)]
pub(super) struct Appender {
    pub(super) segment: Arc<Segment>,
    pub(super) head: Head,
}

/// All segments of a home.
#[derive(Debug)]
pub(super) struct Segments {
    folder: PathBuf,
    options: SegmentOptions,
    open_limit: usize,
    all: RwLock<BTreeMap<SegmentNumber, Arc<Segment>>>,
    // The number of the next new segment.
    next: Mutex<u32>,
    // Segments that may take groups and that no writer has.
    vacant: Mutex<Vec<Appender>>,
    // Sealed segments that are open, the longest unread first.
    open: Mutex<VecDeque<SegmentNumber>>,
    // Segments that the index knows and whose files are not there: what they held counts as damaged.
    missing: RwLock<BTreeSet<SegmentNumber>>,
    // Segments that could not be looked into yet: nothing is added to them.
    unread: Mutex<BTreeSet<SegmentNumber>>,
}

impl Segments {
    /// Finds the segments in `folder`, which is made where it is not, and removes what a start of a new one left.
    pub(super) fn find(
        folder: PathBuf,
        config: &StoreConfig,
        faults: Option<Arc<dyn Faults>>,
    ) -> Result<Self, StoreError> {
        let options = SegmentOptions {
            // A group is written once only if it fits the half of the cache that redb gives to writing.
            append_cache_bytes: config.group_bytes * 5 / 2,
            read_cache_bytes: config.segment_cache_bytes,
            faults,
        };
        let at = |source| StoreError::io(&folder, source);
        std::fs::create_dir_all(&folder).map_err(at)?;
        let mut all = BTreeMap::new();
        for entry in std::fs::read_dir(&folder).map_err(at)? {
            let path = entry.map_err(at)?.path();
            if path.extension().is_some_and(|extension| extension == PASSAGE_EXTENSION) {
                if let Err(error) = std::fs::remove_file(&path) {
                    tracing::warn!(%error, file = %path.display(), "it stays: nothing is in it");
                }
            } else if let Some(number) = number_of(&path) {
                all.insert(number, Arc::new(Segment::at(path, number, options.clone())));
            }
        }
        let last = all.last_key_value().map_or(0, |(last, _): (&SegmentNumber, _)| last.0);
        Ok(Self {
            folder,
            next: Mutex::new(last + 1),
            options,
            open_limit: config.open_segments.max(1),
            all: RwLock::new(all),
            vacant: Mutex::default(),
            open: Mutex::default(),
            missing: RwLock::default(),
            unread: Mutex::default(),
        })
    }

    /// Every segment, in the order of their numbers.
    pub(super) fn all(&self) -> Vec<Arc<Segment>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The segment `number`.
    ///
    /// # Errors
    /// When its file was not there at the start.
    pub(super) fn segment(&self, number: SegmentNumber) -> Result<Arc<Segment>, StoreError> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&number).cloned().ok_or_else(|| StoreError::damaged(&self.path(number), "it is missing"))
    }

    /// Notes that the file of a segment is not there although it should be.
    pub(super) fn note_missing(&self, number: SegmentNumber) {
        if self.missing.write().unwrap_or_else(PoisonError::into_inner).insert(number) {
            tracing::error!(file = %self.path(number).display(), "a segment is missing; what it held is to be fetched again");
        }
    }

    /// Whether the file of a segment is known not to be there.
    pub(super) fn is_missing(&self, number: SegmentNumber) -> bool {
        self.missing.read().unwrap_or_else(PoisonError::into_inner).contains(&number)
    }

    /// Where segment `number` lies.
    pub(super) fn path(&self, number: SegmentNumber) -> PathBuf {
        self.folder.join(format!("{:06}.{EXTENSION}", number.0))
    }

    /// Has a segment offered to no writer until it is [admitted](Self::admit).
    pub(super) fn keep_from_writers(&self, number: SegmentNumber) {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
    }

    /// Offers a segment that was kept from writers.
    pub(super) fn admit(&self, appender: Appender) {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).remove(&appender.segment.number());
        self.offer(appender);
    }

    /// Offers a segment to the next writer that needs one.
    pub(super) fn offer(&self, appender: Appender) {
        if self.unread.lock().unwrap_or_else(PoisonError::into_inner).contains(&appender.segment.number()) {
            return;
        }
        self.vacant.lock().unwrap_or_else(PoisonError::into_inner).push(appender);
    }

    /// Takes away a segment that takes groups and that no writer has just now.
    pub(super) fn withdraw(&self, number: SegmentNumber) -> Option<Appender> {
        let mut vacant = self.vacant.lock().unwrap_or_else(PoisonError::into_inner);
        let at = vacant.iter().position(|appender| appender.segment.number() == number)?;
        Some(vacant.swap_remove(at))
    }

    /// Gives no new segment this number or a lower one.
    pub(super) fn pass_over(&self, number: SegmentNumber) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = (*next).max(number.0.saturating_add(1));
    }

    /// Takes a segment away from those that are read and replayed, in order to remove its file.
    pub(super) fn take_away(&self, number: SegmentNumber) -> Option<Arc<Segment>> {
        self.all.write().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }

    /// Removes the file of a segment that was taken away, if there is one; says how many bytes of the disk that gives
    /// back. Readers that have it open end undisturbed. Blocks, for long if the file is large.
    pub(super) fn remove(&self, number: SegmentNumber, removed: Option<Arc<Segment>>) -> Result<u64, StoreError> {
        let path = self.path(number);
        let gone = usage::disk_bytes(&path).and_then(|bytes| match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io(&path, source)),
            _ => Ok(bytes),
        });
        if gone.is_err() {
            // It is still there, and what asks for it should find it.
            if let Some(segment) = removed {
                self.all.write().unwrap_or_else(PoisonError::into_inner).insert(number, segment);
            }
            return gone;
        }
        // Only now is the space free.
        removed.map_or(Ok(()), |segment| segment.close())?;
        gone
    }

    /// A segment to append to: one that has room, else a new one.
    pub(super) fn appender(&self) -> Result<Appender, StoreError> {
        if let Some(appender) = self.vacant.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(appender);
        }
        // Held while the file is made: a number is used up only by a segment that came to be.
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let number = SegmentNumber(*next);
        let segment = Arc::new(Segment::create(self.path(number), number, self.options.clone())?);
        self.all.write().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::clone(&segment));
        *next += 1;
        Ok(Appender { segment, head: Head::default() })
    }

    /// Notes that a frozen segment is being read; the longest unread of too many open ones is closed.
    pub(super) fn touch(&self, number: SegmentNumber) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.back() == Some(&number) {
            return;
        }
        open.retain(|other| *other != number);
        open.push_back(number);
        if open.len() > self.open_limit
            && let Some(oldest) = open.pop_front()
            && let Ok(segment) = self.segment(oldest)
            && !segment.close_if_idle()
        {
            open.push_back(oldest);
        }
    }

    /// Closes every file; the first failure is returned after all have been tried.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        let results: Vec<_> = self.all().iter().map(|segment| segment.close()).collect();
        results.into_iter().collect()
    }

    /// Makes the folder's own name durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.folder.parent().map_or(Ok(()), |home| sync_folder(home, self.options.faults.as_ref()))
    }
}

/// The number of the segment that lies at `path`, if one may.
pub(super) fn number_of(path: &Path) -> Option<SegmentNumber> {
    let stem = path.extension().filter(|extension| *extension == EXTENSION).and_then(|_| path.file_stem())?;
    stem.to_str()?.parse().ok().map(SegmentNumber)
}

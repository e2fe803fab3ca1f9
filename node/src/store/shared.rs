//! What the store's handle and its threads share. Here the index and the segments meet.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::Durability;
use shoal_protocol::hash::ContentHash;
use tokio::sync::broadcast;

use super::catalog::Catalog;
use super::error::{ReadError, StoreError};
use super::findings::Findings;
use super::gc::Collector;
use super::holds::{Hold, Holds};
use super::in_place::InPlace;
use super::index::{Entry, Index, Indexed, Moving};
use super::intake::Intake;
use super::lock::HomeLock;
use super::losses::Losses;
use super::quiet::Quiet;
use super::quota::{Purpose, Quota, Room};
use super::recovery::{self, Stays};
use super::reserve::Reserve;
use super::rows::{IndexRow, ObjectId, SegmentNumber, SegmentState, Soundness};
use super::segments::{Appender, Segments};
use super::told::Told;

/// The parts of an open store.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) home: PathBuf,
    pub(super) segment_bytes: u64,
    pub(super) intake: Intake,
    pub(super) index: Index,
    pub(super) segments: Segments,
    pub(super) catalog: Catalog,
    pub(super) losses: Losses,
    pub(super) findings: Findings,
    pub(super) in_place: InPlace,
    pub(super) holds: Arc<Holds>,
    pub(super) collector: Collector,
    pub(super) quota: Arc<Quota>,
    pub(super) reserve: Arc<Reserve>,
    pub(super) told: Told<PathBuf>,
    /// Tells of contents that had to go.
    pub(super) evicted: broadcast::Sender<ContentHash>,
    // Groups that the index has taken in since it was last made durable: decides when it is again.
    pub(super) unsynced_groups: AtomicU32,
    pub(super) quiet: Quiet,
    // Objects that were asked for: tells the collector whether others read.
    pub(super) reads: AtomicU64,
    // How often the index was opened anew. Whoever uses the index reads it meanwhile, so that nobody looks into one
    // that has not got back yet what it forgot; one heals at a time, and the count says whether another has done it
    // already.
    pub(super) healed: RwLock<u64>,
    // Given up once every file is closed.
    pub(super) lock: Mutex<Option<HomeLock>>,
}

impl Shared {
    /// What the index says of each of `ids`.
    pub(super) fn index_entries<'a>(
        &self,
        ids: impl Iterator<Item = &'a ObjectId> + Clone,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut entries = self.segment_entries(ids.clone())?;
        if self.in_place.is_used() && !entries.iter().all(Entry::is_held) {
            self.look_in_place(ids, &mut entries)?;
        }
        Ok(entries)
    }

    /// What the index alone says of each of `ids`: what lies in files of the user is absent.
    pub(super) fn segment_entries<'a>(
        &self,
        ids: impl Iterator<Item = &'a ObjectId> + Clone,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut entries = self.with_index(|index| index.entries(ids.clone()))?;
        for entry in &mut entries {
            if let Entry::At(row) = entry
                && self.segments.is_missing(row.segment)
            {
                row.soundness = Soundness::Damaged;
            }
        }
        Ok(entries)
    }

    /// What no segment has may lie in a file of the user.
    fn look_in_place<'a>(
        &self,
        ids: impl Iterator<Item = &'a ObjectId> + Clone,
        entries: &mut [Entry],
    ) -> Result<(), StoreError> {
        let places = match self.in_place.places(ids) {
            Ok(places) => places,
            // The rest of the store is none the worse for it.
            Err(error) if error.is_damage() => {
                tracing::error!(%error, "chunks in place cannot be looked up");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for (entry, place) in entries.iter_mut().zip(places) {
            let Some(place) = place.filter(|_| !entry.is_held()) else { continue };
            let gone = self.in_place.is_gone(place.file);
            *entry = if gone { Entry::InGoneFile(place) } else { Entry::InFile(place) };
        }
        Ok(())
    }

    /// What the index says of each of `ids`, whose owner relies from now on on those that are held. Files of the user
    /// are looked at, not read; the collector need not wait for that, if one of them is on a disk that hangs.
    pub(super) fn find<'a>(
        &self,
        ids: impl Iterator<Item = &'a ObjectId> + Clone,
        hold: &Hold,
    ) -> Result<Vec<Entry>, StoreError> {
        let looking = self.holds.looking();
        let mut entries = self.index_entries(ids)?;
        hold.add_held(&entries);
        drop(looking);
        self.in_place.doubt(&mut entries)?;
        Ok(entries)
    }

    /// Takes a written group, for which there was `room`, into the index.
    pub(super) fn index_group(&self, indexed: &Indexed, durability: Durability, room: Room) -> Result<(), StoreError> {
        let added = self.with_index(|index| index.add(std::slice::from_ref(indexed), Stays::Later, durability));
        drop(room);
        added?;
        if matches!(durability, Durability::Immediate) {
            self.quota.index_is_durable();
        }
        Ok(())
    }

    /// Notes, durably, that nothing will be added to a segment.
    pub(super) fn complete_segment(&self, number: SegmentNumber) -> Result<(), StoreError> {
        self.with_index(|index| index.complete(&[number]))
    }

    /// Looks again into the segments that could not be looked into so far: one that can be read by now counts as if it
    /// had been in order all the time. Nobody writes to them meanwhile.
    pub(super) fn look_again(&self) {
        for number in self.catalog.unread() {
            if let Err(error) = self.look_again_into(number) {
                tracing::warn!(%error, segment = number.0, "a segment still cannot be looked into");
                self.catalog.still_unread(number, error);
            }
        }
    }

    fn look_again_into(&self, number: SegmentNumber) -> Result<(), StoreError> {
        let (segment, looked) = (self.segments.segment(number)?, self.catalog.looked(number));
        // A fault of the disk has closed the handle, or had it opened over pages in memory.
        let sync_failed = segment.reopen()?;
        let (records, are_damaged) = match segment.records(looked) {
            // As at a start: to look again would help nobody.
            Err(error) if error.is_damage() => {
                tracing::error!(%error, "whether it has records of contents cannot be told");
                (Vec::new(), true)
            }
            records => (records?, false),
        };
        // First, or contents would be known of whose chunks the index knows nothing. What was put again meanwhile stays
        // where it is: that copy was looked at last, and whoever put it holds it there.
        self.with_index(|index| recovery::replay_segment(index, &segment, Stays::Known, Durability::None))?;
        let (head, row) = (segment.head()?, self.with_index(|index| index.segment(number))?);
        let is_open = row.state == SegmentState::Open;
        if is_open && head.groups != row.groups {
            return Err(StoreError::damaged(segment.path(), "not all of its groups can be read"));
        }
        self.catalog.add_unread(number, records);
        if is_open && !are_damaged && !sync_failed && !segment.is_frozen()? {
            self.segments.admit(Appender { segment, head });
        }
        Ok(())
    }

    /// Room under the quota for a group of `payload` bytes and for `rows` of the index; contents are evicted for it if
    /// that helps. Blocks meanwhile.
    pub(super) fn room(&self, payload: u64, rows: u64) -> Result<Room, StoreError> {
        loop {
            if let Some(room) = self.quota.reserve(payload, rows, Purpose::Write)? {
                return Ok(room);
            }
            // Others may take what was freed; each round evicts something or ends with an error.
            self.collector.ask_room(payload, rows)?;
        }
    }

    /// Whether something is being written, or has been read since this was last asked.
    pub(super) fn is_busy(&self) -> bool {
        self.reads.swap(0, Ordering::Relaxed) > 0 || self.intake.is_busy()
    }

    /// Notes that an object which the collector wanted to copy is damaged.
    pub(super) fn found_damaged(&self, segment: SegmentNumber, object: &Moving) {
        let &Moving { id, kind, len, offset, .. } = object;
        let row = IndexRow { kind, soundness: Soundness::Sound, segment, offset, len };
        let what = super::reader::name(&id, kind);
        let _ = self.damaged(&id, what, Some(&row), "its bytes do not match its hash".to_owned());
    }

    /// Reports that `id` is damaged where `row` says it lies, and remembers it, so that it counts as not held and the
    /// next publish or fetch stores it anew.
    pub(super) fn damaged(&self, id: &ObjectId, what: String, row: Option<&IndexRow>, detail: String) -> ReadError {
        let file = row.map_or_else(|| self.index.path().into(), |row| self.segments.path(row.segment));
        match self.told.count(file.clone()) {
            Some(so_far) => tracing::error!(%what, file = %file.display(), %detail, so_far, "damaged"),
            None => tracing::debug!(%what, file = %file.display(), %detail, "damaged"),
        }
        if let Some(row) = row
            && let Err(error) = self.index.mark_damaged(id, row)
        {
            tracing::warn!(%error, "could not note the damage in the index");
        }
        self.losses.note();
        ReadError::Damaged { what, file, detail }
    }

    /// Closes every file; the first failure is returned after all have been tried.
    pub(super) fn close_files(&self) -> Result<(), StoreError> {
        let index = self.sync_index().and_then(|()| self.index.close());
        let segments = self.segments.close();
        let catalog = self.catalog.close();
        let in_place = self.in_place.close();
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        match index.and(segments).and(catalog).and(in_place) {
            // Nothing that was acknowledged depends on it, and the next start puts right what was not closed cleanly.
            Err(error) if error.is_refusal() || error.is_damage() => {
                tracing::warn!(%error, "a file was not closed cleanly");
                Ok(())
            }
            closed => closed,
        }
    }
}

//! What must stay although no record names it yet: holds.
//!
//! A publish, a fetch or a read in progress relies on objects that it has put or found held before any record leads to
//! them. Its [`Hold`] knows where each of them lies. Two rules make that safe against the collector:
//! * "Is it held?" and the note in the hold are one step, and so are "does anybody need it?" and the collector's change
//!   of the index: [`Holds::looking`] and [`Holds::deciding`] shut each other out, for one commit of the index at most.
//! * While the collector marks, what a hold knew when it ended still counts: its owner may have recorded it after the
//!   collector had read the records.
//!
//! A hold costs a bit for 4 KiB of the store that it has found, so 32 KiB for a segment of 1 GiB.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use shoal_protocol::hash::ContentHash;

use super::in_place::FileNumber;
use super::index::Entry;
use super::rows::SegmentNumber;

/// Objects that begin in the same so many bytes of a segment's stream share a bit: where one stays, so do the others.
const GRANULE_BYTES: u64 = 4096;

/// A set of places in segments, or in files of the user: a bit for each granule in which an object of it begins.
#[derive(Debug, Clone)]
pub(super) struct Places<K = SegmentNumber> {
    segments: HashMap<K, Vec<u64>>,
}

impl<K> Default for Places<K> {
    fn default() -> Self {
        Self { segments: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash> Places<K> {
    fn bit(offset: u64) -> (usize, u64) {
        let granule = offset / GRANULE_BYTES;
        // 2^63 bytes of a file at most, of which a word covers 2^18.
        ((granule / 64) as usize, 1 << (granule % 64))
    }

    /// Takes in the object at `offset`.
    pub(super) fn add(&mut self, segment: K, offset: u64) {
        let (word, bit) = Self::bit(offset);
        let words = self.segments.entry(segment).or_default();
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        if let Some(word) = words.get_mut(word) {
            *word |= bit;
        }
    }

    /// Whether the object at `offset` is in it; also true for one that shares its granule with one that is.
    pub(super) fn covers(&self, segment: K, offset: u64) -> bool {
        let (word, bit) = Self::bit(offset);
        self.segments.get(&segment).and_then(|words| words.get(word)).is_some_and(|word| word & bit != 0)
    }

    /// Takes in the object at `to` if the one at `from` is in it.
    fn follow(&mut self, from: (K, u64), to: (K, u64)) {
        if self.covers(from.0, from.1) {
            self.add(to.0, to.1);
        }
    }

    /// Takes in all of `other`.
    pub(super) fn merge(&mut self, other: &Self) {
        for (segment, theirs) in &other.segments {
            let ours = self.segments.entry(*segment).or_default();
            if ours.len() < theirs.len() {
                ours.resize(theirs.len(), 0);
            }
            for (ours, theirs) in ours.iter_mut().zip(theirs) {
                *ours |= theirs;
            }
        }
    }

    /// Forgets a segment.
    pub(super) fn forget(&mut self, segment: K) {
        self.segments.remove(&segment);
    }
}

/// What one hold knows. Its mutex is held for a few instructions.
#[derive(Debug)]
struct Held {
    content: Option<ContentHash>,
    places: Mutex<Places>,
    /// The same in files of the user.
    files: Mutex<Places<FileNumber>>,
    /// Bytes that its owner has put and that were not held before.
    new_bytes: AtomicU64,
}

impl Held {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> MutexGuard<'_, Places<FileNumber>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps from the collector what its owner has put or found held, and its content from eviction, until the last clone
/// is dropped.
#[derive(Debug, Clone)]
pub struct Hold(Arc<Lease>);

#[derive(Debug)]
struct Lease {
    number: u64,
    held: Arc<Held>,
    holds: Arc<Holds>,
}

impl Hold {
    /// Notes that the owner relies on the object at `offset`. Only under [`Holds::looking`], or for an object that
    /// nobody can have found yet.
    pub(super) fn add(&self, segment: SegmentNumber, offset: u64) {
        self.0.held.places().add(segment, offset);
    }

    /// Notes that the owner relies on those of `entries` that are held. Only under [`Holds::looking`].
    pub(super) fn add_held(&self, entries: &[Entry]) {
        for entry in entries {
            match entry {
                Entry::At(row) if entry.is_held() => self.0.held.places().add(row.segment, row.offset),
                Entry::InFile(place) if entry.is_held() => self.add_in_file(place.file, place.offset),
                // It may be held, as a read will tell.
                Entry::InChangedFile(place) => self.add_in_file(place.file, place.offset),
                _ => {}
            }
        }
    }

    /// The same for a chunk in a file of the user.
    pub(super) fn add_in_file(&self, file: FileNumber, offset: u64) {
        self.0.held.files().add(file, offset);
    }

    /// Counts bytes that the owner has put.
    pub(super) fn count_new(&self, bytes: u64) {
        self.0.held.new_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes over all that `other` knows.
    pub(super) fn absorb(&self, other: &Self) {
        if !Arc::ptr_eq(&self.0, &other.0) {
            // In one step for whoever moves objects meanwhile, or this hold would know of one only where it was. Two
            // holds are locked at a time only under this lock.
            let _registry = self.0.holds.registry();
            self.0.held.places().merge(&other.0.held.places());
            self.0.held.files().merge(&other.0.held.files());
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut registry = self.holds.registry();
        registry.open.remove(&self.number);
        if registry.marking {
            let Registry { ended, ended_files, .. } = &mut *registry;
            ended.merge(&self.held.places());
            ended_files.merge(&self.held.files());
        }
    }
}

#[derive(Debug, Default)]
struct Registry {
    next: u64,
    open: HashMap<u64, Arc<Held>>,
    marking: bool,
    /// What holds knew that have ended since marking began.
    ended: Places,
    ended_files: Places<FileNumber>,
}

/// All holds of a store.
#[derive(Debug, Default)]
pub(super) struct Holds {
    // Taken before the registry's lock and those of holds.
    gate: RwLock<()>,
    // A std mutex: a few map operations, or a look at each hold's bits.
    registry: Mutex<Registry>,
}

impl Holds {
    /// A new hold, for work on `content` if that is known.
    pub(super) fn hold(self: &Arc<Self>, content: Option<ContentHash>) -> Hold {
        let held = Arc::new(Held {
            content,
            places: Mutex::default(),
            files: Mutex::default(),
            new_bytes: AtomicU64::default(),
        });
        let mut registry = self.registry();
        let number = registry.next;
        registry.next += 1;
        registry.open.insert(number, Arc::clone(&held));
        Hold(Arc::new(Lease { number, held, holds: Arc::clone(self) }))
    }

    /// For looking something up and noting it in a hold.
    pub(super) fn looking(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For deciding what nobody needs and changing the index accordingly.
    pub(super) fn deciding(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now until [`end_marking`](Self::end_marking) holds leave behind what they knew.
    pub(super) fn begin_marking(&self) {
        let mut registry = self.registry();
        registry.marking = true;
        registry.ended = Places::default();
        registry.ended_files = Places::default();
    }

    /// Holds that end leave nothing behind any more.
    pub(super) fn end_marking(&self) {
        let mut registry = self.registry();
        registry.marking = false;
        registry.ended = Places::default();
        registry.ended_files = Places::default();
    }

    /// Whether a hold, open or ended since marking began, knows of the object at `offset`.
    pub(super) fn covers(&self, segment: SegmentNumber, offset: u64) -> bool {
        let registry = self.registry();
        registry.ended.covers(segment, offset)
            || registry.open.values().any(|held| held.places().covers(segment, offset))
    }

    /// The same of a chunk in a file of the user.
    pub(super) fn covers_in_file(&self, file: FileNumber, offset: u64) -> bool {
        let registry = self.registry();
        registry.ended_files.covers(file, offset)
            || registry.open.values().any(|held| held.files().covers(file, offset))
    }

    /// Lets everybody who knows of the object at `from` know of it at `to` as well.
    pub(super) fn follow(&self, from: (SegmentNumber, u64), to: (SegmentNumber, u64)) {
        let mut registry = self.registry();
        registry.ended.follow(from, to);
        registry.open.values().for_each(|held| held.places().follow(from, to));
    }

    /// The same of a chunk that lies in another file of the user, or elsewhere in it, from now on. Only under
    /// [`deciding`](Self::deciding), or somebody may just have found it where it lay.
    pub(super) fn follow_in_file(&self, from: (FileNumber, u64), to: (FileNumber, u64)) {
        let mut registry = self.registry();
        registry.ended_files.follow(from, to);
        registry.open.values().for_each(|held| held.files().follow(from, to));
    }

    /// Forgets a segment that is gone.
    pub(super) fn forget(&self, segment: SegmentNumber) {
        let mut registry = self.registry();
        registry.ended.forget(segment);
        for held in registry.open.values() {
            held.places().forget(segment);
        }
    }

    /// Bytes that the owners of open holds have put.
    pub(super) fn new_bytes(&self) -> u64 {
        self.registry().open.values().map(|held| held.new_bytes.load(Ordering::Relaxed)).sum()
    }

    /// Whether work on `content` is under way.
    pub(super) fn is_in_use(&self, content: &ContentHash) -> bool {
        self.registry().open.values().any(|held| held.content.as_ref() == Some(content))
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: SegmentNumber = SegmentNumber(3);
    const T: SegmentNumber = SegmentNumber(4);

    #[test]
    fn a_place_is_known_by_where_it_begins() {
        let mut places = Places::default();
        places.add(S, 70_000);
        assert!(places.covers(S, 70_000) && places.covers(S, 69_632));
        assert!(!places.covers(S, 69_631) && !places.covers(S, 73_728) && !places.covers(T, 70_000));
        let mut others = Places::default();
        others.add(T, 0);
        others.merge(&places);
        assert!(others.covers(T, 0) && others.covers(S, 70_000));
        others.forget(S);
        assert!(!others.covers(S, 70_000));
    }

    #[test]
    fn what_a_hold_knew_outlives_it_only_while_somebody_marks() {
        let holds = Arc::<Holds>::default();
        let (before, during) = (holds.hold(None), holds.hold(None));
        before.add(S, 1);
        drop(before);
        assert!(!holds.covers(S, 1));
        holds.begin_marking();
        during.add(S, 2);
        let clone = during.clone();
        drop(during);
        assert!(holds.covers(S, 2));
        drop(clone);
        assert!(holds.covers(S, 2), "it ended while somebody marked");
        holds.end_marking();
        assert!(!holds.covers(S, 2));
    }

    #[test]
    fn holds_follow_what_moves_and_hand_on_what_they_know() {
        let holds = Arc::<Holds>::default();
        let (one, other) = (holds.hold(None), holds.hold(None));
        one.add(S, 5_000);
        holds.follow((S, 5_000), (T, 90_000));
        holds.follow((S, 50_000), (T, 190_000));
        other.absorb(&one);
        drop(one);
        assert!(holds.covers(S, 5_000) && holds.covers(T, 90_000) && !holds.covers(T, 190_000));
        holds.forget(S);
        assert!(!holds.covers(S, 5_000) && holds.covers(T, 90_000));
    }

    #[test]
    fn what_is_handed_on_while_objects_move_is_known_where_they_are() {
        for _ in 0..40 {
            let holds = Arc::<Holds>::default();
            // Made first or last: a registry may be gone through in any order.
            let (one, other) = (holds.hold(None), holds.hold(None));
            for segment in 100..400 {
                // So much that handing it on takes a while.
                one.add(SegmentNumber(segment), 200 << 20);
            }
            one.add(S, 5_000);
            let start = std::sync::Barrier::new(2);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    start.wait();
                    other.absorb(&one);
                });
                start.wait();
                holds.follow((S, 5_000), (T, 90_000));
            });
            drop(one);
            assert!(holds.covers(S, 5_000) && holds.covers(T, 90_000));
        }
    }

    #[test]
    fn a_content_is_in_use_while_a_hold_names_it() {
        let hash = ContentHash::from_root(shoal_protocol::hash::NodeId::of(b"x"));
        let holds = Arc::<Holds>::default();
        let hold = holds.hold(Some(hash));
        assert!(holds.is_in_use(&hash));
        drop(hold);
        assert!(!holds.is_in_use(&hash));
    }
}

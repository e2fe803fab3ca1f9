//! Where objects wait to be written: commit groups, back-pressure, and who must hear of their fate.
//!
//! Objects go into the open group. It is handed to a writer once it is large enough, old enough or asked for by a
//! flush, so neighbours in a stream become neighbours on the disk, and an idle store has nothing to commit. A group is
//! *settled* once it is durable and indexed, or has failed. Room is counted in bytes: who finds none waits, without
//! holding a thread.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::error::StoreError;
use super::holds::Hold;
use super::ingest::IngestState;
use super::record::ManifestRecord;
use super::rows::{Kind, ObjectId};

/// What an object takes in memory beside its bytes, generously: so many small ones make no more than few large ones.
const OBJECT_BYTES: usize = 512;

/// Stands for everything put before it: once it is settled, so are they.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Seq(pub(super) u64);

/// An object on its way into a segment.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) id: ObjectId,
    pub(super) kind: Kind,
    pub(super) bytes: Bytes,
    pub(super) ingest: Arc<IngestState>,
    /// Gives its room back when the object is dropped.
    pub(super) room: OwnedSemaphorePermit,
}

impl Object {
    /// Whether it is written even if it is held.
    pub(super) fn is_anew(&self) -> bool {
        self.ingest.is_anew
    }
}

/// A group that is to be committed as one.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) seq: Seq,
    pub(super) objects: Vec<Object>,
    /// Of contents that are complete with these objects.
    pub(super) completions: Vec<Completion>,
}

/// The record of a content of which the last objects are in a group.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) record: ManifestRecord,
    /// Keeps the rest of it until the record is known.
    pub(super) hold: Hold,
}

/// A group that is not settled yet.
#[derive(Debug, Default)]
struct Unsettled {
    ids: Vec<ObjectId>,
    ingests: Vec<Arc<IngestState>>,
}

#[derive(Debug)]
struct Queue {
    open: Vec<Object>,
    open_completions: Vec<Completion>,
    open_seq: u64,
    open_bytes: usize,
    open_since: Option<Instant>,
    full: VecDeque<Group>,
    // Every group that is open, full or being written, with what must be told when it settles.
    unsettled: BTreeMap<u64, Unsettled>,
    pending: HashMap<ObjectId, u64>,
    /// The watch that a writer keeps who looks again by itself, within the longest that a group is open; each has a
    /// number of its own.
    watched: Option<u64>,
    watches: u64,
    closing: bool,
}

/// The way in, shared by ingests and writers.
#[derive(Debug)]
pub(super) struct Intake {
    group_bytes: usize,
    group_delay: Duration,
    room: Arc<Semaphore>,
    room_bytes: usize,
    queue: Mutex<Queue>,
    /// The writers that wait for nothing else, and the one that keeps watch.
    work: Condvar,
    watch: Condvar,
    settled: watch::Sender<Seq>,
}

impl Intake {
    /// An empty intake.
    pub(super) fn new(group_bytes: usize, group_delay: Duration, room_bytes: usize) -> Self {
        // Less room than an object or a group needs would leave its owner waiting for itself.
        let least = group_bytes + super::MAX_OBJECT_BYTES + OBJECT_BYTES;
        let room_bytes = room_bytes.max(least).min(Semaphore::MAX_PERMITS);
        Self {
            group_bytes,
            group_delay,
            room: Arc::new(Semaphore::new(room_bytes)),
            room_bytes,
            queue: Mutex::new(Queue {
                open: Vec::new(),
                open_completions: Vec::new(),
                open_seq: 1,
                open_bytes: 0,
                open_since: None,
                full: VecDeque::new(),
                unsettled: BTreeMap::new(),
                pending: HashMap::new(),
                watched: None,
                watches: 0,
                closing: false,
            }),
            work: Condvar::new(),
            watch: Condvar::new(),
            settled: watch::Sender::new(Seq(0)),
        }
    }

    // A panic while the lock is held leaves counts at worst, never half an object.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in an object, waiting for room. Cancel safe: either it is in, or nothing has happened.
    pub(super) async fn put(
        &self,
        id: ObjectId,
        kind: Kind,
        bytes: Bytes,
        ingest: &Arc<IngestState>,
    ) -> Result<Seq, StoreError> {
        if let Some(seq) = self.join_pending(&id, ingest)? {
            return Ok(seq);
        }
        let limit = super::MAX_OBJECT_BYTES.min(self.room_bytes - OBJECT_BYTES);
        let need = u32::try_from(bytes.len() + OBJECT_BYTES).ok().filter(|_| bytes.len() <= limit);
        let need = need.ok_or(StoreError::TooLarge { bytes: bytes.len(), limit })?;
        let room = Arc::clone(&self.room).acquire_many_owned(need).await.map_err(|_| StoreError::Closed)?;
        let mut queue = self.queue();
        if let Some(seq) = queue.join_pending(&id, ingest)? {
            return Ok(seq);
        }
        ingest.check()?;
        let seq = queue.open_seq;
        queue.pending.insert(id, seq);
        let unsettled = queue.unsettled.entry(seq).or_default();
        unsettled.ids.push(id);
        if !unsettled.ingests.iter().any(|other| Arc::ptr_eq(other, ingest)) {
            unsettled.ingests.push(Arc::clone(ingest));
        }
        queue.open_bytes += bytes.len() + OBJECT_BYTES;
        queue.open.push(Object { id, kind, bytes, ingest: Arc::clone(ingest), room });
        if queue.open_bytes >= self.group_bytes {
            queue.fill();
            self.call(queue);
        } else if queue.open_since.is_none() {
            queue.open_since = Some(Instant::now());
            if queue.watched.is_none() {
                // One that waits for nothing has something to wait for now.
                self.call(queue);
            }
        }
        Ok(Seq(seq))
    }

    fn join_pending(&self, id: &ObjectId, ingest: &Arc<IngestState>) -> Result<Option<Seq>, StoreError> {
        self.queue().join_pending(id, ingest)
    }

    /// Hands the open group to a writer now; the result stands for everything put so far.
    pub(super) fn flush(&self) -> Seq {
        let mut queue = self.queue();
        queue.fill();
        let seq = Seq(queue.open_seq - 1);
        self.call(queue);
        seq
    }

    /// Has one writer look: the one that keeps watch, which wrote last and has all it needs at hand, or another. Waking
    /// them all would have them wait for each other, and waking one before the lock is free for the lock.
    fn call(&self, mut queue: MutexGuard<'_, Queue>) {
        let watched = queue.watched.take();
        drop(queue);
        if watched.is_some() { self.watch.notify_one() } else { self.work.notify_one() }
    }

    /// Hands the open group to a writer now, with the record of a content that is complete once the group is durable:
    /// if all that `ingest` has put, and that is not settled yet, is in it. Else gives the record back.
    pub(super) fn flush_with(&self, record: ManifestRecord, ingest: &Arc<IngestState>) -> Result<Seq, ManifestRecord> {
        let mut queue = self.queue();
        let of_ingest = |unsettled: &Unsettled| unsettled.ingests.iter().any(|other| Arc::ptr_eq(other, ingest));
        let mut groups = queue.unsettled.iter().filter(|(_, unsettled)| of_ingest(unsettled));
        let is_in_one = groups.next().is_some_and(|(seq, _)| *seq == queue.open_seq);
        if !is_in_one || ingest.check().is_err() {
            return Err(record);
        }
        queue.open_completions.push(Completion { record, hold: ingest.hold.clone() });
        queue.fill();
        let seq = Seq(queue.open_seq - 1);
        self.call(queue);
        Ok(seq)
    }

    /// The next group to write; `None` once the intake is closed and empty. Blocks.
    ///
    /// Whoever comes here keeps watch for as long as a group may be open, if nobody else does: who puts something small
    /// soon after has to wake nobody for the deadline.
    pub(super) fn next_group(&self) -> Option<Group> {
        let mut queue = self.queue();
        let mut has_watched = false;
        loop {
            if let Some(group) = queue.full.pop_front() {
                return Some(group);
            }
            let left = match queue.open_since.map(|since| since.elapsed()) {
                Some(age) if queue.closing || age >= self.group_delay => {
                    queue.fill();
                    continue;
                }
                Some(age) => Some(self.group_delay - age),
                None if queue.closing => return None,
                None => Some(self.group_delay).filter(|_| !has_watched),
            };
            match left.filter(|_| queue.watched.is_none()) {
                Some(left) => {
                    queue.watches += 1;
                    let own = Some(queue.watches);
                    queue.watched = own;
                    let woken = self.watch.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner);
                    let is_late = woken.1.timed_out();
                    queue = woken.0;
                    // Another may keep watch by now.
                    if queue.watched == own {
                        queue.watched = None;
                        if !is_late {
                            // Nobody called it, but the one before it, who may sleep on.
                            self.watch.notify_one();
                        }
                    }
                    has_watched = true;
                }
                None => queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Tells everyone concerned how the group `seq` ended. `places` holds where its objects lie: whoever put one of
    /// them, or joined in while it was on its way, holds all of them from now on.
    pub(super) fn settle(&self, seq: Seq, outcome: &Result<(), StoreError>, places: Option<&Hold>) {
        let mut queue = self.queue();
        let Some(unsettled) = queue.unsettled.remove(&seq.0) else {
            return;
        };
        for id in &unsettled.ids {
            queue.pending.remove(id);
        }
        for ingest in &unsettled.ingests {
            match (outcome, places) {
                (Err(error), _) => ingest.fail(error),
                (Ok(()), Some(places)) => ingest.hold.absorb(places),
                (Ok(()), None) => {}
            }
        }
        // Whoever hears of it finds nothing held any more by one that has given up.
        drop(unsettled);
        let settled = queue.unsettled.first_key_value().map_or(queue.open_seq, |(first, _)| *first) - 1;
        self.settled.send_if_modified(|seq| {
            let later = seq.0 < settled;
            seq.0 = seq.0.max(settled);
            later
        });
        if outcome.is_err() {
            // What those have put that give up now is no group with what comes later: it would share their fate, and be
            // refused for want of room that they alone take.
            queue.fill();
            self.call(queue);
        }
    }

    /// Follows what is settled: everything put up to the sequence number in it.
    pub(super) fn settled(&self) -> watch::Receiver<Seq> {
        self.settled.subscribe()
    }

    /// Whether anything is on its way.
    pub(super) fn is_busy(&self) -> bool {
        !self.queue().unsettled.is_empty()
    }

    /// Takes nothing more in. Writers commit what is there and then end.
    pub(super) fn close(&self) {
        self.room.close();
        self.queue().closing = true;
        self.work.notify_all();
        self.watch.notify_all();
    }

    /// Takes nothing more in and forgets what no writer has begun; its owners hear that the store is closed.
    pub(super) fn abandon(&self) {
        self.close();
        let dropped: Vec<Seq> = {
            let mut queue = self.queue();
            queue.fill();
            queue.full.drain(..).map(|group| group.seq).collect()
        };
        for seq in dropped {
            self.settle(seq, &Err(StoreError::Closed), None);
        }
    }
}

impl Queue {
    /// The sequence number of an object that is on its way already, whose fate then concerns `ingest` too.
    fn join_pending(&mut self, id: &ObjectId, ingest: &Arc<IngestState>) -> Result<Option<Seq>, StoreError> {
        if self.closing {
            return Err(StoreError::Closed);
        }
        let Some(seq) = self.pending.get(id).copied() else {
            return Ok(None);
        };
        let unsettled = self.unsettled.entry(seq).or_default();
        if !unsettled.ingests.iter().any(|other| Arc::ptr_eq(other, ingest)) {
            unsettled.ingests.push(Arc::clone(ingest));
        }
        Ok(Some(Seq(seq)))
    }

    /// Makes the open group a full one, if anything is in it.
    fn fill(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let objects = std::mem::take(&mut self.open);
        let completions = std::mem::take(&mut self.open_completions);
        self.full.push_back(Group { seq: Seq(self.open_seq), objects, completions });
        self.open_seq += 1;
        self.open_bytes = 0;
        self.open_since = None;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::super::holds::Holds;
    use super::*;

    #[test]
    fn many_small_objects_find_no_more_room_than_a_few_large_ones() {
        let intake = Intake::new(1 << 20, Duration::from_secs(600), 1 << 20);
        let ingest = Arc::new(IngestState::new(Arc::<Holds>::default().hold(None), false));
        let mut taken = 0u32;
        loop {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&taken.to_le_bytes());
            let put = intake.put(id, Kind::Chunk, Bytes::from_static(b"abc"), &ingest);
            if put.now_or_never().is_none() {
                break;
            }
            taken += 1;
            assert!(taken < 100_000, "nothing bounds them");
        }
        assert!(taken as usize * OBJECT_BYTES <= intake.room_bytes);
        // Nor do they make groups of any number.
        let group = intake.next_group().unwrap();
        assert!(group.objects.len() * OBJECT_BYTES <= (1 << 20) + OBJECT_BYTES, "{}", group.objects.len());
    }
}

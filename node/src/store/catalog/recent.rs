//! Records that lie durably in a segment, and not in the catalog yet.
//!
//! Whoever fetches something small waits for one commit: its record is in that of its last chunks. The catalog knows it
//! from then on, and takes it in, durably, with its next change, when there are some, or when the store is idle. How
//! far it has looked into each segment commits with what it has taken in, so that a start finds what an unclean end
//! left, and nothing that was removed since.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{Durability, ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};
use shoal_protocol::hash::{ContentHash, DiscoveryKey};
use tokio::sync::oneshot;

use super::Catalog;
use super::changes::{Change, apply, updated};
use crate::store::error::{StoreError, Trouble};
use crate::store::panics::caught;
use crate::store::record::ManifestRecord;
use crate::store::rows::{CHECK_BYTES, ID_BYTES, SegmentNumber, check4, u64_at};
use crate::store::segment::Segment;
use crate::store::segments::Segments;

/// How far the catalog has looked into each segment, twice: a row that is lost would bring back what was removed.
pub(super) const LOOKED: TableDefinition<u32, &[u8; LOOKED_BYTES]> = TableDefinition::new("segments");
pub(super) const LOOKED_COPIES: TableDefinition<u32, &[u8; LOOKED_BYTES]> = TableDefinition::new("segment copies");
type LookedTable = TableDefinition<'static, u32, &'static [u8; LOOKED_BYTES]>;
const LOOKED_BYTES: usize = 8 + CHECK_BYTES;
/// In the place of a number of groups: nothing more will come in that segment.
pub(super) const ALL_GROUPS: u64 = u64::MAX;

/// Records after which it is time to take them in.
const MANY: usize = 32;
/// Records of which there are so many only when the catalog's disk does not take them.
const TOO_MANY: usize = 256;

/// A record in a segment.
#[derive(Debug, Clone)]
pub(in crate::store) struct Recent {
    pub(in crate::store) record: ManifestRecord,
    pub(in crate::store) segment: SegmentNumber,
    /// The group with which it was committed.
    pub(in crate::store) group: u64,
}

impl Catalog {
    /// Knows records from now on that are durable in a segment, in the order of its groups.
    pub(in crate::store) fn add_recent(&self, records: impl IntoIterator<Item = Recent>) {
        if self.know(records)
            && let Some(changes) = &*self.changes.lock().unwrap_or_else(PoisonError::into_inner)
        {
            // Where no room is left, changes come that take them in as well.
            let _ = changes.try_send((Change::WriteNoted, None, oneshot::channel().0));
        }
    }

    /// `true`: it is time to take records in.
    fn know(&self, records: impl IntoIterator<Item = Recent>) -> bool {
        self.recents.add(records.into_iter().inspect(|recent| self.known.add(&recent.record.hash)))
    }

    /// Whether it has, durably, all records that it knows.
    pub(in crate::store) fn has_all(&self) -> bool {
        self.recents.is_empty()
    }

    /// Waits until it has, durably, what it knows; does nothing if it has. Blocks.
    pub(in crate::store) fn sync(&self) -> Result<(), StoreError> {
        if self.has_all() { Ok(()) } else { self.change_now(Change::WriteNoted).map(drop) }
    }

    /// Waits, if need be, until there is room for records in segments. Blocks.
    pub(in crate::store) fn make_room(&self) -> Result<(), StoreError> {
        if self.recents.is_full() { self.sync() } else { Ok(()) }
    }

    /// Takes in the records in segments that an unclean end has kept from being here. Before anything is written.
    pub(in crate::store) fn look_into(&self, segments: &Segments) -> Result<(), StoreError> {
        let mut full = Vec::new();
        for segment in segments.all() {
            let number = segment.number();
            let looked = self.recents.looked(number);
            if looked == ALL_GROUPS {
                keep_frozen(&segment, segments);
                continue;
            }
            match segment.records(looked).and_then(|records| Ok((records, segment.is_frozen()?))) {
                Ok((records, is_full)) => {
                    self.know(records.into_iter().map(|(group, record)| Recent { record, segment: number, group }));
                    if is_full {
                        segments.touch(number);
                        full.push(number);
                    }
                }
                Err(version @ StoreError::Version { .. }) => return Err(version),
                // Whoever reads what is in it says so as well.
                Err(error) => {
                    tracing::error!(%error, "whether it has records of contents cannot be told");
                    if !error.is_damage() {
                        // It may be found in order later: nothing is to come behind what it has.
                        segments.keep_from_writers(number);
                        self.recents.state().unread.insert(number, error);
                    }
                }
            }
        }
        let there: BTreeSet<SegmentNumber> = segments.all().iter().map(|segment| segment.number()).collect();
        // What is known of one that is gone must not count for another, and counts again if it comes back.
        self.recents.segments().iter().filter(|segment| !there.contains(segment)).for_each(|segment| {
            segments.pass_over(*segment);
        });
        if let Err(error) = self.catch_up(&full) {
            tracing::warn!(%error, "the catalog does not take in what segments tell");
        }
        Ok(())
    }

    /// The segments that could not be looked into, and may have records.
    pub(in crate::store) fn unread(&self) -> Vec<SegmentNumber> {
        self.recents.state().unread.keys().copied().collect()
    }

    /// Knows the records of a segment that could not be looked into, which could be read by now.
    pub(in crate::store) fn add_unread(&self, segment: SegmentNumber, records: Vec<(u64, ManifestRecord)>) {
        self.know(records.into_iter().map(|(group, record)| Recent { record, segment, group }));
        self.recents.state().unread.remove(&segment);
    }

    /// Notes why a segment still cannot be looked into.
    pub(in crate::store) fn still_unread(&self, segment: SegmentNumber, error: StoreError) {
        self.recents.state().unread.insert(segment, error);
    }

    /// The group of a segment from which on records may be missing here.
    pub(in crate::store) fn looked(&self, segment: SegmentNumber) -> u64 {
        self.recents.looked(segment)
    }

    fn catch_up(&self, full: &[SegmentNumber]) -> Result<(), StoreError> {
        let recents = self.recents.all();
        if recents.is_empty() && full.is_empty() {
            return Ok(());
        }
        self.database.write(Durability::Immediate, |transaction| {
            take_in(transaction, &recents)?;
            full.iter().try_for_each(|segment| note_looked(transaction, *segment, ALL_GROUPS))
        })?;
        self.recents.taken_in(&recents);
        full.iter().for_each(|segment| self.recents.looked_at_all(*segment));
        Ok(())
    }
}

/// Lets nothing be added to a segment that nobody will look into again. Its mode says the same, but the catalog is
/// synced, and a mode may be lost in a power cut.
fn keep_frozen(segment: &Segment, segments: &Segments) {
    match segment.is_frozen() {
        Ok(true) => {}
        outcome => {
            if let Err(error) = outcome.and_then(|_| segment.freeze()) {
                tracing::warn!(%error, "nothing is added to a segment that is complete");
                segments.keep_from_writers(segment.number());
            }
        }
    }
}

/// What the catalog does not have yet, in the order in which it came.
#[derive(Debug, Default)]
pub(super) struct Recents(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Recent>,
    /// What `LOOKED` says.
    looked: BTreeMap<SegmentNumber, u64>,
    /// Segments that could not be looked into, which may have records, and why.
    unread: BTreeMap<SegmentNumber, StoreError>,
}

impl Recents {
    // Each section is a few moves.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds records of one segment, in the order of its groups. `true`: it is time to take them in.
    pub(super) fn add(&self, records: impl IntoIterator<Item = Recent>) -> bool {
        let mut state = self.state();
        state.queue.extend(records);
        state.queue.len() >= MANY
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state().queue.is_empty()
    }

    /// Whether some must be taken in before more come.
    pub(super) fn is_full(&self) -> bool {
        self.state().queue.len() >= TOO_MANY
    }

    /// What the catalog is to take in.
    pub(super) fn all(&self) -> Vec<Recent> {
        self.state().queue.iter().cloned().collect()
    }

    /// The catalog has taken in the first of them, as many as these. Only its own thread takes any.
    pub(super) fn taken_in(&self, recents: &[Recent]) {
        let mut state = self.state();
        state.queue.drain(..recents.len());
        for recent in recents {
            let looked = state.looked.entry(recent.segment).or_default();
            *looked = (*looked).max(recent.group + 1);
        }
    }

    /// The group of a segment from which on records may be missing in the catalog.
    pub(super) fn looked(&self, segment: SegmentNumber) -> u64 {
        self.state().looked.get(&segment).copied().unwrap_or(0)
    }

    /// Nothing more will come in a segment.
    pub(super) fn looked_at_all(&self, segment: SegmentNumber) {
        self.state().looked.insert(segment, ALL_GROUPS);
    }

    /// The segments of which it is known how far they were looked into.
    pub(super) fn segments(&self) -> Vec<SegmentNumber> {
        self.state().looked.keys().copied().collect()
    }

    /// An error if there may be records that the catalog does not know of.
    pub(super) fn check_read(&self) -> Result<(), StoreError> {
        self.state().unread.values().next().cloned().map_or(Ok(()), Err)
    }

    /// What they say of `hash`.
    pub(super) fn find(&self, hash: &ContentHash) -> Option<ManifestRecord> {
        let state = self.state();
        let recents = state.queue.iter().filter(|recent| recent.record.hash == *hash);
        recents.fold(None, |known, Recent { record, .. }| Some(merged(known, record)))
    }

    /// The content that announces itself under `key`.
    pub(super) fn hash_by_key(&self, key: &DiscoveryKey) -> Option<ContentHash> {
        let state = self.state();
        let mut hashes = state.queue.iter().map(|recent| recent.record.hash);
        hashes.find(|hash| hash.discovery_key() == *key)
    }

    /// Reads how far the segments were looked into; says what is wrong with one of the tables. Where both rows of a
    /// segment are damaged, what is in it is looked at again.
    pub(super) fn load(&self, transaction: &ReadTransaction) -> Option<Trouble> {
        let mut wrong = None;
        for table in [LOOKED, LOOKED_COPIES] {
            // A damaged page may be an error or a panic, and the other table tells the same.
            match caught(|| self.load_table(transaction, table)) {
                Ok(Ok(())) => {}
                Ok(Err(trouble)) => wrong = Some(trouble),
                Err(_) => wrong = Some(Trouble::Row("how far segments were looked into cannot be read")),
            }
        }
        wrong
    }

    fn load_table(&self, transaction: &ReadTransaction, table: LookedTable) -> Result<(), Trouble> {
        let table = match transaction.open_table(table) {
            Ok(table) => table,
            // An earlier version made the catalog.
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for row in table.iter()? {
            let (number, value) = row?;
            if let Some(groups) = decode(number.value(), value.value()) {
                let mut state = self.state();
                let looked = state.looked.entry(SegmentNumber(number.value())).or_default();
                *looked = groups.max(*looked);
            }
        }
        Ok(())
    }

    /// Writes how far the segments were looked into.
    pub(super) fn save(&self, transaction: &WriteTransaction) -> Result<(), Trouble> {
        for (segment, groups) in &self.state().looked {
            write_looked(transaction, *segment, *groups)?;
        }
        Ok(())
    }
}

/// Adds `recents` to the records that the catalog has itself.
pub(super) fn add_to(records: &mut BTreeMap<[u8; ID_BYTES], ManifestRecord>, recents: &[Recent]) {
    for Recent { record, .. } in recents {
        let known = records.remove(record.hash.as_bytes());
        records.insert(*record.hash.as_bytes(), merged(known, record));
    }
}

fn merged(known: Option<ManifestRecord>, news: &ManifestRecord) -> ManifestRecord {
    match known {
        Some(known) => updated(known, news),
        None => news.clone(),
    }
}

/// Takes records in.
pub(super) fn take_in(transaction: &WriteTransaction, recents: &[Recent]) -> Result<(), Trouble> {
    for Recent { record, segment, group } in recents {
        apply(transaction, &Change::Put(record.clone()))?;
        note_looked(transaction, *segment, *group + 1)?;
    }
    Ok(())
}

/// Notes how far a segment was looked into: never less far than before.
pub(super) fn note_looked(transaction: &WriteTransaction, segment: SegmentNumber, groups: u64) -> Result<(), Trouble> {
    let mut groups = groups;
    for table in [LOOKED, LOOKED_COPIES] {
        let table = transaction.open_table(table)?;
        let known = table.get(segment.0)?.and_then(|value| decode(segment.0, value.value()));
        groups = groups.max(known.unwrap_or(0));
    }
    write_looked(transaction, segment, groups)
}

fn write_looked(transaction: &WriteTransaction, segment: SegmentNumber, groups: u64) -> Result<(), Trouble> {
    for table in [LOOKED, LOOKED_COPIES] {
        transaction.open_table(table)?.insert(segment.0, &encode(segment.0, groups))?;
    }
    Ok(())
}

fn encode(segment: u32, groups: u64) -> [u8; LOOKED_BYTES] {
    let mut value = [0; LOOKED_BYTES];
    let (body, check) = value.split_at_mut(LOOKED_BYTES - CHECK_BYTES);
    body.copy_from_slice(&groups.to_le_bytes());
    check.copy_from_slice(&check4(&[&segment.to_le_bytes(), body]));
    value
}

fn decode(segment: u32, value: &[u8; LOOKED_BYTES]) -> Option<u64> {
    let (body, check) = value.split_at(LOOKED_BYTES - CHECK_BYTES);
    if check == check4(&[&segment.to_le_bytes(), body]) { u64_at(body, 0) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_looked_reads_back_and_notices_every_flipped_bit() {
        let value = encode(7, 9);
        assert_eq!(decode(7, &value), Some(9));
        assert_eq!(decode(8, &value), None);
        for bit in 0..LOOKED_BYTES * 8 {
            let mut wrong = value;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(7, &wrong), None, "bit {bit}");
        }
    }
}

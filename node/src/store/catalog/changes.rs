//! Changes of the catalog, made one batch after the other by a thread of its own.

use std::sync::Arc;

use redb::{Durability, ReadableTable, WriteTransaction};
use shoal_protocol::hash::ContentHash;
use tokio::sync::{mpsc, oneshot};

use super::known::Known;
use super::recent::{ALL_GROUPS, Recents, note_looked, take_in};
use super::{COPIES, KEYS, QUEUE, RECORDS};
use crate::store::error::{StoreError, Trouble};
use crate::store::holds::Hold;
use crate::store::home_database::HomeDatabase;
use crate::store::losses::Losses;
use crate::store::record::{ContentState, ManifestRecord};
use crate::store::reserve::Reserve;
use crate::store::rows::SegmentNumber;
use crate::store::uses::Uses;

/// One change of the catalog.
#[derive(Debug, Clone)]
pub(in crate::store) enum Change {
    /// Adds the record, or brings the one with the same hash up to date.
    Put(ManifestRecord),
    /// Notes that something of it was found damaged or gone: if all of it was held, it is not any more.
    Incomplete(ContentHash),
    /// Pins or unpins.
    Pin(ContentHash, bool),
    /// Forgets the record.
    Remove(ContentHash),
    /// Forgets the record unless it is pinned.
    RemoveUnpinned(ContentHash),
    /// Notes a use, in milliseconds of Unix time. Durable with the next other change or when the store closes.
    Touch(ContentHash, u64),
    /// Nothing more will come in a segment, and what has come is taken in.
    FinishSegment(SegmentNumber),
    /// Writes what was noted: uses, and records that lie in segments.
    WriteNoted,
}

impl Change {
    const fn is_touch(&self) -> bool {
        matches!(self, Self::Touch(..))
    }

    /// Whether room may come back by it.
    const fn gives_room(&self) -> bool {
        matches!(self, Self::Remove(_) | Self::RemoveUnpinned(_) | Self::Pin(_, false))
    }

    /// Whether a content that was held is not, or not all of it, from then on.
    const fn is_loss(&self) -> bool {
        matches!(self, Self::Incomplete(_) | Self::Remove(_) | Self::RemoveUnpinned(_))
    }
}

/// A change, what is to be held until it is made, and who waits for it.
pub(super) type Request = (Change, Option<Hold>, oneshot::Sender<Result<bool, StoreError>>);

/// What the catalog's thread works on.
#[derive(Debug)]
pub(in crate::store) struct Changes {
    pub(super) database: Arc<HomeDatabase>,
    pub(super) uses: Arc<Uses>,
    pub(super) recents: Arc<Recents>,
    pub(super) known: Arc<Known>,
    pub(super) losses: Losses,
    pub(super) reserve: Arc<Reserve>,
    pub(super) requests: mpsc::Receiver<Request>,
}

impl Changes {
    /// Makes changes until the catalog takes no more. Runs on a thread of its own.
    pub(in crate::store) fn serve(mut self) {
        let mut batch = Vec::with_capacity(QUEUE);
        while self.requests.blocking_recv_many(&mut batch, QUEUE) > 0 {
            let parts = batch.drain(..).map(|(change, hold, reply)| (change, (hold, reply)));
            let (mut changes, waiting): (Vec<Change>, Vec<_>) = parts.unzip();
            changes.extend(self.uses.take().into_iter().map(|(hash, last)| Change::Touch(hash, last)));
            let outcome = match self.commit(&changes) {
                Err(error) if error.closes_handle() && !error.is_damage() => self.commit_again(&changes, &error),
                outcome => outcome,
            };
            let outcome = match outcome {
                Err(error) if error.is_refusal() && changes.iter().all(Change::is_touch) => {
                    tracing::debug!(%error, "uses are not noted");
                    self.found(&changes)
                }
                outcome => outcome,
            };
            // Even after a failure: something of it may show.
            if changes.iter().any(Change::is_loss) {
                self.losses.note();
            }
            for (at, (_hold, reply)) in waiting.into_iter().enumerate() {
                let found = outcome.as_ref().map(|found| found.get(at).copied().unwrap_or(false));
                // Who asked may have gone; the change is made all the same.
                let _ = reply.send(found.map_err(Clone::clone));
            }
        }
        self.write_last();
    }

    /// Opens the file anew after a fault and makes the changes. On a full disk those that let something go are made
    /// with what there is in reserve.
    fn commit_again(&self, changes: &[Change], fault: &StoreError) -> Result<Vec<bool>, StoreError> {
        tracing::warn!(error = %fault, "opening the catalog anew");
        let is_full = matches!(fault, StoreError::NoSpace { .. });
        let given_up = is_full && changes.iter().any(Change::gives_room) && self.reserve.give_up();
        let outcome = self.database.reopen().and_then(|()| self.commit(changes));
        if given_up {
            self.reserve.take_back();
        }
        outcome
    }

    /// Writes what was noted and came with no change.
    fn write_last(&self) {
        let uses = self.uses.take().into_iter().map(|(hash, last)| Change::Touch(hash, last));
        let changes: Vec<Change> = std::iter::once(Change::WriteNoted).chain(uses).collect();
        if (changes.len() > 1 || !self.recents.is_empty())
            && let Err(error) = self.commit(&changes)
        {
            tracing::warn!(%error, "could not note when contents were last used");
        }
    }

    /// Takes in what lies in segments, and makes the changes: of what was acknowledged before they were asked for, none
    /// comes after them.
    fn commit(&self, changes: &[Change]) -> Result<Vec<bool>, StoreError> {
        for change in changes {
            if let Change::Put(record) = change {
                self.known.add(&record.hash);
            }
        }
        let recents = self.recents.all();
        let only_touches = recents.is_empty() && changes.iter().all(Change::is_touch);
        let durability = if only_touches { Durability::None } else { Durability::Immediate };
        let found = self.database.write(durability, |transaction| {
            take_in(transaction, &recents)?;
            changes.iter().map(|change| apply(transaction, change)).collect()
        })?;
        self.recents.taken_in(&recents);
        for change in changes {
            if let Change::FinishSegment(segment) = change {
                self.recents.looked_at_all(*segment);
            }
        }
        Ok(found)
    }

    /// Which of the contents that were used are known: that nobody notes the use is no reason to fail.
    fn found(&self, touches: &[Change]) -> Result<Vec<bool>, StoreError> {
        self.database.read(|transaction| {
            let table = transaction.open_table(RECORDS)?;
            let found = touches.iter().map(|change| match change {
                Change::Touch(hash, _) => {
                    Ok(table.get(hash.as_bytes())?.is_some() || self.recents.find(hash).is_some())
                }
                _ => Ok(false),
            });
            found.collect()
        })
    }
}

pub(super) fn apply(transaction: &WriteTransaction, change: &Change) -> Result<bool, Trouble> {
    match change {
        Change::Put(record) => {
            let key = record.hash.discovery_key();
            transaction.open_table(KEYS)?.insert(key.as_bytes(), record.hash.as_bytes())?;
            let record = match read_record(transaction, &record.hash)? {
                Some(known) => updated(known, record),
                None => record.clone(),
            };
            write_record(transaction, &record)
        }
        Change::Incomplete(hash) => {
            change_record(transaction, hash, |record| record.state = record.state.min(ContentState::Damaged))
        }
        Change::Pin(hash, pinned) => change_record(transaction, hash, |record| record.pinned = *pinned),
        Change::Remove(hash) => {
            transaction.open_table(KEYS)?.remove(hash.discovery_key().as_bytes())?;
            let mut found = false;
            for table in [RECORDS, COPIES] {
                found |= transaction.open_table(table)?.remove(hash.as_bytes())?.is_some();
            }
            Ok(found)
        }
        Change::RemoveUnpinned(hash) => match read_record(transaction, hash)? {
            Some(record) if !record.pinned => apply(transaction, &Change::Remove(*hash)),
            _ => Ok(false),
        },
        Change::FinishSegment(segment) => note_looked(transaction, *segment, ALL_GROUPS).map(|()| true),
        Change::WriteNoted => Ok(true),
        Change::Touch(hash, now) => {
            change_record(transaction, hash, |record| record.last_used_unix_ms = record.last_used_unix_ms.max(*now))
        }
    }
}

/// Writes the damaged copy of a record anew from the other one. A record of which neither can be read is forgotten. One
/// that was changed since it was found damaged is as its change left it.
pub(super) fn mend(transaction: &WriteTransaction, hash: &ContentHash) -> Result<(), Trouble> {
    match read_record(transaction, hash)? {
        Some(record) => {
            transaction.open_table(KEYS)?.insert(hash.discovery_key().as_bytes(), hash.as_bytes())?;
            write_record(transaction, &record).map(drop)
        }
        None => apply(transaction, &Change::Remove(*hash)).map(drop),
    }
}

/// What stands in the catalog when `news` of a content comes that is known. Whether it is pinned and since when it is
/// here stays as it was; that all of it is held, or was, is not taken back by somebody who begins to fetch it.
pub(super) fn updated(known: ManifestRecord, news: &ManifestRecord) -> ManifestRecord {
    ManifestRecord {
        state: known.state.max(news.state),
        name: news.name.clone().or(known.name),
        pinned: known.pinned,
        created_unix_ms: known.created_unix_ms,
        last_used_unix_ms: known.last_used_unix_ms.max(news.last_used_unix_ms),
        ..news.clone()
    }
}

fn change_record(
    transaction: &WriteTransaction,
    hash: &ContentHash,
    change: impl FnOnce(&mut ManifestRecord),
) -> Result<bool, Trouble> {
    let Some(mut record) = read_record(transaction, hash)? else {
        return Ok(false);
    };
    change(&mut record);
    write_record(transaction, &record)
}

fn read_record(transaction: &WriteTransaction, hash: &ContentHash) -> Result<Option<ManifestRecord>, Trouble> {
    for table in [RECORDS, COPIES] {
        let table = transaction.open_table(table)?;
        let value = table.get(hash.as_bytes())?;
        if let Some(Ok(record)) = value.map(|value| ManifestRecord::decode(hash, value.value())) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

fn write_record(transaction: &WriteTransaction, record: &ManifestRecord) -> Result<bool, Trouble> {
    let value = record.encode();
    let mut found = false;
    for table in [RECORDS, COPIES] {
        found |= transaction.open_table(table)?.insert(record.hash.as_bytes(), value.as_slice())?.is_some();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;
    use crate::store::record::tests::sample;

    /// Damages copies of a record, lets somebody else make a change, then mends it; says what is left of each copy.
    fn mended(damaged: usize, meanwhile: Option<Change>) -> [Option<ManifestRecord>; 2] {
        let database = redb::Builder::new().create_with_backend(InMemoryBackend::new()).unwrap();
        let (transaction, hash) = (database.begin_write().unwrap(), sample("a").hash);
        apply(&transaction, &Change::Put(sample("a"))).unwrap();
        for table in [RECORDS, COPIES].into_iter().take(damaged) {
            transaction.open_table(table).unwrap().insert(hash.as_bytes(), [1, 2, 3].as_slice()).unwrap();
        }
        if let Some(change) = meanwhile {
            apply(&transaction, &change).unwrap();
        }
        mend(&transaction, &hash).unwrap();
        [RECORDS, COPIES].map(|table| {
            let table = transaction.open_table(table).unwrap();
            let value = table.get(hash.as_bytes()).unwrap();
            value.map(|value| ManifestRecord::decode(&hash, value.value()).unwrap())
        })
    }

    #[test]
    fn a_damaged_copy_is_mended_and_what_came_meanwhile_stays() {
        let (record, hash) = (sample("a"), sample("a").hash);
        assert_eq!(mended(1, None), [Some(record.clone()), Some(record.clone())]);
        assert_eq!(mended(2, None), [None, None]);
        // It was published again.
        assert_eq!(mended(2, Some(Change::Put(record.clone()))), [Some(record.clone()), Some(record.clone())]);
        // It was removed, or pinned.
        assert_eq!(mended(1, Some(Change::Remove(hash))), [None, None]);
        let pinned = ManifestRecord { pinned: true, ..record };
        assert_eq!(mended(1, Some(Change::Pin(hash, true))), [Some(pinned.clone()), Some(pinned)]);
    }
}

//! The catalog: which contents this node has, and what its user decided about them.
//!
//! Nothing here can be worked out from the segments, so each change is durable before its call returns, and each record
//! is kept twice, in two tables, with a check over key and value: one damaged row costs nothing. Changes that come
//! together are committed together by the catalog's own thread.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use redb::{Durability, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use shoal_protocol::hash::{ContentHash, DiscoveryKey};
use tokio::sync::{mpsc, oneshot};

use super::backend::Faults;
use super::error::{StoreError, Trouble};
use super::holds::Hold;
use super::home_database::{About, HomeDatabase};
use super::record::{ContentState, ManifestRecord};
use super::rows::ID_BYTES;
use super::uses::Uses;

const RECORDS: TableDefinition<&[u8; ID_BYTES], &[u8]> = TableDefinition::new("manifests");
const COPIES: TableDefinition<&[u8; ID_BYTES], &[u8]> = TableDefinition::new("manifest copies");
const KEYS: TableDefinition<&[u8; ID_BYTES], &[u8; ID_BYTES]> = TableDefinition::new("discovery keys");

const CACHE_BYTES: usize = 1 << 20;
/// Changes that wait for the catalog's thread; who comes later waits for room.
const QUEUE: usize = 64;

/// One change of the catalog.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// Adds the record, or brings the one with the same hash up to date.
    Put(ManifestRecord),
    /// Notes that not all of it is held.
    Incomplete(ContentHash),
    /// Pins or unpins.
    Pin(ContentHash, bool),
    /// Forgets the record.
    Remove(ContentHash),
    /// Forgets the record unless it is pinned.
    RemoveUnpinned(ContentHash),
    /// Notes a use, in milliseconds of Unix time. Durable with the next other change or when the store closes.
    Touch(ContentHash, u64),
    /// Writes the uses that were noted.
    WriteUses,
}

impl Change {
    const fn is_touch(&self) -> bool {
        matches!(self, Self::Touch(..))
    }
}

/// A change, what is to be held until it is made, and who waits for it.
type Request = (Change, Option<Hold>, oneshot::Sender<Result<bool, StoreError>>);

/// The open catalog.
#[derive(Debug)]
pub(super) struct Catalog {
    database: Arc<HomeDatabase>,
    uses: Arc<Uses>,
    // Taken away to end the thread; locked only to clone it.
    changes: Mutex<Option<mpsc::Sender<Request>>>,
}

/// What the catalog's thread works on.
#[derive(Debug)]
pub(super) struct Changes {
    database: Arc<HomeDatabase>,
    uses: Arc<Uses>,
    requests: mpsc::Receiver<Request>,
}

impl Catalog {
    /// Opens or creates the catalog at `path`.
    pub(super) fn open(path: PathBuf, faults: Option<Arc<dyn Faults>>) -> Result<(Self, Changes), StoreError> {
        let about = About { kind: "catalog", cache_bytes: CACHE_BYTES, tables: make_tables, is_derived: false };
        let database = Arc::new(HomeDatabase::open(path, about, faults)?);
        let (changes, requests) = mpsc::channel(QUEUE);
        let uses = Arc::<Uses>::default();
        let (theirs, changes) = (Arc::clone(&uses), Mutex::new(Some(changes)));
        let catalog = Self { database: Arc::clone(&database), uses, changes };
        Ok((catalog, Changes { database, uses: theirs, requests }))
    }

    /// Makes one change; returns once it is durable (a touch: once it is made), and whether it found a record.
    pub(super) async fn change(&self, change: Change) -> Result<bool, StoreError> {
        self.change_under(change, None).await
    }

    /// The same; what `hold` keeps is kept until the change is made, even if nobody waits for it any more.
    pub(super) async fn change_under(&self, change: Change, hold: Option<Hold>) -> Result<bool, StoreError> {
        let (reply, answer) = oneshot::channel();
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        changes.ok_or(StoreError::Closed)?.send((change, hold, reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Makes one change, like [`change`](Self::change), on a thread that may block.
    pub(super) fn change_now(&self, change: Change) -> Result<bool, StoreError> {
        let (reply, answer) = oneshot::channel();
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        changes.ok_or(StoreError::Closed)?.blocking_send((change, None, reply)).map_err(|_| StoreError::Closed)?;
        answer.blocking_recv().map_err(|_| StoreError::Closed)?
    }

    /// Notes a use in memory; it is written with a later change.
    pub(super) fn note_use(&self, hash: ContentHash, unix_ms: u64) {
        if self.uses.note(hash, unix_ms)
            && let Some(changes) = &*self.changes.lock().unwrap_or_else(PoisonError::into_inner)
        {
            // Where no room is left, changes come that write them as well.
            let _ = changes.try_send((Change::WriteUses, None, oneshot::channel().0));
        }
    }

    fn with_use(&self, record: ManifestRecord) -> ManifestRecord {
        let last = self.uses.last(&record.hash).unwrap_or(0).max(record.last_used_unix_ms);
        ManifestRecord { last_used_unix_ms: last, ..record }
    }

    /// The record of `hash`.
    pub(super) fn record(&self, hash: &ContentHash) -> Result<Option<ManifestRecord>, StoreError> {
        self.read(|transaction| {
            let mut damaged = false;
            for table in [RECORDS, COPIES] {
                if let Some(value) = transaction.open_table(table)?.get(hash.as_bytes())? {
                    match ManifestRecord::decode(hash, value.value()) {
                        Ok(record) => return Ok(Some(self.with_use(record))),
                        Err(_) => damaged = true,
                    }
                }
            }
            if damaged { Err(Trouble::Row("both copies of a manifest's record are damaged")) } else { Ok(None) }
        })
    }

    /// The record whose content announces itself under `key`.
    pub(super) fn record_by_key(&self, key: &DiscoveryKey) -> Result<Option<ManifestRecord>, StoreError> {
        let hash = self.read(|transaction| {
            let table = transaction.open_table(KEYS)?;
            let hash = table.get(key.as_bytes())?.map(|value| ContentHash::from_bytes(*value.value()));
            Ok(hash)
        })?;
        match hash {
            None => Ok(None),
            Some(hash) if hash.discovery_key() == *key => self.record(&hash),
            // The row is damaged; the records themselves know better.
            Some(_) => Ok(self.records()?.into_iter().find(|record| record.hash.discovery_key() == *key)),
        }
    }

    /// Every record that can be read, in the order of the hashes.
    pub(super) fn records(&self) -> Result<Vec<ManifestRecord>, StoreError> {
        let (records, damaged) = self.look()?;
        if damaged > 0 {
            tracing::error!(damaged, file = %self.database.path().display(), "rows of the catalog are damaged");
        }
        Ok(records)
    }

    /// Every record, or an error if there was one that cannot be read: for whoever deletes what no record needs.
    pub(super) fn all_records(&self) -> Result<Vec<ManifestRecord>, StoreError> {
        let (records, _) = self.look()?;
        let rows = self.read(|transaction| {
            Ok(transaction.open_table(RECORDS)?.len()?.max(transaction.open_table(COPIES)?.len()?))
        })?;
        // A damaged row is made good by its copy; one without is a content that nobody knows of any more.
        if rows > records.len() as u64 {
            return Err(StoreError::damaged(self.database.path(), "a record of a content is lost"));
        }
        Ok(records)
    }

    /// The records that can be read, and how many rows cannot.
    fn look(&self) -> Result<(Vec<ManifestRecord>, u64), StoreError> {
        self.read(|transaction| {
            let mut records = BTreeMap::new();
            let mut damaged = 0u64;
            for table in [RECORDS, COPIES] {
                for row in transaction.open_table(table)?.iter()? {
                    let (hash, value) = row?;
                    let hash = ContentHash::from_bytes(*hash.value());
                    match ManifestRecord::decode(&hash, value.value()) {
                        Ok(record) => drop(records.insert(*hash.as_bytes(), record)),
                        Err(_) => damaged += 1,
                    }
                }
            }
            Ok((records.into_values().map(|record| self.with_use(record)).collect(), damaged))
        })
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &std::path::Path {
        self.database.path()
    }

    /// Looks at every page and at every row of both copies. A damaged page has the catalog written anew with what can be
    /// read; with `repair` a damaged copy is written anew from the other. Says of each whether it was.
    pub(super) fn verify(&self, repair: bool) -> Result<Vec<(StoreError, bool)>, StoreError> {
        let damaged = |detail: &str| StoreError::damaged(self.path(), detail);
        let mut found = Vec::new();
        let fill = |transaction: &WriteTransaction, records: Vec<ManifestRecord>| {
            for record in records {
                apply(transaction, &Change::Put(record))?;
            }
            Ok(())
        };
        if let Some(wrong) = self.database.check_or_renew(readable_records, fill)? {
            found.push((wrong, true));
        }
        let rows = self.read(|transaction| {
            let mut rows: BTreeMap<[u8; ID_BYTES], Vec<ManifestRecord>> = BTreeMap::new();
            for table in [RECORDS, COPIES] {
                for row in transaction.open_table(table)?.iter()? {
                    let (hash, value) = row?;
                    let good = rows.entry(*hash.value()).or_default();
                    good.extend(ManifestRecord::decode(&ContentHash::from_bytes(*hash.value()), value.value()).ok());
                }
            }
            Ok(rows)
        })?;
        for (hash, good) in rows {
            match good.as_slice() {
                [_, _] => {}
                [record] => {
                    let change = |transaction: &WriteTransaction| apply(transaction, &Change::Put(record.clone()));
                    let mended = repair && self.database.write(Durability::Immediate, change).is_ok();
                    found.push((damaged("one of two copies of a record is damaged"), mended));
                }
                _ => {
                    let hash = ContentHash::from_bytes(hash);
                    let detail = format!("both copies of the record of {hash} are damaged: publish or fetch it again");
                    let change = |transaction: &WriteTransaction| apply(transaction, &Change::Remove(hash));
                    let mended = repair && self.database.write(Durability::Immediate, change).is_ok();
                    found.push((damaged(&detail), mended));
                }
            }
        }
        Ok(found)
    }

    fn read<T>(&self, work: impl Fn(&redb::ReadTransaction) -> Result<T, Trouble>) -> Result<T, StoreError> {
        match self.database.read(&work) {
            Err(error) if error.closes_handle() && !error.is_damage() => {
                self.database.reopen()?;
                self.database.read(&work)
            }
            result => result,
        }
    }

    /// Takes no more changes: the thread that serves them makes those that wait, and ends.
    pub(super) fn end(&self) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Closes the file.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        self.database.close()
    }
}

impl Changes {
    /// Makes changes until the catalog takes no more. Runs on a thread of its own.
    pub(super) fn serve(mut self) {
        let mut batch = Vec::with_capacity(QUEUE);
        while self.requests.blocking_recv_many(&mut batch, QUEUE) > 0 {
            let parts = batch.drain(..).map(|(change, hold, reply)| (change, (hold, reply)));
            let (mut changes, waiting): (Vec<Change>, Vec<_>) = parts.unzip();
            changes.extend(self.uses.take().into_iter().map(|(hash, last)| Change::Touch(hash, last)));
            let outcome = match self.commit(&changes) {
                Err(error) if error.closes_handle() && !error.is_damage() => {
                    tracing::warn!(%error, "opening the catalog anew");
                    self.database.reopen().and_then(|()| self.commit(&changes))
                }
                outcome => outcome,
            };
            let outcome = match outcome {
                Err(error) if error.is_refusal() && changes.iter().all(Change::is_touch) => {
                    tracing::debug!(%error, "uses are not noted");
                    self.found(&changes)
                }
                outcome => outcome,
            };
            for (at, (_hold, reply)) in waiting.into_iter().enumerate() {
                let found = outcome.as_ref().map(|found| found.get(at).copied().unwrap_or(false));
                // Who asked may have gone; the change is made all the same.
                let _ = reply.send(found.map_err(Clone::clone));
            }
        }
        self.write_last_uses();
    }

    /// Writes what was noted and came with no change.
    fn write_last_uses(&self) {
        let uses = self.uses.take().into_iter().map(|(hash, last)| Change::Touch(hash, last));
        let changes: Vec<Change> = std::iter::once(Change::WriteUses).chain(uses).collect();
        if changes.len() > 1
            && let Err(error) = self.commit(&changes)
        {
            tracing::warn!(%error, "could not note when contents were last used");
        }
    }

    fn commit(&self, changes: &[Change]) -> Result<Vec<bool>, StoreError> {
        let only_touches = changes.iter().all(Change::is_touch);
        let durability = if only_touches { Durability::None } else { Durability::Immediate };
        self.database.write(durability, |transaction| changes.iter().map(|change| apply(transaction, change)).collect())
    }

    /// Which of the contents that were used are known: that nobody notes the use is no reason to fail.
    fn found(&self, touches: &[Change]) -> Result<Vec<bool>, StoreError> {
        self.database.read(|transaction| {
            let table = transaction.open_table(RECORDS)?;
            let found = touches.iter().map(|change| match change {
                Change::Touch(hash, _) => Ok(table.get(hash.as_bytes())?.is_some()),
                _ => Ok(false),
            });
            found.collect()
        })
    }
}

fn make_tables(transaction: &WriteTransaction) -> Result<(), Trouble> {
    transaction.open_table(RECORDS)?;
    transaction.open_table(COPIES)?;
    transaction.open_table(KEYS)?;
    Ok(())
}

/// The records of which at least one copy can be read. What comes after a page that cannot be is looked for in the
/// other copy.
fn readable_records(transaction: &redb::ReadTransaction) -> Result<Vec<ManifestRecord>, Trouble> {
    let mut records = BTreeMap::new();
    for table in [RECORDS, COPIES] {
        for row in transaction.open_table(table)?.iter()?.map_while(Result::ok) {
            let hash = ContentHash::from_bytes(*row.0.value());
            if let Ok(record) = ManifestRecord::decode(&hash, row.1.value()) {
                records.insert(*hash.as_bytes(), record);
            }
        }
    }
    Ok(records.into_values().collect())
}

fn apply(transaction: &WriteTransaction, change: &Change) -> Result<bool, Trouble> {
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
        Change::Incomplete(hash) => change_record(transaction, hash, |record| record.state = ContentState::Fetching),
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
        Change::WriteUses => Ok(true),
        Change::Touch(hash, now) => {
            change_record(transaction, hash, |record| record.last_used_unix_ms = record.last_used_unix_ms.max(*now))
        }
    }
}

/// What stands in the catalog when `news` of a content comes that is known. Whether it is pinned and since when it is
/// here stays as it was; that all of it is held is not taken back by somebody who begins to fetch it.
fn updated(known: ManifestRecord, news: &ManifestRecord) -> ManifestRecord {
    let is_complete = [known.state, news.state].contains(&ContentState::Complete);
    ManifestRecord {
        state: if is_complete { ContentState::Complete } else { ContentState::Fetching },
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

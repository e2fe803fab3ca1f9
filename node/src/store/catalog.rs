//! The catalog: which contents this node has, and what its user decided about them.
//!
//! Nothing here can be worked out from the segments, so each change is durable before its call returns, and each record
//! is kept twice, in two tables, with a check over key and value: one damaged row costs nothing. Changes that come
//! together are committed together by the catalog's own thread. A record that was committed in a segment with the last
//! chunks of its content is durable before it is here ([`recent`]).

mod changes;
mod check;
mod known;
mod recent;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use shoal_protocol::hash::{ContentHash, DiscoveryKey};
use tokio::sync::{mpsc, oneshot};

use super::backend::Faults;
use super::error::{StoreError, Trouble};
use super::findings::{CATALOG, Findings};
use super::header;
use super::holds::Hold;
use super::home_database::{About, HomeDatabase};
use super::losses::Losses;
use super::record::ManifestRecord;
use super::reserve::Reserve;
use super::rows::ID_BYTES;
use super::uses::Uses;
pub(super) use changes::{Change, Changes};
use changes::{Request, updated};
pub(super) use check::check_versions;
use check::{check_pages, read_all};
use known::Known;
pub(super) use recent::Recent;
use recent::{LOOKED, LOOKED_COPIES, Recents};

const RECORDS: TableDefinition<&[u8; ID_BYTES], &[u8]> = TableDefinition::new("manifests");
const COPIES: TableDefinition<&[u8; ID_BYTES], &[u8]> = TableDefinition::new("manifest copies");
const KEYS: TableDefinition<&[u8; ID_BYTES], &[u8; ID_BYTES]> = TableDefinition::new("discovery keys");

const KIND: &str = "catalog";
const CACHE_BYTES: usize = 1 << 20;
/// Changes that wait for the catalog's thread; who comes later waits for room.
const QUEUE: usize = 64;

/// What one transaction sees of the records.
struct Look {
    /// Those of which a copy can be read.
    records: Vec<ManifestRecord>,
    /// Rows of either table that cannot be read.
    damaged: u64,
    /// How many contents the longer of the two tables has.
    rows: u64,
}

/// The open catalog.
#[derive(Debug)]
pub(super) struct Catalog {
    database: Arc<HomeDatabase>,
    uses: Arc<Uses>,
    recents: Arc<Recents>,
    known: Arc<Known>,
    losses: Losses,
    // Taken away to end the thread; locked only to clone it.
    changes: Mutex<Option<mpsc::Sender<Request>>>,
}

impl Catalog {
    /// Puts right what may be wrong at the head of the file at `path`, before anybody opens it.
    pub(super) fn mend_head(path: &Path, findings: &Findings) {
        match header::mend(path, KIND, read_all) {
            Ok(false) => {}
            Ok(true) => {
                let detail = "its header; a change made just before a crash may be lost";
                findings.note(CATALOG, path, &StoreError::damaged(path, detail), true);
            }
            // Whether it can be opened as it is shows then.
            Err(error) => tracing::warn!(%error, "a damaged header is not written anew"),
        }
    }

    /// Opens or creates the catalog at `path`. What goes from it is noted in `losses`; where there is no room to let
    /// something go, there may be some in `reserve`.
    pub(super) fn open(
        path: PathBuf,
        faults: Option<Arc<dyn Faults>>,
        findings: &Findings,
        losses: Losses,
        reserve: Arc<Reserve>,
    ) -> Result<(Self, Changes), StoreError> {
        let about = About { kind: KIND, cache_bytes: CACHE_BYTES, tables: make_tables, is_derived: false };
        let database = Arc::new(HomeDatabase::open(path, about, faults)?);
        let (changes, requests) = mpsc::channel(QUEUE);
        let uses = Arc::<Uses>::default();
        let recents = Arc::<Recents>::default();
        let unread = database.read(|transaction| Ok(recents.load(transaction)))?;
        if unread.is_some() || database.is_in_memory() {
            match check_pages(&database, &recents) {
                Ok(found) => {
                    found.iter().for_each(|(error, mended)| findings.note(CATALOG, database.path(), error, *mended))
                }
                Err(error) if unread.is_none() => tracing::error!(%error, "the catalog is read as far as that goes"),
                Err(error) => return Err(error),
            }
        }
        let known = Arc::<Known>::default();
        if let Err(error) = database.read(|transaction| known.load(transaction)) {
            tracing::warn!(%error, "not all records can be read");
        }
        let theirs = Changes {
            database: Arc::clone(&database),
            uses: Arc::clone(&uses),
            recents: Arc::clone(&recents),
            known: Arc::clone(&known),
            losses: losses.clone(),
            reserve,
            requests,
        };
        Ok((Self { database, uses, recents, known, losses, changes: Mutex::new(Some(changes)) }, theirs))
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
            let _ = changes.try_send((Change::WriteNoted, None, oneshot::channel().0));
        }
    }

    fn with_use(&self, record: ManifestRecord) -> ManifestRecord {
        let last = self.uses.last(&record.hash).unwrap_or(0).max(record.last_used_unix_ms);
        ManifestRecord { last_used_unix_ms: last, ..record }
    }

    /// Whether there is surely no record of `hash`. Does not block.
    pub(super) fn lacks(&self, hash: &ContentHash) -> bool {
        self.known.lacks(hash)
    }

    /// The record of `hash`.
    pub(super) fn record(&self, hash: &ContentHash) -> Result<Option<ManifestRecord>, StoreError> {
        // First: what is taken in meanwhile is found below.
        let recent = self.recents.find(hash);
        let known = self.read(|transaction| {
            let mut damaged = false;
            for table in [RECORDS, COPIES] {
                if let Some(value) = transaction.open_table(table)?.get(hash.as_bytes())? {
                    match ManifestRecord::decode(hash, value.value()) {
                        Ok(record) => return Ok(Some(record)),
                        Err(_) => damaged = true,
                    }
                }
            }
            if damaged { Err(Trouble::Row("both copies of a manifest's record are damaged")) } else { Ok(None) }
        })?;
        let record = match (known, recent) {
            (Some(known), Some(recent)) => Some(updated(known, &recent)),
            (known, recent) => known.or(recent),
        };
        Ok(record.map(|record| self.with_use(record)))
    }

    /// The record whose content announces itself under `key`.
    pub(super) fn record_by_key(&self, key: &DiscoveryKey) -> Result<Option<ManifestRecord>, StoreError> {
        if let Some(hash) = self.recents.hash_by_key(key) {
            return self.record(&hash);
        }
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
        let Look { records, damaged, .. } = self.look()?;
        if damaged > 0 {
            tracing::error!(damaged, file = %self.database.path().display(), "rows of the catalog are damaged");
        }
        Ok(records)
    }

    /// Every record, or an error if there was one that cannot be read: for whoever deletes what no record needs.
    pub(super) fn all_records(&self) -> Result<Vec<ManifestRecord>, StoreError> {
        self.recents.check_read()?;
        let Look { records, rows, .. } = self.look()?;
        // A damaged row is made good by its copy; one without is a content that nobody knows of any more.
        if rows > records.len() as u64 {
            return Err(StoreError::damaged(self.database.path(), "a record of a content is lost"));
        }
        Ok(records)
    }

    /// What stands in the catalog at one moment.
    fn look(&self) -> Result<Look, StoreError> {
        // First, as in `record`.
        let recents = self.recents.all();
        self.read(|transaction| {
            let mut records = BTreeMap::new();
            let (mut damaged, mut rows) = (0, 0);
            for table in [RECORDS, COPIES] {
                let table = transaction.open_table(table)?;
                rows = table.len()?.max(rows);
                for row in table.iter()? {
                    let (hash, value) = row?;
                    let hash = ContentHash::from_bytes(*hash.value());
                    match ManifestRecord::decode(&hash, value.value()) {
                        Ok(record) => drop(records.insert(*hash.as_bytes(), record)),
                        Err(_) => damaged += 1,
                    }
                }
            }
            let read = records.len();
            recent::add_to(&mut records, &recents);
            rows += (records.len() - read) as u64;
            Ok(Look { records: records.into_values().map(|record| self.with_use(record)).collect(), damaged, rows })
        })
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        self.database.path()
    }

    fn read<T>(&self, work: impl Fn(&redb::ReadTransaction) -> Result<T, Trouble>) -> Result<T, StoreError> {
        self.database.again(|| self.database.read(&work))
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

fn make_tables(transaction: &WriteTransaction) -> Result<(), Trouble> {
    transaction.open_table(RECORDS)?;
    transaction.open_table(COPIES)?;
    transaction.open_table(KEYS)?;
    transaction.open_table(LOOKED)?;
    transaction.open_table(LOOKED_COPIES)?;
    Ok(())
}

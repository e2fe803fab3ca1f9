//! In-place content: chunks that lie in files which the user keeps.
//!
//! Rows say in which file and where a chunk lies; they are durable when the call that made them returns, and follow
//! from nothing else. What decides whether a chunk is there is its hash, on every read; how the file looks (device,
//! inode, size, times) only names the cause when it is not. Files are opened for a batch of reads and closed again, so
//! that nobody is kept from removing or unmounting them. This module never writes to a file of the user.
//!
//! The database is made when the first file comes: who keeps nothing in place pays nothing.

mod doubt;
mod read;
mod rows;
mod write;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use redb::{Durability, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::backend::Faults;
use super::error::{StoreError, Trouble};
use super::findings::{Findings, IN_PLACE};
use super::home_database::{About, HomeDatabase};
use super::rows::{ID_BYTES, INDEX_ROW_BYTES, ObjectId, Soundness};
use super::salvage::Salvage;
use super::told::Told;

pub use self::doubt::Replacing;
use self::doubt::Targets;
pub(super) use self::read::Wanted;
pub use self::rows::{FileNumber, FileStamp};
pub(super) use self::rows::{FilePlace, FileRow};
#[cfg(test)]
pub(super) use self::write::Moves;
pub use self::write::{InPlaceWriter, KeptChunk, NewFile};

const CHUNKS: TableDefinition<&[u8; ID_BYTES], &[u8; INDEX_ROW_BYTES]> = TableDefinition::new("chunks");
const FILES: TableDefinition<u32, &[u8]> = TableDefinition::new("files");

const KIND: &str = "in-place";
const CACHE_BYTES: usize = 4 << 20;
/// Rows looked at in one transaction by what goes through all of them.
const ROWS_AT_ONCE: usize = 4096;

/// Fails if a row is of a version that this program does not know: it would be taken for damaged, and its chunks for
/// lost.
pub(super) fn check_versions(transaction: &ReadTransaction) -> Result<(), Trouble> {
    for (number, value) in transaction.open_table(FILES)?.iter()?.map_while(Result::ok) {
        if let Err(version @ Trouble::Version(_)) = FileRow::decode(FileNumber(number.value()), value.value()) {
            return Err(version);
        }
    }
    Ok(())
}

/// What is known of chunks in files of the user.
#[derive(Debug)]
pub(super) struct InPlace {
    path: PathBuf,
    faults: Option<Arc<dyn Faults>>,
    // Held for reading during each call, for writing only to make or close the database.
    database: RwLock<Option<Arc<HomeDatabase>>>,
    // A std mutex, held for a few instructions.
    state: Mutex<State>,
    told: Told<FileNumber>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the next file.
    next: u32,
    /// Files that could not be opened when they were last looked for: their chunks count as not held.
    gone: HashSet<FileNumber>,
    /// Files that a publish or fetch under way has placed chunks in, and how many of those there are.
    busy: HashMap<FileNumber, usize>,
    /// Where outputs are about to replace what is there.
    targets: Targets,
}

/// What a sweep has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Swept {
    pub(super) chunks: u64,
    pub(super) chunk_bytes: u64,
    pub(super) files: u64,
}

impl InPlace {
    /// Opens the database at `path` if there is one. One that is damaged is moved aside: what it named is not held any
    /// more, and the rest of the store is none the worse.
    pub(super) fn open(
        path: PathBuf,
        faults: Option<Arc<dyn Faults>>,
        findings: &Findings,
    ) -> Result<Self, StoreError> {
        let exists = path.try_exists().map_err(|source| StoreError::io(&path, source))?;
        let this = Self { path, faults, database: RwLock::default(), state: Mutex::default(), told: Told::default() };
        if exists {
            match this.open_existing(findings) {
                Err(error) if error.is_damage() => {
                    findings.note(IN_PLACE, &this.path, &error, false);
                    if let Err(error) = std::fs::rename(&this.path, this.path.with_extension("damaged")) {
                        tracing::warn!(%error, "it stays where it is");
                    }
                }
                opened => opened?,
            }
        }
        Ok(this)
    }

    fn open_existing(&self, findings: &Findings) -> Result<(), StoreError> {
        let database = self.open_database()?;
        if database.is_in_memory() {
            match check_pages(&database) {
                Ok(None) => {}
                Ok(Some(error)) => findings.note(IN_PLACE, &self.path, &error, true),
                Err(error) => tracing::error!(%error, "what lies in place is read as far as that goes"),
            }
        }
        let last = database.read(|transaction| {
            let table = transaction.open_table(FILES)?;
            transaction.open_table(CHUNKS)?.first()?;
            let last = table.last()?.map_or(0, |(number, _)| number.value());
            Ok(last)
        })?;
        self.state().next = last.saturating_add(1);
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(database));
        Ok(())
    }

    fn open_database(&self) -> Result<HomeDatabase, StoreError> {
        let about = About { kind: KIND, cache_bytes: CACHE_BYTES, tables: make_tables, is_derived: false };
        HomeDatabase::open(self.path.clone(), about, self.faults.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn database(&self) -> Option<Arc<HomeDatabase>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The database, made now if it is not there.
    fn made(&self) -> Result<Arc<HomeDatabase>, StoreError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = &*database {
            return Ok(Arc::clone(database));
        }
        let made = Arc::new(self.open_database()?);
        *database = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Runs `work` in a read transaction; without a database there is nothing to read.
    fn read<T: Default>(&self, work: impl Fn(&ReadTransaction) -> Result<T, Trouble>) -> Result<T, StoreError> {
        let Some(database) = self.database() else {
            return Ok(T::default());
        };
        database.again(|| database.read(&work))
    }

    /// Runs `work` in a durable write transaction.
    fn write<T>(&self, work: impl Fn(&WriteTransaction) -> Result<T, Trouble>) -> Result<T, StoreError> {
        let database = self.made()?;
        database.again(|| database.write(Durability::Immediate, &work))
    }

    /// Where each of `ids` lies; `None` when no row says so. A row that does not match its check says nothing.
    pub(super) fn places<'a>(
        &self,
        ids: impl Iterator<Item = &'a ObjectId> + Clone,
    ) -> Result<Vec<Option<FilePlace>>, StoreError> {
        let found = self.read(|transaction| {
            let table = transaction.open_table(CHUNKS)?;
            let place = |id| -> Result<_, Trouble> {
                Ok(table.get(id)?.and_then(|value| FilePlace::decode(id, value.value()).ok()))
            };
            ids.clone().map(place).collect::<Result<Vec<_>, _>>()
        })?;
        Ok(if found.is_empty() { vec![None; ids.count()] } else { found })
    }

    /// Whether any chunk lies in place, as far as is known without a look.
    pub(super) fn is_used(&self) -> bool {
        self.database.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether the file could not be opened when it was last looked for.
    pub(super) fn is_gone(&self, file: FileNumber) -> bool {
        self.state().gone.contains(&file)
    }

    /// Forgets which files could not be opened, so that each is looked for anew.
    pub(super) fn look_again(&self) {
        self.state().gone.clear();
    }

    /// The row of a file. One that is damaged is lost.
    pub(super) fn file(&self, number: FileNumber) -> Result<Option<FileRow>, StoreError> {
        let row = self.read(|transaction| {
            let table = transaction.open_table(FILES)?;
            let row = table.get(number.0)?.map(|value| FileRow::decode(number, value.value()));
            row.transpose()
        });
        row.or_else(|error| match error.is_damage() {
            true => {
                tracing::error!(%error, "a file in place is lost");
                Ok(None)
            }
            false => Err(error),
        })
    }

    /// Damages the rows of all files.
    #[cfg(test)]
    pub(super) fn damage_files(&self) {
        let files = self.files().unwrap();
        let damage = |transaction: &WriteTransaction| {
            let mut table = transaction.open_table(FILES)?;
            for (number, row) in &files {
                let mut value = row.encode(*number);
                value[20] ^= 1;
                table.insert(number.0, value.as_slice())?;
            }
            Ok(())
        };
        self.write(damage).unwrap();
    }

    /// All files, in the order of their numbers. Rows that are damaged are passed over.
    pub(super) fn files(&self) -> Result<Vec<(FileNumber, FileRow)>, StoreError> {
        self.read(|transaction| {
            let mut files = Vec::new();
            for row in transaction.open_table(FILES)?.iter()? {
                let (number, value) = row?;
                let number = FileNumber(number.value());
                match FileRow::decode(number, value.value()) {
                    Ok(row) => files.push((number, row)),
                    Err(trouble) => tracing::error!(error = %trouble.about(&self.path), "a file in place is lost"),
                }
            }
            Ok(files)
        })
    }

    /// Up to 4,096 chunks with ids after `after`, in their order; `None` for a row that does not match its check.
    #[allow(clippy::type_complexity, reason = "a list of pairs, used by two")]
    pub(super) fn rows_after(&self, after: Option<ObjectId>) -> Result<Vec<(ObjectId, Option<FilePlace>)>, StoreError> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.read(|transaction| {
            let table = transaction.open_table(CHUNKS)?;
            let from = after.as_ref().map_or(Unbounded, Excluded);
            let rows = table.range::<&ObjectId>((from, Unbounded))?.take(ROWS_AT_ONCE).map(|row| {
                let (id, value) = row?;
                let id = *id.value();
                Ok((id, FilePlace::decode(&id, value.value()).ok()))
            });
            rows.collect()
        })
    }

    /// Notes what reads have found of chunks that still lie where `found` says.
    pub(super) fn mark(&self, found: &[(ObjectId, FilePlace)], soundness: Soundness) -> Result<(), StoreError> {
        if found.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            let mut table = transaction.open_table(CHUNKS)?;
            for (id, place) in found {
                let still = table.get(id)?.is_some_and(|value| *value.value() == place.encode(id));
                if still {
                    table.insert(id, &FilePlace { soundness, ..*place }.encode(id))?;
                }
            }
            Ok(())
        })
    }

    /// Checks every page. A file with a damaged one is written anew with what can be read of it; says what was wrong.
    pub(super) fn verify(&self) -> Result<Option<StoreError>, StoreError> {
        let Some(database) = self.database() else { return Ok(None) };
        database.again(|| check_pages(&database))
    }

    /// Forgets chunks whose rows say that they are damaged or lie in a file that is gone, or say nothing. One that has
    /// been placed anew is none of them, whatever was found before.
    pub(super) fn forget_damaged(&self, ids: &[ObjectId]) -> Result<(), StoreError> {
        if ids.is_empty() || !self.is_used() {
            return Ok(());
        }
        let is_lost = |place: &Option<FilePlace>| {
            place.is_none_or(|place| place.soundness == Soundness::Damaged || self.is_gone(place.file))
        };
        let forgotten = self.write(|transaction| {
            let table = transaction.open_table(CHUNKS)?;
            let mut lost = Vec::new();
            for id in ids {
                let place = table.get(id)?.map(|value| FilePlace::decode(id, value.value()).ok());
                lost.extend(place.filter(is_lost).map(|_| id));
            }
            drop(table);
            write::remove(transaction, lost)
        });
        forgotten.map(drop)
    }

    /// Removes the rows of chunks that are not `live`, or that cannot be read, and of files without chunks. What a
    /// publish or fetch under way has placed stays. The files themselves are the user's. While a batch of rows is
    /// looked at and removed, `deciding` keeps others from finding them.
    pub(super) fn sweep<G>(
        &self,
        deciding: impl Fn() -> G,
        live: impl Fn(&FilePlace) -> bool,
    ) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        let mut after = None;
        loop {
            let _deciding = deciding();
            let rows = self.rows_after(after)?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(*last);
            let busy: HashSet<FileNumber> = self.state().busy.keys().copied().collect();
            let is_dead =
                |place: &Option<FilePlace>| place.is_none_or(|place| !busy.contains(&place.file) && !live(&place));
            let dead: Vec<_> = rows.into_iter().filter(|(_, place)| is_dead(place)).collect();
            for (_, place) in &dead {
                swept.chunks += 1;
                swept.chunk_bytes += place.map_or(0, |place| u64::from(place.len));
            }
            if !dead.is_empty() {
                swept.files += self.write(|transaction| write::remove(transaction, dead.iter().map(|(id, _)| id)))?;
            }
        }
        Ok(swept)
    }

    /// Where the database lies.
    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Closes the file.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        self.database().map_or(Ok(()), |database| database.close())
    }
}

fn make_tables(transaction: &WriteTransaction) -> Result<(), Trouble> {
    transaction.open_table(CHUNKS)?;
    transaction.open_table(FILES)?;
    Ok(())
}

/// Checks every page. A file with a damaged one is written anew with what can be read of it; says what was wrong.
fn check_pages(database: &HomeDatabase) -> Result<Option<StoreError>, StoreError> {
    let fill = |transaction: &WriteTransaction, (chunks, files): Salvaged| {
        let mut table = transaction.open_table(CHUNKS)?;
        for (id, place) in chunks {
            table.insert(&id, &place.encode(&id))?;
        }
        let mut table = transaction.open_table(FILES)?;
        for (number, row) in files {
            table.insert(number.0, row.encode(number).as_slice())?;
        }
        Ok(())
    };
    database.check_or_renew(salvage, fill)
}

type Salvaged = (BTreeMap<ObjectId, FilePlace>, BTreeMap<FileNumber, FileRow>);

/// What can be read of both tables.
fn salvage(damaged: &Salvage<'_>) -> Result<Salvaged, StoreError> {
    let (mut chunks, mut files) = Salvaged::default();
    let all_chunks = damaged.rows(CHUNKS, |id, value| {
        chunks.extend(FilePlace::decode(id, value).ok().map(|place| (*id, place)));
    })?;
    let all_files = damaged.rows(FILES, |number, value| {
        let number = FileNumber(number);
        files.extend(FileRow::decode(number, value).ok().map(|row| (number, row)));
    })?;
    if !all_chunks || !all_files {
        tracing::warn!(all_chunks, all_files, "a table of files in place can be read in part");
    }
    Ok((chunks, files))
}

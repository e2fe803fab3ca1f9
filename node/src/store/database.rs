//! A redb database that can be opened again after a fault.
//!
//! Owns the rules that hold for each database of the store: durable commits save the allocator state (or the next
//! start would walk the whole file), a panic inside redb is damage of the file and not the end of the process, and
//! after an error of the disk the handle, which redb has closed, is dropped and the file opened anew. One that cannot
//! be opened because the disk takes no writes is opened with what redb writes kept in memory, to be read. What a table
//! means is its owner's business.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use redb::backends::InMemoryBackend;
use redb::{Builder, Database, Durability, ReadTransaction, ReadableDatabase, TableDefinition, WriteTransaction};

use super::FORMAT_VERSION;
use super::backend::{Faults, FileCall, FileHealth, StoreFile};
use super::error::{StoreError, Trouble};
use super::overlay::Overlay;
use super::panics::{caught, drop_unwinding};

/// In each database: what it is, and of which format.
const FORMAT: TableDefinition<&str, &[u8]> = TableDefinition::new("shoal");
const FORMAT_KEY: &str = "format";

/// An open database and what has failed under it.
#[derive(Debug)]
pub(super) struct OpenDatabase {
    // There until it is dropped.
    database: Option<Database>,
    health: Arc<FileHealth>,
    /// Why the disk takes nothing: what is written stays in memory.
    refusal: Option<StoreError>,
    /// Device and inode of the file, if it is written to.
    identity: Option<(u64, u64)>,
}

/// One that nobody [closes](OpenDatabase::close) has failed, and may be damaged: its file stays as a kill would leave
/// it.
impl Drop for OpenDatabase {
    fn drop(&mut self) {
        if let Some(database) = self.database.take() {
            drop_unwinding(database);
        }
    }
}

/// Runs `work` on the database in `file`; a panic becomes damage of that file.
pub(super) fn guarded<T>(file: &Path, work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, StoreError> {
    match caught(work) {
        Ok(result) => result.map_err(|trouble| trouble.about(file)),
        Err(words) => Err(StoreError::damaged(file, format!("reading it failed: {words}"))),
    }
}

/// Opens the database in `path`, which is a `kind`. Where the disk takes no writes it can be read all the same.
pub(super) fn open(
    path: &Path,
    kind: &str,
    cache_bytes: usize,
    faults: Option<&Arc<dyn Faults>>,
) -> Result<OpenDatabase, StoreError> {
    let opened = match open_file(path, false, cache_bytes, faults) {
        Err(error) if error.is_refusal() => {
            tracing::info!(%error, file = %path.display(), "opening it to be read alone");
            open_over(path, cache_bytes, faults, error)
        }
        opened => opened,
    }?;
    opened.read(path, |transaction| check_format(transaction, kind))?;
    Ok(opened)
}

/// Opens the database in `path` without ever writing to it. Where that fails too, the error is `refusal`.
pub(super) fn open_over(
    path: &Path,
    cache_bytes: usize,
    faults: Option<&Arc<dyn Faults>>,
    refusal: StoreError,
) -> Result<OpenDatabase, StoreError> {
    let overlay = Overlay::new(path, faults.cloned()).map_err(|error| {
        tracing::warn!(%error, file = %path.display(), "it cannot be read either");
        // That a file is damaged says nothing of a disk that fails now.
        if refusal.is_damage() { StoreError::io(path, error) } else { refusal.clone() }
    })?;
    let mut opened = guarded(path, || over(overlay, Builder::new().set_cache_size(cache_bytes)))?;
    opened.refusal = Some(refusal);
    Ok(opened)
}

/// Runs `work` on the database in `path` as it is once an unclean end has been put right, and leaves the file as it is.
pub(super) fn peek<T>(
    path: &Path,
    cache_bytes: usize,
    faults: Option<&Arc<dyn Faults>>,
    work: impl FnOnce(&ReadTransaction) -> Result<T, Trouble>,
) -> Result<T, StoreError> {
    let overlay = Overlay::new(path, faults.cloned()).map_err(|source| StoreError::io(path, source))?;
    guarded(path, || over(overlay, Builder::new().set_cache_size(cache_bytes)))?.read(path, work)
}

/// Checks every page in use of the database in `path` against its checksum, and leaves the file as it is. What was
/// committed and is not durable yet is not looked at.
pub(super) fn check_pages(path: &Path, cache_bytes: usize, faults: Option<&Arc<dyn Faults>>) -> Result<(), StoreError> {
    let overlay = Overlay::new(path, faults.cloned()).map_err(|source| StoreError::io(path, source))?;
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes).set_check_integrity_on_open(true);
    guarded(path, || over(overlay, &builder)).map(drop)
}

fn over(overlay: Overlay, builder: &Builder) -> Result<OpenDatabase, Trouble> {
    let database = Some(builder.create_with_backend(overlay)?);
    Ok(OpenDatabase { database, health: Arc::default(), refusal: None, identity: None })
}

/// An empty database in memory, because of `refusal`.
pub(super) fn in_memory(path: &Path, cache_bytes: usize, refusal: StoreError) -> Result<OpenDatabase, StoreError> {
    guarded(path, || {
        let database = Builder::new().set_cache_size(cache_bytes).create_with_backend(InMemoryBackend::new())?;
        Ok(OpenDatabase { database: Some(database), health: Arc::default(), refusal: Some(refusal), identity: None })
    })
}

/// Opens the file at `path`; with `create` it is an empty one.
fn open_file(
    path: &Path,
    create: bool,
    cache_bytes: usize,
    faults: Option<&Arc<dyn Faults>>,
) -> Result<OpenDatabase, StoreError> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(create).truncate(create).open(path);
    let file = file.map_err(|source| StoreError::io(path, source))?;
    let about = file.metadata().map_err(|source| StoreError::io(path, source))?;
    if !create && about.len() == 0 {
        return Err(StoreError::damaged(path, "it is empty"));
    }
    guarded(path, || {
        let backend = StoreFile::new(path, file, faults.cloned())?;
        let health = backend.health();
        let database = Builder::new().set_cache_size(cache_bytes).create_with_backend(backend)?;
        Ok(OpenDatabase { database: Some(database), health, refusal: None, identity: Some((about.dev(), about.ino())) })
    })
}

impl OpenDatabase {
    /// Runs `work` in a read transaction. Long ones keep the index from reusing space: scan in batches.
    pub(super) fn read<T>(
        &self,
        file: &Path,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let database = self.database()?;
        guarded(file, || work(&database.begin_read()?))
    }

    /// Runs `work` in a write transaction and commits it.
    pub(super) fn write<T>(
        &self,
        file: &Path,
        durability: Durability,
        work: impl FnOnce(&WriteTransaction) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let database = self.database()?;
        guarded(file, || {
            look_at_tables(database)?;
            let mut transaction = database.begin_write()?;
            transaction.set_durability(durability)?;
            transaction.set_quick_repair(matches!(durability, Durability::Immediate));
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })
        .map_err(|error| self.with_cause(file, error))
    }

    /// Closes the database, and reports what redb would swallow. What has failed before was reported then; of what is
    /// in memory alone nothing is to be kept.
    pub(super) fn close(mut self, file: &Path) -> Result<(), StoreError> {
        if self.refusal.is_some() {
            return Ok(());
        }
        let failed_before = self.health.failure().is_some();
        let database = self.database.take();
        guarded(file, || {
            drop(database);
            Ok(())
        })?;
        match self.health.failure() {
            Some(source) if !failed_before => Err(StoreError::io(file, source)),
            _ => Ok(()),
        }
    }

    /// Fails if what is written does not get into the file at `path`, which was moved away or removed.
    pub(super) fn check_place(&self, path: &Path) -> Result<(), StoreError> {
        let Some(identity) = self.identity else { return Ok(()) };
        match std::fs::metadata(path) {
            Ok(about) if (about.dev(), about.ino()) == identity => Ok(()),
            _ => Err(StoreError::damaged(path, "it was moved away or removed while the node was writing to it")),
        }
    }

    /// Why what is written stays in memory, if it does.
    pub(super) const fn refusal(&self) -> Option<&StoreError> {
        self.refusal.as_ref()
    }

    /// Its file's failures.
    pub(super) fn health(&self) -> Arc<FileHealth> {
        Arc::clone(&self.health)
    }

    fn database(&self) -> Result<&Database, StoreError> {
        self.database.as_ref().ok_or(StoreError::Closed)
    }

    /// redb says "previous I/O error" once its handle is closed; the file knows which one.
    fn with_cause(&self, file: &Path, error: StoreError) -> StoreError {
        match (&error, self.health.failure()) {
            (StoreError::Io { .. }, Some(source)) => StoreError::io(file, source),
            _ => error,
        }
    }
}

/// Reads the rows in which redb describes its tables, so that damage in one comes to light while no table is open.
///
/// A write transaction opens a table under a lock. If redb panics at its description then, the lock is poisoned; a
/// table that was opened before takes the same lock when the panic drops it, panics too, and that ends the process.
fn look_at_tables(database: &Database) -> Result<(), Trouble> {
    // Every description is read before this returns.
    drop(database.begin_read()?.list_tables()?);
    Ok(())
}

/// Notes what the database is.
pub(super) fn write_format(transaction: &WriteTransaction, kind: &str) -> Result<(), Trouble> {
    let mut value = FORMAT_VERSION.to_le_bytes().to_vec();
    value.extend_from_slice(kind.as_bytes());
    transaction.open_table(FORMAT)?.insert(FORMAT_KEY, value.as_slice())?;
    Ok(())
}

/// Checks that the database is a `kind` of this format.
pub(super) fn check_format(transaction: &ReadTransaction, kind: &str) -> Result<(), Trouble> {
    let table = transaction.open_table(FORMAT).map_err(|error| match error {
        redb::TableError::Storage(error) => Trouble::from(error),
        _ => Trouble::Row("it does not say what it is"),
    })?;
    let Some(value) = table.get(FORMAT_KEY)? else {
        return Err(Trouble::Row("it does not say what it is"));
    };
    let Some((version, found)) = value.value().split_first_chunk::<4>() else {
        return Err(Trouble::Row("it does not say of which format it is"));
    };
    let version = u32::from_le_bytes(*version);
    if version != FORMAT_VERSION {
        return Err(Trouble::Version(version));
    }
    if found != kind.as_bytes() {
        return Err(Trouble::Row("it is another kind of file"));
    }
    Ok(())
}

/// Makes the names in `folder` durable.
pub(super) fn sync_folder(folder: &Path, faults: Option<&Arc<dyn Faults>>) -> Result<(), StoreError> {
    let sync = || {
        faults.map_or(Ok(()), |faults| faults.before(FileCall::SyncFolder, folder))?;
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        if let Some(faults) = faults {
            faults.after(FileCall::SyncFolder);
        }
        synced
    };
    sync().map_err(|source| StoreError::io(folder, source))
}

/// Makes a database under a name of passage, and gives it its own once it is durable.
pub(super) fn create(
    path: &Path,
    kind: &str,
    cache_bytes: usize,
    faults: Option<&Arc<dyn Faults>>,
    tables: impl FnOnce(&WriteTransaction) -> Result<(), Trouble>,
) -> Result<OpenDatabase, StoreError> {
    let passage = path.with_extension(super::PASSAGE_EXTENSION);
    let made = open_file(&passage, true, cache_bytes, faults).and_then(|handle| {
        handle.write(&passage, Durability::Immediate, |transaction| {
            write_format(transaction, kind)?;
            tables(transaction)
        })?;
        std::fs::rename(&passage, path).map_err(|source| StoreError::io(path, source))?;
        path.parent().map_or(Ok(()), |folder| sync_folder(folder, faults))?;
        Ok(handle)
    });
    if made.is_err() {
        // Nothing was in it yet; a leftover is removed at the next start.
        let _ = std::fs::remove_file(&passage);
    }
    made
}

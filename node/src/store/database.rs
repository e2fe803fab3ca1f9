//! A redb database that can be opened again after a fault.
//!
//! Owns the rules that hold for each database of the store: durable commits save the allocator state (or the next
//! start would walk the whole file), a panic inside redb is damage of the file and not the end of the process, and
//! after an error of the disk the handle, which redb has closed, is dropped and the file opened anew. What a table
//! means is its owner's business.

use std::fs::{File, OpenOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::backends::InMemoryBackend;
use redb::{Builder, Database, Durability, ReadTransaction, ReadableDatabase, TableDefinition, WriteTransaction};

use super::FORMAT_VERSION;
use super::backend::{Faults, FileHealth, StoreFile};
use super::error::{StoreError, Trouble};

/// In each database: what it is, and of which format.
const FORMAT: TableDefinition<&str, &[u8]> = TableDefinition::new("shoal");
const FORMAT_KEY: &str = "format";

/// An open database and what has failed under it.
#[derive(Debug)]
pub(super) struct OpenDatabase {
    /// The database.
    pub(super) database: Database,
    /// Its file's failures.
    pub(super) health: Arc<FileHealth>,
}

/// Runs `work` on the database in `file`; a panic becomes damage of that file.
pub(super) fn guarded<T>(file: &Path, work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|trouble| trouble.about(file)),
        Err(panic) => Err(StoreError::damaged(file, Trouble::panic_text(panic.as_ref()))),
    }
}

/// Opens the database in `path`; with `create` it must not be there yet.
pub(super) fn open(
    path: &Path,
    create: bool,
    cache_bytes: usize,
    faults: Option<&Arc<dyn Faults>>,
) -> Result<OpenDatabase, StoreError> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(create).open(path);
    let file = file.map_err(|source| StoreError::io(path, source))?;
    if !create && file.metadata().map_err(|source| StoreError::io(path, source))?.len() == 0 {
        return Err(StoreError::damaged(path, "it is empty"));
    }
    guarded(path, || {
        let backend = StoreFile::new(path, file, faults.cloned())?;
        let health = backend.health();
        let database = Builder::new().set_cache_size(cache_bytes).create_with_backend(backend)?;
        Ok(OpenDatabase { database, health })
    })
}

impl OpenDatabase {
    /// Runs `work` in a read transaction. Long ones keep the index from reusing space: scan in batches.
    pub(super) fn read<T>(
        &self,
        file: &Path,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        guarded(file, || work(&self.database.begin_read()?))
    }

    /// Runs `work` in a write transaction and commits it.
    pub(super) fn write<T>(
        &self,
        file: &Path,
        durability: Durability,
        work: impl FnOnce(&WriteTransaction) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        guarded(file, || {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(durability)?;
            transaction.set_quick_repair(matches!(durability, Durability::Immediate));
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })
        .map_err(|error| self.with_cause(file, error))
    }

    /// Closes the database, and reports what redb would swallow.
    pub(super) fn close(self, file: &Path) -> Result<(), StoreError> {
        let Self { database, health } = self;
        guarded(file, || {
            drop(database);
            Ok(())
        })?;
        health.failure().map_or(Ok(()), |source| Err(StoreError::io(file, source)))
    }

    /// redb says "previous I/O error" once its handle is closed; the file knows which one.
    fn with_cause(&self, file: &Path, error: StoreError) -> StoreError {
        match (&error, self.health.failure()) {
            (StoreError::Io { .. }, Some(source)) => StoreError::io(file, source),
            _ => error,
        }
    }
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
pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| StoreError::io(folder, source))
}

/// A database with a place of its own in the home: the index or the catalog.
#[derive(Debug)]
pub(super) struct HomeDatabase {
    path: PathBuf,
    kind: &'static str,
    cache_bytes: usize,
    faults: Option<Arc<dyn Faults>>,
    // Held for reading during each transaction, for writing only to exchange or close the handle.
    handle: RwLock<Handle>,
}

#[derive(Debug)]
enum Handle {
    Open(OpenDatabase),
    /// Opening it anew failed; the next [`HomeDatabase::reopen`] tries again.
    Broken(StoreError),
    Closed,
}

impl Handle {
    fn database(&self) -> Result<&OpenDatabase, StoreError> {
        match self {
            Self::Open(database) => Ok(database),
            Self::Broken(error) => Err(error.clone()),
            Self::Closed => Err(StoreError::Closed),
        }
    }
}

impl HomeDatabase {
    /// Opens the database, or makes it with the tables that `tables` opens. The file appears under its name only
    /// once it is whole.
    pub(super) fn open(
        path: PathBuf,
        kind: &'static str,
        cache_bytes: usize,
        faults: Option<Arc<dyn Faults>>,
        tables: impl FnOnce(&WriteTransaction) -> Result<(), Trouble>,
    ) -> Result<Self, StoreError> {
        let exists = path.try_exists().map_err(|source| StoreError::io(&path, source))?;
        let handle = if exists {
            open(&path, false, cache_bytes, faults.as_ref())?
        } else {
            create(&path, kind, cache_bytes, faults.as_ref(), tables)?
        };
        handle.read(&path, |transaction| check_format(transaction, kind))?;
        Ok(Self { path, kind, cache_bytes, faults, handle: RwLock::new(Handle::Open(handle)) })
    }

    /// A database that lies in memory only, in place of the one at `path`: for what can be made again and has no room
    /// on the disk just now.
    pub(super) fn in_memory(
        path: PathBuf,
        kind: &'static str,
        cache_bytes: usize,
        tables: impl FnOnce(&WriteTransaction) -> Result<(), Trouble>,
    ) -> Result<Self, StoreError> {
        let handle = guarded(&path, || {
            let database = Builder::new().set_cache_size(cache_bytes).create_with_backend(InMemoryBackend::new())?;
            Ok(OpenDatabase { database, health: Arc::default() })
        })?;
        handle.write(&path, Durability::Immediate, tables)?;
        Ok(Self { path, kind, cache_bytes, faults: None, handle: RwLock::new(Handle::Open(handle)) })
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` in a read transaction.
    pub(super) fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Result<T, Trouble>) -> Result<T, StoreError> {
        let handle = self.handle.read().unwrap_or_else(PoisonError::into_inner);
        handle.database()?.read(&self.path, work)
    }

    /// Runs `work` in a write transaction and commits it.
    pub(super) fn write<T>(
        &self,
        durability: Durability,
        work: impl FnOnce(&WriteTransaction) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let handle = self.handle.read().unwrap_or_else(PoisonError::into_inner);
        handle.database()?.write(&self.path, durability, work)
    }

    /// Opens the file anew after a fault; what was not committed durably is gone from it.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        let mut handle = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *handle, Handle::Broken(StoreError::Closed)) {
            Handle::Open(old) => {
                if let Err(error) = old.close(&self.path) {
                    tracing::warn!(%error, "closing after a fault");
                }
            }
            Handle::Broken(_) => {}
            Handle::Closed => {
                *handle = Handle::Closed;
                return Err(StoreError::Closed);
            }
        }
        let opened = open(&self.path, false, self.cache_bytes, self.faults.as_ref()).and_then(|opened| {
            opened.read(&self.path, |transaction| check_format(transaction, self.kind))?;
            Ok(opened)
        });
        match opened {
            Ok(opened) => {
                *handle = Handle::Open(opened);
                Ok(())
            }
            Err(error) => {
                *handle = Handle::Broken(error.clone());
                Err(error)
            }
        }
    }

    /// Checks every page of the file that is in use against its checksum. When one is wrong the file is put aside, under
    /// the extension `damaged`, and begun anew with what `salvage` had taken out of it; says what was wrong. Waits for
    /// transactions, and lets none begin meanwhile: redb discards its state when such a check fails.
    pub(super) fn check_or_renew<T>(
        &self,
        salvage: impl FnOnce(&ReadTransaction) -> Result<T, Trouble>,
        fill: impl FnOnce(&WriteTransaction, T) -> Result<(), Trouble>,
    ) -> Result<Option<StoreError>, StoreError> {
        let mut handle = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        let salvaged = handle.database()?.read(&self.path, salvage);
        let Handle::Open(open) = &mut *handle else {
            return Err(StoreError::Closed);
        };
        let wrong = match guarded(&self.path, || Ok(open.database.check_integrity()?)) {
            Ok(true) => return Ok(None),
            Ok(false) => StoreError::damaged(&self.path, "a page does not match its checksum"),
            Err(error) => error,
        };
        self.begin_anew(&mut handle, salvaged?, fill)?;
        Ok(Some(wrong))
    }

    /// Puts the file aside, under the extension `damaged`, and begins an empty one.
    pub(super) fn renew(
        &self,
        tables: impl FnOnce(&WriteTransaction) -> Result<(), Trouble>,
    ) -> Result<(), StoreError> {
        let mut handle = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        self.begin_anew(&mut handle, (), |transaction, ()| tables(transaction))
    }

    fn begin_anew<T>(
        &self,
        handle: &mut Handle,
        salvaged: T,
        fill: impl FnOnce(&WriteTransaction, T) -> Result<(), Trouble>,
    ) -> Result<(), StoreError> {
        match std::mem::replace(handle, Handle::Broken(StoreError::Closed)) {
            Handle::Open(old) => {
                if let Err(error) = old.close(&self.path) {
                    tracing::warn!(%error, "closing a damaged file");
                }
            }
            Handle::Broken(_) => {}
            Handle::Closed => {
                *handle = Handle::Closed;
                return Err(StoreError::Closed);
            }
        }
        let aside = self.path.with_extension("damaged");
        let renamed = std::fs::rename(&self.path, &aside).map_err(|source| StoreError::io(&self.path, source));
        let made = renamed.and_then(|()| {
            let fill = |transaction: &WriteTransaction| fill(transaction, salvaged);
            create(&self.path, self.kind, self.cache_bytes, self.faults.as_ref(), fill)
        });
        let (state, outcome) = match made {
            Ok(made) => (Handle::Open(made), Ok(())),
            Err(error) => (Handle::Broken(error.clone()), Err(error)),
        };
        *handle = state;
        outcome
    }

    /// Closes the file; later calls say so.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        let mut handle = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *handle, Handle::Closed) {
            Handle::Open(database) => database.close(&self.path),
            Handle::Broken(_) | Handle::Closed => Ok(()),
        }
    }
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
    let made = open(&passage, true, cache_bytes, faults).and_then(|handle| {
        handle.write(&passage, Durability::Immediate, |transaction| {
            write_format(transaction, kind)?;
            tables(transaction)
        })?;
        std::fs::rename(&passage, path).map_err(|source| StoreError::io(path, source))?;
        path.parent().map_or(Ok(()), sync_folder)?;
        Ok(handle)
    });
    if made.is_err() {
        // Nothing was in it yet; a leftover is removed at the next start.
        let _ = std::fs::remove_file(&passage);
    }
    made
}

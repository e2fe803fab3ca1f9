//! A database with a place of its own in the home: the index, the catalog, the table of files in place.
//!
//! What follows from other files is *derived*: where the disk takes no writes it goes on in memory, and its owner
//! brings it back to the disk. What follows from nothing is then only read, and each attempt to write looks first
//! whether the disk takes it again.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use redb::{Durability, ReadTransaction, WriteTransaction};

use super::backend::Faults;
use super::database::{OpenDatabase, check_pages, create, in_memory, open, open_over};
use super::error::{StoreError, Trouble};
use super::salvage::Salvage;

/// What a database of the home is.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    /// Its kind, which the file names too.
    pub(super) kind: &'static str,
    pub(super) cache_bytes: usize,
    /// Opens each table, so that all are there.
    pub(super) tables: fn(&WriteTransaction) -> Result<(), Trouble>,
    /// Whether all of it can be made again from other files.
    pub(super) is_derived: bool,
}

/// An open database that can be opened again.
#[derive(Debug)]
pub(super) struct HomeDatabase {
    path: PathBuf,
    about: About,
    faults: Option<Arc<dyn Faults>>,
    // The file was to be put aside, which the system did not let us.
    is_left: AtomicBool,
    // Held for reading during each transaction, for writing only to exchange or close the handle.
    handle: RwLock<Handle>,
}

#[derive(Debug)]
enum Handle {
    Open(OpenDatabase),
    /// It was let go of, or could not be opened; the next [`HomeDatabase::reopen`] tries again.
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
    /// Opens the database, or makes it. The file appears under its name only once it is whole.
    ///
    /// One with a damaged page is not written to: what redb makes of that may end the process. If it is derived it is
    /// not opened; else it is open to be read, [in memory](Self::is_in_memory), until it is
    /// [begun anew](Self::check_or_renew).
    pub(super) fn open(path: PathBuf, about: About, faults: Option<Arc<dyn Faults>>) -> Result<Self, StoreError> {
        let this = Self { path, about, faults, is_left: AtomicBool::new(false), handle: RwLock::new(Handle::Closed) };
        let opened = this.opened_sound()?;
        *this.exclusive() = Handle::Open(opened);
        Ok(this)
    }

    /// An empty one in memory, because the damaged one at `path` could not be put aside.
    pub(super) fn in_memory(path: PathBuf, about: About, refusal: StoreError) -> Result<Self, StoreError> {
        let this =
            Self { path, about, faults: None, is_left: AtomicBool::new(true), handle: RwLock::new(Handle::Closed) };
        let opened = this.empty_in_memory(refusal)?;
        *this.exclusive() = Handle::Open(opened);
        Ok(this)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Handle> {
        self.handle.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opened if no page of it is damaged; else, or where the disk does not let us see, to be read, if it follows from
    /// nothing.
    fn opened_sound(&self) -> Result<OpenDatabase, StoreError> {
        let exists = self.path.try_exists().map_err(|source| StoreError::io(&self.path, source));
        match exists.and_then(|exists| if exists { self.check_pages() } else { Ok(()) }) {
            Err(error) if !self.about.is_derived => self.opened_over(error),
            Err(error) if error.is_damage() => Err(error),
            Err(error) => {
                tracing::warn!(%error, "the pages of a table could not be checked");
                self.opened()
            }
            Ok(()) => self.opened(),
        }
    }

    fn opened(&self) -> Result<OpenDatabase, StoreError> {
        let About { kind, cache_bytes, tables, .. } = self.about;
        let exists = self.path.try_exists().map_err(|source| StoreError::io(&self.path, source))?;
        if exists {
            return open(&self.path, kind, cache_bytes, self.faults.as_ref());
        }
        self.or_in_memory(create(&self.path, kind, cache_bytes, self.faults.as_ref(), tables))
    }

    fn opened_over(&self, refusal: StoreError) -> Result<OpenDatabase, StoreError> {
        open_over(&self.path, self.about.cache_bytes, self.faults.as_ref(), refusal)
    }

    fn or_in_memory(&self, made: Result<OpenDatabase, StoreError>) -> Result<OpenDatabase, StoreError> {
        match made {
            Err(error) if self.about.is_derived && error.is_refusal() => self.empty_in_memory(error),
            made => made,
        }
    }

    fn empty_in_memory(&self, refusal: StoreError) -> Result<OpenDatabase, StoreError> {
        tracing::warn!(error = %refusal, file = %self.path.display(), "kept in memory");
        let made = in_memory(&self.path, self.about.cache_bytes, refusal)?;
        made.write(&self.path, Durability::Immediate, self.about.tables)?;
        Ok(made)
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether what is written stays in memory, because the disk takes nothing.
    pub(super) fn is_in_memory(&self) -> bool {
        let handle = self.handle.read().unwrap_or_else(PoisonError::into_inner);
        handle.database().is_ok_and(|database| database.refusal().is_some())
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
        if !self.about.is_derived && self.is_in_memory() {
            // The cause may be gone; unless it is damage, which is for a check to mend.
            self.reopen()?;
        }
        let handle = self.handle.read().unwrap_or_else(PoisonError::into_inner);
        let database = handle.database()?;
        match database.refusal() {
            Some(refusal) if !self.about.is_derived => Err(refusal.clone()),
            _ => database.write(&self.path, durability, work),
        }
    }

    /// Opens the file anew after a fault; what was not committed durably is gone from it.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        // To look for damage takes long; of what can be made again it may be met later.
        let may_be_damaged = !self.about.is_derived || self.is_left.load(Ordering::Relaxed);
        self.exchange(|| if may_be_damaged { self.opened_sound() } else { self.opened() })
    }

    /// Lets go of the file as it is. Until it is [opened anew](Self::reopen) each use of it fails.
    pub(super) fn give_up(&self) {
        let mut handle = self.exclusive();
        match &*handle {
            Handle::Closed => {}
            Handle::Broken(cause) if !cause.is_damage() => {}
            Handle::Open(_) | Handle::Broken(_) => *handle = self.unopened(),
        }
    }

    /// Does `work`; when a fault of the disk has closed the file, maybe long ago, opens it anew and tries once more.
    pub(super) fn again<T>(&self, mut work: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
        match work() {
            Err(error) if error.closes_handle() && !error.is_damage() => {
                tracing::warn!(%error, file = %self.path.display(), "opening a database anew");
                self.reopen()?;
                work()
            }
            result => result,
        }
    }

    /// Leaves the disk, which takes nothing because of `refusal`: only for what is derived.
    pub(super) fn leave_disk(&self, refusal: StoreError) -> Result<(), StoreError> {
        self.exchange(|| match self.opened_over(refusal.clone()) {
            Ok(opened) => Ok(opened),
            Err(_) => self.empty_in_memory(refusal),
        })
    }

    fn exchange(&self, other: impl FnOnce() -> Result<OpenDatabase, StoreError>) -> Result<(), StoreError> {
        let mut handle = self.exclusive();
        if matches!(*handle, Handle::Closed) {
            return Err(StoreError::Closed);
        }
        // Not closed, since that would write to it.
        *handle = self.unopened();
        let (state, outcome) = match other() {
            Ok(opened) => (Handle::Open(opened), Ok(())),
            Err(error) => (Handle::Broken(error.clone()), Err(error)),
        };
        *handle = state;
        outcome
    }

    /// While it is not known whether it can be opened.
    fn unopened(&self) -> Handle {
        Handle::Broken(StoreError::io(&self.path, std::io::ErrorKind::Other.into()))
    }

    /// Checks every page of the file that is in use against its checksum. When one is wrong the file is kept aside,
    /// under the extension `damaged`, and begun anew with what `salvage` takes out of the file; says what was wrong.
    /// Waits for transactions, and lets none begin meanwhile.
    pub(super) fn check_or_renew<T>(
        &self,
        salvage: impl FnOnce(&Salvage<'_>) -> Result<T, StoreError>,
        fill: impl FnOnce(&WriteTransaction, T) -> Result<(), Trouble>,
    ) -> Result<Option<StoreError>, StoreError> {
        let mut handle = self.exclusive();
        let open = handle.database()?;
        if self.about.is_derived && open.refusal().is_some() {
            // The file was left for what is in memory.
            return Ok(None);
        }
        open.check_place(&self.path)?;
        let wrong = match self.check_pages() {
            Err(wrong) if wrong.is_damage() => wrong,
            checked => return checked.map(|()| None),
        };
        let About { cache_bytes, .. } = self.about;
        match salvage(&Salvage { open, path: &self.path, cache_bytes, faults: self.faults.as_ref() }) {
            Ok(salvaged) => self.begin_anew(&mut handle, salvaged, fill).map(|()| Some(wrong)),
            Err(error) => {
                self.go_on_in_memory(&mut handle, wrong);
                Err(error)
            }
        }
    }

    /// Lets go of the file, which stays as it is: what can be read of it still can, and nothing is written.
    fn go_on_in_memory(&self, handle: &mut Handle, because: StoreError) {
        *handle = self.unopened();
        *handle = self.opened_over(because).map_or_else(Handle::Broken, Handle::Open);
    }

    fn check_pages(&self) -> Result<(), StoreError> {
        check_pages(&self.path, self.about.cache_bytes, self.faults.as_ref())
    }

    /// Keeps the file aside, under the extension `damaged`, and begins an empty one.
    pub(super) fn renew(&self) -> Result<(), StoreError> {
        let mut handle = self.exclusive();
        self.begin_anew(&mut handle, (), |_, ()| Ok(()))
    }

    fn begin_anew<T>(
        &self,
        handle: &mut Handle,
        salvaged: T,
        fill: impl FnOnce(&WriteTransaction, T) -> Result<(), Trouble>,
    ) -> Result<(), StoreError> {
        if matches!(handle, Handle::Closed) {
            return Err(StoreError::Closed);
        }
        let About { kind, cache_bytes, tables, .. } = self.about;
        // Not closed, since that would write to it.
        *handle = self.unopened();
        let kept = self.keep_aside();
        self.is_left.store(kept.is_err(), Ordering::Relaxed);
        let made = kept.and_then(|()| {
            let fill = |transaction: &WriteTransaction| {
                tables(transaction)?;
                fill(transaction, salvaged)
            };
            create(&self.path, kind, cache_bytes, self.faults.as_ref(), fill)
        });
        match self.or_in_memory(made) {
            Ok(made) => *handle = Handle::Open(made),
            Err(error) => {
                self.go_on_in_memory(handle, error.clone());
                return Err(error);
            }
        }
        Ok(())
    }

    /// Gives the file the extension `damaged`. What follows from nothing has its old name, too, until the new file
    /// takes it: whatever happens in between, no start may find none and begin an empty one.
    fn keep_aside(&self) -> Result<(), StoreError> {
        let aside = self.path.with_extension("damaged");
        let kept = if self.about.is_derived {
            std::fs::rename(&self.path, &aside)
        } else {
            match std::fs::remove_file(&aside) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                // Some file systems have no links.
                _ => std::fs::hard_link(&self.path, &aside).or_else(|_| std::fs::copy(&self.path, &aside).map(drop)),
            }
        };
        kept.map_err(|source| StoreError::io(&self.path, source))
    }

    /// Closes the file; later calls say so.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        match std::mem::replace(&mut *self.exclusive(), Handle::Closed) {
            Handle::Open(database) => database.close(&self.path),
            Handle::Broken(_) | Handle::Closed => Ok(()),
        }
    }
}

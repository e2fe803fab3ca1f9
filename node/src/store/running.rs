//! The open store: its files, its threads, and how both end.

use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{Builder, JoinHandle};

use tokio::sync::broadcast;

use super::backend::Faults;
use super::catalog::Catalog;
use super::findings::Findings;
use super::gc::{self, Collector};
use super::holds::Holds;
use super::in_place::InPlace;
use super::intake::Intake;
use super::lock::HomeLock;
use super::losses::Losses;
use super::quiet::Quiet;
use super::quota::Quota;
use super::reserve::Reserve;
use super::segments::Segments;
use super::shared::Shared;
use super::told::Told;
use super::{
    CATALOG_FILE, IN_PLACE_FILE, INDEX_FILE, PASSAGE_EXTENSION, SEGMENTS_FOLDER, Store, StoreConfig, StoreError,
    formats, recovery, writer,
};

/// Evicted contents that somebody may be late to hear of.
const EVICTED: usize = 1024;
/// News that wait for the keeper; beyond that, writers wait.
const NEWS_QUEUE: usize = 4;

/// The store's threads and what they share.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) shared: Arc<Shared>,
    // Taken once, by whoever ends the store.
    threads: Mutex<Option<Threads>>,
}

#[derive(Debug)]
struct Threads {
    writers: Vec<JoinHandle<()>>,
    keeper: JoinHandle<()>,
    catalog: JoinHandle<()>,
    collector: JoinHandle<()>,
}

impl Store {
    /// [`open`](Self::open) with failures to inject.
    pub(super) fn open_with(
        home: &Path,
        config: &StoreConfig,
        faults: Option<Arc<dyn Faults>>,
    ) -> Result<Self, StoreError> {
        let config = &config.fitted();
        std::fs::create_dir_all(home).map_err(|source| StoreError::io(home, source))?;
        let lock = HomeLock::take(home)?;
        let findings = Findings::default();
        Catalog::mend_head(&home.join(CATALOG_FILE), &findings);
        formats::check(home)?;
        remove_unfinished(home);
        let (losses, reserve) = (Losses::default(), Arc::new(Reserve::of(home)));
        let (catalog, changes) =
            Catalog::open(home.join(CATALOG_FILE), faults.clone(), &findings, losses.clone(), Arc::clone(&reserve))?;
        let segments = Segments::find(home.join(SEGMENTS_FOLDER), config, faults.clone())?;
        catalog.look_into(&segments)?;
        let in_place = InPlace::open(home.join(IN_PLACE_FILE), faults.clone(), &findings)?;
        let index = recovery::ready_index(&home.join(INDEX_FILE), config, &segments, faults.as_ref(), &findings)?;
        if !index.is_in_memory() {
            segments.sync()?;
        }
        let shared = Arc::new(Shared {
            home: home.into(),
            segment_bytes: config.segment_bytes,
            intake: Intake::new(config.group_bytes, config.group_delay, config.queue_bytes),
            index,
            segments,
            catalog,
            losses,
            findings,
            in_place,
            holds: Arc::<Holds>::default(),
            collector: Collector::default(),
            reserve,
            told: Told::default(),
            quota: Quota::new(home, config.quota, config.segment_bytes),
            evicted: broadcast::channel(EVICTED).0,
            unsynced_groups: AtomicU32::default(),
            quiet: Quiet::default(),
            reads: AtomicU64::default(),
            healed: RwLock::new(0),
            lock: Mutex::new(Some(lock)),
        });
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            Builder::new().name(name.into()).spawn(work).map_err(|source| StoreError::io(home, source))
        };
        let (news, received) = sync_channel(NEWS_QUEUE);
        let commit_groups = config.index_commit_groups.max(1);
        let keeping = Arc::clone(&shared);
        let work = Box::new(move || writer::keep_index(&keeping, &received));
        let keeper = spawn("store-index", work)?;
        let catalog = spawn("store-catalog", Box::new(move || changes.serve()))?;
        let (collecting, reports) = (Arc::clone(&shared), news.clone());
        let collector = spawn("store-collect", Box::new(move || gc::run(&collecting, &reports)))?;
        let writers = (0..config.writers.max(1)).map(|at| {
            let (writing, news) = (Arc::clone(&shared), news.clone());
            spawn(&format!("store-write-{at}"), Box::new(move || writer::write_groups(&writing, &news, commit_groups)))
        });
        let writers = writers.collect::<Result<_, _>>()?;
        Ok(Self {
            running: Arc::new(Running {
                shared,
                threads: Mutex::new(Some(Threads { writers, keeper, catalog, collector })),
            }),
        })
    }
}

/// Removes databases whose making was cut short: nothing was in them yet.
fn remove_unfinished(home: &Path) {
    for file in [CATALOG_FILE, INDEX_FILE, IN_PLACE_FILE] {
        let passage = home.join(file).with_extension(PASSAGE_EXTENSION);
        if !passage.exists() {
            // Where nothing may be written, to remove it fails all the same.
            continue;
        }
        match std::fs::remove_file(&passage) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, file = %passage.display(), "it stays: nothing is in it");
            }
            _ => {}
        }
    }
}

impl Running {
    /// Waits for the threads and closes the files.
    pub(super) fn end(&self) -> Result<(), StoreError> {
        let Some(threads) = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        self.shared.collector.close();
        let join = |thread: JoinHandle<()>| {
            if thread.join().is_err() {
                tracing::error!("a thread of the store ended by a panic");
            }
        };
        threads.writers.into_iter().chain([threads.collector, threads.keeper]).for_each(join);
        // The last, as the others tell it of records.
        self.shared.catalog.end();
        join(threads.catalog);
        self.shared.close_files()
    }
}

/// Waits for commits in progress and closes the files; what was not acknowledged is forgotten.
impl Drop for Running {
    fn drop(&mut self) {
        self.shared.intake.abandon();
        if let Err(error) = self.end() {
            tracing::warn!(%error, "closing the store");
        }
    }
}

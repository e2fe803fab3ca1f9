//! The chunk store: what this node holds, on disk.
//!
//! Payload lies in *segments* (`segments/NNNNNN.redb`), as a byte stream with, for each commit, a directory of what is
//! in it. `index.redb` says where each object lies; it follows from the segments and is rebuilt from them when it is
//! lost. `catalog.redb` keeps the manifests' records, which nothing else knows. The bytes are in `docs/format.md`, the
//! reasons in `docs/decisions/0002-store.md`. Content *in place* stays in files of the user: `in-place.redb` says which
//! chunk lies where in which file.
//!
//! What always holds:
//! * *Acknowledged* means the segment's commit is durable: it is there after kill -9 or a power cut.
//! * No byte is returned that was not hashed against its id.
//! * What failed to be written is an error for whoever put it; what was held before stays readable, and the store
//!   works on by itself once the disk does.
//! * Writing happens on the store's own threads. The async methods wait without holding a thread; methods that are not
//!   async read the disk and belong on a blocking thread.
//!
//! * Nothing is deleted that a record leads to or that a [`Hold`] keeps.
//!
//! The store knows nothing of the network.

mod backend;
mod catalog;
mod config;
mod database;
mod error;
mod gc;
mod holds;
mod home_database;
mod in_place;
mod index;
mod ingest;
mod intake;
mod lock;
mod overlay;
mod panics;
mod payload;
mod quota;
mod reader;
mod record;
mod recovery;
mod rows;
mod segment;
mod segments;
mod shared;
#[cfg(test)]
mod tests;
mod usage;
mod uses;
mod verify;
mod writer;

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use shoal_protocol::hash::{ChunkId, ContentHash, DiscoveryKey, NodeId};
use tokio::sync::{broadcast, watch};

pub use self::config::StoreConfig;
pub use self::error::{ReadError, StoreError};
pub use self::gc::{Collected, Effort};
pub use self::holds::Hold;
pub use self::in_place::{FileNumber, FileStamp, InPlaceWriter, KeptChunk, NewFile};
pub use self::ingest::{Added, Ingest};
pub use self::intake::Seq;
pub use self::quota::MIN_QUOTA_BYTES;
pub use self::reader::Read;
pub use self::record::{ContentKind, ContentState, ManifestRecord, Removal};
pub use self::usage::Usage;
pub use self::verify::{Damage, Watcher};

use self::backend::Faults;
use self::catalog::{Catalog, Change};
use self::gc::Collector;
use self::holds::Holds;
use self::in_place::InPlace;
use self::index::Entry;
use self::intake::Intake;
use self::lock::HomeLock;
use self::quota::Quota;
use self::rows::Kind;
use self::segments::Segments;
use self::shared::Shared;

/// The version of everything the store writes.
pub const FORMAT_VERSION: u32 = 1;
/// The largest object the store takes: the largest chunk and the largest node fit several times over.
pub const MAX_OBJECT_BYTES: usize = 4 << 20;

const INDEX_FILE: &str = "index.redb";
const CATALOG_FILE: &str = "catalog.redb";
const IN_PLACE_FILE: &str = "in-place.redb";
const SEGMENTS_FOLDER: &str = "segments";
/// Files that are not whole yet; removed when found at a start.
const PASSAGE_EXTENSION: &str = "new";
/// Evicted contents that somebody may be late to hear of.
const EVICTED: usize = 1024;
/// Written groups that wait for the indexer; beyond that, writers wait.
const NEWS_QUEUE: usize = 4;

/// A handle on the open store; clones share it. It closes when [`close`](Self::close) is called or the last clone is
/// dropped.
#[derive(Debug, Clone)]
pub struct Store {
    running: Arc<Running>,
}

/// The store's threads and what they share.
#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    // Taken once, by whoever ends the store.
    threads: Mutex<Option<Threads>>,
}

#[derive(Debug)]
struct Threads {
    writers: Vec<JoinHandle<()>>,
    indexer: JoinHandle<()>,
    catalog: JoinHandle<()>,
    collector: JoinHandle<()>,
}

impl Store {
    /// Opens the store of `home`, making what is not there, and puts right what an unclean end left. Blocks: some
    /// milliseconds, or seconds when the index is lost and the store is large.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another process, or another handle in this one, has the home.
    pub fn open(home: &Path, config: StoreConfig) -> Result<Self, StoreError> {
        if let Some(quota) = config.quota.filter(|quota| *quota < MIN_QUOTA_BYTES) {
            return Err(StoreError::QuotaTooSmall { quota, least: MIN_QUOTA_BYTES });
        }
        Self::open_with(home, &config, None)
    }

    /// [`open`](Self::open) with failures to inject.
    fn open_with(home: &Path, config: &StoreConfig, faults: Option<Arc<dyn Faults>>) -> Result<Self, StoreError> {
        let config = &config.fitted();
        std::fs::create_dir_all(home).map_err(|source| StoreError::io(home, source))?;
        let lock = HomeLock::take(home)?;
        remove_unfinished(home);
        let (catalog, changes) = Catalog::open(home.join(CATALOG_FILE), faults.clone())?;
        let segments = Segments::find(home.join(SEGMENTS_FOLDER), config, faults.clone())?;
        let in_place = InPlace::open(home.join(IN_PLACE_FILE), faults.clone())?;
        let index = recovery::ready_index(&home.join(INDEX_FILE), config, &segments, faults.as_ref())?;
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
            in_place,
            holds: Arc::<Holds>::default(),
            collector: Collector::default(),
            quota: Quota::new(home, config.quota, config.segment_bytes),
            evicted: broadcast::channel(EVICTED).0,
            reads: AtomicU64::default(),
            healed: Mutex::new(0),
            lock: Mutex::new(Some(lock)),
        });
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            Builder::new().name(name.into()).spawn(work).map_err(|source| StoreError::io(home, source))
        };
        let (news, received) = sync_channel(NEWS_QUEUE);
        let commit_groups = config.index_commit_groups.max(1);
        let indexing = Arc::clone(&shared);
        let work = Box::new(move || writer::index_groups(&indexing, &received, commit_groups));
        let indexer = spawn("store-index", work)?;
        let catalog = spawn("store-catalog", Box::new(move || changes.serve()))?;
        let (collecting, reports) = (Arc::clone(&shared), news.clone());
        let collector = spawn("store-collect", Box::new(move || gc::run(&collecting, &reports)))?;
        let writers = (0..config.writers.max(1)).map(|at| {
            let (writing, news) = (Arc::clone(&shared), news.clone());
            spawn(&format!("store-write-{at}"), Box::new(move || writer::write_groups(&writing, &news)))
        });
        let writers = writers.collect::<Result<_, _>>()?;
        if config.quota.is_some() {
            // It may be less than what is here already.
            shared.collector.nudge(0);
        }
        Ok(Self {
            running: Arc::new(Running {
                shared,
                threads: Mutex::new(Some(Threads { writers, indexer, catalog, collector })),
            }),
        })
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.running.shared
    }

    /// Begins to put objects: one per publish or fetch.
    pub fn ingest(&self) -> Ingest {
        self.ingest_under(self.hold(None))
    }

    /// Begins to put objects that `hold` keeps.
    pub fn ingest_under(&self, hold: Hold) -> Ingest {
        Ingest::new(Arc::clone(self.shared()), hold)
    }

    /// A hold, for work on `content` if that is known: what [`find_chunks`](Self::find_chunks),
    /// [`find_node`](Self::find_node) and ingests under it find or put stays until the last clone is dropped, and the
    /// content is not evicted.
    pub fn hold(&self, content: Option<ContentHash>) -> Hold {
        self.shared().holds.hold(content)
    }

    /// Which of the chunks are held, and stay so as long as `hold` lives. Blocks.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn find_chunks(&self, ids: &[ChunkId], hold: &Hold) -> Result<Vec<bool>, StoreError> {
        Ok(self.shared().find(ids.iter().map(ChunkId::as_bytes), hold)?.iter().map(Entry::is_held).collect())
    }

    /// The encoding of a manifest's node, checked; `None` when it is not held. It stays as long as `hold` lives. Blocks.
    ///
    /// # Errors
    /// As for [`read_chunk`](Self::read_chunk).
    pub fn find_node(&self, id: &NodeId, hold: &Hold) -> Read {
        self.shared().find(std::iter::once(id.as_bytes()), hold)?;
        self.read_node(id)
    }

    /// Begins to place chunks in files of the user instead of the store: one per publish or fetch.
    pub fn in_place_writer(&self) -> InPlaceWriter {
        self.in_place_writer_under(self.hold(None))
    }

    /// The same for work that `hold` keeps.
    pub fn in_place_writer_under(&self, hold: Hold) -> InPlaceWriter {
        InPlaceWriter::new(Arc::clone(self.shared()), hold)
    }

    /// Follows what is settled: everything put up to the sequence number in it is durable and readable, unless its
    /// [`Ingest::check`] says otherwise.
    pub fn settled(&self) -> watch::Receiver<Seq> {
        self.shared().intake.settled()
    }

    /// The bytes of a chunk, checked; `None` when it is not held. Blocks.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when what lies on the disk is not the chunk.
    pub fn read_chunk(&self, id: &ChunkId) -> Read {
        reader::read_one(self.shared(), id.as_bytes(), Kind::Chunk)
    }

    /// The bytes of several chunks, checked, each as [`read_chunk`](Self::read_chunk) gives it, in the order asked
    /// for. All of them are in memory at once: ask for a few MiB at a time. Blocks.
    ///
    /// # Errors
    /// When the store cannot be read at all.
    pub fn read_chunks(&self, ids: &[ChunkId]) -> Result<Vec<Read>, StoreError> {
        reader::read_many(self.shared(), ids.iter().map(ChunkId::as_bytes), Kind::Chunk)
    }

    /// The encoding of a manifest's node, checked; `None` when it is not held. Blocks.
    ///
    /// # Errors
    /// As for [`read_chunk`](Self::read_chunk).
    pub fn read_node(&self, id: &NodeId) -> Read {
        reader::read_one(self.shared(), id.as_bytes(), Kind::Node)
    }

    /// Which of the chunks are held. Blocks.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn holds_chunks(&self, ids: &[ChunkId]) -> Result<Vec<bool>, StoreError> {
        reader::holds(self.shared(), ids.iter().map(ChunkId::as_bytes))
    }

    /// Which of the nodes are held. Blocks.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn holds_nodes(&self, ids: &[NodeId]) -> Result<Vec<bool>, StoreError> {
        reader::holds(self.shared(), ids.iter().map(NodeId::as_bytes))
    }

    /// Adds a content's record, or brings the one that is there up to date: its pin and its first time stay, its last
    /// use and its state never go back. Durable on return; dropped while waiting, it may happen or not.
    ///
    /// # Errors
    /// The disk's.
    pub async fn put_manifest(&self, record: ManifestRecord) -> Result<(), StoreError> {
        self.shared().catalog.change(Change::Put(record)).await.map(drop)
    }

    /// Notes, durably, that not all of a content is held; says whether there is a record.
    ///
    /// # Errors
    /// The disk's.
    pub async fn incomplete_manifest(&self, hash: ContentHash) -> Result<bool, StoreError> {
        self.shared().catalog.change(Change::Incomplete(hash)).await
    }

    /// Pins or unpins a content, durably; says whether there is a record. A pinned content is not evicted.
    ///
    /// # Errors
    /// The disk's.
    pub async fn pin_manifest(&self, hash: ContentHash, pinned: bool) -> Result<bool, StoreError> {
        self.shared().catalog.change(Change::Pin(hash, pinned)).await
    }

    /// Forgets a content's record, durably; says whether there was one. Its chunks stay.
    ///
    /// # Errors
    /// The disk's.
    pub async fn remove_manifest(&self, hash: ContentHash) -> Result<bool, StoreError> {
        self.shared().catalog.change(Change::Remove(hash)).await
    }

    /// Forgets a content's record, durably, unless it is pinned or somebody works with it. Its room comes back with the
    /// next collection.
    ///
    /// # Errors
    /// The disk's.
    pub async fn remove_content(&self, hash: ContentHash) -> Result<Removal, StoreError> {
        let store = self.clone();
        let record = tokio::task::spawn_blocking(move || store.manifest(&hash)).await;
        let Some(record) = record.map_err(|_| StoreError::Closed)?? else {
            return Ok(Removal::Unknown);
        };
        if self.shared().holds.is_in_use(&hash) {
            return Ok(Removal::InUse);
        }
        if record.pinned || !self.shared().catalog.change(Change::RemoveUnpinned(hash)).await? {
            return Ok(Removal::Pinned);
        }
        self.shared().collector.nudge(record.bytes);
        Ok(Removal::Removed)
    }

    /// Notes that a content was used, in milliseconds of Unix time; says whether there is a record. A power cut may
    /// take it back.
    ///
    /// # Errors
    /// The disk's.
    pub async fn touch_manifest(&self, hash: ContentHash, now_unix_ms: u64) -> Result<bool, StoreError> {
        self.shared().catalog.change(Change::Touch(hash, now_unix_ms)).await
    }

    /// The record of a content. Blocks.
    ///
    /// # Errors
    /// The disk's, or that the record is damaged.
    pub fn manifest(&self, hash: &ContentHash) -> Result<Option<ManifestRecord>, StoreError> {
        self.shared().catalog.record(hash)
    }

    /// The record of the content that announces itself under `key`. Blocks.
    ///
    /// # Errors
    /// The disk's, or that the record is damaged.
    pub fn manifest_by_key(&self, key: &DiscoveryKey) -> Result<Option<ManifestRecord>, StoreError> {
        self.shared().catalog.record_by_key(key)
    }

    /// The records of all contents, in the order of their hashes. Blocks.
    ///
    /// # Errors
    /// The disk's.
    pub fn manifests(&self) -> Result<Vec<ManifestRecord>, StoreError> {
        self.shared().catalog.records()
    }

    /// Notes that others were given something of a content, in milliseconds of Unix time. Costs no write now; an
    /// unclean end may take back the last minutes of it.
    pub fn note_use(&self, hash: ContentHash, now_unix_ms: u64) {
        self.shared().catalog.note_use(hash, now_unix_ms);
    }

    /// Follows which contents are evicted.
    pub fn evicted(&self) -> broadcast::Receiver<ContentHash> {
        self.shared().evicted.subscribe()
    }

    /// Gives back room that nothing needs; with `dry_run` only says what would go. Dropped while waiting, it goes on.
    ///
    /// # Errors
    /// The disk's; [`StoreError::Unsure`] when damage leaves open what is needed.
    pub async fn collect(&self, effort: Effort, dry_run: bool) -> Result<Collected, StoreError> {
        let answer = self.shared().collector.ask(effort, dry_run)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// How much is held and what it takes. Blocks.
    ///
    /// # Errors
    /// The disk's.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        usage::of(self.shared())
    }

    /// Commits what is waiting, closes every file and gives the home free. Other clones are told that the store is
    /// closed; calling it again does nothing.
    ///
    /// # Errors
    /// The first thing that failed; nothing acknowledged depends on it.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.shared().intake.close();
        let running = Arc::clone(&self.running);
        let closed = tokio::task::spawn_blocking(move || running.end()).await;
        closed.unwrap_or(Err(StoreError::Closed))
    }
}

/// Removes databases whose making was cut short: nothing was in them yet.
fn remove_unfinished(home: &Path) {
    for file in [CATALOG_FILE, INDEX_FILE, IN_PLACE_FILE] {
        let passage = home.join(file).with_extension(PASSAGE_EXTENSION);
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
    fn end(&self) -> Result<(), StoreError> {
        let Some(threads) = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        self.shared.collector.close();
        self.shared.catalog.end();
        let others = [threads.collector, threads.indexer, threads.catalog];
        for thread in threads.writers.into_iter().chain(others) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store ended by a panic");
            }
        }
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

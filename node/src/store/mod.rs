//! The chunk store: what this node holds, on disk.
//!
//! Payload lies in *segments* (`segments/NNNNNN.redb`), as a byte stream with, for each commit, a directory of what is
//! in it. `index.redb` says where each object lies; it follows from the segments and is rebuilt from them when it is
//! lost. `catalog.redb` keeps the manifests' records, which nothing else knows for long. The bytes are in
//! `docs/format.md`, the reasons in `docs/decisions/0002-store.md`. Content *in place* stays in files of the user:
//! `in-place.redb` says which chunk lies where in which file.
//!
//! What always holds:
//! * *Acknowledged* means the segment's commit is durable: it is there after kill -9 or a power cut.
//! * No byte is returned that was not hashed against its id.
//! * What failed to be written is an error for whoever put it; what was held before stays readable, and the store
//!   works on by itself once the disk does.
//! * Writing happens on the store's own threads. The async methods wait without holding a thread; methods that are not
//!   async read the disk and belong on a blocking thread.
//! * Nothing is deleted that a record leads to or that a [`Hold`] keeps.
//!
//! The store knows nothing of the network.

mod backend;
mod catalog;
mod config;
mod contents;
mod database;
mod error;
mod findings;
mod formats;
mod gc;
mod header;
mod healing;
mod holds;
mod home_database;
mod in_place;
mod index;
mod ingest;
mod intake;
mod lock;
mod losses;
mod overlay;
mod panics;
mod payload;
mod quiet;
mod quota;
mod reader;
mod record;
mod recovery;
mod reserve;
mod rows;
mod running;
mod salvage;
mod segment;
mod segment_records;
mod segments;
mod shared;
#[cfg(test)]
mod tests;
mod told;
mod usage;
mod uses;
mod verify;
mod writer;

use std::path::Path;
use std::sync::Arc;

use shoal_protocol::hash::{ChunkId, ContentHash, NodeId};
use tokio::sync::watch;

pub use self::config::StoreConfig;
pub use self::error::{ReadError, StoreError};
pub use self::gc::{Collected, Effort};
pub use self::holds::Hold;
pub use self::in_place::{FileNumber, FileStamp, InPlaceWriter, KeptChunk, NewFile, Replacing};
pub use self::ingest::{Added, Ingest};
pub use self::intake::Seq;
pub use self::quota::MIN_QUOTA_BYTES;
pub use self::reader::Read;
pub use self::record::{ContentKind, ContentState, ManifestRecord, Removal};
pub use self::usage::Usage;
pub use self::verify::{Damage, Watcher};

use self::index::Entry;
use self::rows::Kind;
use self::running::Running;
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

/// A handle on the open store; clones share it. It closes when [`close`](Self::close) is called or the last clone is
/// dropped.
#[derive(Debug, Clone)]
pub struct Store {
    running: Arc<Running>,
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

    /// Which of the chunks are held, and stay so as long as `hold` lives; and what of them was found damaged first.
    /// Those in a file of the user that does not look as it did are read. Blocks.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn find_chunks(&self, ids: &[ChunkId], hold: &Hold) -> Result<(Vec<bool>, Option<ReadError>), StoreError> {
        let entries = self.shared().find(ids.iter().map(ChunkId::as_bytes), hold)?;
        let mut damage = None;
        let is_held = |(id, entry): (&ChunkId, &Entry)| match entry {
            Entry::InChangedFile(_) => match self.read_chunk(id) {
                Ok(read) => Ok(read.is_some()),
                Err(ReadError::Store(error)) => Err(error),
                Err(error) => {
                    damage.get_or_insert(error);
                    Ok(false)
                }
            },
            entry => Ok(entry.is_held()),
        };
        let held = ids.iter().zip(&entries).map(is_held).collect::<Result<_, _>>()?;
        Ok((held, damage))
    }

    /// The encoding of a manifest's node, checked; `None` when it is not held. It stays as long as `hold` lives.
    /// Blocks.
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

    /// Whether the store has copies of its own of all the chunks, wherever else they lie. Blocks.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn keeps_chunks(&self, ids: &[ChunkId]) -> Result<bool, StoreError> {
        let entries = self.shared().segment_entries(ids.iter().map(ChunkId::as_bytes))?;
        Ok(entries.iter().all(Entry::is_held))
    }

    /// How often so far something that was held has gone or was found damaged. What was read before that grew may not
    /// be held any more. Does not block.
    pub fn losses(&self) -> u64 {
        self.shared().losses.so_far()
    }

    /// Which of the nodes are held. Blocks.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn holds_nodes(&self, ids: &[NodeId]) -> Result<Vec<bool>, StoreError> {
        reader::holds(self.shared(), ids.iter().map(NodeId::as_bytes))
    }

    /// Gives back room that nothing needs; with `dry_run` only says what would go. Dropped while waiting, it goes on.
    ///
    /// # Errors
    /// The disk's; [`StoreError::Unsure`] when damage leaves open what is needed.
    pub async fn collect(&self, effort: Effort, dry_run: bool) -> Result<Collected, StoreError> {
        let answer = self.shared().collector.ask(effort, dry_run)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Lets go in the background what is beyond the quota, which may have been lowered. Whatever is put or collected
    /// does the same; without this a store in which nothing happens stays as it is.
    pub fn keep_quota(&self) {
        self.shared().collector.nudge();
    }

    /// Whether a content of so many bytes may fit at all, once all that may go has gone: nothing goes for one that does
    /// not. Chunks that it repeats are not known yet and count each time.
    ///
    /// # Errors
    /// [`StoreError::LargerThanQuota`].
    pub fn check_fits(&self, bytes: u64) -> Result<(), StoreError> {
        self.shared().quota.check_fits(bytes)
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

//! One publish's or fetch's way of putting objects into the store.
//!
//! *Acknowledged* means: the segment's commit that holds the object is durable. It is then also readable. What is not
//! acknowledged is neither readable nor promised. An ingest that has lost an object says so from then on, to every
//! call; who wants to go on begins another.
//!
//! What an ingest has put or found held is kept from the collector as long as the ingest lives.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use shoal_protocol::chunk::VerifiedChunk;
use shoal_protocol::hash::NodeId;

use super::catalog::Change;
use super::error::StoreError;
use super::holds::Hold;
use super::intake::Seq;
use super::record::ManifestRecord;
use super::rows::Kind;
use super::shared::Shared;

/// What an ingest has added that was not held before. Exact after [`Ingest::flush`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Added {
    /// Chunks; manifest nodes do not count.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Puts objects; made by [`Store::ingest`](super::Store::ingest). Cloning shares the count and the fate.
#[derive(Debug, Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
    state: Arc<IngestState>,
}

impl Ingest {
    pub(super) fn new(shared: Arc<Shared>, hold: Hold) -> Self {
        Self { shared, state: Arc::new(IngestState::new(hold, false)) }
    }

    /// One that writes what it puts even where that is held.
    pub(super) fn anew(shared: Arc<Shared>, hold: Hold) -> Self {
        Self { shared, state: Arc::new(IngestState::new(hold, true)) }
    }

    /// Adds or replaces a content's record, as [`Store::put_manifest`](super::Store::put_manifest) does. All that this
    /// ingest holds is kept until the record is there, even if nobody waits for it any more.
    ///
    /// # Errors
    /// The disk's.
    pub async fn record(&self, record: ManifestRecord) -> Result<(), StoreError> {
        let hold = Some(self.state.hold.clone());
        self.shared.catalog.change_under(Change::Put(record), hold).await.map(drop)
    }

    /// What keeps all that it has put and found held.
    pub fn hold(&self) -> Hold {
        self.state.hold.clone()
    }

    /// Puts a chunk. Waits only for room in the queue; the result stands for the chunk in
    /// [`Store::settled`](super::Store::settled). A chunk that is held or on its way already is not written twice.
    ///
    /// Cancel safe: either the chunk is in the queue, or nothing has happened.
    ///
    /// # Errors
    /// The fault that has cost this ingest an object, or [`StoreError::Closed`].
    pub async fn put_chunk(&self, chunk: VerifiedChunk) -> Result<Seq, StoreError> {
        self.state.check()?;
        let id = *chunk.id().as_bytes();
        self.shared.intake.put(id, Kind::Chunk, chunk.into_bytes(), &self.state).await
    }

    /// Puts a node of a manifest, like [`put_chunk`](Self::put_chunk). Its bytes are hashed here.
    ///
    /// # Errors
    /// [`StoreError::WrongBytes`] when the bytes are not those of `id`; else as for a chunk.
    pub async fn put_node(&self, id: NodeId, encoding: Bytes) -> Result<Seq, StoreError> {
        self.state.check()?;
        if NodeId::of(&encoding) != id {
            return Err(StoreError::WrongBytes { bytes: encoding.len() });
        }
        self.shared.intake.put(*id.as_bytes(), Kind::Node, encoding, &self.state).await
    }

    /// Waits until everything up to `seq` is acknowledged, without hurrying it.
    ///
    /// # Errors
    /// The fault that has cost this ingest an object.
    pub async fn acknowledged(&self, seq: Seq) -> Result<(), StoreError> {
        let mut settled = self.shared.intake.settled();
        settled.wait_for(|settled| *settled >= seq).await.map_err(|_| StoreError::Closed)?;
        self.state.check()
    }

    /// Commits what is waiting now, without waiting for it.
    pub fn hurry(&self) {
        self.shared.intake.flush();
    }

    /// Commits what is waiting now, and returns once all that was put is acknowledged.
    ///
    /// # Errors
    /// The fault that has cost this ingest an object.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.acknowledged(self.shared.intake.flush()).await
    }

    /// Commits what is waiting now, and records the content that it completes; returns once both are durable. A small
    /// content has its record in the commit of its objects. The record is as with [`record`](Self::record).
    ///
    /// # Errors
    /// The fault that has cost this ingest an object; the disk's.
    pub async fn complete(&self, record: ManifestRecord) -> Result<(), StoreError> {
        match self.shared.intake.flush_with(record, &self.state) {
            Ok(seq) => self.acknowledged(seq).await,
            Err(record) => {
                self.flush().await?;
                self.record(record).await
            }
        }
    }

    /// Whether all that was put is acknowledged or on its way.
    ///
    /// # Errors
    /// The fault that has cost this ingest an object.
    pub fn check(&self) -> Result<(), StoreError> {
        self.state.check()
    }

    /// What has been added so far.
    pub fn added(&self) -> Added {
        Added {
            chunks: self.state.new_chunks.load(Ordering::Relaxed),
            bytes: self.state.new_chunk_bytes.load(Ordering::Relaxed),
        }
    }
}

/// What one ingest has put, and whether some of it was lost.
#[derive(Debug)]
pub(super) struct IngestState {
    /// Keeps what it put and found held.
    pub(super) hold: Hold,
    // A std mutex: held for a few instructions, never across an await.
    failed: Mutex<Option<StoreError>>,
    pub(super) new_chunks: AtomicU64,
    pub(super) new_chunk_bytes: AtomicU64,
    /// What it puts is written even if it is held: where it lies, its directory is damaged.
    pub(super) is_anew: bool,
}

impl IngestState {
    /// An ingest that has put nothing yet.
    pub(super) fn new(hold: Hold, is_anew: bool) -> Self {
        let (new_chunks, new_chunk_bytes) = (AtomicU64::default(), AtomicU64::default());
        Self { hold, failed: Mutex::default(), new_chunks, new_chunk_bytes, is_anew }
    }

    /// The error that cost this ingest an object, if there was one.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    pub(super) fn fail(&self, error: &StoreError) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
    }

    /// Counts an object that was not held before.
    pub(super) fn count_new(&self, kind: Kind, bytes: usize) {
        self.hold.count_new(bytes as u64);
        if kind == Kind::Chunk {
            self.new_chunks.fetch_add(1, Ordering::Relaxed);
            self.new_chunk_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

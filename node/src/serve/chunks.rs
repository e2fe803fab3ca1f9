//! From wanted indices to frames: reads chunks and nodes from the store and packs them for the wire. Blocks on the
//! disk.

use bytes::BytesMut;
use shoal_protocol::availability::{ChunkIndex, ChunkRange, push_index};
use shoal_protocol::hash::{ChunkId, NodeId};
use shoal_protocol::wire::{NoChunksReason, ServerMessage, chunk_frame_header};

use crate::manifests::{ChunkRows, ManifestReadError};
use crate::store::Store;

/// How the bytes of a chunk frame are packed: as they are.
const CODEC_PLAIN: u8 = 0;

/// Frames that are ready to be sent.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// All frames, one after the other.
    pub(super) bytes: BytesMut,
    /// How many of the bytes are chunks'.
    pub(super) chunk_bytes: u64,
    /// How many of what was wanted the frames answer: the first ones.
    pub(super) answered: usize,
}

/// Reads chunks for one session.
#[derive(Debug)]
pub(super) struct ChunkSource {
    store: Store,
    rows: ChunkRows,
}

impl ChunkSource {
    pub(super) fn new(store: Store, rows: ChunkRows) -> Self {
        Self { store, rows }
    }

    /// The frames for the first of these chunks, in their order: up to and with the one that reaches `bytes`. What
    /// cannot be read is answered with NO_CHUNKS, so that the requester asks elsewhere at once. They are made in
    /// `buffer`, whose memory has served before: half a MiB from the system for each batch would cost more than to fill
    /// it.
    pub(super) fn frames(
        &mut self,
        wanted: &[ChunkIndex],
        bytes: u64,
        mut buffer: BytesMut,
    ) -> Result<Frames, ManifestReadError> {
        let ids = self.batch(wanted, bytes)?;
        let known: Vec<ChunkId> = ids.iter().flatten().copied().collect();
        let read = self.store.read_chunks(&known)?;
        let capacity = read.iter().flatten().flatten().map(|bytes| frame_bytes(bytes.len())).sum();
        buffer.clear();
        buffer.reserve(capacity);
        let mut frames = Frames { bytes: buffer, ..Frames::default() };
        let (mut missing, mut unreadable) = (Vec::<ChunkRange>::new(), Vec::<ChunkRange>::new());
        let mut read = read.into_iter();
        for (&index, id) in wanted.iter().zip(&ids) {
            match id.and_then(|_| read.next()) {
                Some(Ok(Some(bytes))) => frames.push_chunk(index, &bytes),
                Some(Err(error)) => {
                    tracing::warn!(%error, "cannot serve a chunk");
                    push_index(&mut unreadable, index);
                }
                Some(Ok(None)) | None => push_index(&mut missing, index),
            }
        }
        for (reason, ranges) in [(NoChunksReason::NotHeld, missing), (NoChunksReason::Unreadable, unreadable)] {
            if !ranges.is_empty() {
                ServerMessage::NoChunks { reason, ranges }.encode(&mut frames.bytes);
            }
        }
        frames.answered = ids.len();
        Ok(frames)
    }

    /// Whether the store has copies of its own of all these chunks, and does not read them in files of the user.
    pub(super) fn are_kept(&mut self, wanted: &[ChunkIndex]) -> Result<bool, ManifestReadError> {
        let ids = self.batch(wanted, u64::MAX)?;
        let known: Vec<ChunkId> = ids.iter().flatten().copied().collect();
        Ok(known.len() == wanted.len() && self.store.keeps_chunks(&known)?)
    }

    /// The frames for these nodes.
    pub(super) fn nodes(&self, ids: &[NodeId], mut buffer: BytesMut) -> Frames {
        buffer.clear();
        let mut missing = Vec::new();
        for id in ids {
            match self.store.read_node(id) {
                Ok(Some(bytes)) => ServerMessage::Node { id: *id, bytes }.encode(&mut buffer),
                Ok(None) => missing.push(*id),
                Err(error) => {
                    tracing::warn!(%error, "cannot serve a manifest node");
                    missing.push(*id);
                }
            }
        }
        if !missing.is_empty() {
            ServerMessage::NoNodes(missing).encode(&mut buffer);
        }
        Frames { bytes: buffer, chunk_bytes: 0, answered: ids.len() }
    }

    /// The ids of the first chunks that make up a batch; `None` where the row is not held.
    fn batch(&mut self, wanted: &[ChunkIndex], most: u64) -> Result<Vec<Option<ChunkId>>, ManifestReadError> {
        let mut ids = Vec::new();
        let mut bytes = 0;
        for &index in wanted {
            if bytes >= most {
                break;
            }
            let leaf = self.rows.leaf_at(index)?;
            let row = leaf.and_then(|leaf| leaf.rows.get(usize::try_from(index.0 - leaf.first).ok()?));
            bytes += row.map_or(0, |row| frame_bytes(row.len as usize) as u64);
            ids.push(row.map(|row| row.id));
        }
        Ok(ids)
    }
}

impl Frames {
    fn push_chunk(&mut self, index: ChunkIndex, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&chunk_frame_header(index.0, CODEC_PLAIN, length));
        self.bytes.extend_from_slice(bytes);
        self.chunk_bytes += u64::from(length);
    }
}

/// Bytes of the frame that carries so many bytes of chunk.
fn frame_bytes(chunk_bytes: usize) -> usize {
    chunk_frame_header(0, CODEC_PLAIN, 0).len() + chunk_bytes
}

//! From wanted indices to frames: reads chunks from the store and packs them for the wire. Blocks on the disk.

use bytes::BytesMut;
use shoal_protocol::availability::{ChunkIndex, ChunkRange, push_index};
use shoal_protocol::hash::ChunkId;
use shoal_protocol::wire::{NoChunksReason, ServerMessage, chunk_frame_header};

use crate::manifests::{ChunkRows, ManifestReadError};
use crate::store::Store;

/// How the bytes of a chunk frame are packed: as they are.
const CODEC_PLAIN: u8 = 0;

/// Frames that are ready to be sent.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// All frames, one after the other.
    pub(super) bytes: Vec<u8>,
    /// Where each chunk frame ends, and how many bytes of chunk it carries.
    pub(super) chunks: Vec<(usize, u32)>,
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

    /// The frames for these chunks, in their order. What cannot be read is answered with NO_CHUNKS, so that the
    /// requester asks elsewhere at once.
    pub(super) fn frames(&mut self, wanted: &[ChunkIndex]) -> Result<Frames, ManifestReadError> {
        let mut ids = Vec::with_capacity(wanted.len());
        for &index in wanted {
            let leaf = self.rows.leaf_at(index)?;
            let row = leaf.and_then(|leaf| leaf.rows.get(usize::try_from(index.0 - leaf.first).ok()?));
            ids.push(row.map(|row| row.id));
        }
        let known: Vec<ChunkId> = ids.iter().flatten().copied().collect();
        let mut read = self.store.read_chunks(&known)?.into_iter();
        let mut frames = Frames::default();
        let (mut missing, mut unreadable) = (Vec::<ChunkRange>::new(), Vec::<ChunkRange>::new());
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
                frames.push(&ServerMessage::NoChunks { reason, ranges });
            }
        }
        Ok(frames)
    }
}

impl Frames {
    fn push_chunk(&mut self, index: ChunkIndex, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&chunk_frame_header(index.0, CODEC_PLAIN, length));
        self.bytes.extend_from_slice(bytes);
        self.chunks.push((self.bytes.len(), length));
    }

    fn push(&mut self, message: &ServerMessage) {
        let mut frame = BytesMut::new();
        message.encode(&mut frame);
        self.bytes.extend_from_slice(&frame);
    }
}

//! From wanted indices to frames: reads chunks from the store and packs them for the wire. Blocks on the disk.

use bytes::BytesMut;
use shoal_protocol::availability::{ChunkIndex, ChunkRange, push_index};
use shoal_protocol::hash::ChunkId;
use shoal_protocol::wire::{NoChunksReason, ServerMessage, chunk_frame_header};

use crate::config::SERVE_BATCH_BYTES;
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
    /// The wanted chunks that the frames answer: the first ones.
    pub(super) answered: Vec<ChunkIndex>,
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

    /// The frames for the first of these chunks, in their order: as many as make up [`SERVE_BATCH_BYTES`], and at
    /// least one. What cannot be read is answered with NO_CHUNKS, so that the requester asks elsewhere at once.
    /// They are made in `buffer`, whose memory has served before: half a MiB from the system for each batch would
    /// cost more than to fill it.
    pub(super) fn frames(
        &mut self,
        mut wanted: Vec<ChunkIndex>,
        mut buffer: BytesMut,
    ) -> Result<Frames, ManifestReadError> {
        let ids = self.batch(&wanted)?;
        wanted.truncate(ids.len());
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
        frames.answered = wanted;
        Ok(frames)
    }

    /// The ids of the first chunks that make up a batch; `None` where the row is not held.
    fn batch(&mut self, wanted: &[ChunkIndex]) -> Result<Vec<Option<ChunkId>>, ManifestReadError> {
        let mut ids = Vec::new();
        let mut bytes = 0;
        for &index in wanted {
            if bytes >= SERVE_BATCH_BYTES {
                break;
            }
            let leaf = self.rows.leaf_at(index)?;
            let row = leaf.and_then(|leaf| leaf.rows.get(usize::try_from(index.0 - leaf.first).ok()?));
            bytes += row.map_or(0, |row| frame_bytes(row.len as usize));
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

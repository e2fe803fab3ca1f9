//! What a requester that knows nothing of a content yet is sent before it asks: the beginning, if that is small. A
//! small content is there in one round trip then instead of four.

use bytes::{Bytes, BytesMut};
use shoal_protocol::availability::ChunkIndex;
use shoal_protocol::wire::ServerMessage;

use super::chunks::ChunkSource;
use super::content::Served;
use crate::manifests::ChunkRows;
use crate::store::Store;

/// Most bytes that are sent so. No more than other small messages take, since they pass by the limits and the queue.
pub(super) const MOST_BYTES: usize = 4096;

/// The beginning of a content, as frames.
#[derive(Debug, Clone, Default)]
pub(super) struct Beginning {
    /// All frames, one after the other.
    pub(super) bytes: Bytes,
    /// How many of the bytes are chunks'.
    pub(super) chunk_bytes: u64,
    /// Whether all chunks of the content are in it, read from copies that the store has itself.
    pub(super) is_kept_whole: bool,
}

impl Beginning {
    /// The first nodes of the manifest, and the chunks if those are all. What cannot be read is left out: it will be
    /// asked for. Blocks.
    pub(super) fn read(store: &Store, served: &Served) -> Self {
        let mut frames = BytesMut::new();
        let root = &served.root;
        for id in [Some(served.hash.root()), root.entry_root, root.chunk_root].into_iter().flatten() {
            let before = frames.len();
            match store.read_node(&id) {
                Ok(Some(bytes)) => ServerMessage::Node { id, bytes }.encode(&mut frames),
                Ok(None) | Err(_) => return Self::of_nodes(frames),
            }
            if frames.len() > MOST_BYTES {
                frames.truncate(before);
                return Self::of_nodes(frames);
            }
        }
        let room = MOST_BYTES.saturating_sub(frames.len()) as u64;
        if !served.availability.is_complete() || root.bytes > room || root.chunks > room {
            return Self::of_nodes(frames);
        }
        let wanted: Vec<ChunkIndex> = (0..root.chunks).map(ChunkIndex).collect();
        let mut source = ChunkSource::new(store.clone(), ChunkRows::new(store.clone(), root.clone()));
        match source.frames(&wanted, u64::MAX, BytesMut::new()) {
            Ok(chunks) if chunks.chunk_bytes == root.bytes && chunks.bytes.len() as u64 <= room => {
                frames.extend_from_slice(&chunks.bytes);
                let is_kept_whole = source.are_kept(&wanted).unwrap_or(false);
                Self { bytes: frames.freeze(), chunk_bytes: chunks.chunk_bytes, is_kept_whole }
            }
            _ => Self::of_nodes(frames),
        }
    }

    fn of_nodes(frames: BytesMut) -> Self {
        Self { bytes: frames.freeze(), chunk_bytes: 0, is_kept_whole: false }
    }
}

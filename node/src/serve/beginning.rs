//! What a requester that knows nothing of a content yet is sent before it asks: the beginning, if that is small. A
//! small content is there in one round trip then instead of four.

use bytes::BytesMut;
use shoal_protocol::availability::ChunkIndex;
use shoal_protocol::wire::ServerMessage;

use super::chunks::{ChunkSource, Frames};
use super::content::Served;
use crate::manifests::ChunkRows;
use crate::store::Store;

/// Most bytes that are sent so. No more than other small messages take, since they pass by the limits and the queue.
const MOST_BYTES: usize = 4096;

/// The first nodes of the manifest, and the chunks if those are all, as frames. What cannot be read is left out: it
/// will be asked for. Blocks.
pub(super) fn beginning(store: &Store, served: &Served) -> Frames {
    let mut frames = Frames::default();
    let root = &served.root;
    for id in [Some(served.hash.root()), root.entry_root, root.chunk_root].into_iter().flatten() {
        let before = frames.bytes.len();
        match store.read_node(&id) {
            Ok(Some(bytes)) => ServerMessage::Node { id, bytes }.encode(&mut frames.bytes),
            Ok(None) | Err(_) => return frames,
        }
        if frames.bytes.len() > MOST_BYTES {
            frames.bytes.truncate(before);
            return frames;
        }
    }
    let room = MOST_BYTES.saturating_sub(frames.bytes.len()) as u64;
    if served.availability.is_complete() && root.bytes <= room && root.chunks <= room {
        let wanted: Vec<ChunkIndex> = (0..root.chunks).map(ChunkIndex).collect();
        let mut source = ChunkSource::new(store.clone(), ChunkRows::new(store.clone(), root.clone()));
        match source.frames(&wanted, u64::MAX, BytesMut::new()) {
            Ok(chunks) if chunks.chunk_bytes == root.bytes && chunks.bytes.len() as u64 <= room => {
                frames.bytes.extend_from_slice(&chunks.bytes);
                frames.chunk_bytes = chunks.chunk_bytes;
            }
            _ => {}
        }
    }
    frames
}

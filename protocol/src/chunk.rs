//! A chunk whose bytes are known to be what its id says.
//!
//! Owns [`VerifiedChunk`], the proof in a type: the only ways to make one hash the bytes. Whatever stores, serves or
//! writes out a chunk takes this type, so that a byte nobody checked cannot get there. How chunks are cut is
//! [`chunker`](crate::chunker)'s business.

use bytes::Bytes;

use crate::hash::ChunkId;

/// The plain bytes of a chunk together with their hash. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedChunk {
    id: ChunkId,
    bytes: Bytes,
}

/// The bytes are not those of the chunk they were said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes that should be {expected:?} hash to {found:?}")]
pub struct WrongChunk {
    /// The id they should have.
    pub expected: ChunkId,
    /// The id they have.
    pub found: ChunkId,
    /// How many bytes there were.
    pub bytes: usize,
}

impl VerifiedChunk {
    /// The chunk that these bytes are.
    pub fn of(bytes: Bytes) -> Self {
        Self { id: ChunkId::of(&bytes), bytes }
    }

    /// These bytes as the chunk `id`.
    ///
    /// # Errors
    /// When they hash to another id.
    pub fn verify(id: ChunkId, bytes: Bytes) -> Result<Self, WrongChunk> {
        let chunk = Self::of(bytes);
        if chunk.id == id {
            Ok(chunk)
        } else {
            Err(WrongChunk { expected: id, found: chunk.id, bytes: chunk.bytes.len() })
        }
    }

    /// The hash of the bytes.
    pub const fn id(&self) -> ChunkId {
        self.id
    }

    /// The plain bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Gives up the proof and keeps the bytes.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl std::fmt::Debug for VerifiedChunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedChunk").field("id", &self.id).field("bytes", &self.bytes.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_bytes_become_the_chunk() {
        let chunk = VerifiedChunk::of(Bytes::from_static(b"shoal"));
        assert_eq!(chunk.id(), ChunkId::of(b"shoal"));
        assert_eq!(VerifiedChunk::verify(chunk.id(), Bytes::from_static(b"shoal")), Ok(chunk.clone()));
        let wrong = VerifiedChunk::verify(chunk.id(), Bytes::from_static(b"shoaL")).unwrap_err();
        assert_eq!((wrong.expected, wrong.found, wrong.bytes), (chunk.id(), ChunkId::of(b"shoaL"), 5));
    }
}

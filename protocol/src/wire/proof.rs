//! The proof that a peer knows a content hash, bound to the two ends of one session.

use crate::hash::{ContentHash, HASH_BYTES};

/// `BLAKE3::keyed_hash(content hash, role ‖ peer ‖ peer)`: shows that its maker knows the content hash, to one peer
/// only. A proof that is replayed by or to somebody else is wrong, because libp2p has authenticated both ids.
///
/// Comparing two proofs takes the same time wherever they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionProof(blake3::Hash);

impl SessionProof {
    /// The proof in OPEN. Peer ids are their binary form.
    pub fn open(content: &ContentHash, requester: &[u8], server: &[u8]) -> Self {
        Self::of(content, b"open", requester, server)
    }

    /// The proof in ACCEPT. Peer ids are their binary form.
    pub fn accept(content: &ContentHash, server: &[u8], requester: &[u8]) -> Self {
        Self::of(content, b"accept", server, requester)
    }

    /// The proof with these bytes.
    pub const fn from_bytes(bytes: [u8; HASH_BYTES]) -> Self {
        Self(blake3::Hash::from_bytes(bytes))
    }

    /// Its bytes, for the wire.
    pub const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        self.0.as_bytes()
    }

    /// Every part has its length before it, so that no two triples make the same input.
    fn of(content: &ContentHash, role: &[u8], from: &[u8], to: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(content.as_bytes());
        for part in [role, from, to] {
            let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
            hasher.update(&length.to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize())
    }
}

//! What two nodes say to each other over `/shoal/<network>/transfer/1`.
//!
//! A session is one stream for one content hash. The requester opens it and sends only small messages
//! ([`RequesterMessage`]); the server sends what it has, manifest nodes and chunks ([`ServerMessage`]). Each message is
//! a frame: type, length, payload ([`FrameHeader`]). `docs/format.md` has every byte, with vectors that a test
//! checks.
//!
//! What always holds: a length is checked against the bound of its type before anybody allocates for it; no input
//! panics; a chunk's bytes are handed on as they came, never copied; proofs are compared in constant time. This module
//! does no IO and keeps no state of a session: which message is due when is for the two ends to watch.

mod frame;
mod message;
mod payload;
mod proof;
#[cfg(test)]
mod tests;

pub use frame::{Direction, FrameHeader, HEADER_BYTES, chunk_frame_header, take_frame};
pub use message::{CloseCode, KnownProvider, NoChunksReason, Open, RequesterMessage, ServerMessage, WireError};
pub use proof::SessionProof;

pub use crate::chunker::MAX_CHUNK_BYTES;
pub use crate::manifest::MAX_NODE_BYTES;

/// The protocol's name in a network, as libp2p negotiates it: nodes of different networks have none in common.
pub fn protocol_name(network: &str) -> String {
    format!("/shoal/{network}/transfer/1")
}

/// The version that OPEN and ACCEPT carry.
pub const WIRE_VERSION: u16 = 1;

/// Ids in one WANT_NODES or NO_NODES.
pub const MAX_NODE_IDS: usize = 64;
/// Runs in one WANT, CANCEL, HAVE or NO_CHUNKS.
pub const MAX_RANGES: usize = 256;
/// Chunks that a requester may have asked for and not got yet, in all; a server may end a session that exceeds it.
pub const MAX_WANTED_CHUNKS: u64 = 16 * 1024;
/// Manifest nodes that a requester may have asked for and not got yet, in all.
pub const MAX_WANTED_NODES: usize = 256;
/// Bytes of the capability in OPEN.
pub const MAX_CAPABILITY_BYTES: usize = 4096;
/// Bytes of the text in CLOSE.
pub const MAX_CLOSE_TEXT_BYTES: usize = 256;
/// Providers in one PROVIDERS.
pub const MAX_PROVIDERS: usize = 16;
/// Addresses of one provider.
pub const MAX_PROVIDER_ADDRESSES: usize = 8;
/// Bytes of a peer id.
pub const MAX_PEER_ID_BYTES: usize = 64;
/// Bytes of an address.
pub const MAX_ADDRESS_BYTES: usize = 256;
/// Bytes of payload that a frame of an unknown optional type may have.
pub const MAX_OPTIONAL_BYTES: u32 = 64 * 1024;

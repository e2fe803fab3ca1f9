//! The messages and what can be wrong with one.

use bytes::Bytes;

use super::proof::SessionProof;
use crate::availability::{AvailabilityPart, ChunkIndex, ChunkRange};
use crate::codec::DecodeError;
use crate::hash::{DiscoveryKey, NodeId};

/// The first message of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The requester's version of the protocol.
    pub version: u16,
    /// Which content.
    pub key: DiscoveryKey,
    /// That the requester knows its content hash.
    pub proof: SessionProof,
    /// Whether the requester serves this content itself: then the server may tell others of it, and ask it.
    pub serves: bool,
    /// Whether the requester reads in order and waits for what comes next: then the server neither moves nor puts off
    /// what is wanted.
    pub in_order: bool,
    /// Whether the requester has nothing of the manifest yet: then the server may send the beginning of the content
    /// behind its ACCEPT, if that is small, before it is asked for it.
    pub begins: bool,
    /// Room for a capability, for content that the hash alone does not open. Empty in version 1.
    pub capability: Bytes,
}

/// What a requester says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequesterMessage {
    /// Opens the session: always first, never again.
    Open(Open),
    /// Asks for manifest nodes.
    WantNodes(Vec<NodeId>),
    /// Asks for chunks, in this order.
    Want(Vec<ChunkRange>),
    /// Takes wants back; what is on its way already may still come.
    Cancel(Vec<ChunkRange>),
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerMessage {
    /// Takes the session: always first.
    Accept {
        /// The server's version of the protocol.
        version: u16,
        /// That the server knows the content hash.
        proof: SessionProof,
    },
    /// Which chunks the server holds of a part of the manifest. A part that never comes holds none.
    Availability(AvailabilityPart),
    /// Chunks that it holds by now.
    Have(Vec<ChunkRange>),
    /// A manifest node that was asked for.
    Node {
        /// Its id.
        id: NodeId,
        /// Its encoding, not verified yet.
        bytes: Bytes,
    },
    /// Nodes that were asked for and that it does not hold.
    NoNodes(Vec<NodeId>),
    /// A chunk that was asked for.
    Chunk {
        /// Its place in the manifest.
        index: ChunkIndex,
        /// How the bytes are packed: 0 = plain, the only one that version 1 knows.
        codec: u8,
        /// The bytes, not verified yet.
        bytes: Bytes,
    },
    /// Chunks that were asked for and will not come.
    NoChunks {
        /// Why.
        reason: NoChunksReason,
        /// Which.
        ranges: Vec<ChunkRange>,
    },
    /// All wants that are open are dropped; ask again after this time.
    Busy {
        /// In milliseconds.
        retry_after_ms: u32,
    },
    /// Others who may have the content.
    Providers(Vec<KnownProvider>),
    /// The server ends the session.
    Close {
        /// Why.
        code: CloseCode,
        /// The same in words.
        text: String,
    },
}

/// Why chunks will not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoChunksReason {
    /// The server does not hold them (any more).
    NotHeld,
    /// The server holds them but cannot read them.
    Unreadable,
    /// The server has just sent them to others, and there is more to send that nobody has: they can be had from those,
    /// or from the server once it says HAVE again.
    SentToOthers,
    /// A reason that this version does not know.
    Other(u8),
}

/// Why a server ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// It does not have the content.
    NotFound,
    /// The requester did not prove that it knows the content hash.
    BadProof,
    /// It does not speak the requester's version.
    Version,
    /// It is stopping.
    ShuttingDown,
    /// The requester broke the protocol.
    ProtocolError,
    /// A code that this version does not know.
    Other(u8),
}

/// A peer that may have the content, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownProvider {
    /// Its peer id in binary form.
    pub peer: Bytes,
    /// Its addresses as binary multiaddresses.
    pub addresses: Vec<Bytes>,
}

/// Why some bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A type that this version does not know and may not skip.
    #[error("a frame of the unknown type {kind:#04x}")]
    UnknownType {
        /// The type.
        kind: u8,
    },
    /// A length above what the type allows.
    #[error("a frame of type {kind:#04x} with {length} bytes, above its limit of {limit}")]
    FrameTooLong {
        /// The type.
        kind: u8,
        /// The length it states.
        length: u32,
        /// The highest one allowed.
        limit: u32,
    },
    /// A payload that does not read as its type demands.
    #[error("a frame of type {kind:#04x} does not read: {cause}")]
    Payload {
        /// The type.
        kind: u8,
        /// Why.
        cause: DecodeError,
    },
    /// A value that has no meaning in its place.
    #[error("a frame of type {kind:#04x} has {found} as its {field}")]
    Value {
        /// The type.
        kind: u8,
        /// Which value.
        field: &'static str,
        /// What it is.
        found: u64,
    },
}

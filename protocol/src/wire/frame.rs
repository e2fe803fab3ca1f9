//! Frames: the type, the length, and the bound that a length must keep before anything is allocated for it.

use bytes::{Bytes, BytesMut};

use super::message::WireError;
use super::{
    MAX_ADDRESS_BYTES, MAX_CAPABILITY_BYTES, MAX_CHUNK_BYTES, MAX_CLOSE_TEXT_BYTES, MAX_NODE_BYTES, MAX_NODE_IDS,
    MAX_OPTIONAL_BYTES, MAX_PEER_ID_BYTES, MAX_PROVIDER_ADDRESSES, MAX_PROVIDERS, MAX_RANGES,
};

/// Bytes of a frame before its payload: the type and the payload's length.
pub const HEADER_BYTES: usize = 5;
/// Types from here on are optional: who does not know one skips it.
const OPTIONAL: u8 = 0x80;

pub(super) const OPEN: u8 = 0x01;
pub(super) const WANT_NODES: u8 = 0x02;
pub(super) const WANT: u8 = 0x03;
pub(super) const CANCEL: u8 = 0x04;
pub(super) const ACCEPT: u8 = 0x11;
pub(super) const AVAILABILITY: u8 = 0x12;
pub(super) const HAVE: u8 = 0x13;
pub(super) const NODE: u8 = 0x14;
pub(super) const NO_NODES: u8 = 0x15;
pub(super) const CHUNK: u8 = 0x16;
pub(super) const NO_CHUNKS: u8 = 0x17;
pub(super) const BUSY: u8 = 0x18;
pub(super) const CLOSE: u8 = 0x1f;
pub(super) const PROVIDERS: u8 = 0x91;

/// Bytes of a CHUNK's payload before the chunk's own bytes: index and codec.
pub(super) const CHUNK_PREFIX_BYTES: usize = 9;
const ID: usize = 32;
const RANGE: usize = 12;
const PROVIDER: usize = 2 + MAX_PEER_ID_BYTES + 2 + MAX_PROVIDER_ADDRESSES * (2 + MAX_ADDRESS_BYTES);

/// Which way a frame goes: the two ends know different types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the requester to the server.
    ToServer,
    /// From the server to the requester.
    ToRequester,
}

/// The first bytes of a frame, checked: whoever holds one may allocate for its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    kind: u8,
    length: u32,
    known: bool,
}

impl FrameHeader {
    /// Reads a header that came in this direction. Fails on a length above the bound of its type, and on a type that
    /// is neither known nor optional.
    pub fn decode(bytes: &[u8; HEADER_BYTES], direction: Direction) -> Result<Self, WireError> {
        let [kind, length @ ..] = *bytes;
        let length = u32::from_le_bytes(length);
        let bound = bound(kind, direction);
        let known = bound.is_some();
        let limit = match bound {
            Some(bytes) => u32::try_from(bytes).unwrap_or(u32::MAX),
            None if kind >= OPTIONAL => MAX_OPTIONAL_BYTES,
            None => return Err(WireError::UnknownType { kind }),
        };
        if length > limit {
            return Err(WireError::FrameTooLong { kind, length, limit });
        }
        Ok(Self { kind, length, known })
    }

    /// Bytes of payload that follow.
    pub const fn payload_bytes(&self) -> usize {
        self.length as usize
    }

    /// The type.
    pub const fn kind(&self) -> u8 {
        self.kind
    }

    /// Whether the payload is to be read over and forgotten: an optional type that this version does not know.
    pub const fn is_skipped(&self) -> bool {
        !self.known
    }

    /// Whether the frame is a NODE.
    pub const fn is_node(&self) -> bool {
        self.kind == NODE
    }

    /// Whether the frame is a CHUNK, whose payload deserves a buffer of exactly its size.
    pub const fn is_chunk(&self) -> bool {
        self.kind == CHUNK
    }
}

/// Bytes of payload that a type may have, or `None` if the type is not known in this direction.
pub(super) fn bound(kind: u8, direction: Direction) -> Option<usize> {
    let ids = 2 + MAX_NODE_IDS * ID;
    let ranges = 2 + MAX_RANGES * RANGE;
    Some(match (direction, kind) {
        (Direction::ToServer, OPEN) => 2 + ID + ID + 1 + 2 + MAX_CAPABILITY_BYTES,
        (Direction::ToServer, WANT_NODES) | (Direction::ToRequester, NO_NODES) => ids,
        (Direction::ToServer, WANT | CANCEL) | (Direction::ToRequester, HAVE) => ranges,
        (Direction::ToRequester, ACCEPT) => 2 + ID,
        (Direction::ToRequester, AVAILABILITY) => 17 + 64 * 1024,
        (Direction::ToRequester, NODE) => ID + MAX_NODE_BYTES,
        (Direction::ToRequester, CHUNK) => CHUNK_PREFIX_BYTES + MAX_CHUNK_BYTES as usize,
        (Direction::ToRequester, NO_CHUNKS) => 1 + ranges,
        (Direction::ToRequester, BUSY) => 4,
        (Direction::ToRequester, PROVIDERS) => 2 + MAX_PROVIDERS * PROVIDER,
        (Direction::ToRequester, CLOSE) => 1 + 2 + MAX_CLOSE_TEXT_BYTES,
        _ => return None,
    })
}

/// The 14 bytes that stand before a chunk's own: the frame's header, the index, the codec. A server writes them and
/// then the chunk straight from the store, without joining the two in a buffer.
pub fn chunk_frame_header(index: u64, codec: u8, chunk_bytes: u32) -> [u8; HEADER_BYTES + CHUNK_PREFIX_BYTES] {
    let mut header = [0; HEADER_BYTES + CHUNK_PREFIX_BYTES];
    let (kind, rest) = header.split_at_mut(1);
    let (length, rest) = rest.split_at_mut(4);
    let (at, how) = rest.split_at_mut(8);
    kind.fill(CHUNK);
    length.copy_from_slice(&chunk_bytes.saturating_add(CHUNK_PREFIX_BYTES as u32).to_le_bytes());
    at.copy_from_slice(&index.to_le_bytes());
    how.fill(codec);
    header
}

/// Takes the next whole frame from the front of what has been read, or `None` while it is not whole yet. On a bad
/// header nothing is taken and the session has to end.
pub fn take_frame(buffer: &mut BytesMut, direction: Direction) -> Result<Option<(FrameHeader, Bytes)>, WireError> {
    let Some((header, rest)) = buffer.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let header = FrameHeader::decode(header, direction)?;
    if rest.len() < header.payload_bytes() {
        return Ok(None);
    }
    let frame = buffer.split_to(HEADER_BYTES + header.payload_bytes()).freeze();
    Ok(Some((header, frame.slice(HEADER_BYTES..))))
}

/// Appends a frame whose payload `write` appends, and states its length.
pub(super) fn put_frame(out: &mut BytesMut, kind: u8, write: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.extend_from_slice(&[kind, 0, 0, 0, 0]);
    write(out);
    let length = u32::try_from(out.len() - at - HEADER_BYTES).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(at + 1..at + HEADER_BYTES) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

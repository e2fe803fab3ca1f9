//! How each message becomes a payload, and back.

use bytes::{Bytes, BytesMut};

use super::frame::{
    ACCEPT, AVAILABILITY, BUSY, CANCEL, CHUNK, CLOSE, FrameHeader, HAVE, NO_CHUNKS, NO_NODES, NODE, OPEN, PROVIDERS,
    WANT, WANT_NODES, put_frame,
};
use super::message::{CloseCode, KnownProvider, NoChunksReason, Open, RequesterMessage, ServerMessage, WireError};
use super::proof::SessionProof;
use super::{
    MAX_ADDRESS_BYTES, MAX_CAPABILITY_BYTES, MAX_CLOSE_TEXT_BYTES, MAX_NODE_IDS, MAX_PEER_ID_BYTES,
    MAX_PROVIDER_ADDRESSES, MAX_PROVIDERS, MAX_RANGES,
};
use crate::availability::{AvailabilityPart, ChunkIndex, ChunkRange, MAX_BITMAP_CHUNKS, PartChunks};
use crate::codec::{DecodeError, Reader, Writer};
use crate::hash::{DiscoveryKey, NodeId};

const FLAG_SERVES: u8 = 1;
const FLAG_IN_ORDER: u8 = 2;
const FLAG_BEGINS: u8 = 4;
const FORM_ALL: u8 = 0;
const FORM_BITMAP: u8 = 1;

impl RequesterMessage {
    /// Appends the message as a frame. Lists longer than their bound are the caller's mistake: the other end would
    /// refuse the frame.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Open(open) => put_frame(out, OPEN, |out| {
                out.put_word(open.version);
                out.put_raw(open.key.as_bytes());
                out.put_raw(open.proof.as_bytes());
                let flags = [(open.serves, FLAG_SERVES), (open.in_order, FLAG_IN_ORDER), (open.begins, FLAG_BEGINS)];
                out.put_byte(flags.iter().filter(|(set, _)| *set).fold(0, |flags, (_, flag)| flags | flag));
                out.put_bytes(&open.capability);
            }),
            Self::WantNodes(ids) => put_frame(out, WANT_NODES, |out| put_ids(out, ids)),
            Self::Want(ranges) => put_frame(out, WANT, |out| put_ranges(out, ranges)),
            Self::Cancel(ranges) => put_frame(out, CANCEL, |out| put_ranges(out, ranges)),
        }
    }

    /// Reads the payload of a frame that came to a server. `None`: a frame to be skipped.
    pub fn decode(header: FrameHeader, payload: &Bytes) -> Result<Option<Self>, WireError> {
        if header.is_skipped() {
            return Ok(None);
        }
        let mut payload = Payload::new(header, payload);
        let message = match header.kind() {
            OPEN => Self::Open(payload.open()?),
            WANT_NODES => Self::WantNodes(payload.ids()?),
            WANT => Self::Want(payload.ranges()?),
            CANCEL => Self::Cancel(payload.ranges()?),
            kind => return Err(WireError::UnknownType { kind }),
        };
        payload.finish()?;
        Ok(Some(message))
    }
}

impl ServerMessage {
    /// Appends the message as a frame. For a chunk this copies the bytes: a server uses
    /// [`chunk_frame_header`](super::chunk_frame_header) instead.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Accept { version, proof } => put_frame(out, ACCEPT, |out| {
                out.put_word(*version);
                out.put_raw(proof.as_bytes());
            }),
            Self::Availability(part) => put_frame(out, AVAILABILITY, |out| put_part(out, part)),
            Self::Have(ranges) => put_frame(out, HAVE, |out| put_ranges(out, ranges)),
            Self::Node { id, bytes } => put_frame(out, NODE, |out| {
                out.put_raw(id.as_bytes());
                out.put_raw(bytes);
            }),
            Self::NoNodes(ids) => put_frame(out, NO_NODES, |out| put_ids(out, ids)),
            Self::Chunk { index, codec, bytes } => put_frame(out, CHUNK, |out| {
                out.put_qword(index.0);
                out.put_byte(*codec);
                out.put_raw(bytes);
            }),
            Self::NoChunks { reason, ranges } => put_frame(out, NO_CHUNKS, |out| {
                out.put_byte(reason.code());
                put_ranges(out, ranges);
            }),
            Self::Busy { retry_after_ms } => put_frame(out, BUSY, |out| out.put_dword(*retry_after_ms)),
            Self::Providers(providers) => put_frame(out, PROVIDERS, |out| put_providers(out, providers)),
            Self::Close { code, text } => put_frame(out, CLOSE, |out| {
                out.put_byte(code.code());
                let fits = |cut: &usize| text.is_char_boundary(*cut);
                let cut = (0..=text.len().min(MAX_CLOSE_TEXT_BYTES)).rev().find(fits).unwrap_or(0);
                out.put_bytes(text.as_bytes().get(..cut).unwrap_or_default());
            }),
        }
    }

    /// Reads the payload of a frame that came to a requester. `None`: a frame to be skipped. A chunk's and a node's
    /// bytes are slices of `payload`.
    pub fn decode(header: FrameHeader, payload: &Bytes) -> Result<Option<Self>, WireError> {
        if header.is_skipped() {
            return Ok(None);
        }
        let mut payload = Payload::new(header, payload);
        let message = match header.kind() {
            ACCEPT => Self::Accept { version: payload.word()?, proof: SessionProof::from_bytes(payload.id()?) },
            AVAILABILITY => Self::Availability(payload.part()?),
            HAVE => Self::Have(payload.ranges()?),
            NODE => Self::Node { id: NodeId::from_bytes(payload.id()?), bytes: payload.rest() },
            NO_NODES => Self::NoNodes(payload.ids()?),
            CHUNK => {
                let index = ChunkIndex(payload.qword()?);
                Self::Chunk { index, codec: payload.byte()?, bytes: payload.rest() }
            }
            NO_CHUNKS => {
                let reason = NoChunksReason::of(payload.byte()?);
                Self::NoChunks { reason, ranges: payload.ranges()? }
            }
            BUSY => Self::Busy { retry_after_ms: payload.dword()? },
            PROVIDERS => Self::Providers(payload.providers()?),
            CLOSE => Self::Close { code: CloseCode::of(payload.byte()?), text: payload.close_text()? },
            kind => return Err(WireError::UnknownType { kind }),
        };
        payload.finish()?;
        Ok(Some(message))
    }
}

impl NoChunksReason {
    const fn code(self) -> u8 {
        match self {
            Self::NotHeld => 0,
            Self::Unreadable => 1,
            Self::SentToOthers => 2,
            Self::Other(code) => code,
        }
    }

    const fn of(code: u8) -> Self {
        match code {
            0 => Self::NotHeld,
            1 => Self::Unreadable,
            2 => Self::SentToOthers,
            code => Self::Other(code),
        }
    }
}

impl CloseCode {
    const fn code(self) -> u8 {
        match self {
            Self::NotFound => 1,
            Self::BadProof => 2,
            Self::Version => 3,
            Self::ShuttingDown => 4,
            Self::ProtocolError => 5,
            Self::Other(code) => code,
        }
    }

    const fn of(code: u8) -> Self {
        match code {
            1 => Self::NotFound,
            2 => Self::BadProof,
            3 => Self::Version,
            4 => Self::ShuttingDown,
            5 => Self::ProtocolError,
            code => Self::Other(code),
        }
    }
}

fn put_ids(out: &mut BytesMut, ids: &[NodeId]) {
    out.put_word(count_of(ids));
    for id in ids {
        out.put_raw(id.as_bytes());
    }
}

fn put_ranges(out: &mut BytesMut, ranges: &[ChunkRange]) {
    out.put_word(count_of(ranges));
    for range in ranges {
        out.put_qword(range.start.0);
        out.put_dword(range.count);
    }
}

fn put_part(out: &mut BytesMut, part: &AvailabilityPart) {
    out.put_qword(part.start.0);
    out.put_qword(part.count);
    match &part.chunks {
        PartChunks::All => out.put_byte(FORM_ALL),
        PartChunks::Bitmap(bits) => {
            out.put_byte(FORM_BITMAP);
            out.put_raw(bits);
        }
    }
}

fn put_providers(out: &mut BytesMut, providers: &[KnownProvider]) {
    out.put_word(count_of(providers));
    for provider in providers {
        out.put_bytes(&provider.peer);
        out.put_word(count_of(&provider.addresses));
        for address in &provider.addresses {
            out.put_bytes(address);
        }
    }
}

fn count_of<T>(list: &[T]) -> u16 {
    u16::try_from(list.len()).unwrap_or(u16::MAX)
}

/// Takes values from a payload and says of which frame they were when one is wrong.
struct Payload<'a> {
    kind: u8,
    reader: Reader<'a>,
    whole: &'a Bytes,
}

impl<'a> Payload<'a> {
    fn new(header: FrameHeader, whole: &'a Bytes) -> Self {
        Self { kind: header.kind(), reader: Reader::new(whole), whole }
    }

    fn read<T>(&mut self, read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>) -> Result<T, WireError> {
        read(&mut self.reader).map_err(|cause| WireError::Payload { kind: self.kind, cause })
    }

    fn wrong<T>(&self, field: &'static str, found: impl Into<u64>) -> Result<T, WireError> {
        Err(WireError::Value { kind: self.kind, field, found: found.into() })
    }

    fn finish(self) -> Result<(), WireError> {
        self.reader.finish().map_err(|cause| WireError::Payload { kind: self.kind, cause })
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        self.read(Reader::u8)
    }

    fn word(&mut self) -> Result<u16, WireError> {
        self.read(Reader::u16)
    }

    fn dword(&mut self) -> Result<u32, WireError> {
        self.read(Reader::u32)
    }

    fn qword(&mut self) -> Result<u64, WireError> {
        self.read(Reader::u64)
    }

    fn id(&mut self) -> Result<[u8; 32], WireError> {
        self.read(Reader::array).copied()
    }

    fn count(&mut self, limit: usize) -> Result<u16, WireError> {
        self.read(|reader| reader.count(u16::try_from(limit).unwrap_or(u16::MAX)))
    }

    /// A `u16` length and so many bytes, as a slice of the payload.
    fn bytes(&mut self, limit: usize) -> Result<Bytes, WireError> {
        let taken = self.read(|reader| reader.bytes(u16::try_from(limit).unwrap_or(u16::MAX)))?;
        Ok(self.whole.slice_ref(taken))
    }

    fn rest(&mut self) -> Bytes {
        self.whole.slice_ref(self.reader.rest())
    }

    fn open(&mut self) -> Result<Open, WireError> {
        let version = self.word()?;
        let key = DiscoveryKey::from_bytes(self.id()?);
        let proof = SessionProof::from_bytes(self.id()?);
        let flags = self.byte()?;
        // Bits that a later version gives a meaning to are no reason to refuse.
        let is_set = |flag| flags & flag != 0;
        let (serves, in_order, begins) = (is_set(FLAG_SERVES), is_set(FLAG_IN_ORDER), is_set(FLAG_BEGINS));
        Ok(Open { version, key, proof, serves, in_order, begins, capability: self.bytes(MAX_CAPABILITY_BYTES)? })
    }

    fn ids(&mut self) -> Result<Vec<NodeId>, WireError> {
        (0..self.count(MAX_NODE_IDS)?).map(|_| Ok(NodeId::from_bytes(self.id()?))).collect()
    }

    fn ranges(&mut self) -> Result<Vec<ChunkRange>, WireError> {
        (0..self.count(MAX_RANGES)?)
            .map(|_| {
                let start = self.qword()?;
                let count = self.dword()?;
                if count == 0 {
                    return self.wrong("count of a run", count);
                }
                if start.checked_add(count.into()).is_none() {
                    return self.wrong("start of a run", start);
                }
                Ok(ChunkRange { start: ChunkIndex(start), count })
            })
            .collect()
    }

    fn part(&mut self) -> Result<AvailabilityPart, WireError> {
        let start = self.qword()?;
        let count = self.qword()?;
        if start.checked_add(count).is_none() {
            return self.wrong("start", start);
        }
        let chunks = match self.byte()? {
            FORM_ALL => PartChunks::All,
            FORM_BITMAP if count > MAX_BITMAP_CHUNKS => return self.wrong("count", count),
            FORM_BITMAP => {
                let length = usize::try_from(count.div_ceil(8)).unwrap_or(usize::MAX);
                let bits = self.read(|reader| reader.take(length))?;
                let spare = bits.last().map_or(0, |last| if count % 8 == 0 { 0 } else { last >> (count % 8) });
                if spare != 0 {
                    return self.wrong("bits past its count", spare);
                }
                PartChunks::Bitmap(self.whole.slice_ref(bits))
            }
            form => return self.wrong("form", form),
        };
        Ok(AvailabilityPart { start: ChunkIndex(start), count, chunks })
    }

    fn providers(&mut self) -> Result<Vec<KnownProvider>, WireError> {
        (0..self.count(MAX_PROVIDERS)?)
            .map(|_| {
                let peer = self.bytes(MAX_PEER_ID_BYTES)?;
                let addresses = self.count(MAX_PROVIDER_ADDRESSES)?;
                let addresses = (0..addresses).map(|_| self.bytes(MAX_ADDRESS_BYTES)).collect::<Result<_, _>>()?;
                Ok(KnownProvider { peer, addresses })
            })
            .collect()
    }

    fn close_text(&mut self) -> Result<String, WireError> {
        let limit = u16::try_from(MAX_CLOSE_TEXT_BYTES).unwrap_or(u16::MAX);
        self.read(|reader| reader.text(limit)).map(str::to_owned)
    }
}

//! The serving end of one session, honest or not.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use futures::AsyncReadExt;
use libp2p::{PeerId, Stream};
use shoal_protocol::availability::{Availability, ChunkIndex, ChunkRange};
use shoal_protocol::wire::{
    CloseCode, Direction, NoChunksReason, Open, RequesterMessage, ServerMessage, SessionProof, WIRE_VERSION,
};

use super::{Served, frames};

/// What a peer does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Serves as a node does.
    Honest,
    /// Serves as a node does, with frames in between that version 1 does not know and has to pass over.
    Chatty,
    /// Sends every chunk with one bit turned.
    WrongChunks,
    /// Sends every chunk half as long as it should be.
    ShortChunks,
    /// Sends every chunk under the index of the one before.
    WrongIndex,
    /// Sends the first chunk that it was asked for, again and again.
    Replays,
    /// Sends a byte a second.
    Drips,
    /// Sends every manifest node with one bit turned.
    WrongNodes,
    /// Says it has everything and then answers nothing.
    Silent,
    /// Sends all it has with its ACCEPT to who begins, and then answers nothing.
    Forthcoming,
    /// Sends all manifest nodes so, with one bit turned, and then answers nothing.
    WrongBeginning,
    /// States frames of 4 GiB.
    Endless,
    /// Sends bytes that are no frames.
    Noise,
    /// Takes sessions without knowing the content hash.
    NoProof,
    /// Says that it speaks another version, and ends the session.
    OtherVersion,
    /// Hangs up on everybody.
    HangsUp,
}

/// A peer's answer to one session.
pub(super) struct Session {
    pub(super) served: Arc<Served>,
    pub(super) behaviour: Behaviour,
    pub(super) own: PeerId,
    pub(super) chunks_sent: Arc<AtomicU64>,
    /// The first chunk that was wanted.
    pub(super) first: OnceLock<ChunkIndex>,
}

impl Session {
    /// Serves until the other end has enough.
    pub(super) async fn serve(self, requester: PeerId, mut stream: Stream) -> io::Result<()> {
        if self.behaviour == Behaviour::HangsUp {
            return Ok(());
        }
        let mut out = BytesMut::new();
        while let Some((header, payload)) = frames::read(&mut stream, Direction::ToServer).await? {
            match RequesterMessage::decode(header, &payload).map_err(io::Error::other)? {
                Some(RequesterMessage::Open(open)) => {
                    if !self.open(requester, &open, &mut out) {
                        frames::write(&mut stream, &mut out).await?;
                        // Its end of the stream tells the requester that nothing more comes.
                        return futures::AsyncWriteExt::close(&mut stream).await;
                    }
                }
                Some(message) if !self.is_silent() => self.answer(message, &mut out),
                Some(_) | None => {}
            }
            frames::write(&mut stream, &mut out).await?;
            if self.behaviour == Behaviour::Drips && self.chunks_sent.load(Ordering::Relaxed) > 0 {
                return self.drip(&mut stream).await;
            }
            if matches!(self.behaviour, Behaviour::Endless | Behaviour::Noise) {
                // Whatever is asked after that, the session should have ended.
                let _ = stream.read(&mut [0; 1]).await;
            }
        }
        Ok(())
    }

    /// Begins a chunk, and never ends it.
    async fn drip(&self, stream: &mut Stream) -> io::Result<()> {
        let mut frame = BytesMut::new();
        let bytes = self.served.chunks.first().cloned().unwrap_or_default();
        ServerMessage::Chunk { index: ChunkIndex(0), codec: 0, bytes }.encode(&mut frame);
        for byte in frame {
            futures::AsyncWriteExt::write_all(stream, &[byte]).await?;
            futures::AsyncWriteExt::flush(stream).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }

    /// Answers OPEN; false when nothing more is to come.
    fn open(&self, requester: PeerId, open: &Open, out: &mut BytesMut) -> bool {
        let hash = match self.behaviour {
            Behaviour::NoProof => shoal_protocol::hash::ContentHash::from_bytes([0; 32]),
            _ => self.served.hash,
        };
        let known = open.key == self.served.hash.discovery_key();
        let refusal = match (known, self.behaviour) {
            (_, Behaviour::OtherVersion) => Some((CloseCode::Version, "this peer speaks version 2 only")),
            (false, _) => Some((CloseCode::NotFound, "never heard of it")),
            (true, _) => None,
        };
        if let Some((code, text)) = refusal {
            ServerMessage::Close { code, text: text.to_owned() }.encode(out);
            return false;
        }
        match self.behaviour {
            Behaviour::Noise => out.extend_from_slice(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            Behaviour::Endless => out.extend_from_slice(&[0x16, 0xff, 0xff, 0xff, 0xff]),
            _ => {}
        }
        self.unknown(out);
        let proof = SessionProof::accept(&hash, &self.own.to_bytes(), &requester.to_bytes());
        ServerMessage::Accept { version: WIRE_VERSION, proof }.encode(out);
        if open.begins {
            self.begin(out);
        }
        let count = self.served.root.chunks.max(self.served.chunks.len() as u64);
        for part in Availability::all(count).parts() {
            self.unknown(out);
            ServerMessage::Availability(part).encode(out);
        }
        true
    }

    const fn is_silent(&self) -> bool {
        matches!(self.behaviour, Behaviour::Silent | Behaviour::Forthcoming | Behaviour::WrongBeginning)
    }

    /// What comes with the ACCEPT without having been asked for.
    fn begin(&self, out: &mut BytesMut) {
        let turned = match self.behaviour {
            Behaviour::Forthcoming => 0,
            Behaviour::WrongBeginning => 1,
            _ => return,
        };
        for (id, bytes) in &self.served.nodes {
            let mut bytes = bytes.to_vec();
            bytes.last_mut().into_iter().for_each(|byte| *byte ^= turned);
            ServerMessage::Node { id: *id, bytes: bytes.into() }.encode(out);
        }
        if self.behaviour == Behaviour::Forthcoming {
            for (index, bytes) in (0..).map(ChunkIndex).zip(&self.served.chunks) {
                ServerMessage::Chunk { index, codec: 0, bytes: bytes.clone() }.encode(out);
            }
        }
    }

    fn answer(&self, message: RequesterMessage, out: &mut BytesMut) {
        self.unknown(out);
        match message {
            RequesterMessage::WantNodes(ids) => {
                for id in ids {
                    match self.served.nodes.get(&id) {
                        Some(bytes) => {
                            let mut bytes = bytes.to_vec();
                            if self.behaviour == Behaviour::WrongNodes {
                                bytes.last_mut().into_iter().for_each(|byte| *byte ^= 1);
                            }
                            ServerMessage::Node { id, bytes: bytes.into() }.encode(out);
                        }
                        None => ServerMessage::NoNodes(vec![id]).encode(out),
                    }
                }
            }
            RequesterMessage::Want(ranges) => ranges.iter().for_each(|range| self.chunks(*range, out)),
            RequesterMessage::Cancel(_) | RequesterMessage::Open(_) => {}
        }
    }

    fn chunks(&self, range: ChunkRange, out: &mut BytesMut) {
        for index in range.indices() {
            let chunk = usize::try_from(index.0).ok().and_then(|index| self.served.chunks.get(index));
            let Some(chunk) = chunk else {
                let ranges = vec![ChunkRange::one(index)];
                ServerMessage::NoChunks { reason: NoChunksReason::NotHeld, ranges }.encode(out);
                continue;
            };
            let (mut bytes, mut index) = (chunk.to_vec(), index);
            match self.behaviour {
                Behaviour::WrongIndex => index = ChunkIndex(index.0.saturating_sub(1)),
                Behaviour::Replays => {
                    let _ = self.first.set(index);
                    index = self.first.get().copied().unwrap_or(index);
                    let first = usize::try_from(index.0).ok().and_then(|first| self.served.chunks.get(first));
                    bytes = first.map(|first| first.to_vec()).unwrap_or_default();
                }
                Behaviour::Drips => {
                    self.chunks_sent.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Behaviour::WrongChunks => bytes.first_mut().into_iter().for_each(|byte| *byte ^= 1),
                Behaviour::ShortChunks => bytes.truncate(bytes.len().div_ceil(2)),
                _ => {}
            }
            self.chunks_sent.fetch_add(1, Ordering::Relaxed);
            ServerMessage::Chunk { index, codec: 0, bytes: bytes.into() }.encode(out);
        }
    }

    /// A frame of an optional type that nobody knows.
    fn unknown(&self, out: &mut BytesMut) {
        if self.behaviour == Behaviour::Chatty {
            out.extend_from_slice(&[0xf7, 3, 0, 0, 0, b'h', b'e', b'y']);
        }
    }
}

//! One session with a peer: opens it, verifies what comes, passes it on.
//!
//! Hashing happens here, so that it runs beside the network and on as many cores as there are peers. Nothing here
//! decides what to ask for.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use shoal_protocol::availability::ChunkIndex;
use shoal_protocol::chunk::VerifiedChunk;
use shoal_protocol::engine::SessionId;
use shoal_protocol::hash::ContentHash;
use shoal_protocol::wire::{
    CloseCode, Direction, FrameHeader, KnownProvider, Open, RequesterMessage, ServerMessage, SessionProof, WIRE_VERSION,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::beginning::Beginning;
use super::rows::Rows;
use super::translation::Translation;
use crate::frames::{FrameError, FrameReader, write_all};
use crate::limiter::Limiter;
use crate::network::{Address, Network, OpenError, PeerId, TransferStream};

/// A frame that is not whole counts as progress each time so many more bytes of it are here.
const PROGRESS_BYTES: usize = 16 * 1024;

/// How long a peer may take to let a session in, agreeing on the protocol included: one that takes the stream and says
/// nothing is noticed then.
const ACCEPT_DEADLINE: Duration = Duration::from_secs(10);

/// The index of a chunk that the content does not have.
const NOWHERE: ChunkIndex = ChunkIndex(u64::MAX);

/// What happened in a session.
#[derive(Debug)]
pub(super) enum SessionEvent {
    /// Something other than a chunk.
    Message(ServerMessage),
    /// A chunk that is what it should be. The permit gives its bytes back to the queue's bound when dropped.
    Chunk { index: ChunkIndex, chunk: VerifiedChunk, permit: OwnedSemaphorePermit },
    /// A chunk that is not being worked on; its bytes were not looked at.
    Unneeded { index: ChunkIndex, bytes: usize },
    /// A chunk that is not what it should be.
    BadChunk { index: ChunkIndex, bytes: usize },
    /// Bytes of a frame that is not whole yet.
    Progress { bytes: usize },
    /// The session is over.
    Ended { reason: String },
}

/// A session that the peer has accepted.
#[derive(Debug)]
pub(super) struct OpenSession {
    pub(super) peer: PeerId,
    pub(super) address: Address,
    /// What came with the ACCEPT.
    pub(super) beginning: Beginning,
    reader: FrameReader<ReadHalf<TransferStream>>,
    writer: WriteHalf<TransferStream>,
}

/// Why there is no session with a peer.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenFailure {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{peer} has no place free")]
    Busy { peer: PeerId, address: Address, retry_after: Duration, others: Vec<KnownProvider> },
    #[error("{peer} refused: {text}")]
    Refused { peer: PeerId, code: CloseCode, text: String },
    #[error("{peer} does not know the content that it announced")]
    NoProof { peer: PeerId },
}

/// How a session is opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening {
    /// Whether whoever fetches waits for what comes next.
    pub(super) in_order: bool,
    /// Whether nothing of the manifest is known yet.
    pub(super) begins: bool,
}

/// Opens a stream and a session on it.
pub(super) async fn open(
    network: Network,
    hash: ContentHash,
    peer: PeerId,
    addresses: Vec<Address>,
    Opening { in_order, begins }: Opening,
) -> Result<OpenSession, OpenFailure> {
    let stream = network.open_stream(&peer, &addresses).await?;
    let address = stream.path().remote.clone();
    let (read, mut writer) = tokio::io::split(stream);
    let mut reader = FrameReader::new(read, Direction::ToRequester);
    let me = network.local_peer();
    let open = RequesterMessage::Open(Open {
        version: WIRE_VERSION,
        key: hash.discovery_key(),
        proof: SessionProof::open(&hash, &me.to_bytes(), &peer.to_bytes()),
        serves: true,
        in_order,
        begins,
        capability: Bytes::new(),
    });
    send(&mut writer, &open).await?;
    let mut others = Vec::new();
    let first = match first_message(&mut reader, &mut others, ACCEPT_DEADLINE).await {
        // Only now does it show what the peer does not speak.
        Err(FrameError::Io(error)) if error.kind() == ErrorKind::Unsupported => {
            return Err(network.unsupported(&peer).await.into());
        }
        first => first?,
    };
    match first {
        ServerMessage::Accept { version: WIRE_VERSION, proof }
            if proof == SessionProof::accept(&hash, &peer.to_bytes(), &me.to_bytes()) =>
        {
            let beginning = if begins { beginning(&mut reader)? } else { Beginning::default() };
            Ok(OpenSession { peer, address, beginning, reader, writer })
        }
        ServerMessage::Busy { retry_after_ms } => {
            let retry_after = Duration::from_millis(retry_after_ms.into());
            Err(OpenFailure::Busy { peer, address, retry_after, others })
        }
        ServerMessage::Close { code, text } => Err(OpenFailure::Refused { peer, code, text: printable(&text) }),
        _ => Err(OpenFailure::NoProof { peer }),
    }
}

/// The message that says whether there is a session, if it comes in time; one that names others may come before it.
async fn first_message<R: AsyncRead + Unpin>(
    reader: &mut FrameReader<R>,
    others: &mut Vec<KnownProvider>,
    patience: Duration,
) -> Result<ServerMessage, FrameError> {
    let first = async {
        loop {
            let (header, payload) = reader.next().await?;
            match decode(header, &payload)? {
                Some(ServerMessage::Providers(named)) => *others = named,
                Some(message) => return Ok(message),
                None => {}
            }
        }
    };
    timeout(patience, first).await.map_err(|_| FrameError::Stuck(patience))?
}

/// What has come with the ACCEPT. What is still on its way is an answer that nobody asked for; it is little.
fn beginning(reader: &mut FrameReader<ReadHalf<TransferStream>>) -> Result<Beginning, FrameError> {
    let mut beginning = Beginning::default();
    while !beginning.is_full()
        && let Some((header, payload)) = reader.take_if(|header| header.is_node() || header.is_chunk())?
    {
        if let Some(message) = decode(header, &payload)? {
            beginning.add(message);
        }
    }
    Ok(beginning)
}

/// What a running session needs.
#[derive(Debug, Clone)]
pub(super) struct SessionContext {
    pub(super) rows: Arc<Rows>,
    /// Where the other end speaks of a base.
    pub(super) translation: Option<Arc<Translation>>,
    /// Bounds the bytes of chunks that are verified and not yet stored.
    pub(super) queue: Arc<Semaphore>,
    /// Limits of the node and of this fetch.
    pub(super) limits: Vec<Arc<Limiter>>,
    pub(super) events: mpsc::Sender<(SessionId, SessionEvent)>,
}

/// Runs a session until it ends, and says so. `commands` closing ends it.
pub(super) async fn run(
    id: SessionId,
    session: OpenSession,
    context: SessionContext,
    commands: mpsc::Receiver<RequesterMessage>,
) {
    let OpenSession { mut reader, writer, .. } = session;
    let ended = tokio::select! {
        ended = read(id, &mut reader, &context) => ended,
        ended = write(writer, commands) => ended,
    };
    let reason = match ended {
        Ok(()) => "closed".to_owned(),
        Err(error) => error.to_string(),
    };
    // An error means that the fetch is over: then nobody needs to know.
    let _ = context.events.send((id, SessionEvent::Ended { reason })).await;
}

async fn write(
    mut writer: WriteHalf<TransferStream>,
    mut commands: mpsc::Receiver<RequesterMessage>,
) -> Result<(), FrameError> {
    while let Some(message) = commands.recv().await {
        send(&mut writer, &message).await?;
    }
    Ok(())
}

async fn send<W: AsyncWrite + Unpin>(writer: &mut W, message: &RequesterMessage) -> Result<(), FrameError> {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    write_all(writer, &out).await
}

async fn read(
    id: SessionId,
    reader: &mut FrameReader<ReadHalf<TransferStream>>,
    context: &SessionContext,
) -> Result<(), FrameError> {
    let mut partial = 0;
    loop {
        while let Some((header, payload)) = reader.take()? {
            partial = 0;
            let Some(message) = decode(header, &payload)? else {
                continue;
            };
            let event = match message {
                ServerMessage::Chunk { index, codec, bytes } => verify(context, index, codec, bytes).await,
                other => SessionEvent::Message(other),
            };
            if context.events.send((id, event)).await.is_err() {
                return Ok(());
            }
        }
        let read = reader.fill().await?;
        for limit in &context.limits {
            limit.pass(read as u64).await;
        }
        partial += read;
        if partial >= PROGRESS_BYTES && reader.has_part_of_a_chunk() {
            let event = SessionEvent::Progress { bytes: partial };
            partial = 0;
            if context.events.send((id, event)).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Looks at a chunk's bytes, and waits until there is room for them.
pub(super) async fn verify(context: &SessionContext, index: ChunkIndex, codec: u8, bytes: Bytes) -> SessionEvent {
    let length = bytes.len();
    let ours = match &context.translation {
        None => Some(index),
        Some(translation) => translation.ours(index),
    };
    let index = ours.unwrap_or(NOWHERE);
    let Some(placed) = context.rows.find(index) else {
        return SessionEvent::Unneeded { index, bytes: length };
    };
    let right_length = u32::try_from(length).is_ok_and(|length| length == placed.row.len);
    if codec != 0 || !right_length {
        return SessionEvent::BadChunk { index, bytes: length };
    }
    let Ok(chunk) = VerifiedChunk::verify(placed.row.id, bytes) else {
        return SessionEvent::BadChunk { index, bytes: length };
    };
    match Arc::clone(&context.queue).acquire_many_owned(placed.row.len).await {
        Ok(permit) => SessionEvent::Chunk { index, chunk, permit },
        Err(_) => SessionEvent::Unneeded { index, bytes: length },
    }
}

fn decode(header: FrameHeader, payload: &Bytes) -> Result<Option<ServerMessage>, FrameError> {
    Ok(ServerMessage::decode(header, payload)?)
}

/// A stranger's words, fit for a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_takes_a_stream_and_says_nothing_is_noticed() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut reader = FrameReader::new(ours, Direction::ToRequester);
        let answer = first_message(&mut reader, &mut Vec::new(), Duration::ZERO).await;
        assert!(matches!(answer, Err(FrameError::Stuck(Duration::ZERO))), "{answer:?}");
        let mut busy = BytesMut::new();
        ServerMessage::Busy { retry_after_ms: 7 }.encode(&mut busy);
        write_all(&mut theirs, &busy).await.unwrap();
        let answer = first_message(&mut reader, &mut Vec::new(), ACCEPT_DEADLINE).await;
        assert!(matches!(answer, Ok(ServerMessage::Busy { retry_after_ms: 7 })), "{answer:?}");
    }
}

//! How a session begins: who gets in, and who is told why not.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use shoal_protocol::wire::{CloseCode, Direction, Open, RequesterMessage, ServerMessage, SessionProof, WIRE_VERSION};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Serving;
use super::content::{Known, Served};
use super::session::{Session, SessionError};
use crate::frames::{FrameError, FrameReader, deadline, write_all};
use crate::network::{PeerId, TransferStream};

/// Requester messages that may wait to be looked at.
const MESSAGES: usize = 64;
/// How long a requester may take to say what it wants to open.
const OPEN_DEADLINE: Duration = Duration::from_secs(5);
/// How long it may take to turn a requester away.
const BUSY_DEADLINE: Duration = Duration::from_secs(2);
/// When a requester that found this node full may ask again.
const BUSY_RETRY: Duration = Duration::from_secs(2);

/// Serves one stream until either side has had enough, or the node stops. Never fails: what goes wrong is logged and
/// ends the session.
pub(super) async fn serve_stream(serving: &Serving, stream: TransferStream, stop: &CancellationToken) {
    let peer = stream.peer();
    let (read, write) = tokio::io::split(stream);
    match session(serving, peer, read, write, stop).await {
        Ok(()) | Err(SessionError::Frame(FrameError::Ended)) => {}
        Err(error) => tracing::debug!(%peer, %error, "a serving session ended"),
    }
}

/// Tells a requester to come again later, whatever it wants.
pub(super) async fn turn_away<S: AsyncRead + AsyncWrite>(stream: S) {
    let (read, mut writer) = tokio::io::split(stream);
    let farewell = async {
        let retry_after_ms = u32::try_from(BUSY_RETRY.as_millis()).unwrap_or(u32::MAX);
        send_last(&mut writer, ServerMessage::Busy { retry_after_ms }).await?;
        // Not to read its OPEN would reset the stream, and the answer with it.
        FrameReader::new(read, Direction::ToServer).fill().await
    };
    // A requester that is too slow, or gone, need not know.
    let _ = timeout(BUSY_DEADLINE, farewell).await;
}

async fn session<R, W>(
    serving: &Serving,
    peer: PeerId,
    read: R,
    mut writer: W,
    stop: &CancellationToken,
) -> Result<(), SessionError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut reader = FrameReader::new(read, Direction::ToServer);
    let open = match stop.run_until_cancelled(timeout(OPEN_DEADLINE, read_open(&mut reader))).await {
        None => return Ok(()),
        Some(Err(_)) => return Err(FrameError::Stuck(OPEN_DEADLINE).into()),
        Some(Ok(open)) => open?,
    };
    let served = match admit(serving, &peer, &open).await? {
        Ok(served) => served,
        Err((code, text)) => {
            let close = ServerMessage::Close { code, text: text.to_owned() };
            return Ok(send_last(&mut writer, close).await?);
        }
    };
    tracing::debug!(%peer, hash = %served.hash, held = served.availability.len(), "serving");
    if open.serves {
        // Without an address the peer cannot be named to others, which is all that this is for.
        let addresses = serving.network.addresses_of(&peer).await.unwrap_or_default();
        serving.swarms.saw(served.hash, peer, addresses, Instant::now());
    }
    let (messages, inbox) = mpsc::channel(MESSAGES);
    let mut session = Session::new(serving, peer, served, writer, inbox);
    tokio::select! {
        read = read_messages(&mut reader, messages) => read,
        served = session.serve(stop) => served,
    }
}

async fn read_open<R: AsyncRead + Unpin>(reader: &mut FrameReader<R>) -> Result<Open, SessionError> {
    let (header, payload) = reader.next().await?;
    match RequesterMessage::decode(header, &payload).map_err(FrameError::from)? {
        Some(RequesterMessage::Open(open)) => Ok(open),
        _ => Err(SessionError::Breach("something came before OPEN")),
    }
}

/// Decides whether a requester gets in; else says why not.
async fn admit(
    serving: &Serving,
    peer: &PeerId,
    open: &Open,
) -> Result<Result<Served, (CloseCode, &'static str)>, SessionError> {
    const NOT_FOUND: (CloseCode, &str) = (CloseCode::NotFound, "not held here");
    if open.version != WIRE_VERSION {
        return Ok(Err((CloseCode::Version, "this node speaks version 1 of the transfer protocol")));
    }
    let Some(known) = Known::find(serving, open.key).await? else {
        return Ok(Err(NOT_FOUND));
    };
    let me = serving.network.local_peer();
    // Before anything that costs more than a look-up.
    if open.proof != SessionProof::open(known.hash(), &peer.to_bytes(), &me.to_bytes()) {
        return Ok(Err((CloseCode::BadProof, "the proof does not fit the content")));
    }
    Ok(Served::open(serving, known).await?.ok_or(NOT_FOUND))
}

async fn read_messages<R: AsyncRead + Unpin>(
    reader: &mut FrameReader<R>,
    messages: mpsc::Sender<RequesterMessage>,
) -> Result<(), SessionError> {
    loop {
        let (header, payload) = reader.next().await?;
        let Some(message) = RequesterMessage::decode(header, &payload).map_err(FrameError::from)? else {
            continue;
        };
        if messages.send(message).await.is_err() {
            return Ok(());
        }
    }
}

/// Writes messages, in their order.
pub(super) async fn send<W: AsyncWrite + Unpin>(writer: &mut W, messages: &[ServerMessage]) -> Result<(), FrameError> {
    let mut out = BytesMut::new();
    for message in messages {
        message.encode(&mut out);
    }
    write_all(writer, &out).await
}

/// Writes a last message and ends the writing half in order: a stream that is just dropped is reset, which may lose
/// what is on its way.
pub(super) async fn send_last<W: AsyncWrite + Unpin>(writer: &mut W, message: ServerMessage) -> Result<(), FrameError> {
    send(writer, &[message]).await?;
    deadline(writer.shutdown()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_requester_too_many_is_told_so_before_it_says_a_word() {
        let (server, requester) = tokio::io::duplex(1024);
        let turned_away = tokio::spawn(turn_away(server));
        let mut reader = FrameReader::new(requester, Direction::ToRequester);
        let (header, payload) = reader.next().await.unwrap();
        let message = ServerMessage::decode(header, &payload).unwrap();
        assert!(matches!(message, Some(ServerMessage::Busy { .. })), "{message:?}");
        drop(reader);
        turned_away.await.unwrap();
    }
}

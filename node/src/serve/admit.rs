//! How a session begins: who gets in, and who is told why not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use shoal_protocol::hash::ContentHash;
use shoal_protocol::wire::{
    CloseCode, Direction, MAX_PROVIDERS, Open, RequesterMessage, ServerMessage, SessionProof, WIRE_VERSION,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Serving;
use super::beginning::Beginning;
use super::content::{Known, Served};
use super::providers::message as providers_message;
use super::session::{Session, SessionError};
use crate::clock::unix_ms;
use crate::frames::{FrameError, FrameReader, deadline, write_all};
use crate::network::{PeerId, TransferStream};
use crate::swarm::SwarmPeer;

/// Requester messages that may wait to be looked at.
const MESSAGES: usize = 64;
/// How long a requester may take to say what it wants to open.
const OPEN_DEADLINE: Duration = Duration::from_secs(5);
/// How long it may take to turn a requester away, …
const BUSY_DEADLINE: Duration = Duration::from_secs(3);
/// … and how long it has to say what it wants before.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);
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

/// Tells a requester to come again later, and whom it may ask meanwhile if it proves that it knows the content.
pub(super) async fn turn_away(serving: &Serving, stream: TransferStream) {
    let peer = stream.peer();
    let (read, mut writer) = tokio::io::split(stream);
    let mut reader = FrameReader::new(read, Direction::ToServer);
    let answer = async {
        let others = match timeout(BUSY_PATIENCE, others_for(serving, peer, &mut reader)).await {
            Ok(Ok(others)) => others,
            _ => Vec::new(),
        };
        say_busy(&mut writer, &others).await
    };
    // A requester that is too slow, or gone, need not know.
    let _ = timeout(BUSY_DEADLINE, answer).await;
}

/// Other peers of the content that a requester wants to open, if it may know.
async fn others_for<R: AsyncRead + Unpin>(
    serving: &Serving,
    peer: PeerId,
    reader: &mut FrameReader<R>,
) -> Result<Vec<SwarmPeer>, SessionError> {
    let open = read_open(reader).await?;
    let Some(known) = Known::find(serving, open.key).await? else {
        return Ok(Vec::new());
    };
    if !proves(&open, &serving.network.local_peer(), &peer, known.hash()) {
        return Ok(Vec::new());
    }
    let hash = *known.hash();
    if open.serves {
        let addresses = serving.network.addresses_of(&peer).await.unwrap_or_default();
        serving.swarms.turned_away(hash, peer, addresses, Instant::now());
    }
    Ok(serving.swarms.known(&hash, &peer, MAX_PROVIDERS, Instant::now()))
}

async fn say_busy<W: AsyncWrite + Unpin>(writer: &mut W, others: &[SwarmPeer]) -> Result<(), FrameError> {
    if !others.is_empty() {
        send(writer, &[providers_message(others)]).await?;
    }
    let retry_after_ms = u32::try_from(BUSY_RETRY.as_millis()).unwrap_or(u32::MAX);
    send_last(writer, ServerMessage::Busy { retry_after_ms }).await
}

/// Remembers a peer of a content, to name it to others.
async fn note(serving: &Serving, hash: ContentHash, peer: PeerId) {
    // Without an address the peer cannot be named to others, which is all that this is for.
    let addresses = serving.network.addresses_of(&peer).await.unwrap_or_default();
    serving.swarms.saw(hash, peer, addresses, Instant::now());
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
    let (served, beginning) = match admit(serving, peer, &open).await? {
        Ok(admitted) => admitted,
        Err((code, text)) => {
            let close = ServerMessage::Close { code, text: text.to_owned() };
            return Ok(send_last(&mut writer, close).await?);
        }
    };
    tracing::debug!(%peer, hash = %served.hash, held = served.availability.len(), "serving");
    let hash = served.hash;
    let (messages, inbox) = mpsc::channel(MESSAGES);
    let seat = serving.scheduler.seat(peer, &served, open.serves, open.in_order);
    let mut session = Session::new(serving, peer, served, seat, writer, inbox);
    let noted = async {
        if open.serves {
            note(serving, hash, peer).await;
        }
        // The session lasts longer.
        std::future::pending().await
    };
    tokio::select! {
        read = read_messages(&mut reader, messages) => read,
        served = session.serve(beginning, stop) => served,
        ended = noted => ended,
    }
}

async fn read_open<R: AsyncRead + Unpin>(reader: &mut FrameReader<R>) -> Result<Open, SessionError> {
    let (header, payload) = reader.next().await?;
    match RequesterMessage::decode(header, &payload).map_err(FrameError::from)? {
        Some(RequesterMessage::Open(open)) => Ok(open),
        _ => Err(SessionError::Breach("something came before OPEN")),
    }
}

/// Decides whether a requester gets in, and what it is sent at once; else says why not.
pub(super) async fn admit(
    serving: &Serving,
    peer: PeerId,
    open: &Open,
) -> Result<Result<(Served, Beginning), (CloseCode, &'static str)>, SessionError> {
    const NOT_FOUND: (CloseCode, &str) = (CloseCode::NotFound, "not held here");
    const BAD_PROOF: (CloseCode, &str) = (CloseCode::BadProof, "the proof does not fit the content");
    if open.version != WIRE_VERSION {
        return Ok(Err((CloseCode::Version, "this node speaks version 1 of the transfer protocol")));
    }
    let me = serving.network.local_peer();
    if let Some(small) = serving.small(&open.key) {
        if !proves(open, &me, &peer, &small.hash) {
            return Ok(Err(BAD_PROOF));
        }
        serving.store.note_use(small.hash, unix_ms());
        let beginning = if open.begins { small.beginning.clone() } else { Beginning::default() };
        return Ok(Ok((small.served(), beginning)));
    }
    let (contents, store, beginnings) =
        (serving.contents.clone(), serving.store.clone(), Arc::clone(&serving.beginnings));
    let open = open.clone();
    let look = move || {
        let losses = store.losses();
        let Some(known) = Known::look_up(&contents, &store, &open.key)? else {
            return Ok(Err(NOT_FOUND));
        };
        // Before anything that costs more than a look-up.
        if !proves(&open, &me, &peer, known.hash()) {
            return Ok(Err(BAD_PROOF));
        }
        let Some(served) = Served::open(&store, known)? else {
            return Ok(Err(NOT_FOUND));
        };
        let beginning = if open.begins { Beginning::read(&store, &served) } else { Beginning::default() };
        beginnings.keep(&served, &beginning, losses);
        Ok(Ok((served, beginning)))
    };
    spawn_blocking(look).await.map_err(|_| SessionError::Broken)?
}

/// Whether a requester knows the hash of what it wants to open at this node.
fn proves(open: &Open, me: &PeerId, requester: &PeerId, hash: &ContentHash) -> bool {
    open.proof == SessionProof::open(hash, &requester.to_bytes(), &me.to_bytes())
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
    use crate::network::Identity;

    #[tokio::test]
    async fn who_is_turned_away_is_told_of_others_first() {
        let (server, requester) = tokio::io::duplex(4096);
        let others = [SwarmPeer {
            peer: Identity::generate().peer_id(),
            addresses: vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()],
        }];
        let (_, mut writer) = tokio::io::split(server);
        say_busy(&mut writer, &others).await.unwrap();
        let mut reader = FrameReader::new(requester, Direction::ToRequester);
        let mut next = async || {
            let (header, payload) = reader.next().await.unwrap();
            ServerMessage::decode(header, &payload).unwrap()
        };
        let Some(ServerMessage::Providers(named)) = next().await else { panic!("no providers") };
        assert_eq!(named[0].peer, others[0].peer.to_bytes());
        assert!(matches!(next().await, Some(ServerMessage::Busy { .. })));
    }
}

//! One serving session: proof first, then whatever is wanted, in the order it is wanted.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use shoal_protocol::availability::{ChunkIndex, ChunkRange};
use shoal_protocol::chunker::TARGET_CHUNK_BYTES;
use shoal_protocol::hash::NodeId;
use shoal_protocol::wire::{
    CloseCode, Direction, KnownProvider, MAX_NODE_IDS, MAX_PROVIDERS, MAX_RANGES, MAX_WANTED_CHUNKS, MAX_WANTED_NODES,
    Open, RequesterMessage, ServerMessage, SessionProof, WIRE_VERSION,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::Serving;
use super::chunks::{ChunkSource, Frames};
use super::content::Served;
use crate::config::{IDLE_SESSION, SERVE_BATCH_BYTES};
use crate::frames::{FrameError, FrameReader, deadline, write_all};
use crate::manifests::{ChunkRows, ManifestReadError};
use crate::network::{PeerId, TransferStream};

/// Requester messages that may wait to be looked at.
const MESSAGES: usize = 64;
/// When a requester that found this node full may ask again.
const BUSY_RETRY: Duration = Duration::from_secs(2);
/// How often a requester is told of providers that have become known since.
const PROVIDERS_EVERY: Duration = Duration::from_secs(3);

/// Why a session ends before the requester closes it.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the peer broke the protocol: {0}")]
    Breach(&'static str),
    #[error("cannot read the manifest: {0}")]
    Manifest(#[from] ManifestReadError),
    #[error("reading from the store broke off")]
    Broken,
}

/// Serves one stream until either side has had enough. Never fails: what goes wrong is logged and ends the session.
pub(super) async fn run(serving: &Serving, stream: TransferStream, busy: bool) {
    let peer = stream.peer();
    let (read, write) = tokio::io::split(stream);
    match session(serving, peer, read, write, busy).await {
        Ok(()) | Err(SessionError::Frame(FrameError::Ended)) => {}
        Err(error) => tracing::debug!(%peer, %error, "a serving session ended"),
    }
}

async fn session<R, W>(serving: &Serving, peer: PeerId, read: R, write: W, busy: bool) -> Result<(), SessionError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut reader = FrameReader::new(read, Direction::ToServer);
    let mut writer = write;
    let open = read_open(&mut reader).await?;
    if busy {
        let retry_after_ms = u32::try_from(BUSY_RETRY.as_millis()).unwrap_or(u32::MAX);
        return Ok(send(&mut writer, &[ServerMessage::Busy { retry_after_ms }]).await?);
    }
    let served = match admit(serving, &peer, &open).await? {
        Ok(served) => served,
        Err((code, text)) => {
            let close = ServerMessage::Close { code, text: text.to_owned() };
            return Ok(send(&mut writer, &[close]).await?);
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
        served = session.serve() => served,
    }
}

async fn read_open<R: AsyncRead + Unpin>(reader: &mut FrameReader<R>) -> Result<Open, SessionError> {
    let (header, payload) = deadline(reader.next()).await?;
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
    if open.version != WIRE_VERSION {
        return Ok(Err((CloseCode::Version, "this node speaks version 1 of the transfer protocol")));
    }
    let Some(served) = Served::find(serving, open.key).await? else {
        return Ok(Err((CloseCode::NotFound, "not held here")));
    };
    let me = serving.network.local_peer();
    if open.proof != SessionProof::open(&served.hash, &peer.to_bytes(), &me.to_bytes()) {
        return Ok(Err((CloseCode::BadProof, "the proof does not fit the content")));
    }
    Ok(Ok(served))
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

/// A batch that is being read: the source comes back with it.
type Reading = JoinHandle<(ChunkSource, Result<Frames, ManifestReadError>)>;

struct Session<'a, W> {
    serving: &'a Serving,
    peer: PeerId,
    served: Served,
    writer: W,
    inbox: mpsc::Receiver<RequesterMessage>,
    /// Chunks wanted and not yet being read, first come first served.
    wanted: VecDeque<ChunkRange>,
    wanted_chunks: u64,
    wanted_nodes: VecDeque<NodeId>,
    /// At home when no batch is being read.
    source: Option<ChunkSource>,
    reading: Option<Reading>,
    told_providers: Option<Instant>,
}

impl<'a, W: AsyncWrite + Unpin> Session<'a, W> {
    fn new(
        serving: &'a Serving,
        peer: PeerId,
        served: Served,
        writer: W,
        inbox: mpsc::Receiver<RequesterMessage>,
    ) -> Self {
        let source =
            ChunkSource::new(serving.store.clone(), ChunkRows::new(serving.store.clone(), served.root.clone()));
        Self {
            serving,
            peer,
            served,
            writer,
            inbox,
            wanted: VecDeque::new(),
            wanted_chunks: 0,
            wanted_nodes: VecDeque::new(),
            source: Some(source),
            reading: None,
            told_providers: None,
        }
    }

    async fn serve(&mut self) -> Result<(), SessionError> {
        self.greet().await?;
        loop {
            loop {
                match self.inbox.try_recv() {
                    Ok(message) => self.take(message)?,
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => return Ok(()),
                }
            }
            self.tell_news().await?;
            if !self.wanted_nodes.is_empty() {
                self.send_nodes().await?;
            } else if self.reading.is_some() || !self.wanted.is_empty() {
                self.send_batch().await?;
            } else if !self.wait().await? {
                return Ok(());
            }
        }
    }

    async fn greet(&mut self) -> Result<(), SessionError> {
        let me = self.serving.network.local_peer();
        let proof = SessionProof::accept(&self.served.hash, &me.to_bytes(), &self.peer.to_bytes());
        let mut greeting = vec![ServerMessage::Accept { version: WIRE_VERSION, proof }];
        greeting.extend(self.served.availability.parts().into_iter().map(ServerMessage::Availability));
        Ok(send(&mut self.writer, &greeting).await?)
    }

    fn take(&mut self, message: RequesterMessage) -> Result<(), SessionError> {
        match message {
            RequesterMessage::Open(_) => return Err(SessionError::Breach("OPEN came twice")),
            RequesterMessage::WantNodes(ids) => {
                self.wanted_nodes.extend(ids);
                if self.wanted_nodes.len() > MAX_WANTED_NODES {
                    return Err(SessionError::Breach("it wants too many nodes at once"));
                }
            }
            RequesterMessage::Want(ranges) => {
                for range in ranges {
                    if range.end() > self.served.root.chunks {
                        return Err(SessionError::Breach("it wants chunks that the content does not have"));
                    }
                    self.wanted_chunks += u64::from(range.count);
                    self.wanted.push_back(range);
                }
                if self.wanted_chunks > MAX_WANTED_CHUNKS {
                    return Err(SessionError::Breach("it wants too many chunks at once"));
                }
            }
            RequesterMessage::Cancel(ranges) => self.cancel(&ranges),
        }
        Ok(())
    }

    fn cancel(&mut self, ranges: &[ChunkRange]) {
        let mut left = VecDeque::with_capacity(self.wanted.len());
        for want in self.wanted.drain(..) {
            let mut pieces = vec![want];
            for range in ranges {
                pieces = pieces.into_iter().flat_map(|piece| without(piece, *range)).collect();
            }
            left.extend(pieces);
        }
        self.wanted = left;
        self.wanted_chunks = self.wanted.iter().map(|range| u64::from(range.count)).sum();
    }

    /// Tells of chunks that have become durable, and of providers, as far as there is anything to tell.
    async fn tell_news(&mut self) -> Result<(), SessionError> {
        let mut fresh = Vec::new();
        let mut resync = Vec::new();
        if let Some((live, news)) = &mut self.served.live {
            loop {
                match news.try_recv() {
                    Ok(range) => fresh.push(range),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                    Err(TryRecvError::Lagged(_)) => {
                        let (availability, receiver) = live.subscribe();
                        *news = receiver;
                        resync.extend(availability.parts().into_iter().map(ServerMessage::Availability));
                        fresh.clear();
                    }
                }
            }
        }
        let mut news = resync;
        news.extend(fresh.chunks(MAX_RANGES).map(|ranges| ServerMessage::Have(ranges.to_vec())));
        if self.told_providers.is_none_or(|at| at.elapsed() >= PROVIDERS_EVERY) {
            self.told_providers = Some(Instant::now());
            let known = self.serving.swarms.known(&self.served.hash, &self.peer, MAX_PROVIDERS, Instant::now());
            let known: Vec<_> = known
                .into_iter()
                .map(|other| KnownProvider {
                    peer: other.peer.to_bytes().into(),
                    addresses: other.addresses.iter().map(|address| address.to_bytes().into()).collect(),
                })
                .collect();
            if !known.is_empty() {
                news.push(ServerMessage::Providers(known));
            }
        }
        if news.is_empty() { Ok(()) } else { Ok(send(&mut self.writer, &news).await?) }
    }

    /// Waits for something to do; `false` if nothing came for too long, or the requester is gone.
    async fn wait(&mut self) -> Result<bool, SessionError> {
        let news = async {
            match &mut self.served.live {
                // The range is looked at again by `tell_news`, so it must not be lost here: wait for any, then resubscribe.
                Some((_, news)) => news.recv().await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = self.inbox.recv() => match message {
                Some(message) => self.take(message).map(|()| true),
                None => Ok(false),
            },
            range = news => {
                match range {
                    Some(range) => send(&mut self.writer, &[ServerMessage::Have(vec![range])]).await?,
                    // Either it lagged, which the next look finds out, or the fetch is over: then no more news.
                    None => self.end_of_news(),
                }
                Ok(true)
            }
            () = tokio::time::sleep(IDLE_SESSION) => Ok(false),
        }
    }

    fn end_of_news(&mut self) {
        if let Some((_, news)) = &self.served.live
            && news.is_closed()
            && news.is_empty()
        {
            self.served.live = None;
        }
    }

    async fn send_nodes(&mut self) -> Result<(), SessionError> {
        let ids: Vec<NodeId> = self.wanted_nodes.drain(..).collect();
        let store = self.serving.store.clone();
        let found = spawn_blocking(move || {
            let mut found = Vec::new();
            let mut missing = Vec::new();
            for id in ids {
                match store.read_node(&id) {
                    Ok(Some(bytes)) => found.push(ServerMessage::Node { id, bytes }),
                    Ok(None) => missing.push(id),
                    Err(error) => {
                        tracing::warn!(%error, "cannot serve a manifest node");
                        missing.push(id);
                    }
                }
            }
            found.extend(missing.chunks(MAX_NODE_IDS).map(|ids| ServerMessage::NoNodes(ids.to_vec())));
            found
        });
        let found = found.await.map_err(|_| SessionError::Broken)?;
        Ok(send(&mut self.writer, &found).await?)
    }

    /// Sends one batch, while the next one is being read.
    async fn send_batch(&mut self) -> Result<(), SessionError> {
        if self.reading.is_none() {
            self.read_next();
        }
        let Some(reading) = self.reading.take() else {
            return Ok(());
        };
        let (source, frames) = reading.await.map_err(|_| SessionError::Broken)?;
        self.source = Some(source);
        self.read_next();
        self.write(&frames?).await
    }

    fn read_next(&mut self) {
        let most = (SERVE_BATCH_BYTES / TARGET_CHUNK_BYTES as usize).max(1);
        let mut batch: Vec<ChunkIndex> = Vec::with_capacity(most);
        while batch.len() < most
            && let Some(range) = self.wanted.front_mut()
        {
            batch.push(range.start);
            range.start = ChunkIndex(range.start.0 + 1);
            range.count -= 1;
            self.wanted_chunks -= 1;
            if range.count == 0 {
                self.wanted.pop_front();
            }
        }
        if batch.is_empty() {
            return;
        }
        if let Some(mut source) = self.source.take() {
            self.reading = Some(spawn_blocking(move || {
                let frames = source.frames(&batch);
                (source, frames)
            }));
        }
    }

    async fn write(&mut self, frames: &Frames) -> Result<(), SessionError> {
        let mut start = 0;
        if self.serving.limit_up.is_limited() {
            for &(end, length) in &frames.chunks {
                self.serving.limit_up.pass(u64::from(length)).await;
                write_all(&mut self.writer, frames.bytes.get(start..end).unwrap_or_default()).await?;
                start = end;
            }
        }
        write_all(&mut self.writer, frames.bytes.get(start..).unwrap_or_default()).await?;
        let sent = frames.chunks.iter().map(|&(_, length)| u64::from(length)).sum();
        self.serving.traffic.sent(self.peer, sent);
        Ok(())
    }
}

async fn send<W: AsyncWrite + Unpin>(writer: &mut W, messages: &[ServerMessage]) -> Result<(), FrameError> {
    let mut out = BytesMut::new();
    for message in messages {
        message.encode(&mut out);
    }
    write_all(writer, &out).await
}

/// What is left of a range when another is taken out of it.
fn without(range: ChunkRange, out: ChunkRange) -> impl Iterator<Item = ChunkRange> {
    let part = move |from: u64, to: u64| {
        let count = u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX);
        (count > 0).then_some(ChunkRange { start: ChunkIndex(from), count })
    };
    let before = part(range.start.0, range.end().min(out.start.0));
    let after = part(range.start.0.max(out.end()), range.end());
    before.into_iter().chain(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, count: u32) -> ChunkRange {
        ChunkRange { start: ChunkIndex(start), count }
    }

    #[test]
    fn a_range_loses_what_is_taken_out() {
        let check = |out, left: &[ChunkRange]| assert_eq!(without(range(10, 10), out).collect::<Vec<_>>(), left);
        check(range(0, 5), &[range(10, 10)]);
        check(range(20, 5), &[range(10, 10)]);
        check(range(0, 40), &[]);
        check(range(5, 10), &[range(15, 5)]);
        check(range(15, 50), &[range(10, 5)]);
        check(range(12, 3), &[range(10, 2), range(15, 5)]);
    }
}

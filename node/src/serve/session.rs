//! One serving session that has been let in. What is sent when, the [`scheduler`](super::scheduler) says; the bytes go
//! from the store to the stream in this task, and the next batch is read while one is written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use shoal_protocol::hash::NodeId;
use shoal_protocol::serving::WantError;
use shoal_protocol::wire::{
    CloseCode, MAX_PROVIDERS, MAX_RANGES, NoChunksReason, RequesterMessage, ServerMessage, SessionProof, WIRE_VERSION,
};
use tokio::io::AsyncWrite;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::Serving;
use super::admit::send_last;
use super::beginning::Beginning;
use super::chunks::{ChunkSource, Frames};
use super::content::Served;
use super::news::{Change, News};
use super::patience::{idle_time, is_fast_enough};
use super::providers::message as providers_message;
use super::scheduler::{Grant, Orders, Seat};
use crate::clock::unix_ms;
use crate::frames::{FrameError, write_while};
use crate::manifests::{ChunkRows, ManifestReadError};
use crate::network::PeerId;
use crate::swarm::SwarmPeer;

/// How often the contents and the swarm are looked at, if nothing tells of a change.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How soon after it was last told of providers a requester is told of more.
const PROVIDERS_EVERY: Duration = Duration::from_millis(250);
/// Bytes that are written at once where a low limit sets the pace.
const PACED_BYTES: usize = 16 * 1024;

/// Why a session ends before the requester closes it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the peer broke the protocol: {0}")]
    Breach(&'static str),
    #[error("the peer broke the protocol: {0}")]
    Want(#[from] WantError),
    #[error("cannot read the manifest: {0}")]
    Manifest(#[from] ManifestReadError),
    #[error("reading from the store broke off")]
    Broken,
}

/// A batch that is being read: the source comes back with it.
#[derive(Debug)]
struct Reading {
    task: JoinHandle<(ChunkSource, Result<Frames, ManifestReadError>)>,
    /// How fast it may be written, in bytes a second, if that matters.
    pace: Option<u64>,
}

/// A session at work.
pub(super) struct Session<'a, W> {
    serving: &'a Serving,
    peer: PeerId,
    served: Served,
    writer: W,
    inbox: mpsc::Receiver<RequesterMessage>,
    seat: Seat,
    wanted_nodes: VecDeque<NodeId>,
    /// To be read as soon as the source is at home.
    grant: Option<Grant>,
    /// At home when no batch is being read.
    source: Option<ChunkSource>,
    reading: Option<Reading>,
    /// A buffer that has been sent, for the batch after the next.
    spare: BytesMut,
    told_providers: Vec<SwarmPeer>,
    told_providers_at: Option<Instant>,
    /// Changes when a peer of the content has become known.
    swarm: watch::Receiver<u64>,
    /// When the swarm and the contents are to be looked at again.
    next_look: Instant,
    /// When something was last asked or told.
    active: Instant,
}

impl<'a, W: AsyncWrite + Unpin> Session<'a, W> {
    pub(super) fn new(
        serving: &'a Serving,
        peer: PeerId,
        served: Served,
        seat: Seat,
        writer: W,
        inbox: mpsc::Receiver<RequesterMessage>,
    ) -> Self {
        let rows = ChunkRows::new(serving.store.clone(), served.root.clone());
        let rows = rows.shared(Arc::clone(&serving.leaves), served.hash);
        let source = ChunkSource::new(serving.store.clone(), rows);
        let now = Instant::now();
        Self {
            swarm: serving.swarms.subscribe(served.hash),
            serving,
            peer,
            served,
            writer,
            inbox,
            seat,
            wanted_nodes: VecDeque::new(),
            grant: None,
            source: Some(source),
            reading: None,
            spare: BytesMut::new(),
            told_providers: Vec::new(),
            told_providers_at: None,
            next_look: now,
            active: now,
        }
    }

    /// Runs until the requester is gone, has wanted nothing for too long, or the node stops. `beginning` goes out with
    /// the ACCEPT.
    pub(super) async fn serve(&mut self, beginning: Beginning, stop: &CancellationToken) -> Result<(), SessionError> {
        self.greet(&beginning).await?;
        loop {
            loop {
                match self.inbox.try_recv() {
                    Ok(message) => self.take(message)?,
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => return Ok(()),
                }
            }
            if stop.is_cancelled() {
                let close = ServerMessage::Close { code: CloseCode::ShuttingDown, text: "the node stops".to_owned() };
                return Ok(send_last(&mut self.writer, close).await?);
            }
            self.tell_news().await?;
            self.follow_orders().await?;
            if self.reading.is_some() {
                self.send_batch().await?;
            } else if self.active.elapsed() >= idle_time(self.sessions()) || !self.wait(stop).await? {
                return Ok(());
            }
        }
    }

    async fn greet(&mut self, beginning: &Beginning) -> Result<(), SessionError> {
        let me = self.serving.network.local_peer();
        let proof = SessionProof::accept(&self.served.hash, &me.to_bytes(), &self.peer.to_bytes());
        let mut greeting = BytesMut::new();
        ServerMessage::Accept { version: WIRE_VERSION, proof }.encode(&mut greeting);
        greeting.extend_from_slice(&beginning.bytes);
        self.availability().for_each(|part| part.encode(&mut greeting));
        self.write_out(&greeting).await?;
        self.serving.traffic.sent(self.peer, beginning.chunk_bytes);
        Ok(())
    }

    fn availability(&self) -> impl Iterator<Item = ServerMessage> + use<W> {
        self.served.availability.parts().into_iter().map(ServerMessage::Availability)
    }

    fn take(&mut self, message: RequesterMessage) -> Result<(), SessionError> {
        self.active = Instant::now();
        match message {
            RequesterMessage::Open(_) => return Err(SessionError::Breach("OPEN came twice")),
            RequesterMessage::WantNodes(ids) => {
                self.seat.tell(|policy, session, now| policy.handle_want_nodes(session, ids.len(), now))?;
                self.wanted_nodes.extend(ids);
            }
            RequesterMessage::Want(ranges) => {
                self.seat.tell(|policy, session, now| policy.handle_want(session, &ranges, now))?;
            }
            RequesterMessage::Cancel(ranges) => {
                self.seat.tell(|policy, session, now| policy.handle_cancel(session, &ranges, now));
            }
        }
        Ok(())
    }

    /// Tells of chunks that have become durable, and of providers, as far as there is anything to tell.
    async fn tell_news(&mut self) -> Result<(), SessionError> {
        if let Some(news) = &mut self.served.news {
            let change = news.take();
            self.tell(change).await?;
        }
        if self.swarm.has_changed().unwrap_or(false) {
            self.look_soon();
        }
        let now = Instant::now();
        if now < self.next_look {
            return Ok(());
        }
        self.next_look = now + LOOK_EVERY;
        let key = self.served.hash.discovery_key();
        if self.served.news.is_none() && !self.served.availability.is_complete() && self.serving.contents.has(&key) {
            self.tell(Change::Anew).await?;
        }
        self.tell_providers().await
    }

    /// Another peer of the content is known: the requester will hear of it, though not of each at once.
    fn look_soon(&mut self) {
        self.swarm.mark_unchanged();
        let soon = self.told_providers_at.map_or_else(Instant::now, |at| at + PROVIDERS_EVERY);
        self.next_look = self.next_look.min(soon);
    }

    async fn tell(&mut self, change: Change) -> Result<(), SessionError> {
        let news: Vec<ServerMessage> = match change {
            Change::Gained(ranges) => {
                ranges.chunks(MAX_RANGES).map(|ranges| ServerMessage::Have(ranges.to_vec())).collect()
            }
            Change::Anew => match Served::find(self.serving, self.served.hash.discovery_key()).await? {
                Some(served) => {
                    self.served = served;
                    self.availability().collect()
                }
                None => {
                    // It has been removed. What is left of it is served, and NO_CHUNKS says what is not.
                    self.served.news = None;
                    Vec::new()
                }
            },
        };
        if news.is_empty() {
            return Ok(());
        }
        self.active = Instant::now();
        self.say(&news).await
    }

    /// Tells of peers of the content, if there are any that the requester has not been told of last time.
    async fn tell_providers(&mut self) -> Result<(), SessionError> {
        let known = self.serving.swarms.known(&self.served.hash, &self.peer, MAX_PROVIDERS, Instant::now());
        if known.iter().all(|other| self.told_providers.contains(other)) {
            return Ok(());
        }
        let message = providers_message(&known);
        self.told_providers = known;
        self.told_providers_at = Some(Instant::now());
        self.say(&[message]).await
    }

    /// Waits for something to do, or until it is time to look again; `false` if the requester is gone.
    async fn wait(&mut self, stop: &CancellationToken) -> Result<bool, SessionError> {
        tokio::select! {
            message = self.inbox.recv() => match message {
                Some(message) => self.take(message)?,
                None => return Ok(false),
            },
            change = next_change(&mut self.served.news) => self.tell(change).await?,
            () = self.seat.woken() => {}
            // An error means that nobody tells of changes any more: then there is nothing to wait for here.
            Ok(()) = self.swarm.changed() => self.look_soon(),
            () = tokio::time::sleep_until(self.next_look.into()) => {}
            () = stop.cancelled() => {}
        }
        Ok(true)
    }

    /// Does what the scheduler says.
    async fn follow_orders(&mut self) -> Result<(), SessionError> {
        let Orders { grant, put_off, offered, busy } = self.seat.orders();
        let mut say: Vec<ServerMessage> = Vec::new();
        for ranges in put_off.chunks(MAX_RANGES) {
            say.push(ServerMessage::NoChunks { reason: NoChunksReason::SentToOthers, ranges: ranges.to_vec() });
        }
        say.extend(offered.chunks(MAX_RANGES).map(|ranges| ServerMessage::Have(ranges.to_vec())));
        if let Some(retry_after) = busy {
            self.wanted_nodes.clear();
            let known = self.serving.swarms.known(&self.served.hash, &self.peer, MAX_PROVIDERS, Instant::now());
            if !known.is_empty() {
                say.push(providers_message(&known));
            }
            let retry_after_ms = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX);
            say.push(ServerMessage::Busy { retry_after_ms });
        }
        if grant.is_some() {
            self.grant = grant;
        }
        self.read_next();
        if say.is_empty() { Ok(()) } else { self.say(&say).await }
    }

    /// Begins to read what has been granted.
    fn read_next(&mut self) {
        let Some(grant) = self.grant.take_if(|_| self.source.is_some()) else {
            return;
        };
        let Some(mut source) = self.source.take() else {
            return;
        };
        let buffer = std::mem::take(&mut self.spare);
        self.reading = Some(match grant {
            Grant::Nodes(nodes) => {
                let turn = self.wanted_nodes.len().min(nodes);
                let ids: Vec<NodeId> = self.wanted_nodes.drain(..turn).collect();
                let task = spawn_blocking(move || {
                    let frames = source.nodes(&ids, buffer);
                    (source, Ok(frames))
                });
                Reading { task, pace: None }
            }
            Grant::Chunks { chunks, bytes, pace } => {
                let task = spawn_blocking(move || {
                    let frames = source.frames(&chunks, bytes, buffer);
                    (source, frames)
                });
                Reading { task, pace }
            }
        });
    }

    /// Sends what is being read, while the next is read.
    async fn send_batch(&mut self) -> Result<(), SessionError> {
        let Some(Reading { task, pace }) = self.reading.take() else {
            return Ok(());
        };
        let (source, frames) = task.await.map_err(|_| SessionError::Broken)?;
        self.source = Some(source);
        let frames = frames?;
        let (answered, bytes) = (frames.answered, frames.bytes.len() as u64);
        self.seat.tell(|policy, session, now| policy.handle_read(session, answered, bytes, now));
        self.follow_orders().await?;
        self.write(&frames.bytes, pace).await?;
        self.serving.store.note_use(self.served.hash, unix_ms());
        self.serving.traffic.sent(self.peer, frames.chunk_bytes);
        self.seat.tell(|policy, session, now| policy.handle_sent(session, now));
        self.spare = frames.bytes;
        self.active = Instant::now();
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8], pace: Option<u64>) -> Result<(), SessionError> {
        let Some(rate) = pace else {
            return self.write_out(bytes).await;
        };
        let begun = Instant::now();
        let mut written = 0;
        for piece in bytes.chunks(PACED_BYTES) {
            let nanos = u128::from(written) * 1_000_000_000 / u128::from(rate.max(1));
            let due = begun + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            tokio::time::sleep_until(due.into()).await;
            self.write_out(piece).await?;
            written += piece.len() as u64;
        }
        Ok(())
    }

    /// Writes for as long as the requester takes it fast enough.
    async fn write_out(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        let sessions = &self.serving.sessions;
        let is_enough = |written, time, idle| is_fast_enough(sessions.load(Ordering::Relaxed), written, time, idle);
        Ok(write_while(&mut self.writer, bytes, is_enough).await?)
    }

    /// How many sessions the node serves.
    fn sessions(&self) -> usize {
        self.serving.sessions.load(Ordering::Relaxed)
    }

    /// Sends messages, in their order.
    async fn say(&mut self, messages: &[ServerMessage]) -> Result<(), SessionError> {
        let mut out = BytesMut::new();
        for message in messages {
            message.encode(&mut out);
        }
        self.write_out(&out).await
    }
}

async fn next_change(news: &mut Option<News>) -> Change {
    match news {
        Some(news) => news.next().await,
        None => std::future::pending().await,
    }
}

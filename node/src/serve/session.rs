//! One serving session that has been let in: whatever is wanted, in the order it is wanted.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use shoal_protocol::hash::NodeId;
use shoal_protocol::wire::{
    CloseCode, KnownProvider, MAX_PROVIDERS, MAX_RANGES, MAX_WANTED_NODES, RequesterMessage, ServerMessage,
    SessionProof, WIRE_VERSION,
};
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::Serving;
use super::admit::{send, send_last};
use super::chunks::{ChunkSource, Frames};
use super::content::Served;
use super::news::{Change, News};
use super::wants::Wants;
use crate::config::IDLE_SESSION;
use crate::frames::{FrameError, write_all};
use crate::manifests::{ChunkRows, ManifestReadError};
use crate::network::PeerId;
use crate::store::Store;
use crate::swarm::SwarmPeer;

/// How often a requester is told of providers that have become known since.
const PROVIDERS_EVERY: Duration = Duration::from_secs(3);
/// Manifest nodes that are read and sent in one go: 1 MiB at most.
const NODES_AT_ONCE: usize = 16;
/// Wanted chunks that one batch is made from: as many as fit one NO_CHUNKS.
const BATCH_CHUNKS: usize = MAX_RANGES;
/// Bytes that pass the rate limit at once: little, so that all sessions that share it go on.
const LIMITED_BYTES: usize = 16 * 1024;

/// Why a session ends before the requester closes it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the peer broke the protocol: {0}")]
    Breach(&'static str),
    #[error("cannot read the manifest: {0}")]
    Manifest(#[from] ManifestReadError),
    #[error("reading from the store broke off")]
    Broken,
}

/// A batch that is being read: the source comes back with it.
type Reading = JoinHandle<(ChunkSource, Result<Frames, ManifestReadError>)>;

/// A session at work.
pub(super) struct Session<'a, W> {
    serving: &'a Serving,
    peer: PeerId,
    served: Served,
    writer: W,
    inbox: mpsc::Receiver<RequesterMessage>,
    wanted: Wants,
    wanted_nodes: VecDeque<NodeId>,
    /// At home when no batch is being read.
    source: Option<ChunkSource>,
    reading: Option<Reading>,
    /// A buffer that has been sent, for the batch after the next.
    spare: BytesMut,
    told_providers: Vec<SwarmPeer>,
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
        writer: W,
        inbox: mpsc::Receiver<RequesterMessage>,
    ) -> Self {
        let source =
            ChunkSource::new(serving.store.clone(), ChunkRows::new(serving.store.clone(), served.root.clone()));
        let now = Instant::now();
        Self {
            serving,
            peer,
            served,
            writer,
            inbox,
            wanted: Wants::default(),
            wanted_nodes: VecDeque::new(),
            source: Some(source),
            reading: None,
            spare: BytesMut::new(),
            told_providers: Vec::new(),
            next_look: now,
            active: now,
        }
    }

    /// Runs until the requester is gone, has wanted nothing for too long, or the node stops.
    pub(super) async fn serve(&mut self, stop: &CancellationToken) -> Result<(), SessionError> {
        self.greet().await?;
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
            if !self.wanted_nodes.is_empty() {
                self.send_nodes().await?;
            } else if self.reading.is_some() || !self.wanted.is_empty() {
                self.send_batch().await?;
            } else if self.active.elapsed() >= IDLE_SESSION || !self.wait(stop).await? {
                return Ok(());
            }
        }
    }

    async fn greet(&mut self) -> Result<(), SessionError> {
        let me = self.serving.network.local_peer();
        let proof = SessionProof::accept(&self.served.hash, &me.to_bytes(), &self.peer.to_bytes());
        let mut greeting = vec![ServerMessage::Accept { version: WIRE_VERSION, proof }];
        greeting.extend(self.availability());
        Ok(send(&mut self.writer, &greeting).await?)
    }

    fn availability(&self) -> impl Iterator<Item = ServerMessage> + use<W> {
        self.served.availability.parts().into_iter().map(ServerMessage::Availability)
    }

    fn take(&mut self, message: RequesterMessage) -> Result<(), SessionError> {
        self.active = Instant::now();
        match message {
            RequesterMessage::Open(_) => return Err(SessionError::Breach("OPEN came twice")),
            RequesterMessage::WantNodes(ids) => {
                self.wanted_nodes.extend(ids);
                if self.wanted_nodes.len() > MAX_WANTED_NODES {
                    return Err(SessionError::Breach("it wants too many nodes at once"));
                }
            }
            RequesterMessage::Want(ranges) => {
                self.wanted.add(ranges, self.served.root.chunks).map_err(SessionError::Breach)?;
            }
            RequesterMessage::Cancel(ranges) => self.wanted.cancel(ranges),
        }
        Ok(())
    }

    /// Tells of chunks that have become durable, and of providers, as far as there is anything to tell.
    async fn tell_news(&mut self) -> Result<(), SessionError> {
        if let Some(news) = &mut self.served.news {
            let change = news.take();
            self.tell(change).await?;
        }
        if Instant::now() < self.next_look {
            return Ok(());
        }
        self.next_look = Instant::now() + PROVIDERS_EVERY;
        let key = self.served.hash.discovery_key();
        if self.served.news.is_none() && !self.served.availability.is_complete() && self.serving.contents.has(&key) {
            self.tell(Change::Anew).await?;
        }
        self.tell_providers().await
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
        Ok(send(&mut self.writer, &news).await?)
    }

    /// Tells of peers of the content, if there are any that the requester has not been told of last time.
    async fn tell_providers(&mut self) -> Result<(), SessionError> {
        let known = self.serving.swarms.known(&self.served.hash, &self.peer, MAX_PROVIDERS, Instant::now());
        if known.iter().all(|other| self.told_providers.contains(other)) {
            return Ok(());
        }
        let providers = known.iter().map(|other| KnownProvider {
            peer: other.peer.to_bytes().into(),
            addresses: other.addresses.iter().map(|address| address.to_bytes().into()).collect(),
        });
        let message = ServerMessage::Providers(providers.collect());
        self.told_providers = known;
        Ok(send(&mut self.writer, &[message]).await?)
    }

    /// Waits for something to do, or until it is time to look again; `false` if the requester is gone.
    async fn wait(&mut self, stop: &CancellationToken) -> Result<bool, SessionError> {
        tokio::select! {
            message = self.inbox.recv() => match message {
                Some(message) => self.take(message)?,
                None => return Ok(false),
            },
            change = next_change(&mut self.served.news) => self.tell(change).await?,
            () = tokio::time::sleep_until(self.next_look.into()) => {}
            () = stop.cancelled() => {}
        }
        Ok(true)
    }

    async fn send_nodes(&mut self) -> Result<(), SessionError> {
        let turn = self.wanted_nodes.len().min(NODES_AT_ONCE);
        let ids: Vec<NodeId> = self.wanted_nodes.drain(..turn).collect();
        let store = self.serving.store.clone();
        let found = spawn_blocking(move || read_nodes(&store, ids)).await.map_err(|_| SessionError::Broken)?;
        self.active = Instant::now();
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
        let frames = frames?;
        self.source = Some(source);
        self.wanted.done(&frames.answered);
        self.read_next();
        self.write(&frames).await?;
        self.spare = frames.bytes;
        self.active = Instant::now();
        Ok(())
    }

    fn read_next(&mut self) {
        let first = self.wanted.first(BATCH_CHUNKS);
        if first.is_empty() {
            return;
        }
        if let Some(mut source) = self.source.take() {
            let buffer = std::mem::take(&mut self.spare);
            self.reading = Some(spawn_blocking(move || {
                let frames = source.frames(first, buffer);
                (source, frames)
            }));
        }
    }

    async fn write(&mut self, frames: &Frames) -> Result<(), SessionError> {
        let limit = &self.serving.limit_up;
        if limit.is_limited() {
            for slice in frames.bytes.chunks(LIMITED_BYTES) {
                limit.pass(slice.len() as u64).await;
                write_all(&mut self.writer, slice).await?;
            }
        } else {
            write_all(&mut self.writer, &frames.bytes).await?;
        }
        self.serving.traffic.sent(self.peer, frames.chunk_bytes);
        Ok(())
    }
}

async fn next_change(news: &mut Option<News>) -> Change {
    match news {
        Some(news) => news.next().await,
        None => std::future::pending().await,
    }
}

fn read_nodes(store: &Store, ids: Vec<NodeId>) -> Vec<ServerMessage> {
    let mut found = Vec::with_capacity(ids.len() + 1);
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
    if !missing.is_empty() {
        found.push(ServerMessage::NoNodes(missing));
    }
    found
}

//! The task that runs one fetch: it owns the engine, tells it what happens and does what it says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use shoal_protocol::availability::ChunkIndex;
use shoal_protocol::chunk::VerifiedChunk;
use shoal_protocol::engine::{Action, ChunkVerdict, Engine, SessionId};
use shoal_protocol::hash::NodeId;
use shoal_protocol::manifest::Root;
use shoal_protocol::wire::{RequesterMessage, ServerMessage};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::candidates::Source;
use super::job::{Goal, Job, Outcome};
use super::lookup::Lookup;
use super::manifest::ManifestCursor;
use super::peers::{Dialled, Peers};
use super::repeats::Repeats;
use super::room::least_useful;
use super::rows::Rows;
use super::session::{SessionContext, SessionEvent};
use super::sink::Sink;
use super::{FetchError, Fetching};
use crate::api::{Phase, Progress};
use crate::config::FETCH_QUEUE_BYTES;
use crate::contents::Registration;
use crate::limiter::Limiter;
use crate::network::{Address, PeerId};
use crate::rate::RateMeter;

/// Events of sessions that may wait. Chunks among them are bounded by their bytes.
const EVENTS: usize = 512;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// Below so many sessions a fetch goes on looking for peers.
const ENOUGH_SESSIONS: usize = 8;
/// How often peers that other sessions have brought to light are looked at.
const SWARM_EVERY: Duration = Duration::from_secs(1);

/// One fetch at work.
pub(super) struct Coordinator<'a> {
    pub(super) fetching: &'a Fetching,
    pub(super) job: &'a mut Job,
    pub(super) started: Instant,
    pub(super) engine: Engine,
    pub(super) cursor: ManifestCursor,
    pub(super) rows: Arc<Rows>,
    pub(super) repeats: Repeats,
    pub(super) sink: Sink,
    pub(super) peers: Peers,
    pub(super) lookup: Lookup,
    pub(super) events: mpsc::Receiver<(SessionId, SessionEvent)>,
    pub(super) root: Option<Root>,
    pub(super) registration: Option<Registration>,
    pub(super) is_announced: bool,
    pub(super) layout_done: bool,
    pub(super) last_progress: Instant,
    pub(super) ever_opened: bool,
    pub(super) told: Instant,
    pub(super) rate: RateMeter,
}

impl<'a> Coordinator<'a> {
    pub(super) fn new(fetching: &'a Fetching, job: &'a mut Job, seed: u64) -> Self {
        let rows = Arc::new(Rows::default());
        let (events_in, events) = mpsc::channel(EVENTS);
        let context = SessionContext {
            rows: Arc::clone(&rows),
            queue: Arc::new(Semaphore::new(FETCH_QUEUE_BYTES)),
            limits: vec![Arc::clone(&fetching.limit_down), Arc::new(Limiter::new(job.limit_down))],
            events: events_in,
        };
        let peers = Peers::new(fetching.network.clone(), job.hash, Arc::clone(&fetching.bans), context);
        let now = Instant::now();
        Self {
            started: now,
            engine: Engine::new(job.goal.engine_config(), seed),
            cursor: ManifestCursor::new(job.hash, job.goal.extent()),
            rows,
            repeats: Repeats::default(),
            sink: Sink::new(&fetching.store, job.hold.clone()),
            peers,
            lookup: Lookup::new(fetching.network.clone(), job.hash.discovery_key()),
            events,
            root: None,
            registration: None,
            is_announced: false,
            layout_done: false,
            last_progress: now,
            ever_opened: false,
            told: now,
            rate: RateMeter::default(),
            fetching,
            job,
        }
    }

    /// Runs until everything that was asked for is held, durably.
    pub(super) async fn run(mut self) -> Result<Outcome, FetchError> {
        for (peer, addresses) in std::mem::take(&mut self.job.peers) {
            self.peers.suggest(peer, addresses, Source::Given);
        }
        self.advance().await?;
        let mut swarm_looked: Option<Instant> = None;
        while !self.is_complete() {
            self.act();
            if swarm_looked.is_none_or(|at| at.elapsed() >= SWARM_EVERY) {
                swarm_looked = Some(Instant::now());
                self.look_at_swarm();
                self.make_room();
            }
            self.peers.dial();
            self.step().await?;
            self.advance().await?;
            self.tell_progress(false);
            if !self.is_complete() {
                self.check_patience()?;
            }
        }
        self.tell_progress(true);
        self.finish().await
    }

    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn is_complete(&self) -> bool {
        self.layout_done && self.engine.is_complete()
    }

    /// Waits for one thing to happen, and takes in all that has.
    async fn step(&mut self) -> Result<(), FetchError> {
        let wake = self.next_wake();
        let looks = self.peers.open() < ENOUGH_SESSIONS;
        tokio::select! {
            event = self.events.recv() => {
                if let Some((id, event)) = event {
                    self.handle(id, event).await?;
                }
                // What has come meanwhile goes first: deadlines are judged when all of it is known.
                for _ in 0..EVENTS {
                    let Ok((id, event)) = self.events.try_recv() else { break };
                    self.handle(id, event).await?;
                }
            }
            dialled = self.peers.dialled() => {
                if let Dialled::Opened(id) = dialled {
                    if !std::mem::replace(&mut self.ever_opened, true) {
                        self.last_progress = Instant::now();
                    }
                    self.engine.handle_opened(id, self.started.elapsed());
                    self.greet_swarm(id).await;
                }
            }
            settled = self.sink.settles() => settled?,
            provider = self.lookup.next(), if looks => {
                let provider = provider?;
                self.peers.suggest(provider.peer, provider.addresses, Source::Dht);
            }
            () = tokio::time::sleep_until(wake.into()) => {}
        }
        if let Some(registration) = &self.registration
            && self.sink.tell(&registration.live)?
        {
            self.announce();
        }
        Ok(())
    }

    fn next_wake(&self) -> Instant {
        let tick = Instant::now() + TELL_EVERY;
        let engine = self.engine.next_timeout().map(|at| self.started + at);
        [engine, self.peers.next_dial()].into_iter().flatten().fold(tick, Instant::min)
    }

    /// Does what the engine says.
    fn act(&mut self) {
        let now = self.now();
        while let Some(action) = self.engine.poll(now) {
            let (session, message) = match action {
                Action::WantNodes { session, ids } => (session, RequesterMessage::WantNodes(ids)),
                Action::Want { session, ranges } => (session, RequesterMessage::Want(ranges)),
                Action::Cancel { session, ranges } => (session, RequesterMessage::Cancel(ranges)),
                Action::Close { session, reason } => {
                    if reason.is_a_fault() {
                        let peer = self.peers.peer_of(session).map(|peer| peer.to_string()).unwrap_or_default();
                        self.job.note(format!("peer {peer} sent something else than was asked for and is banned"));
                    }
                    self.peers.close(session, reason);
                    continue;
                }
            };
            if !self.peers.send(session, message) {
                self.peers.closed(session, "it does not take what it is sent");
                self.engine.handle_closed(session, now);
            }
        }
    }

    async fn handle(&mut self, id: SessionId, event: SessionEvent) -> Result<(), FetchError> {
        let now = self.now();
        match event {
            SessionEvent::Message(message) => return self.handle_message(id, message).await,
            SessionEvent::Chunk { index, chunk, permit } => {
                return self.handle_chunk(id, index, chunk, permit).await;
            }
            SessionEvent::Unneeded { index, bytes } => {
                self.peers.count_wasted(id, bytes as u64);
                // It was not looked at, so it must not pass for the chunk, should that be missing by now.
                self.engine.handle_unneeded(id, index, bytes, now);
            }
            SessionEvent::BadChunk { index, bytes } => {
                self.peers.count_wasted(id, bytes as u64);
                self.engine.handle_bad_chunk(id, index, now);
            }
            SessionEvent::Progress { bytes } => {
                self.last_progress = Instant::now();
                self.engine.handle_progress(id, bytes, now);
            }
            SessionEvent::Ended { reason } => {
                if self.peers.closed(id, &reason) {
                    self.engine.handle_closed(id, now);
                }
            }
        }
        Ok(())
    }

    async fn handle_message(&mut self, id: SessionId, message: ServerMessage) -> Result<(), FetchError> {
        let now = self.now();
        match message {
            ServerMessage::Availability(part) => self.engine.handle_availability(id, &part, now),
            ServerMessage::Have(ranges) => self.engine.handle_have(id, &ranges, now),
            ServerMessage::Node { id: node, bytes } => self.handle_node(id, node, bytes).await?,
            ServerMessage::NoNodes(ids) => self.engine.handle_no_nodes(id, &ids, now),
            ServerMessage::NoChunks { ranges, .. } => self.engine.handle_no_chunks(id, &ranges, now),
            ServerMessage::Busy { retry_after_ms } => {
                self.engine.handle_busy(id, Duration::from_millis(retry_after_ms.into()), now);
            }
            ServerMessage::Providers(providers) => {
                for provider in providers {
                    let Ok(peer) = PeerId::from_bytes(&provider.peer) else { continue };
                    let addresses = provider.addresses.iter().filter_map(|a| Address::from_bytes(a).ok()).collect();
                    self.peers.hearsay(id, peer, addresses);
                }
            }
            ServerMessage::Close { text, .. } => {
                if self.peers.closed(id, &text) {
                    self.engine.handle_closed(id, now);
                }
            }
            // These come before a session runs, or as events of their own; here they say nothing new.
            ServerMessage::Accept { .. } | ServerMessage::Chunk { .. } => {}
        }
        Ok(())
    }

    async fn handle_node(&mut self, id: SessionId, node: NodeId, bytes: Bytes) -> Result<(), FetchError> {
        let now = self.now();
        if NodeId::of(&bytes) != node {
            self.engine.handle_bad_node(id, &node, now);
            return Ok(());
        }
        if self.engine.handle_node(id, &node, bytes.len(), now) {
            self.last_progress = Instant::now();
            // Read before it is kept: a manifest that cannot be is not stored.
            self.cursor.supply(node, &bytes)?;
            self.sink.ingest().put_node(node, bytes).await?;
        }
        Ok(())
    }

    async fn handle_chunk(
        &mut self,
        id: SessionId,
        index: ChunkIndex,
        chunk: VerifiedChunk,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), FetchError> {
        let bytes = chunk.bytes().len();
        let placed = self.rows.find(index);
        let verdict = self.engine.handle_chunk(id, index, bytes, self.now());
        let (ChunkVerdict::New, Some(placed)) = (verdict, placed) else {
            self.peers.count_wasted(id, bytes as u64);
            return Ok(());
        };
        self.last_progress = Instant::now();
        if let Some(peer) = self.peers.count_kept(id, bytes as u64) {
            self.fetching.traffic.received(peer, bytes as u64);
        }
        self.rate.add(bytes as u64, Instant::now());
        self.rows.arrived(index);
        let others = self.repeats.arrived(&chunk.id());
        self.sink.put(index, placed.offset, chunk, permit).await?;
        self.sink.expect(&others);
        Ok(())
    }

    /// Tells the DHT that there is something to get here, once.
    pub(super) fn announce(&mut self) {
        if !std::mem::replace(&mut self.is_announced, true) {
            let (network, key) = (self.fetching.network.clone(), self.job.hash.discovery_key());
            // Not awaited and not cancelled: what has been fetched is announced even if it took but a moment. The
            // network bounds how long it takes.
            tokio::spawn(async move {
                if let Err(error) = network.announce(key).await {
                    tracing::warn!(%error, "cannot announce what is being fetched");
                }
            });
        }
    }

    fn look_at_swarm(&mut self) {
        let me = self.fetching.network.local_peer();
        for other in self.fetching.swarms.known(&self.job.hash, &me, ENOUGH_SESSIONS, Instant::now()) {
            self.peers.suggest(other.peer, other.addresses, Source::Swarm);
        }
    }

    /// Ends a session that has been of no use, if a peer that has not been asked yet waits for its place. A peer that
    /// gave way counts as one that failed, so it makes nobody give way in turn.
    fn make_room(&mut self) {
        if self.peers.is_crowded()
            && let Some(id) = least_useful(&self.engine.sessions(self.now()))
            && self.peers.closed(id, "it had nothing to give, and gave way to another peer")
        {
            self.engine.handle_closed(id, self.now());
        }
    }

    /// Remembers a peer that has proven itself, by the addresses that others can dial.
    async fn greet_swarm(&mut self, id: SessionId) {
        if let Some(peer) = self.peers.peer_of(id) {
            let addresses = self.fetching.network.addresses_of(&peer).await.unwrap_or_default();
            self.fetching.swarms.saw(self.job.hash, peer, addresses, Instant::now());
        }
    }

    fn tell_progress(&mut self, now: bool) {
        if !now && self.told.elapsed() < TELL_EVERY {
            return;
        }
        self.told = Instant::now();
        let progress = self.engine.progress();
        let phase = match (&self.root, self.ever_opened) {
            (None, false) => Phase::Searching,
            (None, true) => Phase::Manifest,
            (Some(_), _) => Phase::Fetching,
        };
        self.job.progress.send_replace(Progress {
            phase,
            done_bytes: progress.held_bytes,
            total_bytes: self.root.as_ref().map(|root| root.bytes),
            rate: self.rate.per_second(Instant::now()),
            peers: u32::try_from(self.peers.open()).unwrap_or(u32::MAX),
            seeders: 0,
            waits_for: self.waits_for(),
        });
    }

    async fn finish(mut self) -> Result<Outcome, FetchError> {
        let progress = self.engine.progress();
        let sink = std::mem::replace(&mut self.sink, Sink::new(&self.fetching.store, self.job.hold.clone()));
        let live = self.registration.as_ref().map(|registration| Arc::clone(&registration.live));
        let written = sink.finish(live.as_ref()).await?;
        if !matches!(self.job.goal, Goal::Entries { .. }) {
            self.announce();
        }
        Ok(Outcome {
            root: self.root.take().ok_or(FetchError::Broken)?,
            written,
            fetched_bytes: progress.received_bytes,
            wasted_bytes: progress.wasted_bytes,
            manifest_bytes: progress.node_bytes,
            peers: self.peers.shares(),
            registration: self.registration.take(),
        })
    }
}

impl std::fmt::Debug for Coordinator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coordinator").field("hash", &self.job.hash).finish_non_exhaustive()
    }
}

//! The task that runs one fetch: it owns the engine, tells it what happens and does what it says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use shoal_protocol::availability::ChunkIndex;
use shoal_protocol::chunk::VerifiedChunk;
use shoal_protocol::engine::{Action, ChunkVerdict, Engine, Order, SessionId};
use shoal_protocol::hash::NodeId;
use shoal_protocol::manifest::Root;
use shoal_protocol::wire::{RequesterMessage, ServerMessage};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::base::{self, Base, Given, Preparing};
use super::beginning::Beginning;
use super::budget::Share;
use super::candidates::Source;
use super::elsewhere::Elsewhere;
use super::job::{Job, Outcome};
use super::leftover;
use super::lookup::Lookup;
use super::manifest::ManifestCursor;
use super::peers::Peers;
use super::repeats::Repeats;
use super::reports::Telling;
use super::rows::Rows;
use super::session::{SessionContext, SessionEvent};
use super::sink::Sink;
use super::{FetchError, Fetching};
use crate::api::{FetchReport, FetchState};
use crate::clock::unix_ms;
use crate::config::FETCH_QUEUE_BYTES;
use crate::contents::Registration;
use crate::limiter::Limiter;
use crate::rate::RateMeter;

/// Events of sessions that may wait. Chunks among them are bounded by their bytes.
const EVENTS: usize = 512;
/// How often progress is told.
pub(super) const TELL_EVERY: Duration = Duration::from_millis(200);
/// A fetch to which nothing has come for so long keeps nobody else from the line.
const MOVES: Duration = Duration::from_secs(2);
/// Below so many sessions a fetch goes on looking for peers.
pub(super) const ENOUGH_SESSIONS: usize = 8;
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
    pub(super) telling: Arc<Telling>,
    pub(super) started_ms: u64,
    /// The peers that the job named.
    pub(super) given: Given,
    pub(super) bases: Vec<Base>,
    preparing: Preparing<'a>,
    pub(super) elsewhere: Elsewhere,
    /// What the first peer sent before it was asked, and in which session.
    pub(super) beginning: Option<(SessionId, Beginning)>,
    /// Peers that are about to be made known to others; as many as sessions have been opened lately.
    pub(super) greetings: FuturesUnordered<BoxFuture<'static, ()>>,
    /// When the root became known, if the content has not been recorded yet.
    pub(super) unrecorded: Option<Instant>,
    share: Share,
    /// For chunks that lie in the output already.
    pub(super) leftover_room: Arc<Semaphore>,
    /// For how long the store or the output kept it from taking in more.
    pub(super) held_up: Duration,
}

impl<'a> Coordinator<'a> {
    pub(super) fn new(fetching: &'a Fetching, job: &'a mut Job, seed: u64) -> Self {
        let rows = Arc::new(Rows::default());
        let (events_in, events) = mpsc::channel(EVENTS);
        let context = SessionContext {
            rows: Arc::clone(&rows),
            translation: None,
            queue: Arc::new(Semaphore::new(FETCH_QUEUE_BYTES)),
            limits: vec![Arc::clone(&fetching.limit_down), Arc::new(Limiter::new(job.limit_down))],
            events: events_in,
        };
        let config = job.goal.engine_config();
        let peers = Peers::new(fetching, job.hash, config.order == Order::Sequential, context, 0);
        let now = Instant::now();
        Self {
            started: now,
            engine: Engine::new(config, seed),
            cursor: ManifestCursor::new(job.hash, job.goal.extent()),
            rows,
            repeats: Repeats::default(),
            sink: Sink::new(&fetching.store, job.hold.clone()),
            peers,
            lookup: Lookup::new(fetching.network.clone(), job.hash.discovery_key(), !job.peers.is_empty()),
            events,
            root: None,
            registration: None,
            is_announced: false,
            layout_done: false,
            last_progress: now,
            ever_opened: false,
            told: now,
            rate: RateMeter::default(),
            telling: Arc::new(fetching.reports.begin(job.hash, FetchReport::default())),
            started_ms: unix_ms(),
            given: Vec::new(),
            bases: Vec::new(),
            preparing: Preparing::new(),
            elsewhere: Elsewhere::default(),
            beginning: None,
            greetings: FuturesUnordered::new(),
            unrecorded: None,
            share: fetching.budget.join(job.priority),
            leftover_room: leftover::room(),
            held_up: Duration::ZERO,
            fetching,
            job,
        }
    }

    /// Runs until everything that was asked for is held, durably.
    pub(super) async fn run(mut self) -> Result<Outcome, FetchError> {
        let worked = self.work().await;
        let recorded = self.record_at_the_end(worked.is_ok()).await;
        // Why the fetch failed matters more.
        let worked = worked.and(recorded);
        let telling = Arc::clone(&self.telling);
        let ran = match worked {
            Ok(()) => self.finish().await,
            Err(error) => {
                self.tell_progress(true);
                Err(error)
            }
        };
        match &ran {
            Ok(_) => telling.end(FetchState::Done, None),
            Err(error) => telling.end(FetchState::Failed, Some(error.to_string())),
        }
        ran
    }

    async fn work(&mut self) -> Result<(), FetchError> {
        // The job keeps them: it begins anew when what was held turns out to be damaged.
        for hash in self.job.bases.clone() {
            self.preparing.push(base::prepare(self.fetching, hash, self.job));
        }
        self.given.clone_from(&self.job.peers);
        for (peer, addresses) in &self.given {
            self.peers.suggest(*peer, addresses.clone(), Source::Given);
        }
        if self.job.record.is_none() {
            self.ask_first().await?;
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
            self.peers.dial(self.root.is_none());
            self.bases.iter_mut().for_each(|base| base.peers.dial(false));
            self.step().await?;
            self.advance().await?;
            self.record_when_due().await?;
            self.tell_progress(false);
            if !self.is_complete() {
                self.check_patience()?;
            }
        }
        Ok(())
    }

    /// The engine's time. It stands still while this node's own disk holds the fetch up: no peer is to blame for that.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed().saturating_sub(self.held_up)
    }

    fn is_complete(&self) -> bool {
        self.layout_done && self.engine.is_complete()
    }

    /// Waits for one thing to happen, and takes in all that has.
    async fn step(&mut self) -> Result<(), FetchError> {
        let wake = self.next_wake();
        let looks = self.peers.open() < ENOUGH_SESSIONS;
        let waits_for_room = !self.layout_done && !self.job.goal.has_room();
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
            dialled = self.peers.dialled() => self.handle_dialled(dialled).await?,
            Some(()) = self.greetings.next() => {}
            (at, news) = base::next(&mut self.bases) => self.handle_base(at, news).await,
            Some((hash, prepared)) = self.preparing.next() => self.add_base(hash, prepared),
            range = self.elsewhere.next() => match range {
                Some(range) => self.handle_elsewhere(range),
                None => self.listen_elsewhere(),
            },
            settled = self.sink.settles() => settled?,
            found = self.lookup.next(), if looks => self.peers.found(found?),
            () = self.job.goal.room(), if waits_for_room => {}
            () = tokio::time::sleep_until(wake.into()) => {}
        }
        if self.registration.as_ref().is_some_and(|registration| registration.live.is_awaited()) {
            self.sink.hurry(Instant::now());
        }
        self.tell_settled().map(drop)
    }

    /// Tells those who wait of what has become durable. `true`: there was something.
    pub(super) fn tell_settled(&mut self) -> Result<bool, FetchError> {
        let Some(registration) = &self.registration else {
            return Ok(false);
        };
        let is_told = self.sink.tell(&registration.live)?;
        if is_told {
            self.announce();
        }
        Ok(is_told)
    }

    fn next_wake(&self) -> Instant {
        let tick = Instant::now() + TELL_EVERY;
        let engine = self.engine.next_timeout().map(|at| self.started + self.held_up + at);
        let dials = self.bases.iter().map(|base| base.peers.next_dial());
        let awaited = self.registration.as_ref().filter(|registration| registration.live.is_awaited());
        let hurry = awaited.and_then(|_| self.sink.hurry_at());
        [engine, self.peers.next_dial(), hurry].into_iter().chain(dials).flatten().fold(tick, Instant::min)
    }

    /// Does what the engine says.
    fn act(&mut self) {
        let now = self.now();
        let moves = self.last_progress.elapsed() < MOVES && self.engine.progress().in_flight_bytes > 0;
        let budget = self.share.claim(self.engine.wanted_bytes(), moves);
        if budget != self.engine.budget_bytes() {
            self.engine.set_budget(budget, now);
        }
        while let Some(action) = self.engine.poll(now) {
            let (session, message) = match action {
                Action::WantNodes { session, ids } => (session, RequesterMessage::WantNodes(ids)),
                Action::Want { session, ranges } => (session, RequesterMessage::Want(ranges)),
                Action::Cancel { session, ranges } => (session, RequesterMessage::Cancel(ranges)),
                Action::Close { session, reason } => {
                    if reason.is_a_fault() {
                        let peer =
                            self.peers_of(session).peer_of(session).map(|peer| peer.to_string()).unwrap_or_default();
                        self.job.note(format!("peer {peer} sent something else than was asked for and is banned"));
                    }
                    self.close_session(session, reason);
                    continue;
                }
            };
            if !self.send(session, message) {
                self.session_closed(session, "it does not take what it is sent");
                self.engine.handle_closed(session, now);
            }
        }
    }

    pub(super) async fn handle(&mut self, id: SessionId, event: SessionEvent) -> Result<(), FetchError> {
        let now = self.now();
        match event {
            SessionEvent::Message(message) => return self.handle_message(id, message).await,
            SessionEvent::Chunk { index, chunk, permit } => {
                return self.handle_chunk(id, index, chunk, permit).await;
            }
            SessionEvent::Unneeded { index, bytes } => {
                self.peers_of(id).count_wasted(id, bytes as u64);
                // It was not looked at, so it must not pass for the chunk, should that be missing by now.
                self.engine.handle_unneeded(id, index, bytes, now);
            }
            SessionEvent::BadChunk { index, bytes } => {
                self.peers_of(id).count_wasted(id, bytes as u64);
                self.engine.handle_bad_chunk(id, index, now);
            }
            SessionEvent::Progress { bytes } => {
                self.last_progress = Instant::now();
                self.engine.handle_progress(id, bytes, now);
            }
            SessionEvent::Ended { reason } => {
                if self.session_closed(id, &reason) {
                    self.engine.handle_closed(id, now);
                }
            }
        }
        Ok(())
    }

    async fn handle_message(&mut self, id: SessionId, message: ServerMessage) -> Result<(), FetchError> {
        let now = self.now();
        match self.translate(id, message) {
            ServerMessage::Availability(part) => self.engine.handle_availability(id, &part, now),
            ServerMessage::Have(ranges) => self.engine.handle_have(id, &ranges, now),
            ServerMessage::Node { id: node, bytes } => self.handle_node(id, node, bytes).await?,
            ServerMessage::NoNodes(ids) => self.engine.handle_no_nodes(id, &ids, now),
            ServerMessage::NoChunks { ranges, .. } => self.engine.handle_no_chunks(id, &ranges, now),
            ServerMessage::Busy { retry_after_ms } => {
                self.engine.handle_busy(id, Duration::from_millis(retry_after_ms.into()), now);
            }
            ServerMessage::Providers(others) => self.peers_of(id).hearsay(id, &others),
            ServerMessage::Close { text, .. } => {
                if self.session_closed(id, &text) {
                    self.engine.handle_closed(id, now);
                }
            }
            // These come before a session runs, or as events of their own; here they say nothing new.
            ServerMessage::Accept { .. } | ServerMessage::Chunk { .. } => {}
        }
        Ok(())
    }

    pub(super) async fn handle_node(&mut self, id: SessionId, node: NodeId, bytes: Bytes) -> Result<(), FetchError> {
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
            self.peers_of(id).count_wasted(id, bytes as u64);
            return Ok(());
        };
        self.last_progress = Instant::now();
        if let Some(peer) = self.peers_of(id).count_kept(id, bytes as u64) {
            self.fetching.traffic.received(peer, bytes as u64);
        }
        self.rate.add(bytes as u64, Instant::now());
        self.rows.arrived(index);
        let others = self.repeats.arrived(&chunk.id());
        let waits = Instant::now();
        self.sink.put(index, placed.offset, chunk, permit).await?;
        self.held_up += waits.elapsed();
        self.sink.expect(&others);
        Ok(())
    }
}

impl std::fmt::Debug for Coordinator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coordinator").field("hash", &self.job.hash).finish_non_exhaustive()
    }
}

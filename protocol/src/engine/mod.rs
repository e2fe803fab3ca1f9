//! The download engine: what to ask of whom.
//!
//! One [`Engine`] serves one fetch from any number of sessions. It is sans-IO: the shell tells it what happened
//! (`handle_*`, with the time), takes what is to be done from [`Engine::poll`] until there is nothing more, sleeps
//! until [`Engine::next_timeout`] or the next event, and starts over. It never sees a chunk's bytes: the shell
//! verifies, then tells.
//!
//! What always holds:
//! - As long as every missing chunk is at some session that answers, the fetch goes on: what a session does not deliver
//!   by its deadline is asked of another.
//! - Bytes in flight keep to each session's window and to the budget over all; a chunk is in flight twice at most.
//! - Nothing is wanted that is held, and what is held is never wanted again.
//! - Same configuration, same seed, same calls: same actions, on any machine.
//! - An event costs the same whatever the size of the content; only layout that is handed in and not held yet costs
//!   memory.
//!
//! What it does not do: it opens no sessions (a shell that wants more asks [`Engine::stall`]), bans nobody (it says
//! whom), limits no rates (a shell that reads slowly is delivered to slowly), and does not know the manifest's trees.
//!
//! Where to look: `fill` asks for more, `chunks` and `holding` choose, `window` says how much, `steal` ends the
//! tail, `deadline` deals with those who do not move, `nodes` with the manifest, `arrivals` with what comes.

mod action;
mod arrivals;
mod budget;
mod chunks;
mod config;
mod deadline;
mod fill;
mod holding;
mod nodes;
mod pauses;
mod places;
mod queue;
mod report;
mod session;
mod slots;
mod steal;
#[cfg(test)]
mod tests;
mod waste;
mod window;

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

pub use action::{Action, ChunkVerdict, CloseReason, Newcomer, SessionId, Stall, Wait};
pub use budget::{Claim, Priority, shares};
pub use config::{EngineConfig, Order};
pub use report::{Counters, Progress, SessionReport};

use crate::availability::ChunkIndex;
use crate::hash::NodeId;
use crate::sorted::SortedMap;
use chunks::ChunkTable;
use fill::Pace;
use nodes::NodeWants;
use pauses::Pauses;
use session::{Health, Session};
use waste::Waste;

/// Layout that is asked for before anything has come, …
const FIRST_LAYOUT_BYTES: u64 = 32 * 1024 * 1024;
/// … and how much more with each byte that has.
const LAYOUT_GROWTH: u64 = 64;

/// Decides, for one fetch, what to ask of which session. See the [module](self) for how to drive it.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    rng: ChaCha8Rng,
    table: ChunkTable,
    sessions: SortedMap<SessionId, Session>,
    nodes: NodeWants,
    chunk_count: Option<u64>,
    layout_finished: bool,
    /// What is to be done next.
    actions: VecDeque<Action>,
    /// Sessions that may have room and something to give.
    line: VecDeque<SessionId>,
    /// Sessions that have room, but the budget is used up.
    budget_line: VecDeque<SessionId>,
    in_flight_bytes: u64,
    /// No timer is due before this.
    due: Option<Duration>,
    ended: VecDeque<(SessionReport, Option<CloseReason>)>,
    received_bytes: u64,
    wasted_bytes: u64,
    node_bytes: u64,
    pauses: Pauses,
    waste: Waste,
    /// What a session usually gives, and when that was reckoned.
    usual: Option<(Duration, u64)>,
    /// How fast all are that are at work.
    pace: Pace,
    /// Who will be done last, and when that was reckoned.
    latest: Option<(Duration, Vec<SessionId>)>,
}

impl Engine {
    /// An engine without sessions and layout. The seed decides random ties.
    pub fn new(config: EngineConfig, seed: u64) -> Self {
        Self {
            config,
            rng: ChaCha8Rng::seed_from_u64(seed),
            table: ChunkTable::new(),
            sessions: SortedMap::default(),
            nodes: NodeWants::default(),
            chunk_count: None,
            layout_finished: false,
            actions: VecDeque::new(),
            line: VecDeque::new(),
            budget_line: VecDeque::new(),
            in_flight_bytes: 0,
            due: None,
            ended: VecDeque::new(),
            received_bytes: 0,
            wasted_bytes: 0,
            node_bytes: 0,
            pauses: Pauses::default(),
            waste: Waste::default(),
            usual: None,
            pace: Pace::default(),
            latest: None,
        }
    }

    /// A server has accepted the session: it may be asked from now on.
    pub fn handle_opened(&mut self, session: SessionId, now: Duration) {
        self.handle_newcomer(session, Newcomer::default(), now);
    }

    /// The same, for a session of which something is known.
    pub fn handle_newcomer(&mut self, session: SessionId, newcomer: Newcomer, now: Duration) {
        let faults_before_the_end = self.config.max_faults.saturating_sub(1);
        self.sessions.get_or_insert_with(session, || {
            let mut session = Session::new(self.chunk_count, now);
            session.gives_nodes = newcomer.gives_nodes;
            if newcomer.on_probation {
                (session.health, session.faults) = (Health::Probing, faults_before_the_end);
            }
            session
        });
        self.nodes.changed = true;
        self.line_up_all();
    }

    /// From now on so many bytes may be in flight over all sessions. What is in flight beyond that stays.
    pub fn set_budget(&mut self, bytes: u64, _now: Duration) {
        let grown = bytes > self.config.budget_bytes;
        self.config.budget_bytes = bytes;
        if grown {
            for id in std::mem::take(&mut self.budget_line) {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.lacks_budget = false;
                }
            }
            self.line_up_all();
        }
    }

    /// What could be put to use in flight: the windows of all sessions that have something to give.
    pub fn wanted_bytes(&self) -> u64 {
        let (config, is_crowd) = (&self.config, self.is_crowd());
        let gives = |session: &&Session| !session.queue.is_empty() || session.lacks_budget;
        let windows = self
            .sessions
            .values()
            .filter(gives)
            .map(|session| session.meter.window_bytes(config, u64::MAX, is_crowd).max(session.queue.bytes()));
        windows.fold(0, u64::saturating_add).min(self.table.missing_bytes)
    }

    /// A session has ended; what was in flight from it goes to others.
    pub fn handle_closed(&mut self, session: SessionId, now: Duration) {
        self.remove(session, None, now);
    }

    /// The root has been verified and says how many chunks the manifest has. To be called before any layout.
    pub fn set_chunk_count(&mut self, chunks: u64, _now: Duration) {
        self.chunk_count = Some(chunks);
        for session in self.sessions.values_mut() {
            session.holding.set_count(chunks, &mut self.table);
        }
        self.line_up_all();
    }

    /// A verified leaf of the chunk list has been read: chunks `first..` have these lengths and are wanted, but those
    /// for whose place in `lens` `held` says true. Each chunk is handed in once.
    pub fn handle_layout(&mut self, first: ChunkIndex, lens: &[u32], held: &dyn Fn(usize) -> bool, _now: Duration) {
        let entered = self.table.add(first.0, lens, held);
        for session in self.sessions.values_mut() {
            session.holding.enter(&entered, &mut self.table);
        }
        self.line_up_all();
    }

    /// No more layout will come.
    pub fn layout_finished(&mut self) {
        self.layout_finished = true;
    }

    /// Whether the shell should walk on in the manifest and hand in more layout.
    pub fn needs_layout(&self) -> bool {
        if self.layout_finished {
            return false;
        }
        let table = &self.table;
        let ahead_bytes = match self.config.order {
            Order::RarestFirst => table.missing_bytes,
            // A reader waits for the first that is missing; what is held behind it counts as ahead, too.
            Order::Sequential => table.span_chunks() * (table.layout_bytes / table.layout_chunks.max(1)),
        };
        let groups = self.config.look_ahead_chunks / 4;
        let most = match self.config.order {
            // All leaves at once would come from the only one who has them, to everybody, before the first chunk does.
            Order::RarestFirst => FIRST_LAYOUT_BYTES.saturating_add(self.received_bytes.saturating_mul(LAYOUT_GROWTH)),
            Order::Sequential => u64::MAX,
        };
        ahead_bytes < self.config.look_ahead_bytes.min(most)
            && table.missing_chunks < self.config.look_ahead_chunks
            && (table.group_count() as u64) < groups.max(1)
    }

    /// A node is wanted, ahead of all chunks; it is asked for until it comes or is forgotten.
    pub fn want_node(&mut self, id: NodeId, _now: Duration) {
        self.nodes.want(id);
    }

    /// A node is wanted no more: it was found elsewhere.
    pub fn forget_node(&mut self, id: &NodeId, _now: Duration) {
        self.nodes.forget(id);
    }

    /// Whether the chunk is wanted and not held: any other need not be verified.
    pub fn is_missing(&self, index: ChunkIndex) -> bool {
        self.table.is_missing(index)
    }

    /// The next thing to do, or `None` until something happens or the time of [`next_timeout`](Self::next_timeout)
    /// has come.
    pub fn poll(&mut self, now: Duration) -> Option<Action> {
        if self.actions.is_empty() {
            self.run_timers(now);
            self.ask_nodes(now);
            self.fill_line(now);
        }
        self.actions.pop_front()
    }

    /// When to poll again at the latest. It may come early, never late.
    pub const fn next_timeout(&self) -> Option<Duration> {
        self.due
    }

    /// How many of the open sessions have said that their peer holds every chunk.
    pub fn seeders(&self) -> usize {
        self.sessions.values().filter(|session| session.holding.is_full()).count()
    }

    /// Whether all layout has been handed in and every chunk of it is held.
    pub const fn is_complete(&self) -> bool {
        self.layout_finished && self.table.missing_chunks == 0
    }

    /// Bytes that may be in flight over all sessions.
    pub const fn budget_bytes(&self) -> u64 {
        self.config.budget_bytes
    }

    /// How far the fetch is.
    pub fn progress(&self) -> Progress {
        let table = &self.table;
        Progress {
            layout_chunks: table.layout_chunks,
            layout_bytes: table.layout_bytes,
            held_chunks: table.layout_chunks - table.missing_chunks,
            held_bytes: table.layout_bytes - table.missing_bytes,
            received_bytes: self.received_bytes,
            wasted_bytes: self.wasted_bytes,
            node_bytes: self.node_bytes,
            in_flight_bytes: self.in_flight_bytes,
            unassigned_chunks: table.unassigned_chunks(),
            wanted_nodes: self.nodes.len(),
            sessions: self.sessions.len(),
        }
    }

    /// Each session that is open.
    pub fn sessions(&self, now: Duration) -> Vec<SessionReport> {
        self.sessions.iter().map(|(id, session)| session.report(*id, self.window_of(session), now)).collect()
    }

    /// The last sessions that have ended (256 at most), with the reason if it was the engine's.
    pub fn ended_sessions(&self) -> impl Iterator<Item = &(SessionReport, Option<CloseReason>)> {
        self.ended.iter()
    }

    /// Why nothing moves, if nothing does.
    pub fn stall(&self) -> Option<Stall> {
        if self.is_complete() || self.sessions.values().any(|session| !session.queue.is_empty()) {
            return None;
        }
        if self.sessions.is_empty() {
            return Some(Stall::NoSession);
        }
        if self.table.missing_chunks == 0 {
            return Some(if self.nodes.len() > 0 { Stall::Nodes } else { Stall::Layout });
        }
        let resting = self.sessions.values().filter_map(|session| match session.health {
            Health::Busy { until } | Health::BackOff { until } => Some(until),
            Health::Ready | Health::Probing => None,
        });
        Some(resting.min().map_or(Stall::NobodyHasIt, |until| Stall::AllResting { until }))
    }
}

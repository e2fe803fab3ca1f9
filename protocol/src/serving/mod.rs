//! The serving policy: who is sent what next, and who is told to come again.
//!
//! One [`ServingPolicy`] serves all sessions of one node. It is sans-IO, like the [`engine`](crate::engine) at the
//! other end, and never sees a byte of a chunk. The shell
//!
//! 1. tells it what happens: [`handle_opened`](ServingPolicy::handle_opened) and
//!    [`handle_closed`](ServingPolicy::handle_closed), [`handle_want`](ServingPolicy::handle_want),
//!    [`handle_want_nodes`](ServingPolicy::handle_want_nodes) and [`handle_cancel`](ServingPolicy::handle_cancel) as
//!    the frames come;
//! 2. takes what is to be done from [`poll`](ServingPolicy::poll) until there is nothing more;
//! 3. does it, and says so: for each [`Action::SendChunks`] and [`Action::SendNodes`] first
//!    [`handle_read`](ServingPolicy::handle_read), when it is known what exactly goes out, then
//!    [`handle_sent`](ServingPolicy::handle_sent), when the stream (or the line) has taken it; in their order, once
//!    each. A session is given its next batch while the one before is still being written;
//! 4. polls again after each call, and at [`next_timeout`](ServingPolicy::next_timeout).
//!
//! ```
//! use std::time::Duration;
//! use shoal_protocol::availability::{ChunkIndex, ChunkRange};
//! use shoal_protocol::serving::*;
//!
//! let now = Duration::ZERO;
//! let mut policy = ServingPolicy::new(ServingConfig::new(Some(20_000_000)), 1);
//! let (session, peer, content) = (SessionId(0), PeerNumber(0), ContentNumber(0));
//! let opening = Opening {
//!     peer, content, chunks: 1600, mean_chunk_bytes: 131_072, holds_all: true, serves: true, in_order: false,
//! };
//! policy.handle_opened(session, opening, now);
//! policy.handle_want(session, &[ChunkRange { start: ChunkIndex(7), count: 1 }], now)?;
//! let Some(Action::SendChunks { chunks, .. }) = policy.poll(now) else { panic!() };
//! assert_eq!(chunks, [ChunkIndex(7)]);
//! // Read from the store: one chunk of so many bytes. Then written.
//! policy.handle_read(session, 1, 131_000, now);
//! assert_eq!(policy.poll(now), None);
//! policy.handle_sent(session, now);
//! assert_eq!(policy.poll(now), None);
//! # Ok::<(), WantError>(())
//! ```
//!
//! What always holds:
//! - **Fair shares between peers**, however many sessions each has: deficit round robin by bytes (Shreedhar and
//!   Varghese, "Efficient Fair Queuing Using Deficit Round-Robin", SIGCOMM 1995), in the form that lets the last chunk
//!   of a turn pass and takes it off the next turn, since lengths are known only once chunks are read. Peers with equal
//!   shares that always want something get equal bytes, within one quantum and one chunk.
//! - **A peer that does not read holds nobody up**: what it was given counts for [`ServingConfig::patience`] at most;
//!   then limits, quantum and room are given back until its stream moves, and it is given no more.
//! - **Limits are kept** for the node, each peer and each content, over any time and within a burst and a batch.
//! - **Nobody starves**: every peer with a place has its turn within [`ServingConfig::round`]; who finds no place is
//!   told BUSY at once, and gets the place of one that has had its turns, in the order in which they first asked.
//! - **A lone seeder's chunks leave it once before any leaves twice**, as far as peers want others (first-copy-first):
//!   what has left less often goes first, and what has just left for one leecher is put off for the next, who learns
//!   that at once (NO_CHUNKS) and is offered it again (HAVE) after [`ServingConfig::put_off`], or when the other goes.
//!   A chunk is put off once for a session (or again after a thousand others), only while the one who got it has a
//!   session and serves, and no more once everything has left.
//! - **Who passes nothing on waits longer**: a peer whose first copies others come back for, or that does not serve,
//!   has a smaller share while others wait, and still has it when it comes again under the same number.
//! - What was cancelled, or dropped, before it was handed out has cost nothing.
//! - Same configuration, same seed, same calls: same actions, on any machine. A decision costs O(log n).
//!
//! What it does not do: it knows neither frames nor proofs nor addresses, and does not bound how many sessions there
//! are: the shell does.

mod action;
mod admission;
mod config;
mod credit;
mod events;
mod limits;
mod peer;
mod pick;
mod report;
mod session;
mod spread;
#[cfg(test)]
mod tests;
mod turn;
mod wants;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

pub use action::{Action, ContentNumber, Opening, PeerNumber, ServingWait, SessionId, WantError};
pub use config::ServingConfig;
pub use credit::REMEMBERED_PEERS;
pub use report::{Counters, ServingReport, SessionReport};

use crate::availability::ChunkIndex;
use crate::sorted::SortedMap;
use admission::Tickets;
use credit::Credits;
use limits::{Content, NodeLimit};
use peer::{Peer, Place};
use session::Session;

/// Decides, for one node, who is sent what next. See the [module](self) for how to drive it.
#[derive(Debug)]
pub struct ServingPolicy {
    config: ServingConfig,
    rng: ChaCha8Rng,
    limit: NodeLimit,
    sessions: SortedMap<SessionId, Session>,
    peers: SortedMap<PeerNumber, Peer>,
    credits: Credits,
    contents: SortedMap<ContentNumber, Content>,
    /// Peers that may be sent something, in the order of their turns.
    ring: VecDeque<PeerNumber>,
    /// Peers that wait for a limit of their own.
    parked: BTreeSet<(Duration, u64, PeerNumber)>,
    parkings: u64,
    /// How many peers want something, or have something under way to them: those that have a place.
    active_peers: usize,
    tickets: Tickets,
    /// Grants that count, by when they no longer do.
    fresh: BTreeSet<(Duration, SessionId, u64)>,
    fresh_bytes: u64,
    grants: u64,
    /// What is to be offered again, the first first.
    put_off: VecDeque<(Duration, SessionId, ChunkIndex)>,
    actions: VecDeque<Action>,
    due: Option<Duration>,
    counters: Counters,
}

impl ServingPolicy {
    /// A policy without sessions. The seed spreads out when those who were told BUSY come again.
    pub fn new(config: ServingConfig, seed: u64) -> Self {
        Self {
            limit: NodeLimit::new(config.limit),
            config,
            rng: ChaCha8Rng::seed_from_u64(seed),
            sessions: SortedMap::default(),
            peers: SortedMap::default(),
            credits: Credits::default(),
            contents: SortedMap::default(),
            ring: VecDeque::new(),
            parked: BTreeSet::new(),
            parkings: 0,
            active_peers: 0,
            tickets: Tickets::default(),
            fresh: BTreeSet::new(),
            fresh_bytes: 0,
            grants: 0,
            put_off: VecDeque::new(),
            actions: VecDeque::new(),
            due: None,
            counters: Counters::default(),
        }
    }

    /// The next thing to do, or `None` until something happens or the time of [`next_timeout`](Self::next_timeout)
    /// has come.
    pub fn poll(&mut self, now: Duration) -> Option<Action> {
        if self.actions.is_empty() {
            self.run_timers(now);
        }
        if self.actions.is_empty() {
            self.take_turn(now);
        }
        self.actions.pop_front()
    }

    /// When to poll again at the latest, as of the last [`poll`](Self::poll) that returned `None`.
    pub const fn next_timeout(&self) -> Option<Duration> {
        self.due
    }

    /// Serving as a whole.
    pub fn report(&self, now: Duration) -> ServingReport {
        ServingReport {
            sessions: self.sessions.len(),
            active_peers: self.active_peers,
            places: self.places(),
            wanted_chunks: self.sessions.values().map(|session| session.wants.chunks()).sum(),
            under_way_bytes: self.fresh_bytes,
            counters: self.counters,
            limited: self.limit.kept_waiting(now),
        }
    }

    /// Each session that is open.
    pub fn sessions(&self, now: Duration) -> Vec<SessionReport> {
        let limited = self.limit.kept_waiting(now);
        let report = |(id, session): (&SessionId, &Session)| {
            let parked = self.peers.get(&session.peer).is_some_and(|peer| matches!(peer.place, Place::Parked { .. }));
            session.report(*id, parked || self.limit.is_used_up(), limited, now)
        };
        self.sessions.iter().map(report).collect()
    }
}

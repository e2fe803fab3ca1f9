//! One session that is being served: what it wants, what is under way to it, how it takes it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::action::{ContentNumber, Opening, PeerNumber, ServingWait, SessionId};
use super::report::{Counters, SessionReport};
use super::wants::Wants;
use crate::availability::ChunkIndex;

/// Grants that may be under way to a session: one is written while the next is read.
const MAX_GRANTS: usize = 2;
/// The smallest batch, for a session that does not read: less than a chunk, so one chunk.
const LEAST_BATCH_BYTES: u64 = 32 * 1024;
/// Chunks of which a session remembers that they were put off. The oldest that has been offered makes room.
pub(super) const MAX_PUT_OFF: usize = 1024;

/// A session as the policy sees it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: PeerNumber,
    pub(super) content: ContentNumber,
    pub(super) opening: Opening,
    pub(super) wants: Wants,
    /// Manifest nodes that it wants.
    pub(super) nodes: usize,
    /// The oldest first; only the last may not have been read yet.
    pub(super) grants: VecDeque<Grant>,
    /// Bytes that it gets in one go while nobody else waits.
    pub(super) batch_bytes: u64,
    /// Chunks that have been put off, and to whom they had left.
    pub(super) put_off: BTreeMap<ChunkIndex, PutOff>,
    /// The same, the oldest first.
    put_off_order: VecDeque<ChunkIndex>,
    /// Whether it stands in its peer's line.
    pub(super) is_lined_up: bool,
    /// Whether it counts among its peer's active sessions.
    pub(super) is_active: bool,
    /// Batches of chunks it was given, to serve the oldest want every few times.
    pub(super) batches: u64,
    pub(super) counters: Counters,
    wait: ServingWait,
    wait_since: Duration,
    /// How long the node's limit had kept everybody waiting by then.
    limited_then: Duration,
    waited: [Duration; ServingWait::ALL.len()],
}

/// Something that is on its way from the store to the stream.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) number: u64,
    /// The chunks, until it is known which of them are sent.
    pub(super) chunks: Option<Vec<ChunkIndex>>,
    /// Those of them that were cancelled meanwhile.
    pub(super) cancelled: BTreeSet<ChunkIndex>,
    /// Nodes, if it is for nodes.
    pub(super) nodes: usize,
    /// Granted, or, once read, what is sent.
    pub(super) bytes: u64,
    pub(super) state: GrantState,
}

/// How a grant counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrantState {
    /// It counts until the stream has taken it, or this time has come.
    Fresh {
        /// When the stream has had time enough.
        until: Duration,
    },
    /// The stream does not take it. What it took of limits has been given back.
    Stuck,
}

/// A chunk that was put off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PutOff {
    /// It was given to this peer, and will be offered.
    Waiting(PeerNumber),
    /// It has been offered; asking for it shows that this peer did not pass it on.
    Offered(PeerNumber),
    /// It has been asked for again.
    Done,
}

impl Session {
    pub(super) fn new(opening: Opening, batch_bytes: u64, now: Duration) -> Self {
        Self {
            peer: opening.peer,
            content: opening.content,
            opening,
            wants: Wants::default(),
            nodes: 0,
            grants: VecDeque::new(),
            batch_bytes,
            put_off: BTreeMap::new(),
            put_off_order: VecDeque::new(),
            is_lined_up: false,
            is_active: false,
            batches: 0,
            counters: Counters::default(),
            wait: ServingWait::Nothing,
            wait_since: now,
            limited_then: Duration::ZERO,
            waited: [Duration::ZERO; ServingWait::ALL.len()],
        }
    }

    /// Whether it wants anything that is not under way.
    pub(super) fn has_wants(&self) -> bool {
        self.nodes > 0 || !self.wants.is_empty()
    }

    /// Whether it may be given something now.
    pub(super) fn is_ready(&self) -> bool {
        self.has_wants() && self.grants.len() < MAX_GRANTS && !self.is_reading() && !self.is_stuck()
    }

    /// Whether its last grant is still being read from the store.
    pub(super) fn is_reading(&self) -> bool {
        self.grants.back().is_some_and(|grant| grant.nodes > 0 || grant.chunks.is_some())
    }

    /// Whether its stream does not take what it was given.
    pub(super) fn is_stuck(&self) -> bool {
        self.grants.iter().any(|grant| grant.state == GrantState::Stuck)
    }

    /// Notes that a chunk that left for a peer is put off, if it may be: not if it was put off lately, nor if too many
    /// wait to be offered.
    pub(super) fn put_off(&mut self, chunk: ChunkIndex, left_to: PeerNumber) -> bool {
        if self.put_off.contains_key(&chunk) {
            return false;
        }
        if self.put_off.len() >= MAX_PUT_OFF
            && let Some(oldest) = self.put_off_order.front()
        {
            if matches!(self.put_off.get(oldest), Some(PutOff::Waiting(_))) {
                return false;
            }
            self.put_off.remove(oldest);
            self.put_off_order.pop_front();
        }
        self.put_off.insert(chunk, PutOff::Waiting(left_to));
        self.put_off_order.push_back(chunk);
        true
    }

    /// The stream took a batch: the next may be larger; or it did not in time: then it must be smaller.
    pub(super) fn took(&mut self, was_stuck: bool, most: u64) {
        self.batch_bytes = if was_stuck {
            (self.batch_bytes / 2).max(LEAST_BATCH_BYTES.min(most))
        } else {
            self.batch_bytes.saturating_mul(2).min(most)
        };
    }

    /// Notes what it does from now on. `limited` is for how long the node's limit has kept everybody waiting in all.
    pub(super) fn settle(&mut self, limited: Duration, now: Duration) {
        let wait = if self.is_stuck() {
            ServingWait::Reader
        } else if !self.grants.is_empty() {
            ServingWait::Sending
        } else if self.has_wants() {
            ServingWait::Turn
        } else {
            ServingWait::Nothing
        };
        if wait == self.wait {
            return;
        }
        self.waited = self.waited(limited, now);
        self.wait = wait;
        self.wait_since = now;
        self.limited_then = limited;
    }

    fn waited(&self, limited: Duration, now: Duration) -> [Duration; ServingWait::ALL.len()] {
        let mut waited = self.waited;
        let mut passed = now.saturating_sub(self.wait_since);
        if self.wait == ServingWait::Turn {
            let of_limit = limited.saturating_sub(self.limited_then).min(passed);
            waited[ServingWait::Limit as usize] += of_limit;
            passed -= of_limit;
        }
        waited[self.wait as usize] += passed;
        waited
    }

    /// What there is to tell; `is_limited`: it is a limit that others and it wait for.
    pub(super) fn report(&self, id: SessionId, is_limited: bool, limited: Duration, now: Duration) -> SessionReport {
        SessionReport {
            session: id,
            peer: self.peer,
            content: self.content,
            wait: if is_limited && self.wait == ServingWait::Turn { ServingWait::Limit } else { self.wait },
            waited: self.waited(limited, now),
            counters: self.counters,
            wanted_chunks: self.wants.chunks(),
            wanted_nodes: self.nodes,
            under_way_bytes: self.grants.iter().map(|grant| grant.bytes).sum(),
            put_off_chunks: self.put_off.values().filter(|state| matches!(state, PutOff::Waiting(_))).count(),
        }
    }
}

//! Turns: deficit round robin between peers, and the timers round it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::ServingPolicy;
use super::action::{Action, PeerNumber, SessionId};
use super::events::signed;
use super::limits::{pace, time_for, wait_for};
use super::peer::Place;
use super::report::Counters;
use super::session::{Grant, GrantState, PutOff};
use crate::availability::{ChunkIndex, ChunkRange, push_index};
use crate::wire::MAX_RANGES;

/// Manifest nodes in one grant: 1 MiB at most.
const NODES_AT_ONCE: usize = 16;
/// What a node is reckoned with until it has been read.
const NODE_BYTES: u64 = 8 * 1024;

impl ServingPolicy {
    /// Does what time has brought: grants that are stuck, limits that allow more, offers that are due.
    pub(super) fn run_timers(&mut self, now: Duration) {
        while let Some(&(until, session, number)) = self.fresh.first()
            && until <= now
        {
            self.fresh.pop_first();
            self.give_up_on(session, number, now);
        }
        while let Some(&(until, _, number)) = self.parked.first()
            && until <= now
        {
            self.parked.pop_first();
            if let Some(peer) = self.peers.get_mut(&number) {
                peer.place = Place::Ring;
                self.ring.push_back(number);
            }
        }
        while self.put_off.front().is_some_and(|(due, ..)| *due <= now) && self.actions.len() < MAX_RANGES {
            self.offer_next();
        }
    }

    /// Gives the next peer something, if anybody can be given anything now; says when to look again otherwise.
    pub(super) fn take_turn(&mut self, now: Duration) {
        self.due = [
            self.fresh.first().map(|(until, ..)| *until),
            self.parked.first().map(|(until, ..)| *until),
            self.put_off.front().map(|(due, ..)| *due),
        ]
        .into_iter()
        .flatten()
        .min();
        while let Some(&number) = self.ring.front() {
            if let Some(until) = self.limit.blocked(now) {
                self.due = Some(self.due.map_or(until, |due| due.min(until)));
                return;
            }
            if self.fresh_bytes >= self.config.out_bytes {
                return;
            }
            match self.next_session(number, now) {
                Next::Session(session) => {
                    self.grant(session, now);
                    if !self.actions.is_empty() {
                        return;
                    }
                }
                Next::NoTurn => {}
                Next::Wait(until) => {
                    // Those who wait for the same limit come back together, and in the order in which they left.
                    let until = whole_milliseconds(until);
                    let turn = self.parkings;
                    self.parkings += 1;
                    self.leave_ring(number, Place::Parked { until, turn });
                    self.parked.insert((until, turn, number));
                    self.due = Some(self.due.map_or(until, |due| due.min(until)));
                }
                Next::Nothing => self.leave_ring(number, Place::Out),
            }
        }
        self.limit.free(now);
    }

    /// Which session of the peer at the ring's head is next.
    fn next_session(&mut self, number: PeerNumber, now: Duration) -> Next {
        let Some(peer) = self.peers.get_mut(&number) else {
            return Next::Nothing;
        };
        if let Some(until) = wait_for(&mut peer.bucket, now) {
            return Next::Wait(until);
        }
        let mut wait: Option<Duration> = None;
        for _ in 0..peer.line.len() {
            let Some(id) = peer.line.pop_front() else { break };
            let Some(session) = self.sessions.get_mut(&id).filter(|session| session.is_ready()) else {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.is_lined_up = false;
                }
                continue;
            };
            let content = self.contents.get_mut(&session.content);
            if let Some(until) = content.and_then(|content| wait_for(&mut content.bucket, now)) {
                wait = Some(wait.map_or(until, |wait| wait.min(until)));
                peer.line.push_back(id);
                continue;
            }
            if peer.place != Place::Turn {
                peer.place = Place::Turn;
                peer.begin_turn(self.config.quantum_bytes);
            }
            if peer.deficit <= 0 && self.active_peers > 1 {
                peer.place = Place::Ring;
                peer.line.push_front(id);
                self.ring.rotate_left(1);
                return Next::NoTurn;
            }
            session.is_lined_up = false;
            return Next::Session(id);
        }
        wait.map_or(Next::Nothing, Next::Wait)
    }

    fn leave_ring(&mut self, number: PeerNumber, place: Place) {
        self.ring.pop_front();
        if let Some(peer) = self.peers.get_mut(&number) {
            peer.place = place;
        }
    }

    /// Gives a session something: nodes before chunks, since everything else waits for them.
    fn grant(&mut self, id: SessionId, now: Duration) {
        let allowance = self.allowance(id);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let (nodes, chunks, bytes) = if session.nodes > 0 {
            let nodes = session.nodes.min(NODES_AT_ONCE);
            session.nodes -= nodes;
            (nodes, None, nodes as u64 * NODE_BYTES)
        } else {
            match self.pick(id, allowance, now) {
                chunks if chunks.is_empty() => return self.refresh(id, now),
                chunks => (0, Some(chunks), allowance),
            }
        };
        let limits = [self.config.limit, self.config.limit_per_peer, self.config.limit_per_content];
        let pace = pace(&limits, bytes);
        let action = match &chunks {
            None => Action::SendNodes { session: id, nodes },
            Some(chunks) => Action::SendChunks { session: id, chunks: chunks.clone(), bytes, pace },
        };
        let until = now + self.config.patience + pace.map_or(Duration::ZERO, |rate| 2 * time_for(bytes, rate));
        let number = self.grants;
        self.grants += 1;
        let state = GrantState::Fresh { until };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.grants.push_back(Grant { number, chunks, cancelled: BTreeSet::new(), nodes, bytes, state });
        }
        self.fresh.insert((until, id, number));
        self.fresh_bytes += bytes;
        self.charge(id, signed(bytes), now);
        self.actions.push_back(action);
        self.refresh(id, now);
    }

    /// How much a session may be given: what its peer's turn has left; or, while nobody else waits, as much as its
    /// stream takes at once.
    fn allowance(&mut self, id: SessionId) -> u64 {
        let Some(session) = self.sessions.get(&id) else {
            return 1;
        };
        let Some(peer) = self.peers.get_mut(&session.peer) else {
            return 1;
        };
        if self.active_peers > 1 {
            return u64::try_from(peer.deficit).unwrap_or(0).min(session.batch_bytes).max(1);
        }
        let is_limited =
            self.config.limit.is_some() || self.config.limit_per_content.is_some() || peer.bucket.is_some();
        let bytes = if is_limited { session.batch_bytes.min(self.config.quantum_bytes) } else { session.batch_bytes };
        // There is nobody to be fair to: it costs nothing, and an old debt is forgotten.
        peer.deficit = signed(bytes);
        bytes
    }

    /// The stream does not take what it was given: others may have the share, the limits and the room.
    fn give_up_on(&mut self, id: SessionId, number: u64, now: Duration) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(grant) = session.grants.iter_mut().find(|grant| grant.number == number) else {
            return;
        };
        grant.state = GrantState::Stuck;
        let bytes = grant.bytes;
        Counters::both(&mut session.counters, &mut self.counters, |counters| counters.stuck += 1);
        self.fresh_bytes = self.fresh_bytes.saturating_sub(bytes);
        self.charge(id, -signed(bytes), now);
        self.refresh(id, now);
    }

    /// Offers the chunk that was put off first, and those after it that are the same session's and due.
    pub(super) fn offer_next(&mut self) {
        let Some((due, id, first)) = self.put_off.pop_front() else {
            return;
        };
        let mut chunks = vec![first];
        while let Some(&(next_due, next, chunk)) = self.put_off.front()
            && next == id
            && next_due == due
            && chunks.len() < MAX_RANGES
        {
            chunks.push(chunk);
            self.put_off.pop_front();
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        chunks.sort_unstable();
        let mut ranges: Vec<ChunkRange> = Vec::new();
        for chunk in chunks {
            if let Some(state @ PutOff::Waiting(_)) = session.put_off.get_mut(&chunk) {
                if let PutOff::Waiting(peer) = *state {
                    *state = PutOff::Offered(peer);
                }
                push_index(&mut ranges, chunk);
            }
        }
        if !ranges.is_empty() {
            self.actions.push_back(Action::Offer { session: id, ranges });
        }
    }

    /// Makes what was put off due at once, as far as `of` says so.
    pub(super) fn offer_all(&mut self, of: impl Fn(SessionId, ChunkIndex) -> bool, now: Duration) {
        let (due, later): (Vec<_>, Vec<_>) =
            self.put_off.drain(..).partition(|(_, session, chunk)| of(*session, *chunk));
        self.put_off = later.into();
        for (_, session, chunk) in due.into_iter().rev() {
            self.put_off.push_front((now, session, chunk));
        }
    }
}

fn whole_milliseconds(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

/// What the ring's head may do.
enum Next {
    /// This session is given something.
    Session(SessionId),
    /// Its turn is over: the next one is at the head.
    NoTurn,
    /// A limit of its own is used up until then.
    Wait(Duration),
    /// It has nothing that could be sent now.
    Nothing,
}

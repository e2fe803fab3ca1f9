//! What the shell tells: sessions, wants, what has been read and sent.

use std::collections::BTreeSet;
use std::time::Duration;

use super::ServingPolicy;
use super::action::{ContentNumber, Opening, PeerNumber, SessionId, WantError};
use super::limits::{Content, adjust};
use super::peer::{Peer, Place};
use super::report::Counters;
use super::session::{Grant, GrantState, PutOff, Session};
use crate::availability::{ChunkIndex, ChunkRange};
use crate::token_bucket::TokenBucket;
use crate::wire::MAX_WANTED_NODES;

impl ServingPolicy {
    /// A session begins; its number is new.
    pub fn handle_opened(&mut self, session: SessionId, opening: Opening, now: Duration) {
        if self.sessions.contains_key(&session) {
            return;
        }
        let limit = self.config.limit_per_peer;
        let (peers, credits) = (&mut self.peers, &mut self.credits);
        let peer = peers.get_or_insert_with(opening.peer, || Peer::new(limit, credits.take(opening.peer), now));
        peer.sessions.insert(session);
        peer.serving += usize::from(opening.serves);
        let limit = self.config.limit_per_content;
        let content = self.contents.get_or_insert_with(opening.content, || Content {
            sessions: 0,
            chunks: opening.chunks,
            holds_all: opening.holds_all,
            bucket: limit.map(|rate| TokenBucket::new(rate, now)),
            spread: Default::default(),
        });
        content.sessions += 1;
        self.sessions.get_or_insert_with(session, || Session::new(opening, self.config.quantum_bytes, now));
    }

    /// A session has ended.
    pub fn handle_closed(&mut self, session: SessionId, now: Duration) {
        let Some(mut closed) = self.sessions.remove(&session) else {
            return;
        };
        while let Some(grant) = closed.grants.pop_front() {
            // Some of it may have left; who ends sessions to get more than its share gains at most a batch.
            self.settle_grant(session, &closed, &grant, now);
            if let (Some(chunks), Some(content)) = (&grant.chunks, self.contents.get_mut(&closed.content)) {
                let never_left = chunks.iter().filter(|chunk| content.spread.stays(**chunk, closed.peer)).count();
                self.counters.first_copies = self.counters.first_copies.saturating_sub(never_left as u64);
            }
        }
        if let Some(content) = self.contents.get_mut(&closed.content) {
            content.sessions -= 1;
            if content.sessions == 0 {
                self.contents.remove(&closed.content);
            }
        }
        let Some(peer) = self.peers.get_mut(&closed.peer) else {
            return;
        };
        peer.sessions.remove(&session);
        peer.serving -= usize::from(closed.opening.serves);
        peer.line.retain(|other| *other != session);
        let serves_on = |id: &SessionId| {
            let other = self.sessions.get(id);
            other.is_some_and(|other| other.content == closed.content && other.opening.serves)
        };
        let goes = closed.opening.serves && !peer.sessions.iter().any(serves_on);
        if closed.is_active {
            peer.active -= 1;
            self.active_peers -= usize::from(!peer.is_active());
        }
        if peer.sessions.is_empty() {
            match peer.place {
                Place::Ring | Place::Turn => self.ring.retain(|other| *other != closed.peer),
                Place::Parked { until, turn } => drop(self.parked.remove(&(until, turn, closed.peer))),
                Place::Out => {}
            }
            self.credits.keep(closed.peer, peer.credit);
            self.peers.remove(&closed.peer);
            self.tickets.give_up(closed.peer);
        }
        if goes {
            self.take_no_more_from(closed.peer, closed.content, now);
        }
    }

    /// A peer serves a content no more: what was put off because it had got it is due at once.
    fn take_no_more_from(&mut self, peer: PeerNumber, content: ContentNumber, now: Duration) {
        if let Some(content) = self.contents.get_mut(&content) {
            content.spread.forget_peer(peer);
        }
        let waits = |id: &SessionId, chunk: &ChunkIndex| {
            let session = self.sessions.get(id).filter(|session| session.content == content);
            session.is_some_and(|session| session.put_off.get(chunk) == Some(&PutOff::Waiting(peer)))
        };
        let all = self.put_off.iter().map(|(_, id, chunk)| (*id, *chunk));
        let due: BTreeSet<(SessionId, ChunkIndex)> = all.filter(|(id, chunk)| waits(id, chunk)).collect();
        if !due.is_empty() {
            self.offer_all(|id, chunk| due.contains(&(id, chunk)), now);
        }
    }

    /// A WANT came. An error is the peer's fault: the session is to be ended, and `handle_closed` called.
    pub fn handle_want(&mut self, session: SessionId, ranges: &[ChunkRange], now: Duration) -> Result<(), WantError> {
        let Some(found) = self.sessions.get_mut(&session) else {
            return Ok(());
        };
        found.wants.add(ranges, found.opening.chunks)?;
        self.note_come_back(session, ranges);
        self.admit(session, now);
        Ok(())
    }

    /// A WANT_NODES came, for so many nodes. An error is the peer's fault, as above.
    pub fn handle_want_nodes(&mut self, session: SessionId, nodes: usize, now: Duration) -> Result<(), WantError> {
        let Some(found) = self.sessions.get_mut(&session) else {
            return Ok(());
        };
        found.nodes = found.nodes.saturating_add(nodes);
        if found.nodes > MAX_WANTED_NODES {
            return Err(WantError::TooMany);
        }
        self.admit(session, now);
        Ok(())
    }

    /// A CANCEL came.
    pub fn handle_cancel(&mut self, session: SessionId, ranges: &[ChunkRange], now: Duration) {
        let Some(found) = self.sessions.get_mut(&session) else {
            return;
        };
        let before = found.wants.chunks();
        found.wants.cancel(ranges);
        let cancelled = before - found.wants.chunks();
        Counters::both(&mut found.counters, &mut self.counters, |counters| counters.cancelled_chunks += cancelled);
        if let Some(Grant { chunks: Some(chunks), cancelled, .. }) = found.grants.back_mut() {
            let is_out = |index: &&ChunkIndex| ranges.iter().any(|r| r.start <= **index && index.0 < r.end());
            cancelled.extend(chunks.iter().filter(is_out));
        }
        self.refresh(session, now);
    }

    /// What was granted last has been read: the first `answered` of the chunks (all of the nodes) go out, as `bytes`
    /// bytes. The others are still wanted.
    pub fn handle_read(&mut self, session: SessionId, answered: usize, bytes: u64, now: Duration) {
        let Some(found) = self.sessions.get_mut(&session) else {
            return;
        };
        let Some(grant) = found.grants.back_mut() else {
            return;
        };
        let granted = std::mem::replace(&mut grant.bytes, bytes);
        let is_fresh = matches!(grant.state, GrantState::Fresh { .. });
        grant.nodes = 0;
        if let Some(chunks) = grant.chunks.take() {
            let cancelled = std::mem::take(&mut grant.cancelled);
            let (sent, rest) = chunks.split_at(answered.min(chunks.len()));
            if let Some(content) = self.contents.get_mut(&found.content) {
                let never_left = rest.iter().filter(|chunk| content.spread.stays(**chunk, found.peer)).count() as u64;
                Counters::both(&mut found.counters, &mut self.counters, |c| {
                    c.first_copies = c.first_copies.saturating_sub(never_left);
                });
            }
            let rest: Vec<ChunkIndex> = rest.iter().copied().filter(|chunk| !cancelled.contains(chunk)).collect();
            found.wants.put_back(&rest);
            let sent = sent.len() as u64;
            Counters::both(&mut found.counters, &mut self.counters, |counters| counters.chunks += sent);
        }
        if is_fresh {
            let more = signed(bytes) - signed(granted);
            self.fresh_bytes = self.fresh_bytes.saturating_add_signed(more);
            self.charge(session, more, now);
        }
        self.refresh(session, now);
    }

    /// What was read first, of all that has not been sent yet, has been taken by the stream.
    pub fn handle_sent(&mut self, session: SessionId, now: Duration) {
        let Some(found) = self.sessions.get_mut(&session) else {
            return;
        };
        if found.grants.len() == 1 && found.is_reading() {
            return;
        }
        let Some(grant) = found.grants.pop_front() else {
            return;
        };
        let bytes = grant.bytes;
        Counters::both(&mut found.counters, &mut self.counters, |counters| counters.sent_bytes += bytes);
        match grant.state {
            GrantState::Fresh { until } => {
                found.took(false, self.config.batch_bytes);
                self.fresh.remove(&(until, session, grant.number));
                self.fresh_bytes = self.fresh_bytes.saturating_sub(bytes);
            }
            GrantState::Stuck => {
                found.took(true, self.config.batch_bytes);
                self.charge(session, signed(bytes), now);
            }
        }
        self.refresh(session, now);
    }

    /// Takes so many bytes off the share and the limits of a session, or gives them back if there are less than none.
    pub(super) fn charge(&mut self, session: SessionId, bytes: i64, now: Duration) {
        let Some(found) = self.sessions.get(&session) else {
            return;
        };
        adjust(&mut self.limit.bucket, bytes, now);
        if let Some(peer) = self.peers.get_mut(&found.peer) {
            peer.deficit = peer.deficit.saturating_sub(bytes);
            adjust(&mut peer.bucket, bytes, now);
        }
        if let Some(content) = self.contents.get_mut(&found.content) {
            adjust(&mut content.bucket, bytes, now);
        }
    }

    /// Brings everything up to date after something has changed for a session.
    pub(super) fn refresh(&mut self, id: SessionId, now: Duration) {
        let limited = self.limit.kept_waiting(now);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.settle(limited, now);
        let Some(peer) = self.peers.get_mut(&session.peer) else {
            return;
        };
        let is_active = session.has_wants() || !session.grants.is_empty();
        if is_active != session.is_active {
            session.is_active = is_active;
            if is_active {
                if !peer.is_active() {
                    peer.turns = 0;
                    self.active_peers += 1;
                }
                peer.active += 1;
            } else {
                peer.active -= 1;
                if !peer.is_active() {
                    // What is not used up is not saved up. A debt stays.
                    peer.deficit = peer.deficit.min(0);
                    self.active_peers -= 1;
                }
            }
        }
        if session.is_ready() && !session.is_lined_up {
            session.is_lined_up = true;
            peer.line.push_back(id);
            if peer.place == Place::Out {
                peer.place = Place::Ring;
                self.ring.push_back(session.peer);
            }
        }
    }

    /// Gives back what a grant that is not sent any more has taken.
    fn settle_grant(&mut self, id: SessionId, session: &Session, grant: &Grant, now: Duration) {
        let GrantState::Fresh { until } = grant.state else {
            return;
        };
        self.fresh.remove(&(until, id, grant.number));
        self.fresh_bytes = self.fresh_bytes.saturating_sub(grant.bytes);
        // What has been read may have left, in part: it stays paid.
        if grant.chunks.is_none() && grant.nodes == 0 {
            return;
        }
        let bytes = -signed(grant.bytes);
        adjust(&mut self.limit.bucket, bytes, now);
        if let Some(peer) = self.peers.get_mut(&session.peer) {
            adjust(&mut peer.bucket, bytes, now);
        }
        if let Some(content) = self.contents.get_mut(&session.content) {
            adjust(&mut content.bucket, bytes, now);
        }
    }

    /// Notes that chunks are asked for that had been put off and offered again: nobody has passed them on meanwhile.
    fn note_come_back(&mut self, id: SessionId, ranges: &[ChunkRange]) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.put_off.is_empty() {
            return;
        }
        for range in ranges {
            for state in session.put_off.range_mut(range.start..ChunkIndex(range.end())).map(|(_, state)| state) {
                if let PutOff::Offered(peer) = *state {
                    *state = PutOff::Done;
                    Counters::both(&mut session.counters, &mut self.counters, |counters| {
                        counters.came_back_chunks += 1;
                    });
                    if let Some(peer) = self.peers.get_mut(&peer) {
                        peer.credit.passed_nothing_on();
                    }
                }
            }
        }
    }
}

pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

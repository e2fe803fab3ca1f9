//! Who has a place, and who is told BUSY.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_core::Rng;

use super::ServingPolicy;
use super::action::{Action, PeerNumber, SessionId};
use super::peer::Peer;
use super::report::Counters;

/// What a turn sends at least, as a rule: a chunk.
const TYPICAL_TURN_BYTES: u64 = 96 * 1024;

/// Who was told BUSY and has not been served since: they get a place in the order in which they asked first.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    next: u64,
    /// By ticket: whose, and until when it holds.
    queue: BTreeMap<u64, (PeerNumber, Duration)>,
    of: BTreeMap<PeerNumber, u64>,
}

impl Tickets {
    /// How many are before a peer. Those who did not come when they were told to have lost their place.
    fn ahead_of(&mut self, peer: PeerNumber, now: Duration) -> usize {
        let late = |(_, (other, until)): (&u64, &(PeerNumber, Duration))| (*until < now).then_some(*other);
        for other in self.queue.iter().filter_map(late).collect::<Vec<_>>() {
            if other != peer {
                self.give_up(other);
            }
        }
        match self.of.get(&peer) {
            Some(ticket) => self.queue.range(..ticket).count(),
            None => self.queue.len(),
        }
    }

    /// A peer waits, and is to come again by `until`.
    fn hold(&mut self, peer: PeerNumber, until: Duration) {
        let ticket = *self.of.entry(peer).or_insert_with(|| {
            self.next += 1;
            self.next
        });
        self.queue.insert(ticket, (peer, until));
    }

    /// A peer is served, or gone.
    pub(super) fn give_up(&mut self, peer: PeerNumber) {
        if let Some(ticket) = self.of.remove(&peer) {
            self.queue.remove(&ticket);
        }
    }
}

impl ServingPolicy {
    /// How many peers can have their turn within a round.
    pub(super) fn places(&self) -> usize {
        let Some(rate) = self.config.limit else {
            return usize::MAX;
        };
        let turn = u128::from(self.config.quantum_bytes.max(TYPICAL_TURN_BYTES));
        let round = u128::from(rate) * self.config.round.as_millis() / 1000;
        usize::try_from(round / turn).unwrap_or(usize::MAX).max(1)
    }

    /// Takes a session in that wants something; or tells it that there is no place, unless somebody else has had
    /// enough turns to give way.
    pub(super) fn admit(&mut self, id: SessionId, now: Duration) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let peer = session.peer;
        let has_place = self.peers.get(&peer).is_some_and(Peer::is_active);
        if !has_place && session.has_wants() && !self.finds_place(peer, now) {
            return self.say_busy(id, now);
        }
        self.refresh(id, now);
    }

    /// Whether there is a place for a peer, and for all who came before it; makes one if somebody is to give way.
    fn finds_place(&mut self, peer: PeerNumber, now: Duration) -> bool {
        let places = self.places();
        if places == usize::MAX {
            return true;
        }
        // Half of the places are kept for those who have been told to come again; the others are whoever's comes first,
        // or they would lie idle while many are away.
        let ahead = self.tickets.ahead_of(peer, now).min(places / 2);
        if self.active_peers + ahead >= places {
            let may_go = self.who_gives_way();
            match may_go.first() {
                Some(other) if self.active_peers + ahead < places + may_go.len() => self.turn_out(*other, now),
                _ => return false,
            }
        }
        self.tickets.give_up(peer);
        true
    }

    /// The peers that have had their turns, and to which nothing is under way: those with the smallest share first,
    /// then those with the most turns.
    fn who_gives_way(&self) -> Vec<PeerNumber> {
        let may_go = self.peers.iter().filter(|(_, peer)| peer.is_active()).filter(|(_, peer)| {
            let mut sessions = peer.sessions.iter().filter_map(|id| self.sessions.get(id));
            peer.turns >= self.config.turns && sessions.all(|session| session.grants.is_empty())
        });
        let quantum = self.config.quantum_bytes;
        let mut may_go: Vec<_> =
            may_go.map(|(number, peer)| (peer.quantum(quantum), u32::MAX - peer.turns, *number)).collect();
        may_go.sort_unstable();
        may_go.into_iter().map(|(.., number)| number).collect()
    }

    fn turn_out(&mut self, number: PeerNumber, now: Duration) {
        let sessions: Vec<SessionId> =
            self.peers.get(&number).map(|peer| peer.sessions.iter().copied().collect()).unwrap_or_default();
        for id in sessions {
            if self.sessions.get(&id).is_some_and(|session| session.has_wants()) {
                self.say_busy(id, now);
            }
        }
    }

    /// Drops what a session wants, and tells it when to come again: after a round, give or take a half, so that not
    /// all come at once.
    fn say_busy(&mut self, id: SessionId, now: Duration) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.wants.clear();
        session.nodes = 0;
        Counters::both(&mut session.counters, &mut self.counters, |counters| counters.busy += 1);
        let jitter = self.config.round.as_nanos() / 1024 * u128::from(self.rng.next_u32() % 1024);
        let jitter = Duration::from_nanos(u64::try_from(jitter).unwrap_or(0));
        let retry_after = self.config.round / 2 + jitter;
        self.tickets.hold(session.peer, now + retry_after + self.config.round);
        self.actions.push_back(Action::Busy { session: id, retry_after });
        self.refresh(id, now);
    }
}

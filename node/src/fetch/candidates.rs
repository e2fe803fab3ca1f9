//! The peers that one fetch may ask: one list, whoever named them.
//!
//! Each is tried, and tried again after a pause that doubles, for as long as the fetch lasts. The list is bounded and
//! does no IO: who is dialled and what came of it, it is told.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use crate::api::PeerFailure;
use crate::config::MAX_CANDIDATES;
use crate::network::{Address, PeerId};

/// The first pause after a failure, and the shortest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The longest rest that a peer is granted that asks for one.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// Addresses that are kept of one peer.
const MAX_ADDRESSES: usize = 16;
/// Failures that are told of.
const MAX_TOLD_FAILURES: usize = 32;

/// All peers that have been named to a fetch.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    peers: BTreeMap<PeerId, Candidate>,
    /// Gives each fetch an order of its own: a crowd that learns of the same peers must not try the same one first.
    order: RandomState,
    /// What became of the last attempt that failed.
    last_failure: Option<String>,
}

/// Who named a peer: the better sources are tried first, and are never crowded out by the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// Whoever asked for the fetch.
    Given,
    /// A record of the DHT.
    Dht,
    /// A session of this node.
    Swarm,
    /// Another peer.
    Hearsay,
}

#[derive(Debug)]
struct Candidate {
    source: Source,
    addresses: Vec<Address>,
    state: State,
    failures: u32,
    /// When it went wrong last.
    failed: Option<Instant>,
    /// Something is known of it that the attempt under way does not know.
    has_news: bool,
    /// Whether a session of this node was with it.
    is_met: bool,
    /// Decides between equals.
    order: u64,
    /// What went wrong last.
    reason: Option<String>,
}

impl Source {
    /// What it is called in reports.
    fn name(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Dht => "dht",
            Self::Swarm => "swarm",
            Self::Hearsay => "hearsay",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// May be tried from then on.
    Idle(Instant),
    /// The same; it said so itself.
    Resting(Instant),
    Dialling,
    Open,
    Banned,
}

impl Candidates {
    /// Adds a peer, or addresses to one that is known.
    pub(super) fn add(&mut self, peer: PeerId, addresses: Vec<Address>, source: Source, now: Instant) {
        if !self.peers.contains_key(&peer) && !self.has_room(source) {
            return;
        }
        let order = self.order.hash_one(peer);
        let fresh = Candidate {
            source,
            addresses: Vec::new(),
            state: State::Idle(now),
            failures: 0,
            failed: None,
            has_news: false,
            is_met: false,
            order,
            reason: None,
        };
        let candidate = self.peers.entry(peer).or_insert(fresh);
        if source < candidate.source {
            // What a better source says of a peer counts for more than all that was said before.
            candidate.source = source;
            candidate.addresses.clear();
        }
        candidate.is_met |= source == Source::Swarm;
        let known = candidate.addresses.len();
        for address in addresses {
            if candidate.addresses.len() < MAX_ADDRESSES && !candidate.addresses.contains(&address) {
                candidate.addresses.push(address);
            }
        }
        // A peer that could not be reached for want of the right address is tried soon when another turns up.
        if candidate.addresses.len() > known {
            candidate.hasten(now);
        }
    }

    /// A peer has shown that it is up: that it could not be reached before is no reason to wait.
    pub(super) fn is_up(&mut self, peer: &PeerId, now: Instant) {
        if let Some(candidate) = self.peers.get_mut(peer) {
            candidate.hasten(now);
        }
    }

    /// Whether one more peer of this source may be kept; makes room if it is better than the worst.
    fn has_room(&mut self, source: Source) -> bool {
        if source == Source::Hearsay {
            return self.peers.values().filter(|c| c.source == Source::Hearsay).count() < MAX_CANDIDATES / 2
                && self.peers.len() < MAX_CANDIDATES;
        }
        if self.peers.len() < MAX_CANDIDATES {
            return true;
        }
        let idle = self.peers.iter().filter(|(_, c)| c.state.due().is_some() && c.source > source);
        let worst = idle.max_by_key(|(_, c)| (c.source, c.failures)).map(|(peer, _)| *peer);
        worst.is_some_and(|worst| self.peers.remove(&worst).is_some())
    }

    /// A peer to try now, any or only one that sessions of this node have met, if there is one; it counts as being
    /// dialled from then on. The one with the fewest failures comes first, among equals the one with the best source,
    /// then whichever chance prefers.
    pub(super) fn next(&mut self, now: Instant, any: bool) -> Option<(PeerId, Vec<Address>)> {
        let due =
            |candidate: &Candidate| candidate.state.due().is_some_and(|at| at <= now) && (any || candidate.is_met);
        let (peer, candidate) =
            self.peers.iter_mut().filter(|(_, c)| due(c)).min_by_key(|(_, c)| (c.failures, c.source, c.order))?;
        candidate.state = State::Dialling;
        candidate.has_news = false;
        Some((*peer, candidate.addresses.clone()))
    }

    /// Whether there is a peer to try now that has not failed.
    pub(super) fn has_untried(&self, now: Instant) -> bool {
        self.peers.values().any(|c| c.failures == 0 && c.state.due().is_some_and(|at| at <= now))
    }

    /// When the next peer may be tried, any or only one that was met, if only time is missing.
    pub(super) fn next_due(&self, any: bool) -> Option<Instant> {
        let peers = self.peers.values().filter(|candidate| any || candidate.is_met);
        peers.filter_map(|candidate| candidate.state.due()).min()
    }

    /// An attempt ended in a session.
    pub(super) fn opened(&mut self, peer: &PeerId) {
        self.set(peer, State::Open);
    }

    /// An attempt or a session failed; the peer rests, at least for as long as it asked to.
    pub(super) fn failed(&mut self, peer: &PeerId, reason: String, rest: Duration, now: Instant) {
        self.last_failure = Some(reason.clone());
        if let Some(candidate) = self.peers.get_mut(peer) {
            candidate.reason = Some(reason);
            let pause = FIRST_PAUSE.saturating_mul(1 << candidate.failures.min(8)).min(LONGEST_PAUSE);
            candidate.failures = candidate.failures.saturating_add(1);
            candidate.failed = Some(now);
            candidate.state = State::Idle(now + pause.max(rest.min(LONGEST_REST)));
            if std::mem::take(&mut candidate.has_news) {
                candidate.hasten(now);
            }
        }
    }

    /// A peer has no place free, and said when to come again: no failure, so the pauses do not grow.
    pub(super) fn busy(&mut self, peer: &PeerId, reason: String, rest: Duration, now: Instant) {
        self.last_failure = Some(reason);
        self.set(peer, State::Resting(now + rest.clamp(FIRST_PAUSE, LONGEST_REST)));
    }

    /// A session gave something: what went wrong before is forgotten.
    pub(super) fn did_well(&mut self, peer: &PeerId) {
        if let Some(candidate) = self.peers.get_mut(peer) {
            candidate.failures = 0;
        }
    }

    /// A peer broke its word and is not asked again.
    pub(super) fn banned(&mut self, peer: &PeerId) {
        self.set(peer, State::Banned);
        if let Some(candidate) = self.peers.get_mut(peer) {
            candidate.reason = Some("banned: it broke its word".to_owned());
        }
    }

    /// How many peers have been named.
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// How many of them broke their word.
    pub(super) fn liars(&self) -> usize {
        self.peers.values().filter(|candidate| candidate.state == State::Banned).count()
    }

    /// What became of the last attempt that failed.
    pub(super) fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    /// How many were named by whom.
    pub(super) fn by_source(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for candidate in self.peers.values() {
            *counts.entry(candidate.source.name().to_owned()).or_default() += 1;
        }
        counts
    }

    /// Those that cannot be used, the best source first.
    pub(super) fn failures(&self, now: Instant) -> Vec<PeerFailure> {
        let mut failed: Vec<_> = self.peers.iter().filter(|(_, c)| c.state != State::Open).collect();
        failed.sort_by_key(|(peer, c)| (c.source, **peer));
        let told = failed.into_iter().filter_map(|(peer, candidate)| {
            let again = match candidate.state {
                State::Idle(at) | State::Resting(at) => Some(at.saturating_duration_since(now).as_secs_f64()),
                State::Dialling => Some(0.0),
                State::Open | State::Banned => None,
            };
            Some(PeerFailure {
                peer: peer.to_string(),
                source: candidate.source.name().to_owned(),
                failures: candidate.failures,
                reason: candidate.reason.clone()?,
                again_in_seconds: again,
            })
        });
        told.take(MAX_TOLD_FAILURES).collect()
    }

    fn set(&mut self, peer: &PeerId, state: State) {
        if let Some(candidate) = self.peers.get_mut(peer) {
            candidate.state = state;
        }
    }
}

impl Candidate {
    /// There is hope that what went wrong before does not again: the pause is cut short. Who asked for rest gets it.
    fn hasten(&mut self, now: Instant) {
        match self.state {
            State::Idle(at) => {
                let soon = self.failed.map_or(now, |failed| now.max(failed + FIRST_PAUSE));
                self.state = State::Idle(at.min(soon));
            }
            State::Dialling => self.has_news = true,
            State::Resting(_) | State::Open | State::Banned => {}
        }
    }
}

impl State {
    /// When it may be tried, if only time is missing.
    const fn due(self) -> Option<Instant> {
        match self {
            Self::Idle(at) | Self::Resting(at) => Some(at),
            Self::Dialling | Self::Open | Self::Banned => None,
        }
    }
}

#[cfg(test)]
mod tests;

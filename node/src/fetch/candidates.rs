//! The peers that one fetch may ask: one list, whoever named them.
//!
//! Each is tried, and tried again after a pause that doubles, for as long as the fetch lasts. The list is bounded and
//! does no IO: who is dialled and what came of it, it is told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config::MAX_CANDIDATES;
use crate::network::{Address, PeerId};

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Addresses that are kept of one peer.
const MAX_ADDRESSES: usize = 16;

/// All peers that have been named to a fetch.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    peers: BTreeMap<PeerId, Candidate>,
    /// What became of the last attempt that failed.
    last_failure: Option<String>,
}

#[derive(Debug)]
struct Candidate {
    addresses: Vec<Address>,
    state: State,
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// May be tried from then on.
    Idle(Instant),
    Dialling,
    Open,
    Banned,
}

impl Candidates {
    /// Adds a peer, or addresses to one that is known.
    pub(super) fn add(&mut self, peer: PeerId, addresses: Vec<Address>, now: Instant) {
        if self.peers.len() >= MAX_CANDIDATES && !self.peers.contains_key(&peer) {
            return;
        }
        let fresh = Candidate { addresses: Vec::new(), state: State::Idle(now), failures: 0 };
        let candidate = self.peers.entry(peer).or_insert(fresh);
        let known = candidate.addresses.len();
        for address in addresses {
            if candidate.addresses.len() < MAX_ADDRESSES && !candidate.addresses.contains(&address) {
                candidate.addresses.push(address);
            }
        }
        // A peer that could not be reached for want of an address is tried at once when one turns up.
        if known == 0 && !candidate.addresses.is_empty() && matches!(candidate.state, State::Idle(_)) {
            candidate.state = State::Idle(now);
        }
    }

    /// A peer to try now, if there is one; it counts as being dialled from then on. The one with the fewest failures
    /// comes first.
    pub(super) fn next(&mut self, now: Instant) -> Option<(PeerId, Vec<Address>)> {
        let due = |candidate: &Candidate| matches!(candidate.state, State::Idle(at) if at <= now);
        let (peer, candidate) =
            self.peers.iter_mut().filter(|(_, c)| due(c)).min_by_key(|(_, candidate)| candidate.failures)?;
        candidate.state = State::Dialling;
        Some((*peer, candidate.addresses.clone()))
    }

    /// When the next peer may be tried, if only time is missing.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.peers.values().filter_map(|c| if let State::Idle(at) = c.state { Some(at) } else { None }).min()
    }

    /// An attempt ended in a session.
    pub(super) fn opened(&mut self, peer: &PeerId) {
        self.set(peer, State::Open);
    }

    /// An attempt or a session failed; the peer rests, at least for as long as it asked to.
    pub(super) fn failed(&mut self, peer: &PeerId, reason: String, rest: Duration, now: Instant) {
        self.last_failure = Some(reason);
        if let Some(candidate) = self.peers.get_mut(peer) {
            let pause = FIRST_PAUSE.saturating_mul(1 << candidate.failures.min(8)).min(LONGEST_PAUSE);
            candidate.failures = candidate.failures.saturating_add(1);
            candidate.state = State::Idle(now + pause.max(rest));
        }
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

    fn set(&mut self, peer: &PeerId, state: State) {
        if let Some(candidate) = self.peers.get_mut(peer) {
            candidate.state = state;
        }
    }
}

//! How peers learn of each other: a look-up, peer exchange, and the list of those who may be asked.
//!
//! The DHT is modelled by two delays. The rest follows the node: `node/src/fetch/{candidates,peers,lookup}.rs` and
//! `node/src/swarm.rs`, which read a clock and know addresses, so that they cannot be run here themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use super::dice::Dice;
use super::events::{Nanos, nanos};

/// Dials that one fetch has under way at once.
pub(super) const MAX_DIALS: usize = 8;
/// Peers that one fetch remembers; half of them at most by hearsay.
const MAX_CANDIDATES: usize = 256;
/// Below so many sessions a fetch goes on looking for peers.
pub(super) const ENOUGH_SESSIONS: usize = 8;
/// How often a fetch looks at peers that other sessions have brought to light.
pub(super) const SWARM_EVERY: Duration = Duration::from_secs(1);
/// How often a requester is told of providers that have become known since, at most.
pub(super) const TELL_EVERY: Duration = Duration::from_millis(250);
/// Sessions that a node serves at once.
pub(super) const MAX_SERVED: usize = 256;
/// When a requester that found no place may come again.
pub(super) const BUSY_RETRY: Duration = Duration::from_secs(2);
/// Records in one answer of the DHT.
pub(super) const SAMPLE: usize = 22;
/// The pause after the first look-up, which doubles, and the longest.
pub(super) const FIRST_LOOK_UP_PAUSE: Duration = Duration::from_secs(1);
pub(super) const LONGEST_LOOK_UP_PAUSE: Duration = Duration::from_secs(30);
/// How long a dial to somebody who is not there takes.
pub(super) const DIAL_PATIENCE: Duration = Duration::from_secs(8);
/// How long a connection lives over which nothing passes.
pub(super) const CUT_PATIENCE: Duration = Duration::from_secs(30);

/// The first pause after a failure, which doubles, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The longest rest that a peer is granted that asks for one.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// Peers of a swarm that are remembered.
const MAX_SWARM: usize = 256;
/// How long one is named to others after it was last seen.
const SWARM_LIFE: Duration = Duration::from_secs(900);

/// Who named a peer: the better sources are tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// A record of the DHT.
    Dht,
    /// A session of this peer.
    Swarm,
    /// Another peer.
    Hearsay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// May be tried from then on.
    Idle(Nanos),
    /// Is being dialled or talked to.
    Open,
    Banned,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    source: Source,
    state: State,
    failures: u32,
    /// Equals are tried in an order of each fetch's own, as peer ids make it in the node.
    order: u32,
}

/// The peers that a fetch may ask.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// In the order of their numbers: they are few, and looked through more often than they change.
    peers: Vec<(u32, Candidate)>,
    /// How many of them are known by hearsay alone.
    hearsay: usize,
}

impl Candidates {
    pub(super) fn add(&mut self, peer: u32, source: Source, now: Nanos, dice: &mut Dice) {
        let place = match self.place(peer) {
            Ok(place) => return self.is_named(place, source),
            Err(place) => place,
        };
        let is_full = self.peers.len() >= MAX_CANDIDATES;
        if is_full || source == Source::Hearsay && self.hearsay >= MAX_CANDIDATES / 2 {
            return;
        }
        let order = dice.below(1 << 32) as u32;
        self.hearsay += usize::from(source == Source::Hearsay);
        self.peers.insert(place, (peer, Candidate { source, state: State::Idle(now), failures: 0, order }));
    }

    /// One that is known is named again. Who comes by itself wants to be asked in turn, whoever else has named it.
    fn is_named(&mut self, place: usize, source: Source) {
        if let Some((_, known)) = self.peers.get_mut(place) {
            self.hearsay -= usize::from(known.source == Source::Hearsay);
            known.source = if source == Source::Swarm { source } else { known.source.min(source) };
            self.hearsay += usize::from(known.source == Source::Hearsay);
        }
    }

    fn place(&self, peer: u32) -> Result<usize, usize> {
        self.peers.binary_search_by_key(&peer, |(peer, _)| *peer)
    }

    fn find(&mut self, peer: u32) -> Option<&mut Candidate> {
        let place = self.place(peer).ok()?;
        self.peers.get_mut(place).map(|(_, candidate)| candidate)
    }

    /// A peer to try now, of whatever source or only one that has come by itself; it counts as being dialled from then
    /// on.
    pub(super) fn next(&mut self, now: Nanos, any: bool) -> Option<u32> {
        let due = |candidate: &Candidate| {
            matches!(candidate.state, State::Idle(at) if at <= now) && (any || candidate.source == Source::Swarm)
        };
        let (peer, candidate) = self
            .peers
            .iter_mut()
            .filter(|(_, candidate)| due(candidate))
            .min_by_key(|(_, candidate)| (candidate.failures, candidate.source, candidate.order))?;
        candidate.state = State::Open;
        Some(*peer)
    }

    /// When the next one may be tried, of whatever source or only one that has come by itself.
    pub(super) fn next_due(&self, any: bool) -> Option<Nanos> {
        let all = self.peers.iter().map(|(_, candidate)| candidate);
        let idle = all.filter(|candidate| any || candidate.source == Source::Swarm);
        idle.filter_map(|candidate| if let State::Idle(at) = candidate.state { Some(at) } else { None }).min()
    }

    /// An attempt or a session failed; the peer rests for as long as it asked to, or longer.
    pub(super) fn failed(&mut self, peer: u32, rest: Duration, now: Nanos) {
        if let Some(candidate) = self.find(peer) {
            let pause = FIRST_PAUSE.saturating_mul(1 << candidate.failures.min(8)).min(LONGEST_PAUSE);
            candidate.failures = candidate.failures.saturating_add(1);
            candidate.state = State::Idle(now + nanos(pause.max(rest)));
        }
    }

    /// A peer has no place free, and said when to come again: no failure.
    pub(super) fn busy(&mut self, peer: u32, rest: Duration, now: Nanos) {
        if let Some(candidate) = self.find(peer) {
            candidate.state = State::Idle(now + nanos(rest.clamp(FIRST_PAUSE, LONGEST_REST)));
        }
    }

    /// Whether there is a peer to try now that has not failed.
    pub(super) fn has_untried(&self, now: Nanos) -> bool {
        self.peers.iter().any(|(_, c)| c.failures == 0 && matches!(c.state, State::Idle(at) if at <= now))
    }

    /// A session gave something.
    pub(super) fn did_well(&mut self, peer: u32) {
        if let Some(candidate) = self.find(peer) {
            candidate.failures = 0;
        }
    }

    pub(super) fn banned(&mut self, peer: u32) {
        if let Some(candidate) = self.find(peer) {
            candidate.state = State::Banned;
        }
    }
}

/// Peers that have proven themselves to a peer: what peer exchange tells others.
#[derive(Debug, Default)]
pub(super) struct Swarm {
    /// Each with when it was seen last.
    peers: Vec<(u32, Nanos)>,
    /// Gives each asker an order of its own.
    order: u64,
    /// Counts newcomers.
    pub(super) news: u64,
}

impl Swarm {
    pub(super) fn new(order: u64) -> Self {
        Self { order, ..Self::default() }
    }

    /// Notes a peer; whether it is a newcomer. One that was turned away, and has no session, takes nobody's place.
    pub(super) fn saw(&mut self, peer: u32, has_session: bool, now: Nanos) -> bool {
        if let Some((_, at)) = self.peers.iter_mut().find(|(known, _)| *known == peer) {
            *at = now;
            return false;
        }
        if self.peers.len() >= MAX_SWARM {
            let oldest = self.peers.iter().enumerate().min_by_key(|(_, (peer, at))| (*at, *peer));
            let gives_way = oldest.filter(|(_, (_, at))| has_session || now - *at >= nanos(SWARM_LIFE));
            let Some((place, _)) = gives_way else { return false };
            self.peers.swap_remove(place);
        }
        self.peers.push((peer, now));
        self.news += 1;
        true
    }

    /// Up to so many to name to one who asks: each is named others, and the same ones each time.
    pub(super) fn known(&self, asker: u32, most: usize, now: Nanos) -> Vec<u32> {
        let fresh = self.peers.iter().filter(|(peer, at)| *peer != asker && now - *at < nanos(SWARM_LIFE));
        let mut order: Vec<(u64, u32)> = fresh.map(|(peer, _)| (self.mixed(asker, *peer), *peer)).collect();
        if order.len() > most && most > 0 {
            order.select_nth_unstable(most - 1);
            order.truncate(most);
        }
        order.sort_unstable();
        order.into_iter().map(|(_, peer)| peer).collect()
    }

    /// A number that looks random (splitmix64).
    const fn mixed(&self, asker: u32, peer: u32) -> u64 {
        let pair = ((asker as u64) << 32) | peer as u64;
        let mut mixed = (self.order ^ pair).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The records of the DHT: who has announced itself, and from when look-ups find it.
#[derive(Debug, Default)]
pub(super) struct Dht {
    records: Vec<(Nanos, u32)>,
}

impl Dht {
    pub(super) fn announce(&mut self, peer: u32, from: Nanos) {
        self.records.push((from, peer));
    }

    /// A random sample of those that can be found now.
    pub(super) fn find(&self, now: Nanos, dice: &mut Dice) -> Vec<u32> {
        // They are in order of time, but for announcements that take longer.
        let mut found = Vec::new();
        let visible = self.records.len();
        let mut places: BTreeMap<usize, usize> = BTreeMap::new();
        // A shuffle of as much as is needed, without touching the records.
        for at in 0..visible {
            if found.len() >= SAMPLE || at >= SAMPLE * 4 {
                break;
            }
            let other = at + dice.index(visible - at);
            let chosen = places.get(&other).copied().unwrap_or(other);
            let displaced = places.get(&at).copied().unwrap_or(at);
            places.insert(other, displaced);
            if let Some((from, peer)) = self.records.get(chosen)
                && *from <= now
            {
                found.push(*peer);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dht_answers_a_sample_of_what_is_visible_each_once() {
        let mut dht = Dht::default();
        let mut dice = Dice::new(1);
        for peer in 0..10 {
            dht.announce(peer, u64::from(peer));
        }
        let mut found = dht.find(4, &mut dice);
        found.sort_unstable();
        assert_eq!(found, [0, 1, 2, 3, 4]);
        for peer in 10..1000 {
            dht.announce(peer, 0);
        }
        let mut found = dht.find(100, &mut dice);
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), SAMPLE);
    }

    #[test]
    fn candidates_rest_after_failures_and_better_sources_go_first() {
        let mut dice = Dice::new(1);
        let mut candidates = Candidates::default();
        candidates.add(7, Source::Hearsay, 0, &mut dice);
        candidates.add(8, Source::Dht, 0, &mut dice);
        assert_eq!(
            (candidates.next(0, true), candidates.next(0, true), candidates.next(0, true)),
            (Some(8), Some(7), None)
        );
        candidates.failed(8, Duration::ZERO, 0);
        assert_eq!(candidates.next_due(true), Some(nanos(FIRST_PAUSE)));
        candidates.banned(8);
        assert_eq!((candidates.next_due(true), candidates.next(u64::MAX, true)), (None, None));
        for peer in 100..1000 {
            candidates.add(peer, Source::Hearsay, 0, &mut dice);
        }
        assert_eq!(candidates.peers.len(), MAX_CANDIDATES / 2 + 1, "hearsay leaves room");
    }

    #[test]
    fn a_swarm_remembers_the_latest_and_names_others_to_each() {
        let mut swarm = Swarm::new(5);
        for peer in 0..300 {
            assert!(swarm.saw(peer, true, u64::from(peer)));
        }
        assert!(!swarm.saw(299, true, 400) && swarm.saw(0, true, 400));
        assert!(!swarm.saw(1, false, 400), "it has no session, and takes nobody's place");
        assert_eq!((swarm.known(7, 1000, 400).len(), swarm.news), (MAX_SWARM, 301));
        assert!(!swarm.known(299, 1000, 400).contains(&299));
        let mut named: Vec<u32> = (0..60).flat_map(|asker| swarm.known(asker, 16, 400)).collect();
        assert_eq!(swarm.known(3, 16, 400), swarm.known(3, 16, 400));
        named.sort_unstable();
        named.dedup();
        assert!(named.len() > 200, "60 askers were named {}", named.len());
    }
}

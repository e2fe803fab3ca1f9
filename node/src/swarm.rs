//! Which peers exchange which content, as far as this node knows: what peer exchange tells others.
//!
//! Peers get in when they prove that they know a content hash, on either side of a session; names from the DHT or
//! from other peers stay out, so that hearsay is never passed on. Everything is bounded and the longest unseen goes
//! first. Who wants to know of newcomers at once subscribes.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use shoal_protocol::hash::ContentHash;
use tokio::sync::watch;

use crate::network::{Address, PeerId};

/// Peers remembered for one content.
const MAX_PEERS: usize = 256;
/// Contents that peers are remembered for.
const MAX_CONTENTS: usize = 1024;
/// Addresses remembered of one peer.
const MAX_ADDRESSES: usize = 8;
/// How long a peer that has not been seen again is still named to others.
const LIFE: Duration = Duration::from_secs(900);

/// A peer of a content, with the addresses it can be dialled at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SwarmPeer {
    /// Who.
    pub(crate) peer: PeerId,
    /// Where.
    pub(crate) addresses: Vec<Address>,
}

/// The peers of each content that is or was exchanged lately.
#[derive(Debug, Default)]
pub(crate) struct Swarms {
    /// A std mutex: every section is a few map operations, none awaits.
    contents: Mutex<HashMap<ContentHash, Swarm>>,
    /// Gives each asker an order of its own.
    order: RandomState,
}

#[derive(Debug, Default)]
struct Swarm {
    peers: HashMap<PeerId, Seen>,
    /// Counts newcomers.
    news: watch::Sender<u64>,
}

#[derive(Debug)]
struct Seen {
    addresses: Vec<Address>,
    at: Instant,
}

impl Swarm {
    fn is_of_use(&self, now: Instant) -> bool {
        self.news.receiver_count() > 0 || self.peers.values().any(|seen| now.duration_since(seen.at) < LIFE)
    }
}

impl Swarms {
    /// Notes that a peer has proven itself in the exchange of a content. Without addresses it cannot be named to
    /// others and is left out.
    pub(crate) fn saw(&self, hash: ContentHash, peer: PeerId, addresses: Vec<Address>, now: Instant) {
        self.note(hash, peer, addresses, true, now);
    }

    /// The same of a peer that there was no place for. It takes nobody's place here either: those who have a session
    /// will have something to give sooner, and are whom the others who are turned away should ask.
    pub(crate) fn turned_away(&self, hash: ContentHash, peer: PeerId, addresses: Vec<Address>, now: Instant) {
        self.note(hash, peer, addresses, false, now);
    }

    fn note(&self, hash: ContentHash, peer: PeerId, mut addresses: Vec<Address>, has_session: bool, now: Instant) {
        addresses.truncate(MAX_ADDRESSES);
        if addresses.is_empty() {
            return;
        }
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        if contents.len() >= MAX_CONTENTS && !contents.contains_key(&hash) {
            contents.retain(|_, swarm| swarm.is_of_use(now));
            if contents.len() >= MAX_CONTENTS {
                return;
            }
        }
        let swarm = contents.entry(hash).or_default();
        if swarm.peers.len() >= MAX_PEERS && !swarm.peers.contains_key(&peer) {
            let oldest = swarm.peers.iter().min_by_key(|(_, seen)| seen.at);
            let gives_way = oldest.filter(|(_, seen)| has_session || now.duration_since(seen.at) >= LIFE);
            let Some(oldest) = gives_way.map(|(peer, _)| *peer) else {
                return;
            };
            swarm.peers.remove(&oldest);
        }
        let known = swarm.peers.get(&peer).is_some_and(|seen| seen.addresses == addresses);
        swarm.peers.insert(peer, Seen { addresses, at: now });
        if !known {
            swarm.news.send_modify(|news| *news += 1);
        }
    }

    /// Changes each time that a newcomer to a content has become known, or new addresses of a peer.
    pub(crate) fn subscribe(&self, hash: ContentHash) -> watch::Receiver<u64> {
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        if contents.len() >= MAX_CONTENTS && !contents.contains_key(&hash) {
            // Those that are subscribed to stay, however many: sessions and fetches bound them.
            let now = Instant::now();
            contents.retain(|_, swarm| swarm.is_of_use(now));
        }
        contents.entry(hash).or_default().news.subscribe()
    }

    /// Up to `most` peers of a content to name to `asker`. Each asker is named others, and the same ones each time, so
    /// that a large crowd does not fall upon a few.
    pub(crate) fn known(&self, hash: &ContentHash, asker: &PeerId, most: usize, now: Instant) -> Vec<SwarmPeer> {
        let contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fresh: Vec<_> = contents
            .get(hash)
            .into_iter()
            .flat_map(|swarm| &swarm.peers)
            .filter(|(peer, seen)| *peer != asker && now.duration_since(seen.at) < LIFE)
            .map(|(peer, seen)| (self.order.hash_one((asker, peer)), peer, seen))
            .collect();
        fresh.sort_unstable_by_key(|(order, peer, _)| (*order, **peer));
        let named =
            |(_, peer, seen): (u64, &PeerId, &Seen)| SwarmPeer { peer: *peer, addresses: seen.addresses.clone() };
        fresh.into_iter().take(most).map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use shoal_protocol::hash::NodeId;

    use super::*;
    use crate::network::Identity;

    fn peer() -> PeerId {
        Identity::generate().peer_id()
    }

    fn content(name: &[u8]) -> ContentHash {
        ContentHash::from_root(NodeId::of(name))
    }

    fn addresses(port: u16) -> Vec<Address> {
        vec![format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()]
    }

    #[test]
    fn askers_are_named_different_peers_and_each_the_same_ones_again() {
        let (swarms, hash, now) = (Swarms::default(), content(b"one"), Instant::now());
        for port in 1..=200 {
            swarms.saw(hash, peer(), addresses(port), now);
        }
        let mut named = HashSet::new();
        for _ in 0..40 {
            let asker = peer();
            let known = swarms.known(&hash, &asker, 16, now);
            assert_eq!((known.len(), &known), (16, &swarms.known(&hash, &asker, 16, now)));
            named.extend(known.into_iter().map(|other| other.peer));
        }
        assert!(named.len() > 150, "40 askers were named {} of 200", named.len());
    }

    #[test]
    fn nobody_is_named_to_itself_nor_after_a_long_silence() {
        let (swarms, hash, now) = (Swarms::default(), content(b"one"), Instant::now());
        let [one, two] = [peer(), peer()];
        swarms.saw(hash, one, addresses(1), now);
        swarms.saw(hash, two, Vec::new(), now);
        assert!(swarms.known(&hash, &one, 16, now).is_empty(), "it is alone: the other has no address");
        assert_eq!(swarms.known(&hash, &two, 16, now).len(), 1);
        assert!(swarms.known(&hash, &two, 16, now + LIFE).is_empty());
    }

    #[test]
    fn newcomers_are_told_of_and_those_who_were_there_are_not() {
        let (swarms, hash, now) = (Swarms::default(), content(b"one"), Instant::now());
        let mut news = swarms.subscribe(hash);
        let one = peer();
        swarms.saw(content(b"two"), one, addresses(1), now);
        assert!(!news.has_changed().unwrap());
        swarms.saw(hash, one, addresses(1), now);
        assert!(news.has_changed().unwrap());
        news.mark_unchanged();
        swarms.saw(hash, one, addresses(1), now);
        assert!(!news.has_changed().unwrap());
    }

    #[test]
    fn who_was_turned_away_takes_no_place_of_who_had_a_session() {
        let (swarms, hash, now) = (Swarms::default(), content(b"one"), Instant::now());
        let [early, late, last] = [peer(), peer(), peer()];
        let is_known =
            |other: PeerId, now| swarms.known(&hash, &peer(), usize::MAX, now).iter().any(|known| known.peer == other);
        swarms.turned_away(hash, early, addresses(1), now);
        assert!(is_known(early, now), "there was room");
        for port in 1..MAX_PEERS as u16 {
            swarms.saw(hash, peer(), addresses(port), now);
        }
        swarms.turned_away(hash, late, addresses(1), now);
        assert!(!is_known(late, now) && is_known(early, now));
        swarms.turned_away(hash, last, addresses(1), now + LIFE);
        assert!(is_known(last, now + LIFE), "nobody else is named any more");
    }

    #[test]
    fn peers_and_contents_are_bounded() {
        let (swarms, now) = (Swarms::default(), Instant::now());
        for number in 0..2 * MAX_CONTENTS as u64 {
            swarms.saw(content(&number.to_le_bytes()), peer(), addresses(1), now);
        }
        assert_eq!(swarms.contents.lock().unwrap().len(), MAX_CONTENTS);
        for port in 0..2 * MAX_PEERS as u16 {
            swarms.saw(content(&0_u64.to_le_bytes()), peer(), addresses(port), now);
        }
        assert_eq!(swarms.known(&content(&0_u64.to_le_bytes()), &peer(), usize::MAX, now).len(), MAX_PEERS);
    }
}

//! Which peers exchange which content, as far as this node knows: what peer exchange tells others.
//!
//! Peers get in when they prove that they know a content hash, on either side of a session; names from the DHT or
//! from other peers stay out, so that hearsay is never passed on. Everything is bounded and the longest unseen goes
//! first.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use shoal_protocol::hash::ContentHash;

use crate::network::{Address, PeerId};

/// Peers remembered for one content.
const MAX_PEERS: usize = 64;
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
    peers: Mutex<HashMap<ContentHash, HashMap<PeerId, Seen>>>,
}

#[derive(Debug)]
struct Seen {
    addresses: Vec<Address>,
    at: Instant,
}

impl Swarms {
    /// Notes that a peer has proven itself in the exchange of a content. Without addresses it cannot be named to
    /// others and is left out.
    pub(crate) fn saw(&self, hash: ContentHash, peer: PeerId, mut addresses: Vec<Address>, now: Instant) {
        addresses.truncate(MAX_ADDRESSES);
        if addresses.is_empty() {
            return;
        }
        let mut contents = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if contents.len() >= MAX_CONTENTS && !contents.contains_key(&hash) {
            contents.retain(|_, peers| peers.values().any(|seen| now.duration_since(seen.at) < LIFE));
            if contents.len() >= MAX_CONTENTS {
                return;
            }
        }
        let peers = contents.entry(hash).or_default();
        if peers.len() >= MAX_PEERS && !peers.contains_key(&peer) {
            let oldest = peers.iter().min_by_key(|(_, seen)| seen.at).map(|(peer, _)| *peer);
            if let Some(oldest) = oldest {
                peers.remove(&oldest);
            }
        }
        peers.insert(peer, Seen { addresses, at: now });
    }

    /// Up to `most` peers of a content, the latest seen first, `but` left out.
    pub(crate) fn known(&self, hash: &ContentHash, but: &PeerId, most: usize, now: Instant) -> Vec<SwarmPeer> {
        let contents = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fresh: Vec<_> = contents
            .get(hash)
            .into_iter()
            .flatten()
            .filter(|(peer, seen)| *peer != but && now.duration_since(seen.at) < LIFE)
            .collect();
        fresh.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.at));
        let named = |(peer, seen): (&PeerId, &Seen)| SwarmPeer { peer: *peer, addresses: seen.addresses.clone() };
        fresh.into_iter().take(most).map(named).collect()
    }
}

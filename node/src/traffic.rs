//! How many chunk bytes went which way, in all and per peer.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::network::PeerId;

/// Peers whose bytes are counted one by one. Beyond that, the one with the fewest bytes makes room.
const MAX_PEERS: usize = 1024;

/// Chunk bytes taken and given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Bytes {
    /// Taken in.
    pub(crate) received: u64,
    /// Given.
    pub(crate) sent: u64,
}

/// Counts since the node started.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// A std mutex: every section is a few additions, none awaits. Taken once per batch of chunks, not per chunk.
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: Bytes,
    peers: HashMap<PeerId, Bytes>,
}

impl Traffic {
    /// Counts chunk bytes that came from a peer.
    pub(crate) fn received(&self, peer: PeerId, bytes: u64) {
        self.count(peer, |count| count.received += bytes);
    }

    /// Counts chunk bytes that went to a peer.
    pub(crate) fn sent(&self, peer: PeerId, bytes: u64) {
        self.count(peer, |count| count.sent += bytes);
    }

    /// All bytes, of peers that are gone too.
    pub(crate) fn total(&self) -> Bytes {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// The bytes of one peer.
    pub(crate) fn of(&self, peer: &PeerId) -> Bytes {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.peers.get(peer).copied().unwrap_or_default()
    }

    fn count(&self, peer: PeerId, add: impl Fn(&mut Bytes)) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut counts.total);
        if counts.peers.len() >= MAX_PEERS && !counts.peers.contains_key(&peer) {
            let least = counts.peers.iter().min_by_key(|(_, b)| b.received + b.sent).map(|(peer, _)| *peer);
            if let Some(least) = least {
                counts.peers.remove(&least);
            }
        }
        add(counts.peers.entry(peer).or_default());
    }
}

//! Peers that broke their word, for as long as they are not talked to.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::config::BAN;
use crate::network::PeerId;

/// Bans that are kept. Beyond that, the one that ends first makes room.
const MAX_BANS: usize = 4096;

/// Who is banned, for all fetches of this node.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    /// A std mutex: every section is one or two map operations.
    until: Mutex<HashMap<PeerId, Instant>>,
}

impl Bans {
    /// Bans a peer from now on.
    pub(crate) fn ban(&self, peer: PeerId, now: Instant) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.len() >= MAX_BANS {
            let first = until.iter().min_by_key(|(_, end)| **end).map(|(peer, _)| *peer);
            if let Some(first) = first {
                until.remove(&first);
            }
        }
        until.insert(peer, now + BAN);
    }

    /// Whether a peer is banned now.
    pub(crate) fn is_banned(&self, peer: &PeerId, now: Instant) -> bool {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        match until.get(peer) {
            Some(end) if *end > now => true,
            Some(_) => {
                until.remove(peer);
                false
            }
            None => false,
        }
    }
}

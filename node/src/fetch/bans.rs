//! Peers that broke their word, for as long as they are not talked to; and those that were asked and moved nothing,
//! which are on probation wherever they are met.

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
    /// Of the same kind.
    probation: Mutex<HashMap<PeerId, Instant>>,
}

impl Bans {
    /// Bans a peer from now on.
    pub(crate) fn ban(&self, peer: PeerId, now: Instant) {
        note(&self.until, peer, now + BAN);
    }

    /// Whether a peer is banned now.
    pub(crate) fn is_banned(&self, peer: &PeerId, now: Instant) -> bool {
        is_noted(&self.until, peer, now)
    }

    /// A peer was asked and moved nothing: whatever is fetched from it next begins with one chunk.
    pub(crate) fn put_on_probation(&self, peer: PeerId, now: Instant) {
        note(&self.probation, peer, now + BAN);
    }

    /// Whether a peer has to show itself first.
    pub(crate) fn is_on_probation(&self, peer: &PeerId, now: Instant) -> bool {
        is_noted(&self.probation, peer, now)
    }

    /// A peer gives again.
    pub(crate) fn end_probation(&self, peer: &PeerId) {
        self.probation.lock().unwrap_or_else(PoisonError::into_inner).remove(peer);
    }
}

fn note(noted: &Mutex<HashMap<PeerId, Instant>>, peer: PeerId, end: Instant) {
    let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
    if noted.len() >= MAX_BANS {
        let first = noted.iter().min_by_key(|(_, end)| **end).map(|(peer, _)| *peer);
        if let Some(first) = first {
            noted.remove(&first);
        }
    }
    noted.insert(peer, end);
}

fn is_noted(noted: &Mutex<HashMap<PeerId, Instant>>, peer: &PeerId, now: Instant) -> bool {
    let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
    match noted.get(peer) {
        Some(end) if *end > now => true,
        Some(_) => {
            noted.remove(peer);
            false
        }
        None => false,
    }
}

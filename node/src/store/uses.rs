//! When contents were last used: noted in memory, written along with other changes of the catalog.
//!
//! A use costs no sync. What an unclean end loses is minutes of it, and only for the order of eviction.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shoal_protocol::hash::ContentHash;

/// Uses that are remembered before they have to be written.
const MANY: usize = 1024;
/// How long a use may stay unwritten while others come.
const LONG: Duration = Duration::from_secs(300);
/// For how long a content that others were given counts as in use.
const RECENT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
struct Use {
    unix_ms: u64,
    at: Instant,
    is_written: bool,
}

#[derive(Debug, Default)]
struct Noted {
    uses: HashMap<ContentHash, Use>,
    unwritten_since: Option<Instant>,
}

/// The uses that the catalog does not know yet, and who was given something just now.
#[derive(Debug, Default)]
pub(super) struct Uses(Mutex<Noted>);

impl Uses {
    /// Notes a use; `true`: it is time to write them.
    pub(super) fn note(&self, hash: ContentHash, unix_ms: u64) -> bool {
        let mut noted = self.noted();
        let now = Instant::now();
        noted.uses.insert(hash, Use { unix_ms, at: now, is_written: false });
        let since = *noted.unwritten_since.get_or_insert(now);
        noted.uses.len() >= MANY || since.elapsed() >= LONG
    }

    /// What has not been written yet. What is long ago is forgotten with it.
    pub(super) fn take(&self) -> Vec<(ContentHash, u64)> {
        let mut noted = self.noted();
        noted.unwritten_since = None;
        let mut taken = Vec::new();
        noted.uses.retain(|hash, used| {
            if !std::mem::replace(&mut used.is_written, true) {
                taken.push((*hash, used.unix_ms));
            }
            used.at.elapsed() < RECENT
        });
        taken
    }

    /// When a content was last used, if that is not written yet.
    pub(super) fn last(&self, hash: &ContentHash) -> Option<u64> {
        self.noted().uses.get(hash).map(|used| used.unix_ms)
    }

    /// Whether a content was used just now.
    pub(super) fn is_recent(&self, hash: &ContentHash) -> bool {
        self.noted().uses.get(hash).is_some_and(|used| used.at.elapsed() < RECENT)
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use shoal_protocol::hash::NodeId;

    use super::*;

    fn hash(n: u32) -> ContentHash {
        ContentHash::from_root(NodeId::of(&n.to_le_bytes()))
    }

    #[test]
    fn a_use_is_written_once_and_many_are_written_soon() {
        let uses = Uses::default();
        assert!(!uses.note(hash(1), 5));
        assert_eq!((uses.last(&hash(1)), uses.last(&hash(2))), (Some(5), None));
        assert!(uses.is_recent(&hash(1)) && !uses.is_recent(&hash(2)));
        assert_eq!(uses.take(), [(hash(1), 5)]);
        assert!(uses.take().is_empty());
        assert!((0..2000).any(|n| uses.note(hash(n), 1)));
    }
}

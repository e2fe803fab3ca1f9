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

#[derive(Debug, Default)]
struct Noted {
    /// In milliseconds of Unix time.
    uses: HashMap<ContentHash, u64>,
    since: Option<Instant>,
}

/// The uses that the catalog does not know yet.
#[derive(Debug, Default)]
pub(super) struct Uses(Mutex<Noted>);

impl Uses {
    /// Notes a use; `true`: it is time to write them.
    pub(super) fn note(&self, hash: ContentHash, unix_ms: u64) -> bool {
        let mut noted = self.noted();
        noted.uses.insert(hash, unix_ms);
        let since = *noted.since.get_or_insert_with(Instant::now);
        noted.uses.len() >= MANY || since.elapsed() >= LONG
    }

    /// What has not been written yet, for whoever writes it now.
    pub(super) fn take(&self) -> HashMap<ContentHash, u64> {
        std::mem::take(&mut *self.noted()).uses
    }

    /// When a content was last used, if that is not written yet.
    pub(super) fn last(&self, hash: &ContentHash) -> Option<u64> {
        self.noted().uses.get(hash).copied()
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
        assert_eq!(uses.take(), HashMap::from([(hash(1), 5)]));
        assert!(uses.take().is_empty());
        assert_eq!((0..2000).position(|n| uses.note(hash(n), 1)), Some(MANY - 1));
    }
}

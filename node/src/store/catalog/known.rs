//! Which contents the catalog may have a record of, in memory: that a content is new is known without a wait for a
//! thread that may read the disk.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{ReadTransaction, ReadableTable};
use shoal_protocol::hash::ContentHash;

use super::{COPIES, RECORDS};
use crate::store::error::Trouble;

/// Contents that are remembered, some 16 bytes each. With more, one has to look.
const MOST: usize = 64 * 1024;

/// The first 8 bytes of the hashes of all contents that have a record, and of some that had one. `None`: there may be
/// others.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Option<HashSet<[u8; 8]>>>);

impl Known {
    fn hashes(&self) -> MutexGuard<'_, Option<HashSet<[u8; 8]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns of the records that there are. Before anything is added.
    pub(super) fn load(&self, transaction: &ReadTransaction) -> Result<(), Trouble> {
        let mut known = HashSet::new();
        for table in [RECORDS, COPIES] {
            for row in transaction.open_table(table)?.iter()? {
                known.insert(start(row?.0.value()));
                if known.len() > MOST {
                    return Ok(());
                }
            }
        }
        *self.hashes() = Some(known);
        Ok(())
    }

    /// There is to be a record of this content.
    pub(super) fn add(&self, hash: &ContentHash) {
        let mut hashes = self.hashes();
        if let Some(known) = &mut *hashes {
            known.insert(start(hash.as_bytes()));
            if known.len() > MOST {
                *hashes = None;
            }
        }
    }

    /// Whether there is surely no record of this content.
    pub(super) fn lacks(&self, hash: &ContentHash) -> bool {
        self.hashes().as_ref().is_some_and(|known| !known.contains(&start(hash.as_bytes())))
    }
}

fn start(hash: &[u8; 32]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use shoal_protocol::hash::NodeId;

    use super::*;

    fn hash(n: usize) -> ContentHash {
        ContentHash::from_root(NodeId::of(&n.to_le_bytes()))
    }

    #[test]
    fn only_what_was_never_added_is_surely_new() {
        let known = Known::default();
        assert!(!known.lacks(&hash(0)), "nothing was read yet");
        *known.hashes() = Some(HashSet::new());
        assert!(known.lacks(&hash(0)));
        (0..MOST).for_each(|n| known.add(&hash(n)));
        assert!(!known.lacks(&hash(0)) && known.lacks(&hash(MOST)));
        known.add(&hash(MOST));
        assert!(!known.lacks(&hash(MOST + 1)), "there are too many to tell");
    }
}

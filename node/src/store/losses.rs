//! How often something that was held may have gone: whoever keeps in memory what was read here learns so that it may
//! not be true any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A count that only grows; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses(Arc<AtomicU64>);

impl Losses {
    /// Something has gone. To be called when that can be seen, and before whoever wanted it is told.
    pub(super) fn note(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// How often so far. What is read after this was asked is not older.
    pub(super) fn so_far(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

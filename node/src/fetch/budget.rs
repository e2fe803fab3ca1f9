//! What the fetches of this node may have in flight, all together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_protocol::engine::{Claim, Priority, shares};

use crate::config::FETCH_BUDGET_BYTES;

/// One budget for all fetches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Budget {
    /// A std mutex: each section is a sum over the fetches that run.
    claims: Arc<Mutex<Claims>>,
}

#[derive(Debug, Default)]
struct Claims {
    next: u64,
    claims: BTreeMap<u64, Claim>,
}

impl Budget {
    /// One more fetch wants a part.
    pub(super) fn join(&self, priority: Priority) -> Share {
        let mut claims = self.lock();
        let number = claims.next;
        claims.next += 1;
        claims.claims.insert(number, Claim { priority, wanted_bytes: 0, is_moving: false });
        Share { budget: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One fetch's part, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    number: u64,
}

impl Share {
    /// What the fetch may have in flight, wanting so much.
    pub(super) fn claim(&self, wanted_bytes: u64, is_moving: bool) -> u64 {
        let mut claims = self.budget.lock();
        if let Some(claim) = claims.claims.get_mut(&self.number) {
            (claim.wanted_bytes, claim.is_moving) = (wanted_bytes, is_moving);
        }
        let at = claims.claims.keys().position(|number| *number == self.number).unwrap_or(0);
        let all: Vec<Claim> = claims.claims.values().copied().collect();
        shares(FETCH_BUDGET_BYTES, &all).get(at).copied().unwrap_or(0)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.lock().claims.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_gives_back_another_gets() {
        let budget = Budget::default();
        let first = budget.join(Priority::Waiting);
        assert_eq!(first.claim(u64::MAX, true), FETCH_BUDGET_BYTES);
        let second = budget.join(Priority::Waiting);
        assert_eq!(second.claim(u64::MAX, true), FETCH_BUDGET_BYTES / 2);
        assert_eq!(first.claim(u64::MAX, true), FETCH_BUDGET_BYTES / 2);
        let background = budget.join(Priority::Background);
        assert!(background.claim(u64::MAX, true) <= 1 << 20);
        drop((first, second));
        assert_eq!(background.claim(u64::MAX, true), FETCH_BUDGET_BYTES);
    }
}

//! What peers do with what they are given first: whether others come back for it.
//!
//! It is remembered beyond a peer's sessions, or whoever passes nothing on would only have to come again.

use std::collections::BTreeMap;

use super::action::PeerNumber;

/// First copies after which it is judged what became of them.
const JUDGED_AFTER: u32 = 8;
/// First copies after which older ones count half.
const MEMORY: u32 = 256;
/// Peers that have gone and are remembered, some 100 bytes each: as many as should keep their number.
pub const REMEMBERED_PEERS: usize = 1024;

/// What became of the first copies that a peer got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Credit {
    first_copies: u32,
    came_back: u32,
}

impl Credit {
    /// It got a chunk that nobody had got before.
    pub(super) fn got_first_copy(&mut self) {
        self.first_copies += 1;
        if self.first_copies > MEMORY {
            self.first_copies /= 2;
            self.came_back /= 2;
        }
    }

    /// A chunk that it was given first was asked for by another, though there was time to pass it on.
    pub(super) fn passed_nothing_on(&mut self) {
        self.came_back = self.came_back.saturating_add(1);
    }

    /// Whether others came back for more than this part of its first copies, as far as that can be said.
    pub(super) fn came_back_for_more_than(&self, part: u32) -> bool {
        self.first_copies >= JUDGED_AFTER && self.came_back > self.first_copies / part
    }
}

/// The credit of peers that have gone. Who went first is forgotten first.
#[derive(Debug, Default)]
pub(super) struct Credits {
    of: BTreeMap<PeerNumber, (u64, Credit)>,
    order: BTreeMap<u64, PeerNumber>,
    gone: u64,
}

impl Credits {
    /// A peer has gone.
    pub(super) fn keep(&mut self, peer: PeerNumber, credit: Credit) {
        if credit == Credit::default() {
            return;
        }
        if let Some((before, _)) = self.of.insert(peer, (self.gone, credit)) {
            self.order.remove(&before);
        }
        self.order.insert(self.gone, peer);
        self.gone += 1;
        if self.of.len() > REMEMBERED_PEERS
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.of.remove(&oldest);
        }
    }

    /// A peer is there (again): what is known of it.
    pub(super) fn take(&mut self, peer: PeerNumber) -> Credit {
        let Some((place, credit)) = self.of.remove(&peer) else {
            return Credit::default();
        };
        self.order.remove(&place);
        credit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credit(first_copies: u32, came_back: u32) -> Credit {
        Credit { first_copies, came_back }
    }

    #[test]
    fn who_went_first_is_forgotten_first() {
        let mut credits = Credits::default();
        credits.keep(PeerNumber(0), credit(9, 9));
        credits.keep(PeerNumber(1), credit(9, 0));
        credits.keep(PeerNumber(7), Credit::default());
        assert_eq!(credits.of.len(), 2, "of whom nothing is known nothing is kept");
        // The first comes and goes again, and is the latest then.
        assert_eq!((credits.take(PeerNumber(0)), credits.take(PeerNumber(0))), (credit(9, 9), Credit::default()));
        credits.keep(PeerNumber(0), credit(9, 8));
        credits.keep(PeerNumber(0), credit(10, 9));
        for peer in 2..=REMEMBERED_PEERS as u64 {
            credits.keep(PeerNumber(peer), credit(1, 0));
        }
        assert_eq!((credits.of.len(), credits.order.len()), (REMEMBERED_PEERS, REMEMBERED_PEERS));
        assert_eq!((credits.take(PeerNumber(1)), credits.take(PeerNumber(0))), (Credit::default(), credit(10, 9)));
    }

    #[test]
    fn nobody_is_judged_by_a_few_chunks_and_what_is_old_counts_less() {
        assert!(!credit(7, 7).came_back_for_more_than(2));
        assert!(credit(8, 5).came_back_for_more_than(2) && !credit(8, 4).came_back_for_more_than(2));
        let mut better = credit(MEMORY, MEMORY);
        (0..2 * MEMORY).for_each(|_| better.got_first_copy());
        assert!(!better.came_back_for_more_than(2));
    }
}

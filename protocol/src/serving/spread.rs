//! What has left this node of one content: how often, and to whom lately.
//!
//! Copies are counted so that what has left less often goes first. What has just left for one leecher need not leave
//! for the next: for a while there is somebody else to ask.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::action::PeerNumber;
use crate::availability::ChunkIndex;

const PAGE: u64 = 1024;
/// Chunks that are remembered as having just left: at 100 MB/s and 2 s this is four times what there can be.
const MAX_RECENT: usize = 8192;

/// The copies of one content's chunks that have left.
#[derive(Debug, Default)]
pub(super) struct Spread {
    pages: BTreeMap<u64, Box<[u8; PAGE as usize]>>,
    /// Chunks that have left at least once.
    distinct: u64,
    recent: BTreeMap<ChunkIndex, Departure>,
    order: VecDeque<(Duration, ChunkIndex)>,
}

#[derive(Debug, Clone, Copy)]
struct Departure {
    peer: PeerNumber,
    at: Duration,
}

impl Spread {
    /// How often a chunk has left; 255 stands for more, too.
    pub(super) fn copies(&self, index: ChunkIndex) -> u8 {
        self.pages.get(&(index.0 / PAGE)).map_or(0, |page| page[(index.0 % PAGE) as usize])
    }

    /// How many chunks have left at least once.
    pub(super) const fn distinct(&self) -> u64 {
        self.distinct
    }

    /// Notes that a chunk leaves for a peer, one below the index from which copies are not counted. Returns whether it
    /// is the first copy.
    pub(super) fn leaves(&mut self, index: ChunkIndex) -> bool {
        let page = self.pages.entry(index.0 / PAGE).or_insert_with(|| Box::new([0; PAGE as usize]));
        let copies = &mut page[(index.0 % PAGE) as usize];
        let is_first = *copies == 0;
        *copies = copies.saturating_add(1);
        self.distinct += u64::from(is_first);
        is_first
    }

    /// Remembers for a while to whom a chunk has left.
    pub(super) fn remember(&mut self, index: ChunkIndex, peer: PeerNumber, now: Duration) {
        if self.order.len() >= MAX_RECENT {
            self.forget_oldest();
        }
        self.order.push_back((now, index));
        self.recent.insert(index, Departure { peer, at: now });
    }

    /// Takes back that a chunk has left for a peer: it was not sent after all. Returns whether it has never left now.
    pub(super) fn stays(&mut self, index: ChunkIndex, peer: PeerNumber) -> bool {
        let mut never_left = false;
        if let Some(page) = self.pages.get_mut(&(index.0 / PAGE)) {
            let copies = &mut page[(index.0 % PAGE) as usize];
            // More than 255 copies are not told apart: one less is still many.
            if (1..u8::MAX).contains(copies) {
                *copies -= 1;
                never_left = *copies == 0;
                self.distinct -= u64::from(never_left);
            }
        }
        if self.recent.get(&index).is_some_and(|departure| departure.peer == peer) {
            self.recent.remove(&index);
        }
        never_left
    }

    /// To whom a chunk has left since a time, if it has.
    pub(super) fn left_to(&self, index: ChunkIndex, since: Duration) -> Option<PeerNumber> {
        self.recent.get(&index).filter(|departure| departure.at >= since).map(|departure| departure.peer)
    }

    /// Forgets what has left to a peer: it is to be asked no more.
    pub(super) fn forget_peer(&mut self, peer: PeerNumber) {
        self.recent.retain(|_, departure| departure.peer != peer);
    }

    /// Forgets whom chunks have left to before a time.
    pub(super) fn forget_before(&mut self, since: Duration) {
        while self.order.front().is_some_and(|(at, _)| *at < since) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((at, index)) = self.order.pop_front()
            && self.recent.get(&index).is_some_and(|departure| departure.at == at)
        {
            self.recent.remove(&index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: PeerNumber = PeerNumber(1);
    const TWO: PeerNumber = PeerNumber(2);
    const LATER: Duration = Duration::from_secs(5);

    #[test]
    fn copies_are_counted_and_taken_back() {
        let mut spread = Spread::default();
        let chunk = ChunkIndex(700);
        assert!(spread.leaves(chunk) && !spread.leaves(chunk));
        spread.remember(chunk, ONE, Duration::ZERO);
        spread.remember(chunk, TWO, LATER);
        assert_eq!((spread.copies(chunk), spread.distinct(), spread.left_to(chunk, LATER)), (2, 1, Some(TWO)));
        assert!(!spread.stays(chunk, TWO));
        assert!(spread.stays(chunk, ONE));
        assert_eq!((spread.copies(chunk), spread.distinct(), spread.left_to(chunk, LATER)), (0, 0, None));
        assert_eq!(spread.pages.len(), 1);
    }

    #[test]
    fn who_got_a_chunk_is_forgotten_with_time_and_for_want_of_room() {
        let mut spread = Spread::default();
        let chunk = ChunkIndex(3);
        spread.remember(chunk, ONE, Duration::ZERO);
        assert_eq!(spread.left_to(chunk, LATER), None);
        spread.remember(chunk, TWO, LATER);
        spread.forget_before(LATER);
        assert_eq!((spread.left_to(chunk, LATER), spread.order.len()), (Some(TWO), 1));
        for index in 0..2 * MAX_RECENT as u64 {
            spread.remember(ChunkIndex(index), ONE, LATER);
        }
        assert_eq!((spread.recent.len(), spread.order.len()), (MAX_RECENT, MAX_RECENT));
    }
}

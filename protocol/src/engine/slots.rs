//! A set of small numbers that can name a random member fast.

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

/// A number below `below`, or 0 if there is none.
pub(super) fn random_below(rng: &mut ChaCha8Rng, below: usize) -> usize {
    // Multiply and shift: the bias is one in four billion per choice, and nobody's safety hangs on it.
    ((u64::from(rng.next_u32()) * below as u64) >> 32) as usize
}

/// Slots of the chunk table, a bit each.
#[derive(Debug, Clone, Default)]
pub(super) struct SlotSet {
    words: Vec<u64>,
    len: usize,
}

impl SlotSet {
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn insert(&mut self, slot: usize) {
        if slot / 64 >= self.words.len() {
            self.words.resize(slot / 64 + 1, 0);
        }
        if let Some(word) = self.words.get_mut(slot / 64) {
            self.len += usize::from(*word >> (slot % 64) & 1 == 0);
            *word |= 1 << (slot % 64);
        }
    }

    pub(super) fn remove(&mut self, slot: usize) {
        if let Some(word) = self.words.get_mut(slot / 64) {
            self.len -= usize::from(*word >> (slot % 64) & 1 == 1);
            *word &= !(1 << (slot % 64));
        }
    }

    /// The members, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.words
            .iter()
            .enumerate()
            .flat_map(|(at, word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit))
    }

    /// A random member that is also in `within` (if given) and that `accept` takes. Tries every member once, 64 at a
    /// time where nothing is set.
    pub(super) fn choose(
        &self,
        within: Option<&Self>,
        rng: &mut ChaCha8Rng,
        mut accept: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        if self.is_empty() {
            return None;
        }
        let words = self.words.len();
        let first = random_below(rng, words);
        let turn = random_below(rng, 64) as u32;
        for at in (first..words).chain(0..first) {
            let mut bits = *self.words.get(at)?;
            if let Some(within) = within {
                bits &= within.words.get(at).copied().unwrap_or(0);
            }
            let mut turned = bits.rotate_right(turn);
            while turned != 0 {
                let slot = at * 64 + ((turned.trailing_zeros() + turn) % 64) as usize;
                if accept(slot) {
                    return Some(slot);
                }
                turned &= turned - 1;
            }
        }
        None
    }
}

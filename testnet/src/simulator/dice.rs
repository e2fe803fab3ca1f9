//! Randomness of a run: all of it from one seed, in integers.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::events::nanos;

/// A million: shares and probabilities are counted in parts of it.
pub(super) const MILLION: u64 = 1_000_000;

/// A source of numbers that its seed decides.
#[derive(Debug)]
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `below`; 0 if that is 0.
    pub(super) fn below(&mut self, below: u64) -> u64 {
        // Multiply and shift: the bias is far below what any figure here shows.
        u64::try_from((u128::from(self.0.next_u64()) * u128::from(below)) >> 64).unwrap_or(0)
    }

    /// A number from one to the other, with both.
    pub(super) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// A place in a list of so many.
    pub(super) fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap_or(0)
    }

    /// Yes, in so many of a million cases.
    pub(super) fn chance(&mut self, millionths: u64) -> bool {
        self.below(MILLION) < millionths
    }

    /// A time between these two.
    pub(super) fn time(&mut self, from: Duration, to: Duration) -> Duration {
        Duration::from_nanos(self.between(nanos(from), nanos(to)))
    }

    /// A seed for something else.
    pub(super) fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }
}

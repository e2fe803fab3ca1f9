//! Which of the places where chunks may end are those where they do.

use super::{Candidates, Profile};

/// Chooses among the candidates of a run's pieces, one piece after the other.
#[derive(Debug, Clone)]
pub struct Cutter {
    min: usize,
    target: usize,
    max: usize,
    /// How long the open chunk is so far.
    open_bytes: usize,
}

impl Default for Cutter {
    fn default() -> Self {
        Self::new(Profile::V1)
    }
}

impl Cutter {
    /// A cutter at the beginning of a run. With another profile than [`Profile::V1`], which is the default, it is for
    /// measurements only.
    pub const fn new(profile: Profile) -> Self {
        let Profile { min, target, max, .. } = profile;
        Self { min: min as usize, target: target as usize, max: max as usize, open_bytes: 0 }
    }

    /// Takes the piece that follows that of the last call, and says how long the parts are that end in it: the first
    /// completes the open chunk, and each after it is a chunk. What is behind them belongs to the chunk that is open
    /// then.
    pub fn cut(&mut self, candidates: &Candidates) -> Vec<usize> {
        let (mut parts, mut begin) = (Vec::new(), 0);
        for place in &candidates.places {
            begin = self.end_longest(begin, place.offset, &mut parts);
            let shortest = if place.is_strict { self.min } else { self.target };
            if self.open_bytes + place.offset - begin >= shortest {
                parts.push(place.offset - begin);
                (begin, self.open_bytes) = (place.offset, 0);
            }
        }
        begin = self.end_longest(begin, candidates.piece_bytes, &mut parts);
        self.open_bytes += candidates.piece_bytes - begin;
        parts
    }

    /// Ends the run and with it the open chunk, whose length this returns (0: there is none). What comes next begins a
    /// run.
    pub fn finish(&mut self) -> usize {
        std::mem::take(&mut self.open_bytes)
    }

    /// Ends chunks that are as long as they may be, of what lies from `begin` to `end`; says where the last one ends.
    fn end_longest(&mut self, mut begin: usize, end: usize, parts: &mut Vec<usize>) -> usize {
        while self.open_bytes + end - begin >= self.max {
            let part = self.max - self.open_bytes;
            parts.push(part);
            (begin, self.open_bytes) = (begin + part, 0);
        }
        begin
    }
}

//! Where chunks may end in a piece of a run, found without knowing where chunks begin in it.

use super::gear::{Gear, WINDOW_BYTES};
use super::{Profile, below};

/// The places in a piece of a run where the gear hash has enough zeros for a chunk to end, if it is long enough.
///
/// They depend on the bytes and on [`REACH_BYTES`](Self::REACH_BYTES) before them, and on no earlier place. So several
/// threads may look for those of one piece each, which is nearly all of the work, and [`Cutter`] then
/// goes through them in order.
#[derive(Debug, Clone)]
pub struct Candidates {
    piece_bytes: usize,
    places: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// Bytes of the piece before it.
    offset: usize,
    /// Whether a chunk below the target may end here too.
    is_strict: bool,
}

impl Candidates {
    /// How many bytes before a piece matter.
    pub const REACH_BYTES: usize = WINDOW_BYTES as usize - 1;

    /// Those in `piece`, of a run in which `before` comes just before it: the last [`REACH_BYTES`](Self::REACH_BYTES)
    /// bytes or more, or all there are.
    pub fn of(before: &[u8], piece: &[u8]) -> Self {
        let Profile { strict_bits, loose_bits, .. } = Profile::V1;
        let (strict, loose) = (below(strict_bits), below(loose_bits));
        let mut gear = Gear::default();
        gear.roll(before);
        let (mut places, mut offset) = (Vec::new(), 0);
        while let Some(step) = piece.get(offset..).and_then(|rest| gear.roll_below(rest, loose)) {
            offset += step;
            places.push(Candidate { offset, is_strict: gear.hash() < strict });
        }
        Self { piece_bytes: piece.len(), places }
    }
}

/// Chooses among the candidates of a run's pieces where its chunks end: where a [`Chunker`](super::Chunker) ends them.
#[derive(Debug, Clone, Default)]
pub struct Cutter {
    open_bytes: usize,
}

impl Cutter {
    const MIN: usize = Profile::V1.min as usize;
    const TARGET: usize = Profile::V1.target as usize;
    const MAX: usize = Profile::V1.max as usize;

    /// Takes the piece that follows that of the last call, and says how long the parts are that end in it: the first
    /// completes the open chunk, and each after it is a chunk. What is behind them belongs to the chunk that is open
    /// then.
    pub fn cut(&mut self, candidates: &Candidates) -> Vec<usize> {
        let (mut parts, mut begin) = (Vec::new(), 0);
        for place in &candidates.places {
            begin = self.end_longest(begin, place.offset, &mut parts);
            let shortest = if place.is_strict { Self::MIN } else { Self::TARGET };
            if self.open_bytes + place.offset - begin >= shortest {
                parts.push(place.offset - begin);
                (begin, self.open_bytes) = (place.offset, 0);
            }
        }
        begin = self.end_longest(begin, candidates.piece_bytes, &mut parts);
        self.open_bytes += candidates.piece_bytes - begin;
        parts
    }

    /// Ends the run, and with it the open chunk.
    pub fn finish(&mut self) {
        self.open_bytes = 0;
    }

    /// Ends chunks that are as long as they may be, of what lies from `begin` to `end`; says where the last one ends.
    fn end_longest(&mut self, mut begin: usize, end: usize, parts: &mut Vec<usize>) -> usize {
        while self.open_bytes + end - begin >= Self::MAX {
            let part = Self::MAX - self.open_bytes;
            parts.push(part);
            (begin, self.open_bytes) = (begin + part, 0);
        }
        begin
    }
}

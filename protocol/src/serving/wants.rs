//! Chunks that a requester wants, first come first served.

use std::collections::VecDeque;

use super::action::WantError;
use crate::availability::{ChunkIndex, ChunkRange, push_index};
use crate::wire::MAX_WANTED_CHUNKS;

/// Runs that one session may want: no engine asks for so many, and they bound its memory.
const MAX_RUNS: usize = 4096;

/// The queue of one session.
#[derive(Debug, Default)]
pub(super) struct Wants {
    ranges: VecDeque<ChunkRange>,
    chunks: u64,
}

impl Wants {
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many chunks are wanted.
    pub(super) fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Takes a WANT for a content of so many chunks in; an error says what is wrong with it.
    pub(super) fn add(&mut self, ranges: &[ChunkRange], content_chunks: u64) -> Result<(), WantError> {
        for range in ranges {
            if range.count == 0 {
                return Err(WantError::Empty);
            }
            if range.end() > content_chunks {
                return Err(WantError::Beyond);
            }
            self.chunks += u64::from(range.count);
            if self.chunks > MAX_WANTED_CHUNKS || self.ranges.len() >= MAX_RUNS {
                return Err(WantError::TooMany);
            }
            self.ranges.push_back(*range);
        }
        Ok(())
    }

    /// Takes a CANCEL in.
    pub(super) fn cancel(&mut self, ranges: &[ChunkRange]) {
        let out = merged(ranges.to_vec());
        let mut left = VecDeque::with_capacity(self.ranges.len());
        for want in self.ranges.drain(..) {
            let mut from = want.start.0;
            let first = out.partition_point(|range| range.end() <= from);
            for range in out.iter().skip(first).take_while(|range| range.start.0 < want.end()) {
                left.extend(piece(from, range.start.0));
                from = from.max(range.end());
            }
            left.extend(piece(from, want.end()));
        }
        self.ranges = left;
        self.chunks = self.ranges.iter().map(|range| u64::from(range.count)).sum();
    }

    /// Takes the first chunks out, at most so many.
    pub(super) fn take(&mut self, most: usize) -> Vec<ChunkIndex> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(range) = self.ranges.front_mut()
        {
            taken.push(range.start);
            self.chunks -= 1;
            match piece(range.start.0 + 1, range.end()) {
                Some(rest) => *range = rest,
                None => drop(self.ranges.pop_front()),
            }
        }
        taken
    }

    /// Puts chunks back that [`take`](Self::take) gave, in front of all others.
    pub(super) fn put_back(&mut self, chunks: &[ChunkIndex]) {
        let mut runs = Vec::new();
        for index in chunks {
            push_index(&mut runs, *index);
        }
        for run in runs.into_iter().rev() {
            self.chunks += u64::from(run.count);
            match self.ranges.front_mut() {
                Some(first) if run.end() == first.start.0 && first.count <= u32::MAX - run.count => {
                    *first = ChunkRange { start: run.start, count: run.count + first.count };
                }
                _ => self.ranges.push_front(run),
            }
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The same chunks as ranges in order that neither overlap nor touch.
fn merged(mut ranges: Vec<ChunkRange>) -> Vec<ChunkRange> {
    ranges.retain(|range| range.count > 0);
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<ChunkRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        if let Some(last) = merged.last_mut()
            && range.start.0 <= last.end()
            && let Ok(count) = u32::try_from(last.end().max(range.end()) - last.start.0)
        {
            last.count = count;
        } else {
            merged.push(range);
        }
    }
    merged
}

/// The chunks from one index up to another, if there are any.
fn piece(from: u64, to: u64) -> Option<ChunkRange> {
    let count = u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX);
    (count > 0).then_some(ChunkRange { start: ChunkIndex(from), count })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, count: u32) -> ChunkRange {
        ChunkRange { start: ChunkIndex(start), count }
    }

    fn wanting(ranges: &[ChunkRange]) -> Wants {
        let mut wants = Wants::default();
        wants.add(ranges, 1000).unwrap();
        wants
    }

    #[test]
    fn a_cancel_takes_out_what_it_names_and_nothing_else() {
        let check = |wanted: &[ChunkRange], out: &[ChunkRange], left: &[ChunkRange]| {
            let mut wants = wanting(wanted);
            wants.cancel(out);
            assert_eq!(wants.ranges, left, "{wanted:?} without {out:?}");
            assert_eq!(wants.chunks, left.iter().map(|range| u64::from(range.count)).sum::<u64>());
        };
        let ten = [range(10, 10)];
        check(&ten, &[], &ten);
        check(&ten, &[range(0, 5), range(20, 5), range(12, 0)], &ten);
        check(&ten, &[range(0, 40)], &[]);
        check(&ten, &[range(5, 10)], &[range(15, 5)]);
        check(&ten, &[range(15, 50)], &[range(10, 5)]);
        check(&ten, &[range(12, 3)], &[range(10, 2), range(15, 5)]);
        check(&ten, &[range(16, 2), range(11, 2), range(12, 2)], &[range(10, 1), range(14, 2), range(18, 2)]);
        check(&ten, &[range(0, u32::MAX), range(3, u32::MAX)], &[]);
        check(&[range(30, 2), range(10, 10), range(31, 1)], &[range(31, 5)], &[range(30, 1), range(10, 10)]);
    }

    #[test]
    fn merging_joins_what_overlaps_or_touches() {
        let check = |ranges: &[ChunkRange], joined: &[ChunkRange]| assert_eq!(merged(ranges.to_vec()), joined);
        check(&[range(5, 2), range(0, 2), range(2, 1)], &[range(0, 3), range(5, 2)]);
        check(&[range(0, 9), range(2, 1), range(8, 4), range(3, 0)], &[range(0, 12)]);
    }

    #[test]
    fn what_no_honest_requester_wants_is_refused() {
        let check = |ranges: &[ChunkRange], error| assert_eq!(Wants::default().add(ranges, 20_000), Err(error));
        check(&[range(3, 0)], WantError::Empty);
        check(&[range(19_999, 2)], WantError::Beyond);
        check(&[range(0, 10_000), range(0, 10_000)], WantError::TooMany);
    }

    #[test]
    fn what_is_put_back_comes_first_again() {
        let mut wants = wanting(&[range(0, 3), range(9, 1), range(4, 2)]);
        let first = wants.take(4);
        assert_eq!(first, [0, 1, 2, 9].map(ChunkIndex));
        assert_eq!((wants.chunks(), wants.ranges.len()), (2, 1));
        wants.put_back(&[1, 2, 3].map(ChunkIndex));
        assert_eq!((wants.chunks(), wants.ranges.len()), (5, 1), "runs that touch are one");
        wants.cancel(&[range(2, 1)]);
        assert_eq!(wants.take(9), [1, 3, 4, 5].map(ChunkIndex));
        assert!(wants.is_empty() && wants.chunks == 0);
    }
}

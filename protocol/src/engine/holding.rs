//! What one session holds, in the form in which choosing needs it.
//!
//! A session that holds the whole manifest costs nothing here. Of any other, a set names the groups of the chunk table
//! of which it holds something.

use super::chunks::{ChunkTable, Entered, GROUP};
use super::slots::SlotSet;
use crate::availability::{Availability, AvailabilityPart, ChunkIndex, ChunkRange};

/// Runs that are looked at together.
const TOGETHER: usize = 32;

/// What a session holds.
#[derive(Debug, Default)]
pub(super) struct Holding {
    availability: Availability,
    /// Everything: then it counts among the holders of no chunk, and the slots are empty.
    full: bool,
    slots: SlotSet,
}

/// What it meant that a session came to hold more.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gain {
    /// How often it was told to hold what it held already.
    pub(super) useless: u64,
    /// It offers something that nobody has been asked for.
    pub(super) offers_more: bool,
    /// Groups that were looked at for nothing.
    pub(super) idle_looks: u64,
}

impl Holding {
    pub(super) fn new(chunk_count: Option<u64>) -> Self {
        Self { availability: chunk_count.map_or_else(Availability::default, Availability::new), ..Self::default() }
    }

    /// Whether the peer has said to hold anything.
    pub(super) fn is_empty(&self) -> bool {
        self.availability.is_empty()
    }

    /// Whether the peer has said to hold everything.
    pub(super) const fn is_full(&self) -> bool {
        self.full
    }

    pub(super) fn contains(&self, index: ChunkIndex) -> bool {
        self.full || self.availability.contains(index)
    }

    /// Whether it holds any of these.
    pub(super) fn meets(&self, chunks: &Availability) -> bool {
        if self.full { !chunks.is_empty() } else { chunks.meets(&self.availability) }
    }

    /// What it holds of the group with this number.
    pub(super) fn mask(&self, number: u64) -> u16 {
        if self.full { u16::MAX } else { self.availability.sixteen(number * GROUP) }
    }

    /// The slots in which it holds anything, and maybe some more; `None`: all.
    pub(super) fn slots(&self) -> Option<&SlotSet> {
        (!self.full).then_some(&self.slots)
    }

    /// The chunk count is known by now, and no layout yet.
    pub(super) fn set_count(&mut self, count: u64, table: &mut ChunkTable) {
        self.availability.set_count(count);
        self.fill_up(table);
    }

    /// It holds more.
    pub(super) fn gain_part(&mut self, part: &AvailabilityPart, table: &mut ChunkTable) -> Gain {
        let mut gain = Gain::default();
        self.gain_within(part.start.0, part.end(), table, &mut gain, |availability| availability.insert_part(part));
        gain.offers_more |= gain.useless == 0 && self.fill_up(table);
        gain
    }

    /// It holds more.
    ///
    /// This is what happens most often of all. The chunks lie anywhere, so what has to be looked at of each is fetched
    /// from memory for many before anything hangs on it for one.
    pub(super) fn gain(&mut self, ranges: &[ChunkRange], table: &mut ChunkTable) -> Gain {
        let mut gain = Gain::default();
        for some in ranges.chunks(TOGETHER) {
            let (mut counted, mut count) = ([(0, 0); TOGETHER], 0);
            for range in some {
                let Some((number, chunks)) = within_group(*range) else {
                    let (start, end) = (range.start.0, range.end());
                    self.gain_within(start, end, table, &mut gain, |held| held.insert_range(*range));
                    continue;
                };
                let news = self.availability.insert_sixteen(number * GROUP, chunks);
                gain.useless += u64::from(news == 0);
                // What is held here is no matter, whoever else holds it.
                let (slot, missing) = table.missing_of(number);
                counted[count] = (slot, news & missing);
                count += usize::from(news & missing != 0);
            }
            for (slot, news) in &counted[..count] {
                self.slots.insert(*slot);
                gain.offers_more |= table.holders_changed(*slot, 0, *news);
            }
        }
        gain.offers_more |= gain.useless < ranges.len() as u64 && self.fill_up(table);
        gain
    }

    /// It holds more of the chunks `start..end`.
    fn gain_within(
        &mut self,
        start: u64,
        end: u64,
        table: &mut ChunkTable,
        gain: &mut Gain,
        insert: impl FnOnce(&mut Availability),
    ) {
        let before = self.availability.len();
        let groups = if self.full { Vec::new() } else { self.masks(start, end, table) };
        insert(&mut self.availability);
        if self.availability.len() == before {
            gain.useless += 1;
            return;
        }
        for (slot, number, before) in groups {
            let after = self.mask(number);
            gain.idle_looks += u64::from(after == before);
            gain.offers_more |= self.changed(slot, before, after, table);
        }
    }

    /// It does not hold these (any more).
    pub(super) fn lose(&mut self, range: ChunkRange, table: &mut ChunkTable) {
        let was_full = std::mem::take(&mut self.full);
        let (start, end) = if was_full { (0, u64::MAX) } else { (range.start.0, range.end()) };
        let groups = self.masks(start, end, table);
        for (_, number, _) in &groups {
            let first = (number * GROUP).max(range.start.0);
            for index in first..(number * GROUP + GROUP).min(range.end()) {
                self.availability.remove(ChunkIndex(index));
            }
        }
        for (slot, number, before) in groups {
            let before = if was_full { 0 } else { before };
            self.changed(slot, before, self.mask(number), table);
        }
    }

    /// Chunks have come into the table.
    pub(super) fn enter(&mut self, entered: &[Entered], table: &mut ChunkTable) {
        if self.full {
            return;
        }
        for Entered { slot, number, chunks } in entered {
            let held = self.mask(*number);
            self.changed(*slot, held & !chunks, held, table);
        }
    }

    /// The session ends: its chunks are rarer from now on.
    pub(super) fn give_up(&mut self, table: &mut ChunkTable) {
        for slot in std::mem::take(&mut self.slots).iter() {
            table.holders_changed(slot, self.mask(table.number(slot)), 0);
        }
    }

    /// Whoever holds everything makes nothing rarer or more common. True if it has just come to that.
    fn fill_up(&mut self, table: &mut ChunkTable) -> bool {
        if self.full || !self.availability.is_complete() {
            return false;
        }
        self.give_up(table);
        self.full = true;
        true
    }

    /// Slots and numbers of the groups with any of the chunks `start..end`, and what it holds of each.
    fn masks(&self, start: u64, end: u64, table: &ChunkTable) -> Vec<(usize, u64, u16)> {
        let groups = table.groups_between(start / GROUP, end.saturating_sub(1) / GROUP);
        groups.map(|(slot, number)| (slot, number, self.mask(number))).collect()
    }

    /// What it holds of a group is something else now. True if it offers something that it could not before.
    fn changed(&mut self, slot: usize, before: u16, after: u16, table: &mut ChunkTable) -> bool {
        if after == 0 {
            self.slots.remove(slot);
        } else {
            self.slots.insert(slot);
        }
        before != after && table.holders_changed(slot, before, after)
    }
}

/// The number of the group that a run lies in, and its chunks there; `None` if that is not one group.
fn within_group(run: ChunkRange) -> Option<(u64, u16)> {
    let first = run.start.0 % GROUP;
    let is_within = run.count > 0 && first + u64::from(run.count) <= GROUP;
    is_within.then(|| (run.start.0 / GROUP, (u16::MAX >> (GROUP - u64::from(run.count))) << first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_within_a_group_is_a_mask() {
        let check = |start, count, expected| {
            assert_eq!(within_group(ChunkRange { start: ChunkIndex(start), count }), expected, "{count} from {start}");
        };
        check(5, 1, Some((0, 1 << 5)));
        check(31, 1, Some((1, 1 << 15)));
        check(16, 16, Some((1, u16::MAX)));
        check(34, 3, Some((2, 0b11100)));
        check(31, 2, None);
        check(0, 17, None);
        check(3, u32::MAX, None);
        check(3, 0, None);
    }
}

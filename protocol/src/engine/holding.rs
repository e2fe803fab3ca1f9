//! What one session holds, in the form in which choosing needs it.
//!
//! A session that holds the whole manifest costs nothing here. For any other, each group of the chunk table has a mask
//! of 16 bits, and a set names the groups in which the mask is not empty.

use super::chunks::{ChunkTable, GROUP};
use super::slots::SlotSet;
use crate::availability::{Availability, AvailabilityPart, ChunkIndex, ChunkRange};

/// What a session holds.
#[derive(Debug, Default)]
pub(super) struct Holding {
    availability: Availability,
    /// Everything: masks and slots are empty then.
    full: bool,
    masks: Vec<u16>,
    slots: SlotSet,
}

/// What it meant that a session came to hold more.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gain {
    /// It held all that already.
    pub(super) nothing: bool,
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

    /// What it holds of the group at a slot.
    pub(super) fn mask(&self, slot: usize) -> u16 {
        if self.full { u16::MAX } else { self.masks.get(slot).copied().unwrap_or(0) }
    }

    /// The slots in which it holds anything; `None`: all.
    pub(super) fn slots(&self) -> Option<&SlotSet> {
        (!self.full).then_some(&self.slots)
    }

    /// The chunk count is known by now.
    pub(super) fn set_count(&mut self, count: u64, table: &mut ChunkTable) {
        self.availability.set_count(count);
        self.refresh(0, u64::MAX, table);
    }

    /// It holds more.
    pub(super) fn gain_part(&mut self, part: &AvailabilityPart, table: &mut ChunkTable) -> Gain {
        let before = self.availability.len();
        self.availability.insert_part(part);
        self.gained(before, part.start.0, part.end(), table)
    }

    /// It holds more.
    pub(super) fn gain(&mut self, range: ChunkRange, table: &mut ChunkTable) -> Gain {
        let before = self.availability.len();
        self.availability.insert_range(range);
        self.gained(before, range.start.0, range.end(), table)
    }

    fn gained(&mut self, before: u64, start: u64, end: u64, table: &mut ChunkTable) -> Gain {
        if self.availability.len() == before {
            return Gain { nothing: true, ..Gain::default() };
        }
        if !self.availability.is_complete() && end - start == 1 && !table.is_missing(ChunkIndex(start)) {
            // Whoever holds it: it is held here, too. So it is no matter for the masks.
            return Gain::default();
        }
        self.refresh(start, end, table)
    }

    /// It does not hold these (any more).
    pub(super) fn lose(&mut self, range: ChunkRange, table: &mut ChunkTable) {
        for (_, number) in table.groups_between(range.start.0 / GROUP, range.end() / GROUP) {
            let first = (number * GROUP).max(range.start.0);
            for index in first..(number * GROUP + GROUP).min(range.end()) {
                self.availability.remove(ChunkIndex(index));
            }
        }
        if std::mem::take(&mut self.full) {
            self.refresh(0, u64::MAX, table);
        } else {
            self.refresh(range.start.0, range.end(), table);
        }
    }

    /// Groups have come into the table.
    pub(super) fn enter(&mut self, slots: &[usize], table: &mut ChunkTable) {
        for slot in slots {
            self.look_at(*slot, table.number(*slot), table);
        }
    }

    /// A group has left the table.
    pub(super) fn leave(&mut self, slot: usize) {
        if let Some(mask) = self.masks.get_mut(slot) {
            *mask = 0;
            self.slots.remove(slot);
        }
    }

    /// The session ends: its chunks are rarer from now on.
    pub(super) fn give_up(&mut self, table: &mut ChunkTable) {
        for (slot, mask) in self.masks.iter().enumerate().filter(|(_, mask)| **mask != 0) {
            table.holders_changed(slot, *mask, 0);
        }
        self.masks = Vec::new();
        self.slots = SlotSet::default();
    }

    /// Brings the masks of the groups that hold chunks `start..end` up to date.
    fn refresh(&mut self, start: u64, end: u64, table: &mut ChunkTable) -> Gain {
        let mut gain = Gain::default();
        if self.full {
            return gain;
        }
        if self.availability.is_complete() {
            self.give_up(table);
            self.full = true;
            gain.offers_more = true;
            return gain;
        }
        let (first, last) = (start / GROUP, end.saturating_sub(1) / GROUP);
        if first == last {
            // As it is nearly always.
            if let Some(slot) = table.slot(first) {
                self.look_for(slot, first, table, &mut gain);
            }
            return gain;
        }
        for (slot, number) in table.groups_between(first, last) {
            self.look_for(slot, number, table, &mut gain);
        }
        gain
    }

    fn look_for(&mut self, slot: usize, number: u64, table: &mut ChunkTable, gain: &mut Gain) {
        let before = self.mask(slot);
        gain.offers_more |= self.look_at(slot, number, table);
        gain.idle_looks += u64::from(self.mask(slot) == before);
    }

    fn look_at(&mut self, slot: usize, number: u64, table: &mut ChunkTable) -> bool {
        if self.full {
            return false;
        }
        let after = self.availability.sixteen(number * GROUP);
        if slot >= self.masks.len() {
            self.masks.resize(slot + 1, 0);
        }
        let before = self.masks.get_mut(slot).map_or(0, |mask| std::mem::replace(mask, after));
        match (before == 0, after == 0) {
            (true, false) => self.slots.insert(slot),
            (false, true) => self.slots.remove(slot),
            _ => {}
        }
        table.holders_changed(slot, before, after)
    }
}

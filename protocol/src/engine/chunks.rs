//! The chunks that are wanted: which are missing, who has been asked for each, how rare they are.
//!
//! Chunks are kept in groups of 16 that follow one another, and a group lives only while something of it is missing,
//! so memory follows what is being worked on. A group is found by number, by rarity, or at random, without a scan
//! over chunks. Wants are made of runs within a group: random enough for the swarm, long enough for a disk.

use rand_chacha::ChaCha8Rng;

use super::action::SessionId;
use super::config::Order;
use super::holding::Holding;
use super::places::Places;
use super::slots::SlotSet;
use crate::availability::{Availability, ChunkIndex};

/// Chunks in a group.
pub(super) const GROUP: u64 = 16;
/// Rarities that are told apart; what more sessions hold is as common as the last.
const LEVELS: usize = 16;

/// The sessions that have been asked for a chunk: two at most.
pub(super) type Copies = [Option<SessionId>; 2];

/// What is looked at whenever a session comes to hold something of a group, or may be asked for it: half a line of a
/// processor's cache.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(32))]
struct Group {
    number: u64,
    /// Those missing that nobody has been asked for.
    unassigned: u16,
    /// The level that lists this group, while something is unassigned.
    level: Option<u8>,
    /// How many sessions that hold only a part of the manifest hold each missing chunk: 255 at most, far beyond what
    /// levels tell apart. Those that hold all of it count for every chunk alike, so they make none rarer.
    holders: [u8; GROUP as usize],
}

/// What is looked at only when a chunk is asked for, or comes.
#[derive(Debug, Clone, Default)]
struct Details {
    lens: [u32; GROUP as usize],
    copies: [Copies; GROUP as usize],
}

/// What is known and wanted of the manifest's chunks.
#[derive(Debug)]
pub(super) struct ChunkTable {
    groups: Vec<Group>,
    /// Which chunks of the group at the same slot are missing: of most of what anybody comes to hold this is all that
    /// is looked at, so it has lines of its own.
    missing: Vec<u16>,
    /// Those of the group at the same slot.
    details: Vec<Details>,
    free: Vec<usize>,
    by_number: Places,
    levels: [SlotSet; LEVELS],
    pub(super) missing_chunks: u64,
    pub(super) missing_bytes: u64,
    /// Those missing that nobody has been asked for, once more: whether a session has any of them is asked most often.
    unassigned: Availability,
    pub(super) layout_chunks: u64,
    pub(super) layout_bytes: u64,
    layout_end: u64,
}

/// Chunks of one group that have come to be missing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entered {
    pub(super) slot: usize,
    pub(super) number: u64,
    pub(super) chunks: u16,
}

impl ChunkTable {
    pub(super) fn new() -> Self {
        Self {
            groups: Vec::new(),
            missing: Vec::new(),
            details: Vec::new(),
            free: Vec::new(),
            by_number: Places::default(),
            levels: Default::default(),
            missing_chunks: 0,
            missing_bytes: 0,
            // Whatever comes into the table is counted.
            unassigned: Availability::new(u64::MAX),
            layout_chunks: 0,
            layout_bytes: 0,
            layout_end: 0,
        }
    }

    /// Takes in layout; gives what of it is missing.
    pub(super) fn add(&mut self, first: u64, lens: &[u32], held: &dyn Fn(usize) -> bool) -> Vec<Entered> {
        let mut entered: Vec<Entered> = Vec::new();
        for (offset, len) in lens.iter().enumerate() {
            let index = first + offset as u64;
            self.layout_chunks += 1;
            self.layout_bytes += u64::from(*len);
            self.layout_end = self.layout_end.max(index + 1);
            if held(offset) {
                continue;
            }
            let number = index / GROUP;
            if entered.last().is_none_or(|last| last.number != number) {
                let slot = self.slot_of(number);
                entered.push(Entered { slot, number, chunks: 0 });
            }
            let Some(last) = entered.last_mut() else { continue };
            let at = (index % GROUP) as usize;
            if let (Some(group), Some(missing), Some(details)) =
                (self.groups.get_mut(last.slot), self.missing.get_mut(last.slot), self.details.get_mut(last.slot))
                && *missing >> at & 1 == 0
            {
                last.chunks |= 1 << at;
                *missing |= 1 << at;
                group.unassigned |= 1 << at;
                details.copies[at] = Copies::default();
                details.lens[at] = *len;
                self.missing_chunks += 1;
                self.missing_bytes += u64::from(*len);
                self.unassigned.insert(ChunkIndex(index));
            }
        }
        entered.iter().for_each(|group| self.relevel(group.slot));
        entered
    }

    /// The slot of the group with this number; it is given one if it has none.
    fn slot_of(&mut self, number: u64) -> usize {
        if let Some(slot) = self.by_number.get(number) {
            return slot;
        }
        let slot = self.free.pop().unwrap_or(self.groups.len());
        if slot == self.groups.len() {
            self.groups.push(Group::default());
            self.missing.push(0);
            self.details.push(Details::default());
        }
        if let (Some(group), Some(details)) = (self.groups.get_mut(slot), self.details.get_mut(slot)) {
            *group = Group { number, ..Group::default() };
            *details = Details::default();
        }
        self.by_number.insert(number, slot);
        slot
    }

    /// The slot of a chunk's group, and the chunk's place in it.
    fn find(&self, index: ChunkIndex) -> Option<(usize, usize)> {
        Some((self.by_number.get(index.0 / GROUP)?, (index.0 % GROUP) as usize))
    }

    /// What of the group at a slot is missing.
    fn missing(&self, slot: usize) -> u16 {
        self.missing.get(slot).copied().unwrap_or(0)
    }

    fn group(&self, slot: usize) -> Group {
        self.groups.get(slot).copied().unwrap_or_default()
    }

    /// Groups that something is missing of.
    pub(super) fn group_count(&self) -> usize {
        self.by_number.len()
    }

    /// Chunks from the first group with something missing to the end of the layout.
    pub(super) fn span_chunks(&self) -> u64 {
        self.by_number.first().map_or(0, |first| self.layout_end.saturating_sub(first * GROUP))
    }

    /// How many of those missing nobody has been asked for.
    pub(super) const fn unassigned_chunks(&self) -> u64 {
        self.unassigned.len()
    }

    pub(super) fn is_missing(&self, index: ChunkIndex) -> bool {
        self.missing_of(index.0 / GROUP).1 >> (index.0 % GROUP) & 1 == 1
    }

    /// The slot of the group with this number, and what is missing of it; no slot means anything if that is nothing.
    pub(super) fn missing_of(&self, number: u64) -> (usize, u16) {
        let slot = self.by_number.get(number);
        slot.map_or((0, 0), |slot| (slot, self.missing(slot)))
    }

    /// Who has been asked for the chunk.
    pub(super) fn copies(&self, index: ChunkIndex) -> Copies {
        let found = self.find(index).and_then(|(slot, at)| Some((self.details.get(slot)?, at)));
        found.map_or(Copies::default(), |(details, at)| details.copies[at])
    }

    /// The chunk is held from now on; gives who has been asked for it. `None` if it was not missing.
    pub(super) fn finish(&mut self, index: ChunkIndex) -> Option<Copies> {
        let (slot, at) = self.find(index)?;
        let (group, details) = (self.groups.get_mut(slot)?, self.details.get_mut(slot)?);
        let missing = self.missing.get_mut(slot)?;
        let bit = 1u16 << at;
        if *missing & bit == 0 {
            return None;
        }
        *missing &= !bit;
        self.missing_chunks -= 1;
        self.missing_bytes -= u64::from(details.lens[at]);
        let copies = std::mem::take(&mut details.copies[at]);
        let was_unassigned = group.unassigned & bit != 0;
        group.unassigned &= !bit;
        let done = *missing == 0;
        if was_unassigned {
            self.unassigned.remove(index);
            self.relevel(slot);
        }
        if done {
            self.by_number.remove(index.0 / GROUP);
            self.free.push(slot);
        }
        Some(copies)
    }

    /// One more session has been asked for the chunk. False if there are two already, or if it is not missing.
    pub(super) fn add_copy(&mut self, index: ChunkIndex, session: SessionId) -> bool {
        let Some((slot, at)) = self.find(index) else {
            return false;
        };
        let bit = 1u16 << at;
        if self.missing(slot) & bit == 0 {
            return false;
        }
        let (Some(group), Some(details)) = (self.groups.get_mut(slot), self.details.get_mut(slot)) else {
            return false;
        };
        let Some(place) = details.copies[at].iter_mut().find(|copy| copy.is_none()) else {
            return false;
        };
        *place = Some(session);
        if group.unassigned & bit != 0 {
            group.unassigned &= !bit;
            self.unassigned.remove(index);
            self.relevel(slot);
        }
        true
    }

    /// The session is asked for the chunk no more. True if nobody is now.
    pub(super) fn drop_copy(&mut self, index: ChunkIndex, session: SessionId) -> bool {
        let Some((slot, at)) = self.find(index) else {
            return false;
        };
        let bit = 1u16 << at;
        let is_missing = self.missing(slot) & bit != 0;
        let (Some(group), Some(details)) = (self.groups.get_mut(slot), self.details.get_mut(slot)) else {
            return false;
        };
        for copy in &mut details.copies[at] {
            if *copy == Some(session) {
                *copy = None;
            }
        }
        if !is_missing || group.unassigned & bit != 0 || details.copies[at].iter().any(Option::is_some) {
            return false;
        }
        group.unassigned |= bit;
        self.unassigned.insert(index);
        self.relevel(slot);
        true
    }

    /// The group from which a session that holds this should be asked next: the rarest (random among equals), or the
    /// first.
    pub(super) fn choose(&self, holding: &Holding, order: Order, rng: &mut ChaCha8Rng) -> Option<usize> {
        if !holding.meets(&self.unassigned) {
            return None;
        }
        if order == Order::Sequential {
            let mut slots = self.by_number.between(0, u64::MAX).map(|(slot, _)| slot);
            return slots.find(|slot| self.offer(*slot, holding) != 0);
        }
        self.levels.iter().find_map(|level| level.choose(holding.slots(), rng, |slot| self.offer(slot, holding) != 0))
    }

    /// Whether the group is still as rare as any, and the session has more of it: then it is asked on where it was.
    pub(super) fn goes_on(&self, slot: usize, holding: &Holding) -> bool {
        let rarest = self.levels.iter().position(|level| !level.is_empty());
        let level = self.group(slot).level;
        level.is_some_and(|level| Some(usize::from(level)) == rarest) && self.offer(slot, holding) != 0
    }

    /// Chunks of the group that are unassigned and that the session holds.
    fn offer(&self, slot: usize, holding: &Holding) -> u16 {
        let group = self.group(slot);
        if group.unassigned == 0 { 0 } else { group.unassigned & holding.mask(group.number) }
    }

    /// The rarest (or all, in order) of what the session can give of a group, first to last.
    pub(super) fn take_from(&self, slot: usize, holding: &Holding, order: Order) -> Vec<(ChunkIndex, u32)> {
        let offer = self.offer(slot, holding);
        let (Some(Group { holders, .. }), Some(details)) = (self.groups.get(slot), self.details.get(slot)) else {
            return Vec::new();
        };
        let first = self.number(slot) * GROUP;
        let offered = (0..GROUP as usize).filter(|at| offer >> at & 1 == 1);
        let rarest = offered.clone().map(|at| holders[at]).min().unwrap_or(0);
        offered
            .filter(|at| order == Order::Sequential || holders[*at] == rarest)
            .map(|at| (ChunkIndex(first + at as u64), details.lens[at]))
            .collect()
    }

    /// Slots and numbers of the groups with numbers in this range.
    pub(super) fn groups_between(&self, first: u64, last: u64) -> impl Iterator<Item = (usize, u64)> {
        self.by_number.between(first, last)
    }

    /// The number of the group at a slot.
    pub(super) fn number(&self, slot: usize) -> u64 {
        self.group(slot).number
    }

    /// What a session holds of a group has changed. True if it can give something unassigned that it could not before.
    pub(super) fn holders_changed(&mut self, slot: usize, before: u16, after: u16) -> bool {
        let missing = self.missing(slot);
        let Some(group) = self.groups.get_mut(slot) else {
            return false;
        };
        let (changed, unassigned) = ((before ^ after) & missing, group.unassigned);
        // Of what the level tells only that of the rarest counts: that of others may change as it likes.
        let level = group.level.unwrap_or(0);
        let mut is_rarest = false;
        let mut left = changed;
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            left &= left - 1;
            let counted = group.holders[at];
            let counts = if after >> at & 1 == 1 { counted.saturating_add(1) } else { counted.saturating_sub(1) };
            group.holders[at] = counts;
            is_rarest |= counted.min(counts) <= level && unassigned >> at & 1 == 1;
        }
        let offers_more = after & !before & unassigned != 0;
        if is_rarest {
            self.relevel(slot);
        }
        offers_more
    }

    /// Puts the group under the level of its rarest unassigned chunk.
    fn relevel(&mut self, slot: usize) {
        let Some(group) = self.groups.get_mut(slot) else {
            return;
        };
        let unassigned = (0..GROUP as usize).filter(|at| group.unassigned >> at & 1 == 1);
        let level = unassigned.map(|at| group.holders[at]).min().map(|holders| holders.min(LEVELS as u8 - 1));
        let before = std::mem::replace(&mut group.level, level);
        if before == level {
            return;
        }
        if let Some(list) = before.and_then(|level| self.levels.get_mut(usize::from(level))) {
            list.remove(slot);
        }
        if let Some(list) = level.and_then(|level| self.levels.get_mut(usize::from(level))) {
            list.insert(slot);
        }
    }
}

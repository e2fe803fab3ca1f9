//! The chunks that are wanted: which are missing, who has been asked for each, how rare they are.
//!
//! Chunks are kept in groups of 16 that follow one another, and a group lives only while something of it is missing,
//! so memory follows what is being worked on. A group is found by number, by rarity, or at random, without a scan
//! over chunks. Wants are made of runs within a group: random enough for the swarm, long enough for a disk.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;

use super::action::SessionId;
use super::config::Order;
use super::holding::Holding;
use super::places::Places;
use super::slots::SlotSet;
use crate::availability::ChunkIndex;

/// Chunks in a group.
pub(super) const GROUP: u64 = 16;
/// Rarities that are told apart; what more sessions hold is as common as the last.
const LEVELS: usize = 16;

/// The sessions that have been asked for a chunk: two at most.
pub(super) type Copies = [Option<SessionId>; 2];

/// What is looked at of each group that may have something for a session: all groups of a fetch in a few lines of a
/// processor's cache.
#[derive(Debug, Clone, Copy, Default)]
struct Wanted {
    missing: u16,
    /// Those missing that nobody has been asked for.
    unassigned: u16,
}

/// What changes when a session comes to hold something that is missing: it lies in one line of the cache.
#[derive(Debug, Clone, Default)]
#[repr(align(64))]
struct Group {
    number: u64,
    /// How many sessions that hold only a part of the manifest hold each chunk. Those that hold all of it count for
    /// every chunk alike, so they make none rarer.
    holders: [u16; GROUP as usize],
    /// The level that lists this group, while something is unassigned.
    level: Option<u8>,
}

/// What is looked at only when a chunk is asked for, or comes.
#[derive(Debug, Clone, Default)]
struct Details {
    lens: [u32; GROUP as usize],
    copies: [Copies; GROUP as usize],
}

/// What is known and wanted of the manifest's chunks.
#[derive(Debug, Default)]
pub(super) struct ChunkTable {
    groups: Vec<Group>,
    /// Those of the group at the same slot, both.
    wanted: Vec<Wanted>,
    details: Vec<Details>,
    free: Vec<usize>,
    by_number: Places,
    /// Numbers of the groups with something unassigned.
    open: BTreeSet<u64>,
    levels: [SlotSet; LEVELS],
    pub(super) missing_chunks: u64,
    pub(super) missing_bytes: u64,
    pub(super) unassigned_chunks: u64,
    pub(super) layout_chunks: u64,
    pub(super) layout_bytes: u64,
    layout_end: u64,
}

/// A chunk that has just come to be held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finished {
    pub(super) copies: Copies,
    /// The slot of its group, if that was the last missing chunk of it.
    pub(super) freed: Option<usize>,
}

impl ChunkTable {
    /// Takes in layout; gives the slots of the groups that are new.
    pub(super) fn add(&mut self, first: u64, lens: &[u32], held: &dyn Fn(usize) -> bool) -> Vec<usize> {
        let mut fresh = Vec::new();
        let mut last: Option<(u64, usize)> = None;
        for (offset, len) in lens.iter().enumerate() {
            let index = first + offset as u64;
            self.layout_chunks += 1;
            self.layout_bytes += u64::from(*len);
            self.layout_end = self.layout_end.max(index + 1);
            if held(offset) {
                continue;
            }
            let number = index / GROUP;
            let slot = match last {
                Some((known, slot)) if known == number => slot,
                _ => {
                    if let Some((_, done)) = last {
                        self.relevel(done);
                    }
                    self.slot_of(number, &mut fresh)
                }
            };
            last = Some((number, slot));
            let at = (index % GROUP) as usize;
            if let (Some(wanted), Some(details)) = (self.wanted.get_mut(slot), self.details.get_mut(slot))
                && wanted.missing >> at & 1 == 0
            {
                wanted.missing |= 1 << at;
                wanted.unassigned |= 1 << at;
                details.copies[at] = Copies::default();
                details.lens[at] = *len;
                self.missing_chunks += 1;
                self.unassigned_chunks += 1;
                self.missing_bytes += u64::from(*len);
            }
        }
        if let Some((_, slot)) = last {
            self.relevel(slot);
        }
        fresh
    }

    fn slot_of(&mut self, number: u64, fresh: &mut Vec<usize>) -> usize {
        if let Some(slot) = self.by_number.get(number) {
            return slot;
        }
        let group = Group { number, ..Group::default() };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.groups.push(Group::default());
                self.wanted.push(Wanted::default());
                self.details.push(Details::default());
                self.groups.len() - 1
            }
        };
        if let (Some(place), Some(wanted), Some(details)) =
            (self.groups.get_mut(slot), self.wanted.get_mut(slot), self.details.get_mut(slot))
        {
            (*place, *wanted, *details) = (group, Wanted::default(), Details::default());
        }
        self.by_number.insert(number, slot);
        fresh.push(slot);
        slot
    }

    /// The slot of a chunk's group, and the chunk's place in it.
    fn find(&self, index: ChunkIndex) -> Option<(usize, usize)> {
        Some((self.by_number.get(index.0 / GROUP)?, (index.0 % GROUP) as usize))
    }

    fn wanted_of(&self, slot: usize) -> Wanted {
        self.wanted.get(slot).copied().unwrap_or_default()
    }

    /// Groups that something is missing of.
    pub(super) fn group_count(&self) -> usize {
        self.by_number.len()
    }

    /// Chunks from the first group with something missing to the end of the layout.
    pub(super) fn span_chunks(&self) -> u64 {
        self.by_number.first().map_or(0, |first| self.layout_end.saturating_sub(first * GROUP))
    }

    pub(super) fn is_missing(&self, index: ChunkIndex) -> bool {
        self.find(index).is_some_and(|(slot, at)| self.wanted_of(slot).missing >> at & 1 == 1)
    }

    /// Who has been asked for the chunk.
    pub(super) fn copies(&self, index: ChunkIndex) -> Copies {
        let found = self.find(index).and_then(|(slot, at)| Some((self.details.get(slot)?, at)));
        found.map_or(Copies::default(), |(details, at)| details.copies[at])
    }

    /// The chunk is held from now on. `None` if it was not missing.
    pub(super) fn finish(&mut self, index: ChunkIndex) -> Option<Finished> {
        let (slot, at) = self.find(index)?;
        let (wanted, details) = (self.wanted.get_mut(slot)?, self.details.get_mut(slot)?);
        let bit = 1u16 << at;
        if wanted.missing & bit == 0 {
            return None;
        }
        wanted.missing &= !bit;
        self.missing_chunks -= 1;
        self.missing_bytes -= u64::from(details.lens[at]);
        let copies = std::mem::take(&mut details.copies[at]);
        let was_unassigned = wanted.unassigned & bit != 0;
        wanted.unassigned &= !bit;
        let done = wanted.missing == 0;
        if was_unassigned {
            self.unassigned_chunks -= 1;
            self.relevel(slot);
        }
        if done {
            self.by_number.remove(index.0 / GROUP);
            self.free.push(slot);
        }
        Some(Finished { copies, freed: done.then_some(slot) })
    }

    /// One more session has been asked for the chunk. False if there are two already, or if it is not missing.
    pub(super) fn add_copy(&mut self, index: ChunkIndex, session: SessionId) -> bool {
        let Some((slot, at)) = self.find(index) else {
            return false;
        };
        let (Some(wanted), Some(details)) = (self.wanted.get_mut(slot), self.details.get_mut(slot)) else {
            return false;
        };
        let bit = 1u16 << at;
        let Some(place) = details.copies[at].iter_mut().find(|copy| copy.is_none()) else {
            return false;
        };
        if wanted.missing & bit == 0 {
            return false;
        }
        *place = Some(session);
        if wanted.unassigned & bit != 0 {
            wanted.unassigned &= !bit;
            self.unassigned_chunks -= 1;
            self.relevel(slot);
        }
        true
    }

    /// The session is asked for the chunk no more. True if nobody is now.
    pub(super) fn drop_copy(&mut self, index: ChunkIndex, session: SessionId) -> bool {
        let Some((slot, at)) = self.find(index) else {
            return false;
        };
        let (Some(wanted), Some(details)) = (self.wanted.get_mut(slot), self.details.get_mut(slot)) else {
            return false;
        };
        for copy in &mut details.copies[at] {
            if *copy == Some(session) {
                *copy = None;
            }
        }
        let bit = 1u16 << at;
        if wanted.missing & bit == 0 || wanted.unassigned & bit != 0 || details.copies[at].iter().any(Option::is_some) {
            return false;
        }
        wanted.unassigned |= bit;
        self.unassigned_chunks += 1;
        self.relevel(slot);
        true
    }

    /// The group from which a session that holds this should be asked next: the rarest (random among equals), or the
    /// first.
    pub(super) fn choose(&self, holding: &Holding, order: Order, rng: &mut ChaCha8Rng) -> Option<usize> {
        if order == Order::Sequential {
            let mut open = self.open.iter().filter_map(|number| self.by_number.get(*number));
            return open.find(|slot| self.offer(*slot, holding) != 0);
        }
        self.levels.iter().find_map(|level| level.choose(holding.slots(), rng, |slot| self.offer(slot, holding) != 0))
    }

    /// Whether the group is still as rare as any, and the session has more of it: then it is asked on where it was.
    pub(super) fn goes_on(&self, slot: usize, holding: &Holding) -> bool {
        let rarest = self.levels.iter().position(|level| !level.is_empty());
        let level = self.groups.get(slot).and_then(|group| group.level);
        level.is_some_and(|level| Some(usize::from(level)) == rarest) && self.offer(slot, holding) != 0
    }

    /// Chunks of the group that are unassigned and that the session holds.
    fn offer(&self, slot: usize, holding: &Holding) -> u16 {
        self.wanted_of(slot).unassigned & holding.mask(slot)
    }

    /// The rarest (or all, in order) of what the session can give of a group, first to last.
    pub(super) fn take_from(&self, slot: usize, holding: &Holding, order: Order) -> Vec<(ChunkIndex, u32)> {
        let offer = self.offer(slot, holding);
        let (Some(group), Some(details)) = (self.groups.get(slot), self.details.get(slot)) else {
            return Vec::new();
        };
        let offered = (0..GROUP as usize).filter(|at| offer >> at & 1 == 1);
        let rarest = offered.clone().map(|at| group.holders[at]).min().unwrap_or(0);
        offered
            .filter(|at| order == Order::Sequential || group.holders[*at] == rarest)
            .map(|at| (ChunkIndex(group.number * GROUP + at as u64), details.lens[at]))
            .collect()
    }

    /// Slots and numbers of the groups with numbers in this range.
    pub(super) fn groups_between(&self, first: u64, last: u64) -> Vec<(usize, u64)> {
        self.by_number.between(first, last).collect()
    }

    /// The slot of the group with this number.
    pub(super) fn slot(&self, number: u64) -> Option<usize> {
        self.by_number.get(number)
    }

    /// The number of the group at a slot.
    pub(super) fn number(&self, slot: usize) -> u64 {
        self.groups.get(slot).map_or(0, |group| group.number)
    }

    /// What a session holds of a group has changed. True if it can give something unassigned that it could not before.
    pub(super) fn holders_changed(&mut self, slot: usize, before: u16, after: u16) -> bool {
        let unassigned = self.wanted_of(slot).unassigned;
        let Some(group) = self.groups.get_mut(slot) else {
            return false;
        };
        let changed = before ^ after;
        // Of what the level tells only that of the rarest counts: that of others may change as it likes.
        let level = group.level.map_or(0, u16::from);
        let mut is_rarest = false;
        let mut left = changed;
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            left &= left - 1;
            let holders = &mut group.holders[at];
            let counted = *holders;
            *holders = if after >> at & 1 == 1 { counted.saturating_add(1) } else { counted.saturating_sub(1) };
            is_rarest |= counted.min(*holders) <= level && unassigned >> at & 1 == 1;
        }
        let offers_more = after & !before & unassigned != 0;
        if is_rarest {
            self.relevel(slot);
        }
        offers_more
    }

    /// Puts the group under the level of its rarest unassigned chunk.
    fn relevel(&mut self, slot: usize) {
        let unassigned = self.wanted_of(slot).unassigned;
        let Some(group) = self.groups.get_mut(slot) else {
            return;
        };
        let unassigned = (0..GROUP as usize).filter(|at| unassigned >> at & 1 == 1);
        let level = unassigned.map(|at| group.holders[at]).min().map(|holders| holders.min(LEVELS as u16 - 1) as u8);
        let before = std::mem::replace(&mut group.level, level);
        if before == level {
            return;
        }
        let number = group.number;
        if let Some(list) = before.and_then(|level| self.levels.get_mut(usize::from(level))) {
            list.remove(slot);
        }
        match level.and_then(|level| self.levels.get_mut(usize::from(level))) {
            Some(list) => {
                list.insert(slot);
                if before.is_none() {
                    self.open.insert(number);
                }
            }
            None => {
                self.open.remove(&number);
            }
        }
    }
}

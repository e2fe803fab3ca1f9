//! The chunks that are wanted: which are missing, who has been asked for each, how rare they are.
//!
//! Chunks are kept in groups of 16 that follow one another, and a group lives only while something of it is missing,
//! so memory follows what is being worked on. A group is found by number, by rarity, or at random, without a scan
//! over chunks. Wants are made of runs within a group: random enough for the swarm, long enough for a disk.

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha8Rng;

use super::action::SessionId;
use super::config::Order;
use super::holding::Holding;
use super::slots::SlotSet;
use crate::availability::ChunkIndex;

/// Chunks in a group.
pub(super) const GROUP: u64 = 16;
/// Rarities that are told apart; what more sessions hold is as common as the last.
const LEVELS: usize = 16;

/// The sessions that have been asked for a chunk: two at most.
pub(super) type Copies = [Option<SessionId>; 2];

#[derive(Debug, Clone, Default)]
struct Group {
    number: u64,
    lens: [u32; GROUP as usize],
    /// How many sessions that hold only a part of the manifest hold each chunk. Those that hold all of it count for
    /// every chunk alike, so they make none rarer.
    holders: [u16; GROUP as usize],
    copies: [Copies; GROUP as usize],
    missing: u16,
    /// Those missing that nobody has been asked for.
    unassigned: u16,
    /// The level that lists this group, while something is unassigned.
    level: Option<u8>,
}

/// What is known and wanted of the manifest's chunks.
#[derive(Debug, Default)]
pub(super) struct ChunkTable {
    groups: Vec<Group>,
    free: Vec<usize>,
    by_number: BTreeMap<u64, usize>,
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
                _ => self.slot_of(number, &mut fresh),
            };
            last = Some((number, slot));
            let at = (index % GROUP) as usize;
            if let Some(group) = self.groups.get_mut(slot)
                && group.missing >> at & 1 == 0
            {
                group.missing |= 1 << at;
                group.unassigned |= 1 << at;
                group.copies[at] = Copies::default();
                group.lens[at] = *len;
                self.missing_chunks += 1;
                self.unassigned_chunks += 1;
                self.missing_bytes += u64::from(*len);
            }
            if index % GROUP == GROUP - 1 {
                self.relevel(slot);
            }
        }
        if let Some((_, slot)) = last {
            self.relevel(slot);
        }
        fresh
    }

    fn slot_of(&mut self, number: u64, fresh: &mut Vec<usize>) -> usize {
        if let Some(slot) = self.by_number.get(&number) {
            return *slot;
        }
        let group = Group { number, ..Group::default() };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.groups.push(Group::default());
                self.groups.len() - 1
            }
        };
        if let Some(place) = self.groups.get_mut(slot) {
            *place = group;
        }
        self.by_number.insert(number, slot);
        fresh.push(slot);
        slot
    }

    fn find(&self, index: ChunkIndex) -> Option<(usize, usize, &Group)> {
        let slot = *self.by_number.get(&(index.0 / GROUP))?;
        Some((slot, (index.0 % GROUP) as usize, self.groups.get(slot)?))
    }

    /// Groups that something is missing of.
    pub(super) fn group_count(&self) -> usize {
        self.by_number.len()
    }

    /// Chunks from the first group with something missing to the end of the layout.
    pub(super) fn span_chunks(&self) -> u64 {
        self.by_number.keys().next().map_or(0, |first| self.layout_end.saturating_sub(first * GROUP))
    }

    pub(super) fn is_missing(&self, index: ChunkIndex) -> bool {
        self.find(index).is_some_and(|(_, at, group)| group.missing >> at & 1 == 1)
    }

    pub(super) fn is_unassigned(&self, index: ChunkIndex) -> bool {
        self.find(index).is_some_and(|(_, at, group)| group.unassigned >> at & 1 == 1)
    }

    /// Who has been asked for the chunk.
    pub(super) fn copies(&self, index: ChunkIndex) -> Copies {
        self.find(index).map_or(Copies::default(), |(_, at, group)| group.copies[at])
    }

    /// The chunk is held from now on. `None` if it was not missing.
    pub(super) fn finish(&mut self, index: ChunkIndex) -> Option<Finished> {
        let slot = *self.by_number.get(&(index.0 / GROUP))?;
        let at = (index.0 % GROUP) as usize;
        let group = self.groups.get_mut(slot)?;
        let bit = 1u16 << at;
        if group.missing & bit == 0 {
            return None;
        }
        group.missing &= !bit;
        self.missing_chunks -= 1;
        self.missing_bytes -= u64::from(group.lens[at]);
        let copies = std::mem::take(&mut group.copies[at]);
        let was_unassigned = group.unassigned & bit != 0;
        group.unassigned &= !bit;
        let done = group.missing == 0;
        let number = group.number;
        if was_unassigned {
            self.unassigned_chunks -= 1;
            self.relevel(slot);
        }
        if done {
            self.by_number.remove(&number);
            self.free.push(slot);
        }
        Some(Finished { copies, freed: done.then_some(slot) })
    }

    /// One more session has been asked for the chunk. False if there are two already, or if it is not missing.
    pub(super) fn add_copy(&mut self, index: ChunkIndex, session: SessionId) -> bool {
        let Some(slot) = self.by_number.get(&(index.0 / GROUP)).copied() else {
            return false;
        };
        let at = (index.0 % GROUP) as usize;
        let Some(group) = self.groups.get_mut(slot) else {
            return false;
        };
        let bit = 1u16 << at;
        let Some(place) = group.copies[at].iter_mut().find(|copy| copy.is_none()) else {
            return false;
        };
        if group.missing & bit == 0 {
            return false;
        }
        *place = Some(session);
        if group.unassigned & bit != 0 {
            group.unassigned &= !bit;
            self.unassigned_chunks -= 1;
            self.relevel(slot);
        }
        true
    }

    /// The session is asked for the chunk no more. True if nobody is now.
    pub(super) fn drop_copy(&mut self, index: ChunkIndex, session: SessionId) -> bool {
        let Some(slot) = self.by_number.get(&(index.0 / GROUP)).copied() else {
            return false;
        };
        let at = (index.0 % GROUP) as usize;
        let Some(group) = self.groups.get_mut(slot) else {
            return false;
        };
        for copy in &mut group.copies[at] {
            if *copy == Some(session) {
                *copy = None;
            }
        }
        let bit = 1u16 << at;
        if group.missing & bit == 0 || group.unassigned & bit != 0 || group.copies[at].iter().any(Option::is_some) {
            return false;
        }
        group.unassigned |= bit;
        self.unassigned_chunks += 1;
        self.relevel(slot);
        true
    }

    /// The group from which a session that holds this should be asked next: the rarest (random among equals), or the
    /// first.
    pub(super) fn choose(&self, holding: &Holding, order: Order, rng: &mut ChaCha8Rng) -> Option<usize> {
        if order == Order::Sequential {
            let mut open = self.open.iter().filter_map(|number| self.by_number.get(number).copied());
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
        self.groups.get(slot).map_or(0, |group| group.unassigned & holding.mask(slot))
    }

    /// The rarest (or all, in order) of what the session can give of a group, first to last.
    pub(super) fn take_from(&self, slot: usize, holding: &Holding, order: Order) -> Vec<(ChunkIndex, u32)> {
        let offer = self.offer(slot, holding);
        let Some(group) = self.groups.get(slot) else {
            return Vec::new();
        };
        let offered = (0..GROUP as usize).filter(|at| offer >> at & 1 == 1);
        let rarest = offered.clone().map(|at| group.holders[at]).min().unwrap_or(0);
        offered
            .filter(|at| order == Order::Sequential || group.holders[*at] == rarest)
            .map(|at| (ChunkIndex(group.number * GROUP + at as u64), group.lens[at]))
            .collect()
    }

    /// Slots and numbers of the groups with numbers in this range.
    pub(super) fn groups_between(&self, first: u64, last: u64) -> Vec<(usize, u64)> {
        self.by_number.range(first..=last).map(|(number, slot)| (*slot, *number)).collect()
    }

    /// The number of the group at a slot.
    pub(super) fn number(&self, slot: usize) -> u64 {
        self.groups.get(slot).map_or(0, |group| group.number)
    }

    /// What a session holds of a group has changed. True if it can give something unassigned that it could not before.
    pub(super) fn holders_changed(&mut self, slot: usize, before: u16, after: u16) -> bool {
        let Some(group) = self.groups.get_mut(slot) else {
            return false;
        };
        let changed = before ^ after;
        for (at, holders) in group.holders.iter_mut().enumerate().filter(|(at, _)| changed >> at & 1 == 1) {
            *holders = if after >> at & 1 == 1 { holders.saturating_add(1) } else { holders.saturating_sub(1) };
        }
        let offers_more = after & !before & group.unassigned != 0;
        if changed & group.unassigned != 0 {
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
                self.open.insert(number);
            }
            None => {
                self.open.remove(&number);
            }
        }
    }
}

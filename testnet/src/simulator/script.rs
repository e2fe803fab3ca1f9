//! What is to happen in a run, and what each of it waits for.
//!
//! Nothing ever waits for the end of all fetches: with one content the run is over then.

use std::collections::BTreeMap;
use std::time::Duration;

use super::events::{Event, Nanos, nanos};
use super::peer::Presence;
use super::setup::{Holds, Nature, Setup};
use super::world::World;
use crate::scenario::{ContentIndex, Trigger, When};

/// How long a peer that cannot publish waits until it tries again.
const PUBLISH_AGAIN: Duration = Duration::from_millis(500);

/// The content of a run, in the words of scenarios.
pub(super) const CONTENT: ContentIndex = ContentIndex(0);

/// Something that is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// A peer is there for the first time.
    Arrive(u32),
    /// It publishes what it holds.
    Publish(u32),
    /// It begins to fetch.
    Fetch(u32),
    /// The fault in this place of the setup strikes.
    Fault(u32),
}

/// The turns that have not come yet.
#[derive(Debug, Default)]
pub(super) struct Script {
    turns: Vec<Turn>,
    /// What waits for something else than the time, and how long it comes after that.
    waiting: BTreeMap<Trigger, Vec<(Nanos, u32)>>,
    /// Bytes at which the next share of all has arrived; `u64::MAX` if nothing waits for one.
    next_progress: u64,
    /// Honest peers that have not published yet what they will.
    publishers: usize,
    /// Whether nobody has published yet, and somebody will.
    is_empty: bool,
    /// Fetches that wait for the first who publishes.
    waiting_fetches: Vec<u32>,
    /// For each peer, how many faults are to come that may make it able to fetch.
    healed: BTreeMap<u32, u32>,
}

impl World {
    /// Puts everything that the setup says in the order of time.
    pub(super) fn write_script(&mut self) {
        let Setup { peers, faults, .. } = &self.setup;
        let mut turns = Vec::with_capacity(peers.len() * 2 + faults.len());
        for (number, peer) in peers.iter().enumerate() {
            let number = number as u32;
            turns.push((When::at(peer.joins), Turn::Arrive(number)));
            turns.extend(peer.publishes.map(|when| (when, Turn::Publish(number))));
            turns.extend(peer.fetches.map(|when| (when, Turn::Fetch(number))));
        }
        // What liars say that they have is no content.
        let honest = || peers.iter().filter(|peer| peer.holds != Holds::Nothing && peer.nature == Nature::Honest);
        self.script.publishers = honest().filter(|peer| peer.publishes.is_some()).count();
        self.script.is_empty = honest().count() == self.script.publishers && self.script.publishers > 0;
        self.fetching = peers.iter().filter(|peer| peer.fetches.is_some()).count();
        for (place, (when, fault)) in faults.iter().enumerate() {
            turns.push((*when, Turn::Fault(place as u32)));
            if fault.heals() {
                *self.script.healed.entry(fault.peer()).or_default() += 1;
            }
        }
        for (place, (when, turn)) in turns.into_iter().enumerate() {
            self.script.turns.push(turn);
            let entry = (nanos(when.after), place as u32);
            self.script.waiting.entry(when.trigger).or_default().push(entry);
        }
        self.came(Trigger::Start);
        self.await_progress();
        self.arrived();
    }

    /// What was waited for has come.
    fn came(&mut self, trigger: Trigger) {
        for (after, place) in self.script.waiting.remove(&trigger).unwrap_or_default() {
            let at = self.events.next_shared(self.now.saturating_add(after));
            self.events.add(at, 0, Event::Turn(place));
        }
    }

    /// Notes at how many bytes the next share has arrived of all that is to be fetched.
    fn await_progress(&mut self) {
        let all = self.content.bytes.saturating_mul(self.fetches() as u64);
        let shares = self.script.waiting.keys().filter_map(|trigger| match trigger {
            Trigger::Progress(share) => Some(share.of(all)),
            _ => None,
        });
        self.script.next_progress = shares.min().unwrap_or(u64::MAX);
    }

    fn fetches(&self) -> usize {
        self.setup.peers.iter().filter(|peer| peer.fetches.is_some()).count()
    }

    /// A fetch has so many bytes. What it had before and has lost counts all the same.
    pub(super) fn had(&mut self, number: u32, bytes: u64) {
        if let Some(peer) = self.peers.get_mut(number as usize)
            && bytes > peer.had_bytes
        {
            self.had_bytes += bytes - peer.had_bytes;
            peer.had_bytes = bytes;
            self.arrived();
        }
    }

    /// Lets come what waits for as much as has arrived.
    fn arrived(&mut self) {
        while self.had_bytes >= self.script.next_progress {
            let all = self.content.bytes.saturating_mul(self.fetches() as u64);
            let due = self
                .script
                .waiting
                .keys()
                .copied()
                .find(|trigger| matches!(trigger, Trigger::Progress(share) if share.of(all) <= self.had_bytes));
            if let Some(trigger) = due {
                self.came(trigger);
            }
            self.await_progress();
        }
    }

    pub(super) fn turn(&mut self, place: u32) {
        match self.script.turns.get(place as usize) {
            Some(Turn::Arrive(peer)) => self.arrive(*peer),
            Some(Turn::Publish(peer)) => self.publish(*peer, place),
            Some(Turn::Fetch(peer)) => self.wants(*peer),
            Some(Turn::Fault(fault)) => self.fault(*fault),
            None => {}
        }
    }

    /// A peer is there for the first time.
    fn arrive(&mut self, number: u32) {
        let Some(peer) = self.peers.get_mut(number as usize) else { return };
        peer.presence = Presence::Up;
        if !peer.store.held.is_empty() {
            self.announce(number, true);
        }
    }

    /// A peer publishes, or tries again later if it is in no state to.
    fn publish(&mut self, number: u32, place: u32) {
        let chunks = self.content.chunks();
        let Some(peer) = self.peers.get_mut(number as usize) else { return };
        if !peer.works() || peer.is_full {
            self.events.add(self.now + nanos(PUBLISH_AGAIN), 0, Event::Turn(place));
            return;
        }
        peer.store.fill(chunks);
        self.announce(number, true);
        // If it fetches, it finds that it has all.
        self.break_off(number);
        self.begin(number);
        self.script.publishers = self.script.publishers.saturating_sub(1);
        if std::mem::take(&mut self.script.is_empty) {
            for fetch in std::mem::take(&mut self.script.waiting_fetches) {
                self.begin(fetch);
            }
        }
        if self.script.publishers == 0 {
            self.came(Trigger::Published(CONTENT));
        }
    }

    /// A peer wants the content from now on.
    fn wants(&mut self, number: u32) {
        if let Some(peer) = self.peers.get_mut(number as usize) {
            peer.began.get_or_insert(self.now);
        }
        if self.script.is_empty {
            self.script.waiting_fetches.push(number);
        } else {
            self.begin(number);
        }
    }

    fn fault(&mut self, place: u32) {
        let Some((_, fault)) = self.setup.faults.get(place as usize).copied() else { return };
        if fault.heals()
            && let Some(left) = self.script.healed.get_mut(&fault.peer())
        {
            *left -= 1;
        }
        self.happened.push((self.now, place));
        self.strike(fault);
        // Counted once for all that happens in this moment.
        self.is_stale = true;
    }

    /// Counts the fetches that are not done at peers that are in no state to, and stay so.
    pub(super) fn count_hopeless(&mut self) {
        let is_healed = |number: usize| self.script.healed.get(&(number as u32)).is_some_and(|left| *left > 0);
        let setups = self.setup.peers.iter().zip(&self.peers).enumerate();
        let hopeless = setups.filter(|(number, (setup, peer))| {
            let is_there = nanos(setup.joins) <= self.now && peer.starts_at.is_none();
            let fetches = setup.fetches.is_some() && peer.done.is_none();
            fetches && is_there && peer.excuse().is_some() && !is_healed(*number)
        });
        self.hopeless = hopeless.count();
    }
}

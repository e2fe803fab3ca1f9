//! What must hold of every run, whatever goes wrong in it.

use super::events::Nanos;
use super::peer::Fetch;
use super::world::World;

/// For so long a fetch gets nothing, in nanoseconds, that goes nowhere: the end of the run may come in the middle of
/// one.
const STUCK: Nanos = 10_000_000_000;

impl World {
    /// Looks at a fetch that is done.
    pub(super) fn look_over(&mut self, number: u32, fetch: &Fetch) {
        let progress = fetch.engine.progress();
        if (progress.in_flight_bytes, progress.unassigned_chunks, progress.wanted_nodes) != (0, 0, 0) {
            self.break_rule(|| format!("peer {number} is done and its engine is not: {progress:?}"));
        }
        if progress.held_bytes != self.content.bytes {
            self.break_rule(|| format!("peer {number} is done with {} bytes", progress.held_bytes));
        }
    }

    /// Notes what should never be; ten times, to be read.
    pub(super) fn break_rule(&mut self, what: impl FnOnce() -> String) {
        if self.broken.len() < 10 {
            self.broken.push(what());
        }
    }

    /// Looks at the books when all is over: whether bytes were sent, received or lost, and nothing else, and whether
    /// any line was faster than it is.
    pub(super) fn audit(&mut self) {
        let on_the_way = self.on_the_way();
        let totals = self.totals;
        if totals.sent_bytes != totals.received_bytes + totals.lost_bytes + on_the_way {
            self.break_rule(|| format!("{totals:?}, and {on_the_way} bytes on their way"));
        }
        let changed = |number: u32| {
            self.setup
                .faults
                .iter()
                .any(|(_, fault)| matches!(fault, super::setup::Fault::Line(other, _) if *other == number))
        };
        let mut fast = Vec::new();
        for (number, peer) in self.peers.iter().enumerate() {
            let most = |rate: Option<u64>, busy: u64| {
                rate.map_or(u128::MAX, |rate| u128::from(rate) * u128::from(busy) / 1_000_000_000)
            };
            // What is being passed is counted from its beginning.
            let under_way = peer.down.free_at.max(self.now) - self.now;
            let up_is_fast = u128::from(peer.up.passed) > most(peer.up.rate, peer.up.busy);
            let down_is_fast = u128::from(peer.down.passed) > most(peer.down.rate, peer.down.busy);
            let worked_too_long = peer.down.busy > self.now + under_way;
            if (up_is_fast || down_is_fast || worked_too_long) && !changed(number as u32) {
                fast.push(number);
            }
        }
        if !fast.is_empty() {
            self.break_rule(|| format!("the lines of {fast:?} were faster than they are"));
        }
    }

    /// Looks at a fetch that goes on.
    pub(super) fn look_at(&mut self, number: u32) {
        let budget = self.setup.engine.budget_bytes;
        let Some(fetch) = self.peers.get(number as usize).and_then(|peer| peer.fetch.as_ref()) else { return };
        let in_flight = fetch.engine.progress().in_flight_bytes;
        if in_flight > budget {
            self.break_rule(|| format!("peer {number} has {in_flight} bytes in flight, and {budget} are allowed"));
        }
    }

    /// Fetches that have got nothing for long and are not done although every chunk is at somebody who is there, honest
    /// and in reach.
    pub(super) fn stuck(&self) -> Vec<u32> {
        let mut stuck = Vec::new();
        for (number, peer) in self.peers.iter().enumerate() {
            let number = number as u32;
            let wants = peer.began.is_some_and(|began| self.now - began >= STUCK) && peer.done.is_none();
            if !wants || !peer.works() || peer.is_full || self.now - peer.got_at < STUCK {
                continue;
            }
            let givers = || {
                let others = self.peers.iter().enumerate();
                others.filter(|(other, giver)| {
                    *other as u32 != number && giver.is_steady() && self.reaches(number, *other as u32)
                })
            };
            let has_manifest = givers().any(|(_, giver)| giver.store.nodes.iter().all(|held| *held));
            let is_there = |chunk: u64| {
                let index = shoal_protocol::availability::ChunkIndex(chunk);
                peer.store.held.contains(index) || givers().any(|(_, giver)| giver.store.held.contains(index))
            };
            if has_manifest && (0..self.content.chunks()).all(is_there) {
                stuck.push(number);
            }
        }
        stuck
    }

    /// Bytes that left and neither came nor were lost: they are on their way, or there is an error in the simulator.
    pub(super) fn on_the_way(&self) -> u64 {
        let channels = self.channels.iter().filter(|channel| channel.is_open());
        channels.map(|channel| channel.transit).sum::<u64>() + self.told_bytes
    }
}

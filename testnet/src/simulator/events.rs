//! What is going to happen, in order of time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// A moment of the virtual clock, in nanoseconds.
pub(super) type Nanos = u64;

/// Nanoseconds of a duration; what is longer than 584 years is as long.
pub(super) fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Something that happens at a peer or in a channel, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// The engine of a peer asked to be woken.
    EngineTimer(u32),
    /// The serving policy of a peer asked to be woken.
    ServingTimer(u32),
    /// The uplink of a peer has passed an item.
    Sent(u32),
    /// A channel may send again.
    Unpaused(u32),
    /// The first byte of an item has reached the other end of a channel.
    Arrives(u32),
    /// An item has come whole.
    Lands(u32),
    /// Some of an item that takes long has come.
    Progress(u32),
    /// A message of a requester, by its place, has come.
    Request(u32),
    /// News, by their place, have come to those whom they were for.
    Told(u32),
    /// An attempt to open a channel is decided.
    Dialled(u32),
    /// The server's end of a channel learns that it is over.
    ServerGone(u32),
    /// The client's end of a channel learns that it is over.
    ClientGone(u32),
    /// A channel has been cut for long.
    Expires(u32),
    /// The open group of a peer's store has waited long enough.
    GroupDue(u32),
    /// A group of a peer's store is durable.
    Durable(u32),
    /// The process of a peer that was started works.
    Started(u32),
    /// A look-up of a peer is answered.
    Found(u32),
    /// A peer may look for others again.
    Meet(u32),
    /// A peer may tell those whom it serves of providers again.
    Tell(u32),
    /// Something that the script says, by its place.
    Turn(u32),
}

/// A tick is a millisecond or so: 2^20 ns.
const TICK_BITS: u32 = 20;

/// An event with its time, and what orders those of one moment.
type Entry = Reverse<(Nanos, u64, Event)>;

/// The events that are to come. Those of one moment happen in the order in which they were added.
///
/// Only those of the tick that is at hand are kept in order; those of later ones are put in order when their tick has
/// come. A heap over all of them would be too large for a processor's cache.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Those of ticks up to this one.
    tick: u64,
    now: BinaryHeap<Entry>,
    /// Those of each later tick.
    later: BTreeMap<u64, Vec<Entry>>,
    /// Memory of ticks that are over.
    spare: Vec<Vec<Entry>>,
    added: u64,
    handled: u64,
}

/// How many emptied lists are kept for ticks to come.
const MOST_SPARE: usize = 64;

impl Events {
    pub(super) fn add(&mut self, at: Nanos, event: Event) {
        self.added += 1;
        let entry = Reverse((at, self.added, event));
        let tick = at >> TICK_BITS;
        if tick <= self.tick {
            self.now.push(entry);
            return;
        }
        let spare = &mut self.spare;
        self.later.entry(tick).or_insert_with(|| spare.pop().unwrap_or_default()).push(entry);
    }

    pub(super) fn next(&mut self) -> Option<(Nanos, Event)> {
        while self.now.is_empty() {
            let (tick, entries) = self.later.pop_first()?;
            self.tick = tick;
            let emptied = std::mem::replace(&mut self.now, BinaryHeap::from(entries)).into_vec();
            if self.spare.len() < MOST_SPARE {
                self.spare.push(emptied);
            }
        }
        let Reverse((at, _, event)) = self.now.pop()?;
        self.handled += 1;
        Some((at, event))
    }

    /// How many have happened.
    pub(super) const fn handled(&self) -> u64 {
        self.handled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_comes_first_and_then_the_order_of_adding() {
        let mut events = Events::default();
        let far = 5 << TICK_BITS;
        for (at, peer) in [(7, 1), (far + 1, 4), (3, 9), (far, 5), (7, 0), (3, 2), (far << 9, 6)] {
            events.add(at, Event::Turn(peer));
        }
        let mut order = Vec::new();
        while let Some((at, event)) = events.next() {
            order.push((at, event));
            if order.len() == 5 {
                // In the moment that is at hand, and in one of a tick that nothing is in yet.
                events.add(far, Event::Turn(7));
                events.add(far * 2, Event::Turn(8));
            }
        }
        let expected = [(3, 9), (3, 2), (7, 1), (7, 0), (far, 5), (far, 7), (far + 1, 4), (far * 2, 8), (far << 9, 6)];
        assert_eq!(order, expected.map(|(at, peer)| (at, Event::Turn(peer))));
    }
}

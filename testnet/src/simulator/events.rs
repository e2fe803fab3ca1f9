//! What is going to happen, in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
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
    /// A peer begins to fetch, or goes on after an absence.
    Begin(u32),
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
    /// A look-up of a peer is answered.
    Found(u32),
    /// A peer may look for others again.
    Meet(u32),
    /// A server may tell of providers again in a channel.
    Tell(u32),
    /// The next event of the plan.
    Fault(u32),
}

/// The events that are to come. Those of one moment happen in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Events {
    heap: BinaryHeap<Reverse<(Nanos, u64, Event)>>,
    added: u64,
    handled: u64,
}

impl Events {
    pub(super) fn add(&mut self, at: Nanos, event: Event) {
        self.added += 1;
        self.heap.push(Reverse((at, self.added, event)));
    }

    pub(super) fn next(&mut self) -> Option<(Nanos, Event)> {
        let Reverse((at, _, event)) = self.heap.pop()?;
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
        for (at, peer) in [(7, 1), (3, 9), (7, 0), (3, 2)] {
            events.add(at, Event::Begin(peer));
        }
        let order: Vec<_> = std::iter::from_fn(|| events.next()).collect();
        assert_eq!(order, [(3, 9), (3, 2), (7, 1), (7, 0)].map(|(at, peer)| (at, Event::Begin(peer))));
    }
}

//! What is going to happen, and in which order.

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
    /// News have come over a channel.
    Told {
        /// Their place.
        telling: u32,
        /// Which.
        channel: u32,
    },
    /// An attempt to open a channel is decided.
    Dialled(u32),
    /// A client learns that one, by its place, came to nothing.
    Refused(u32),
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

impl Event {
    /// Whether it happens to more than one peer.
    const fn is_shared(self) -> bool {
        matches!(self, Self::Turn(_) | Self::Expires(_))
    }
}

/// An event, and what orders it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// When in its window it is its peer's turn; as long as that has not begun, the peer.
    turn: u32,
    at: Nanos,
    added: u64,
    event: Event,
}

/// The length of a window where the shortest way takes less: then all goes in the order of time.
const SHORTEST: Nanos = 1_000_000;
/// No window is longer: what waits for the end of one comes while it matters, and what is done last is not durable yet.
const LONGEST: Nanos = 10_000_000;
/// 2^32 over the golden ratio (D. E. Knuth's multiplicative hash), and the factors of A. Appleby's MurmurHash3: its
/// last steps have every bit of what goes in change each bit of what comes out as often as not.
const FACTORS: [u32; 3] = [0x9e37_79b1, 0x85eb_ca6b, 0xc2b2_ae35];
/// How many emptied lists are kept for the windows to come, and for so many of these: in later ones little happens yet.
const MOST_SPARE: usize = 32;

/// The events that are to come, by windows of time.
///
/// Nothing that one peer does reaches another before the shortest way has passed. So in a window of that length no peer
/// hears of what the others do in it, and it does not matter whose events come first: those of one peer happen in one
/// go, in the order of time (and of adding, in one moment), and then those of the next. That way a processor finds most
/// of what an event needs in its cache; in the order of time each event is another peer's, and in a crowd to fetch that
/// from memory takes longer than all else. Simulators on many processors use the same bound (B. D. Lubachevsky:
/// Efficient distributed event-driven simulations of multiple-loop networks, 1989).
///
/// A window goes in the order of time alone if something happens in it to more than one peer, or if somebody looks at
/// all peers in it.
#[derive(Debug)]
pub(super) struct Events {
    width: Nanos,
    /// Whether windows are long enough for an order by peers.
    is_wide: bool,
    /// How often somebody looks at all peers, and when for the last time.
    look_every: Nanos,
    last_look: Nanos,
    /// The window at hand, whether its events are in an order by peers, and which turn it is.
    window: u64,
    by_owner: bool,
    turn: u32,
    /// Its events, the last one first, and those that were added after it had begun.
    sorted: Vec<Entry>,
    fresh: BinaryHeap<Reverse<Entry>>,
    /// Those of each later window.
    later: BTreeMap<u64, Vec<Entry>>,
    /// Memory of windows that are over.
    spare: Vec<Vec<Entry>>,
    added: u64,
    handled: u64,
}

impl Events {
    /// For peers whose shortest way to each other takes `way`; somebody looks at all of them at each multiple of
    /// `look_every`, and at `last_look`.
    pub(super) fn new(way: Nanos, look_every: Nanos, last_look: Nanos) -> Self {
        Self {
            width: way.clamp(SHORTEST, LONGEST),
            is_wide: way >= SHORTEST,
            look_every,
            last_look,
            window: 0,
            by_owner: false,
            turn: 0,
            sorted: Vec::new(),
            fresh: BinaryHeap::new(),
            later: BTreeMap::new(),
            spare: Vec::new(),
            added: 0,
            handled: 0,
        }
    }

    /// Something is to happen to a peer; or to more than one, whichever of them is the owner.
    pub(super) fn add(&mut self, at: Nanos, owner: u32, event: Event) {
        self.added += 1;
        let mut entry = Entry { turn: owner, at, added: self.added, event };
        let window = at / self.width;
        if window > self.window {
            let is_near = window - self.window <= MOST_SPARE as u64;
            let list = || if is_near { self.spare.pop().unwrap_or_default() } else { Vec::new() };
            self.later.entry(window).or_insert_with(list).push(entry);
            return;
        }
        entry.turn = self.turn_of(owner);
        debug_assert!(
            !self.by_owner || entry.turn == self.turn && !event.is_shared(),
            "{event:?} comes to peer {owner} too soon"
        );
        self.fresh.push(Reverse(entry));
    }

    /// The next event, and its moment.
    pub(super) fn next(&mut self) -> Option<(Nanos, Event)> {
        if self.sorted.is_empty() && self.fresh.is_empty() {
            let (window, entries) = self.later.pop_first()?;
            self.begin(window, entries);
        }
        let is_fresh = match (self.sorted.last(), self.fresh.peek()) {
            (Some(sorted), Some(Reverse(fresh))) => fresh < sorted,
            (sorted, _) => sorted.is_none(),
        };
        let entry = if is_fresh { self.fresh.pop().map(|Reverse(entry)| entry) } else { self.sorted.pop() }?;
        self.turn = entry.turn;
        self.handled += 1;
        Some((entry.at, entry.event))
    }

    fn begin(&mut self, window: u64, mut entries: Vec<Entry>) {
        self.window = window;
        let (start, end) = (window * self.width, window.saturating_add(1).saturating_mul(self.width));
        let is_looked_at = start.checked_next_multiple_of(self.look_every).is_some_and(|at| at < end)
            || (start..end).contains(&self.last_look);
        self.by_owner = self.is_wide && !is_looked_at && !entries.iter().any(|entry| entry.event.is_shared());
        entries.iter_mut().for_each(|entry| entry.turn = self.turn_of(entry.turn));
        entries.sort_unstable_by(|one, other| other.cmp(one));
        let emptied = std::mem::replace(&mut self.sorted, entries);
        if self.spare.len() < MOST_SPARE {
            self.spare.push(emptied);
        }
    }

    /// When in the window at hand it is a peer's turn, or zero where it goes by time. In each window it is another order
    /// of peers, or of all that comes to one in the same moment the lowest number's would always be the first.
    const fn turn_of(&self, owner: u32) -> u32 {
        if !self.by_owner {
            return 0;
        }
        // Every step can be taken back, so no two peers have the same. One of them alone would give orders that are all
        // alike: then some come late in most.
        let mut turn = owner ^ (self.window as u32).wrapping_mul(FACTORS[0]);
        turn = (turn ^ turn >> 16).wrapping_mul(FACTORS[1]);
        turn = (turn ^ turn >> 13).wrapping_mul(FACTORS[2]);
        turn ^ turn >> 16
    }

    /// The first moment, from this one on, at which something can happen to more than one peer: where peers take turns,
    /// others may be further by now.
    pub(super) fn next_shared(&self, at: Nanos) -> Nanos {
        if self.by_owner { at.max(self.window.saturating_add(1).saturating_mul(self.width)) } else { at }
    }

    /// How many have happened.
    pub(super) const fn handled(&self) -> u64 {
        self.handled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    fn all(mut events: Events) -> Vec<(Nanos, Event)> {
        std::iter::from_fn(|| events.next()).collect()
    }

    #[test]
    fn where_ways_are_short_time_comes_first_and_then_the_order_of_adding() {
        let mut events = Events::new(0, u64::MAX, u64::MAX);
        let far = 5 * MS;
        for (at, peer) in [(7, 1), (far + 1, 4), (3, 9), (far, 5), (7, 0), (3, 2), (far << 9, 6)] {
            events.add(at, peer, Event::Tell(peer));
        }
        let mut order = Vec::new();
        while let Some((at, event)) = events.next() {
            order.push((at, event));
            if order.len() == 5 {
                // In the moment that is at hand, and in a window that nothing is in yet.
                events.add(far, 7, Event::Tell(7));
                events.add(far * 2, 8, Event::Tell(8));
            }
        }
        let expected = [(3, 9), (3, 2), (7, 1), (7, 0), (far, 5), (far, 7), (far + 1, 4), (far * 2, 8), (far << 9, 6)];
        assert_eq!(order, expected.map(|(at, peer)| (at, Event::Tell(peer))));
    }

    #[test]
    fn in_a_window_each_peer_has_its_turn() {
        let mut events = Events::new(2 * MS, u64::MAX, u64::MAX);
        for (at, peer) in [(4 * MS, 2), (5 * MS, 1), (4 * MS + 1, 1), (6 * MS, 1), (5 * MS, 2), (6 * MS - 1, 1)] {
            events.add(at, peer, Event::Tell(peer));
        }
        assert_eq!(events.next(), Some((4 * MS + 1, Event::Tell(1))));
        // Before the rest of its own, and in the next window.
        events.add(5 * MS - 1, 1, Event::Meet(1));
        events.add(6 * MS, 2, Event::Meet(2));
        let order = [(5 * MS - 1, Event::Meet(1)), (5 * MS, Event::Tell(1)), (6 * MS - 1, Event::Tell(1))];
        let others = [(4 * MS, 2), (5 * MS, 2), (6 * MS, 1)].map(|(at, peer)| (at, Event::Tell(peer)));
        let last = (6 * MS, Event::Meet(2));
        assert_eq!(all(events), [&order[..], &others, &[last]].concat());
    }

    #[test]
    fn peers_take_turns_in_another_order_in_each_window() {
        const PEERS: u32 = 100;
        const WINDOWS: u64 = 1000;
        let mut events = Events::new(2 * MS, u64::MAX, u64::MAX);
        (1..=WINDOWS)
            .for_each(|window| (0..PEERS).for_each(|peer| events.add(2 * MS * window, peer, Event::Tell(peer))));
        let mut ranks = [0; PEERS as usize];
        let order = all(events);
        for window in order.chunks(PEERS as usize) {
            for (rank, (_, event)) in window.iter().enumerate() {
                let Event::Tell(peer) = event else { continue };
                ranks[*peer as usize] += rank;
            }
        }
        let mean = |sum: &usize| sum / WINDOWS as usize;
        // 49.5, give or take four times what chance makes of a thousand.
        assert!(ranks.iter().map(mean).all(|mean| (45..=53).contains(&mean)), "{ranks:?}");
    }

    #[test]
    fn a_window_that_is_looked_at_or_shared_goes_in_the_order_of_time() {
        let expected = [(4 * MS, 2), (5 * MS, 1), (5 * MS + 1, 2)].map(|(at, peer)| (at, Event::Tell(peer)));
        let check = |look_every, last_look, is_shared: bool, is_by_time: bool| {
            let mut events = Events::new(2 * MS, look_every, last_look);
            expected.iter().rev().for_each(|(at, event)| {
                let Event::Tell(peer) = event else { return };
                events.add(*at, *peer, *event);
            });
            if is_shared {
                events.add(6 * MS - 1, 0, Event::Turn(0));
            }
            let order: Vec<_> = all(events).into_iter().take(3).collect();
            assert_eq!(order == expected, is_by_time, "{look_every}, {last_look}, {is_shared}: {order:?}");
        };
        check(u64::MAX, u64::MAX, false, false);
        check(u64::MAX, 6 * MS, false, false);
        check(7 * MS, u64::MAX, false, false);
        check(u64::MAX, 6 * MS - 1, false, true);
        check(2 * MS, u64::MAX, false, true);
        check(5 * MS, u64::MAX, false, true);
        check(u64::MAX, u64::MAX, true, true);
    }

    #[test]
    fn what_all_share_waits_for_the_end_of_turns() {
        let mut events = Events::new(2 * MS, u64::MAX, u64::MAX);
        assert_eq!(events.next_shared(5), 5, "the first window goes in the order of time");
        events.add(4 * MS, 1, Event::Tell(1));
        events.next();
        assert_eq!((events.next_shared(5 * MS), events.next_shared(7 * MS)), (6 * MS, 7 * MS));
    }
}

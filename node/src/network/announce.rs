//! When each of this node's own keys is announced: a schedule, pure of sockets and clocks.
//!
//! Each key is announced again some while before other nodes forget it, with jitter, so that keys which came together
//! drift apart. Few announcements run at a time and they start with a pause between, so that a node with many
//! contents does not flood the DHT when it starts. A key that nobody, or few, could be told about is announced again
//! as soon as the node knows more peers: a node that published before it knew anybody is still found.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use shoal_protocol::hash::DiscoveryKey;

use super::records::Random;

/// Announcements under way at a time.
const CONCURRENT: usize = 8;
/// The pause between the starts of two announcements that nobody waits for.
const PAUSE: Duration = Duration::from_millis(20);
/// How soon a key is announced again when nobody could be told, unless peers come first.
const RETRY: Duration = Duration::from_secs(60);
/// How soon after the table grew keys that few were told about are announced again; further growth within this time
/// costs nothing more.
const GROWN: Duration = Duration::from_secs(3);
/// How many nodes a key is announced to at most: Kademlia's k. Who was told about by that many need not hear again.
const ENOUGH: usize = 20;

/// The announcements to come.
pub(super) struct Schedule {
    every: Duration,
    limit: usize,
    keys: HashMap<DiscoveryKey, State>,
    queue: BTreeSet<(Instant, DiscoveryKey)>,
    running: usize,
    not_before: Option<Instant>,
    known_peers: usize,
    random: Random,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// When it is due; while it runs, none.
    due: Option<Instant>,
    /// How many nodes were told in the last round.
    told: usize,
}

/// No more keys are taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) limit: usize,
}

impl Schedule {
    pub(super) fn new(every: Duration, limit: usize) -> Self {
        Self {
            every,
            limit,
            keys: HashMap::new(),
            queue: BTreeSet::new(),
            running: 0,
            not_before: None,
            known_peers: 0,
            random: Random::new(),
        }
    }

    /// Keys that are announced.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Keys that somebody was told about in their last round.
    pub(super) fn told(&self) -> usize {
        self.keys.values().filter(|state| state.told > 0).count()
    }

    /// Announces a key from now on. A key that is known already is announced anew when `urgent`.
    pub(super) fn insert(&mut self, key: DiscoveryKey, now: Instant, urgent: bool) -> Result<(), Full> {
        match self.keys.get(&key) {
            Some(State { due: None, .. }) => {}
            Some(State { due: Some(_), .. }) if !urgent => {}
            Some(_) => self.set_due(key, now),
            None if self.keys.len() >= self.limit => return Err(Full { limit: self.limit }),
            None => {
                self.keys.insert(key, State { due: Some(now), told: 0 });
                self.queue.insert((now, key));
            }
        }
        Ok(())
    }

    /// Announces a key no more.
    pub(super) fn remove(&mut self, key: &DiscoveryKey) {
        match self.keys.remove(key) {
            Some(State { due: Some(due), .. }) => {
                self.queue.remove(&(due, *key));
            }
            Some(State { due: None, .. }) => self.running = self.running.saturating_sub(1),
            None => {}
        }
    }

    /// When [`start`](Self::start) has something to give next; none while as many run as may.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let (due, _) = self.queue.first().filter(|_| self.running < CONCURRENT)?;
        Some(self.not_before.map_or(*due, |pause| pause.max(*due)))
    }

    /// A key whose time has come. It counts as running until [`finished`](Self::finished).
    pub(super) fn start(&mut self, now: Instant) -> Option<DiscoveryKey> {
        if self.next_due()? > now {
            return None;
        }
        let (_, key) = self.queue.pop_first()?;
        let state = self.keys.get_mut(&key)?;
        state.due = None;
        self.running += 1;
        self.not_before = Some(now + PAUSE);
        Some(key)
    }

    /// An announcement is over: so many nodes were told.
    pub(super) fn finished(&mut self, key: DiscoveryKey, told: usize, now: Instant) {
        let Some(state) = self.keys.get_mut(&key).filter(|state| state.due.is_none()) else {
            return;
        };
        state.told = told;
        self.running = self.running.saturating_sub(1);
        let pause = match told {
            0 => RETRY,
            // More peers came while it ran.
            few if few < self.known_peers.min(ENOUGH) / 2 => RETRY,
            _ => self.every,
        };
        let due = now + self.random.jitter(pause);
        self.set_due(key, due);
    }

    /// The routing table has so many peers now.
    pub(super) fn handle_peers(&mut self, count: usize, now: Instant) {
        let grown = count > self.known_peers;
        self.known_peers = count;
        if !grown {
            return;
        }
        // In the order in which they were due: the queue is, and the nanosecond keeps it so.
        let hasten: Vec<(DiscoveryKey, Instant)> = (0..)
            .zip(&self.queue)
            .filter_map(|(at, (planned, key))| {
                let told = self.keys.get(key).filter(|state| state.told < count.min(ENOUGH))?.told;
                let soon = if told == 0 { now } else { now + GROWN };
                (*planned > soon).then_some((*key, soon + Duration::from_nanos(at)))
            })
            .collect();
        for (key, due) in hasten {
            self.set_due(key, due);
        }
    }

    fn set_due(&mut self, key: DiscoveryKey, due: Instant) {
        if let Some(state) = self.keys.get_mut(&key) {
            if let Some(old) = state.due.replace(due) {
                self.queue.remove(&(old, key));
            }
            self.queue.insert((due, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(6000);

    fn key(n: u8) -> DiscoveryKey {
        DiscoveryKey::from_bytes([n; 32])
    }

    /// Starts everything that is due until `now`, as the driver's timer would.
    fn run(schedule: &mut Schedule, now: &mut Instant, until: Instant, told: usize) -> Vec<DiscoveryKey> {
        let mut started = Vec::new();
        while let Some(due) = schedule.next_due().filter(|due| *due <= until) {
            *now = due.max(*now);
            let key = schedule.start(*now).unwrap();
            schedule.finished(key, told, *now);
            started.push(key);
        }
        *now = until;
        started
    }

    #[test]
    fn a_key_is_announced_at_once_and_then_regularly() {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(EVERY, 10);
        schedule.insert(key(1), now, true).unwrap();
        let day = now + Duration::from_secs(60_000);
        let rounds = run(&mut schedule, &mut now, day, 20).len();
        assert!((9..=12).contains(&rounds), "{rounds} rounds in ten intervals");
        assert_eq!((schedule.len(), schedule.told()), (1, 1));
    }

    #[test]
    fn what_nobody_was_told_goes_out_when_the_first_peer_comes() {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(EVERY, 100);
        for n in 0..50 {
            schedule.insert(key(n), now, false).unwrap();
        }
        let soon = now + Duration::from_secs(5);
        assert_eq!(run(&mut schedule, &mut now, soon, 0).len(), 50);
        assert!(schedule.next_due().unwrap() > now + Duration::from_secs(30));
        schedule.handle_peers(1, now);
        assert!(schedule.next_due().unwrap() - now < PAUSE, "at once");
        let soon = now + Duration::from_secs(2);
        assert_eq!(run(&mut schedule, &mut now, soon, 1).len(), 50, "paced, within a second");
        // Growth in steps makes one more round, not one a step.
        for peers in 2..10 {
            schedule.handle_peers(peers, now);
        }
        let soon = now + Duration::from_secs(10);
        assert_eq!(run(&mut schedule, &mut now, soon, 9).len(), 50);
        schedule.handle_peers(5, now);
        assert!(schedule.next_due().unwrap() > now + Duration::from_secs(60), "shrinking hastens nothing");
    }

    #[test]
    fn keys_keep_their_order_when_the_first_peer_comes() {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(EVERY, 100);
        let order = [7, 3, 9, 1, 8].map(key);
        for (at, key) in (0..).zip(order) {
            schedule.insert(key, now + Duration::from_nanos(at), false).unwrap();
        }
        // They wait, as before the node knows anybody.
        now += Duration::from_secs(1);
        schedule.handle_peers(1, now);
        let soon = now + Duration::from_secs(1);
        assert_eq!(run(&mut schedule, &mut now, soon, 0), order);
        // Nobody was told, and the jitter of the retry has mixed them; growth lets them go as they are due.
        let mut due: Vec<_> = order.iter().map(|key| (schedule.keys[key].due.unwrap(), *key)).collect();
        due.sort_unstable();
        schedule.handle_peers(2, now);
        let soon = now + Duration::from_secs(1);
        assert_eq!(run(&mut schedule, &mut now, soon, 2), due.iter().map(|(_, key)| *key).collect::<Vec<_>>());
    }

    #[test]
    fn few_run_at_a_time() {
        let now = Instant::now();
        let mut schedule = Schedule::new(EVERY, 100);
        for n in 0..50 {
            schedule.insert(key(n), now, false).unwrap();
        }
        let mut at = now;
        let mut running = Vec::new();
        while let Some(due) = schedule.next_due() {
            at = at.max(due);
            running.extend(schedule.start(at));
        }
        assert_eq!(running.len(), CONCURRENT);
        assert_eq!(at, now + PAUSE * 7);
        schedule.remove(&running[0]);
        assert!(schedule.next_due().is_some(), "a key that goes makes room");
        schedule.finished(running[0], 3, at);
        assert_eq!(schedule.len(), 49, "and stays away");
    }

    #[test]
    fn the_quota_holds_and_urgency_is_for_known_keys_too() {
        let now = Instant::now();
        let mut schedule = Schedule::new(EVERY, 2);
        schedule.insert(key(1), now, true).unwrap();
        schedule.insert(key(2), now, true).unwrap();
        assert_eq!(schedule.insert(key(3), now, true), Err(Full { limit: 2 }));
        assert_eq!(schedule.start(now), Some(key(1)));
        schedule.finished(key(1), 20, now);
        let later = now + Duration::from_secs(1);
        assert_eq!(schedule.start(later), Some(key(2)));
        schedule.insert(key(1), later, false).unwrap();
        assert!(schedule.next_due().unwrap() > later + Duration::from_secs(1000));
        schedule.insert(key(1), later, true).unwrap();
        assert_eq!(schedule.next_due(), Some(later + PAUSE));
    }
}

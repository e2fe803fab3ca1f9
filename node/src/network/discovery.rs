//! How a node finds its first peers: bootstrap addresses, tried until they answer.
//!
//! Pure of sockets: the driver dials what [`Bootstrap`] says and tells what came of it. An address that fails is tried
//! again after a pause that doubles up to a limit. When a node loses all its peers, every address is tried again.

use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId as LibPeerId};

use super::records::Random;
use super::{Address, BootstrapState, PeerId};

/// The pause after the first failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// How long questions to the DHT wait for bootstrap addresses to answer, from the start.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);
/// How long they wait for the local network when there are no bootstrap addresses.
const MDNS_PATIENCE: Duration = Duration::from_secs(2);

/// The bootstrap addresses and what became of each.
pub(super) struct Bootstrap {
    seeds: Vec<Seed>,
    started: Instant,
    mdns: bool,
    random: Random,
}

#[derive(Debug)]
struct Seed {
    address: Address,
    state: SeedState,
    failures: u32,
}

#[derive(Debug)]
enum SeedState {
    Due(Instant),
    Dialling(ConnectionId),
    Joined(LibPeerId),
    Failed { reason: String, retry: Instant },
}

impl Bootstrap {
    pub(super) fn new(addresses: Vec<Address>, mdns: bool, now: Instant) -> Self {
        let seed = |address| Seed { address, state: SeedState::Due(now), failures: 0 };
        Self { seeds: addresses.into_iter().map(seed).collect(), started: now, mdns, random: Random::new() }
    }

    /// When [`due`](Self::due) has something to give next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.seeds.iter().filter_map(Seed::due).min()
    }

    /// An address to dial now, and its number for [`started`](Self::started).
    pub(super) fn due(&self, now: Instant) -> Option<(usize, Multiaddr)> {
        let due = |seed: &Seed| seed.due().is_some_and(|due| due <= now);
        let (number, seed) = self.seeds.iter().enumerate().find(|(_, seed)| due(seed))?;
        Some((number, seed.address.libp2p().clone()))
    }

    /// The address with this number is being dialled.
    pub(super) fn started(&mut self, number: usize, connection: ConnectionId) {
        if let Some(seed) = self.seeds.get_mut(number) {
            seed.state = SeedState::Dialling(connection);
        }
    }

    /// A dial succeeded; says whether it was one of these.
    pub(super) fn handle_connected(&mut self, connection: ConnectionId, peer: LibPeerId) -> bool {
        let Some(seed) = self.dialled(connection) else { return false };
        seed.state = SeedState::Joined(peer);
        seed.failures = 0;
        true
    }

    /// A dial failed; says whether it was one of these.
    pub(super) fn handle_failed(&mut self, connection: ConnectionId, reason: &str, now: Instant) -> bool {
        let Some(seed) = self.dialled(connection) else { return false };
        seed.failures = seed.failures.saturating_add(1);
        let doubled = FIRST_PAUSE.saturating_mul(1 << (seed.failures - 1).min(16));
        let (address, failures) = (seed.address.clone(), seed.failures);
        tracing::info!(%address, failures, reason, "a bootstrap address does not answer");
        let retry = now + self.random.jitter(doubled.min(LONGEST_PAUSE));
        if let Some(seed) = self.dialled(connection) {
            seed.state = SeedState::Failed { reason: reason.to_owned(), retry };
        }
        true
    }

    /// The node has no connection left: every address is worth another try.
    pub(super) fn handle_alone(&mut self, now: Instant) {
        for seed in &mut self.seeds {
            if matches!(seed.state, SeedState::Joined(_)) {
                seed.state = SeedState::Due(now + FIRST_PAUSE);
            }
        }
    }

    /// Until when questions to the DHT had better wait for the first peer; none when there is nothing to wait for.
    pub(super) fn worth_waiting(&self, now: Instant) -> Option<Instant> {
        let trying =
            self.seeds.iter().any(|seed| seed.failures == 0 && !matches!(seed.state, SeedState::Failed { .. }));
        let until = if trying {
            self.started + JOIN_PATIENCE
        } else if self.mdns && self.seeds.is_empty() {
            self.started + MDNS_PATIENCE
        } else {
            return None;
        };
        Some(until).filter(|until| now < *until)
    }

    /// Each address and what became of it.
    pub(super) fn states(&self) -> Vec<(Address, BootstrapState)> {
        self.seeds.iter().map(|seed| (seed.address.clone(), seed.public_state())).collect()
    }

    fn dialled(&mut self, connection: ConnectionId) -> Option<&mut Seed> {
        self.seeds.iter_mut().find(|seed| matches!(seed.state, SeedState::Dialling(id) if id == connection))
    }
}

impl Seed {
    fn due(&self) -> Option<Instant> {
        match &self.state {
            SeedState::Due(due) | SeedState::Failed { retry: due, .. } => Some(*due),
            SeedState::Dialling(_) | SeedState::Joined(_) => None,
        }
    }

    fn public_state(&self) -> BootstrapState {
        match &self.state {
            SeedState::Due(_) | SeedState::Dialling(_) => BootstrapState::Dialling,
            SeedState::Joined(peer) => BootstrapState::Joined(PeerId::from_libp2p(*peer)),
            SeedState::Failed { reason, .. } => {
                BootstrapState::Failed { reason: reason.clone(), failures: self.failures }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> ConnectionId {
        ConnectionId::new_unchecked(n)
    }

    fn bootstrap(addresses: &[&str], mdns: bool, now: Instant) -> Bootstrap {
        Bootstrap::new(addresses.iter().map(|a| a.parse().unwrap()).collect(), mdns, now)
    }

    fn dial(bootstrap: &mut Bootstrap, now: Instant, connection: ConnectionId) {
        let (number, _) = bootstrap.due(now).unwrap();
        bootstrap.started(number, connection);
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        let mut now = Instant::now();
        let mut bootstrap = bootstrap(&["/ip4/192.0.2.1/tcp/1"], false, now);
        let mut pauses = Vec::new();
        for n in 0..12 {
            dial(&mut bootstrap, now, id(n));
            assert_eq!(bootstrap.due(now), None);
            assert!(bootstrap.handle_failed(id(n), "refused", now));
            let due = bootstrap.next_due().unwrap();
            pauses.push(due - now);
            now = due;
        }
        let within = |pause: Duration, around: u64| {
            let around = Duration::from_secs(around);
            pause >= around * 9 / 10 && pause <= around * 11 / 10
        };
        for (pause, around) in pauses.iter().zip([1, 2, 4, 8, 16, 32, 64, 120, 120, 120, 120, 120]) {
            assert!(within(*pause, around), "{pauses:?}");
        }
        let [(_, BootstrapState::Failed { failures: 12, .. })] = &bootstrap.states()[..] else {
            panic!("{:?}", bootstrap.states());
        };
    }

    #[test]
    fn joined_addresses_are_dialled_again_when_the_node_is_alone() {
        let now = Instant::now();
        let mut bootstrap = bootstrap(&["/ip4/192.0.2.1/tcp/1"], false, now);
        dial(&mut bootstrap, now, id(1));
        let peer = LibPeerId::random();
        assert!(!bootstrap.handle_connected(id(2), peer));
        assert!(bootstrap.handle_connected(id(1), peer));
        assert_eq!(bootstrap.next_due(), None);
        bootstrap.handle_alone(now);
        assert!(bootstrap.next_due().is_some());
    }

    #[test]
    fn questions_wait_only_while_there_is_hope() {
        let now = Instant::now();
        assert_eq!(bootstrap(&[], false, now).worth_waiting(now), None);
        assert!(bootstrap(&[], true, now).worth_waiting(now).is_some());
        assert_eq!(bootstrap(&[], true, now).worth_waiting(now + MDNS_PATIENCE), None);
        let mut two = bootstrap(&["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/1"], false, now);
        assert!(two.worth_waiting(now).is_some());
        assert_eq!(two.worth_waiting(now + JOIN_PATIENCE), None);
        dial(&mut two, now, id(1));
        two.handle_failed(id(1), "refused", now);
        assert!(two.worth_waiting(now).is_some(), "the other may answer");
        dial(&mut two, now, id(2));
        two.handle_failed(id(2), "refused", now);
        assert_eq!(two.worth_waiting(now), None);
    }
}

//! Questions to the DHT: announcements and lookups, held back until the node knows somebody.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::core::Endpoint;
use libp2p::kad::store::RecordStore;
use libp2p::kad::{self, ProviderRecord, QueryId, QueryStats, RecordKey};
use libp2p::swarm::{ConnectionId, NetworkBehaviour};
use libp2p::{Multiaddr, PeerId as LibPeerId};
use shoal_protocol::hash::DiscoveryKey;
use tokio::sync::mpsc;

use super::Driver;
use crate::network::announce::{Full, Schedule};
use crate::network::behaviour::Behaviour;
use crate::network::command::Reply;
use crate::network::records::{Random, Records};
use crate::network::status::{Announced, NewRecord, Provider};
use crate::network::{Address, NetworkError, PeerId, reach};

/// Lookups under way or held back at a time.
const MAX_LOOKUPS: usize = 256;
/// Who may wait for the announcement of one key.
const MAX_WAITERS: usize = 64;
/// Providers that one lookup tells apart; beyond, it has found enough.
const MAX_FOUND: usize = 1024;
/// Addresses of one peer in the routing table: twice as many as are taken from it at once.
const MAX_ROUTED: usize = 32;
/// How many nodes a record goes to: Kademlia's k.
const REPLICATION: usize = 20;

type Told = Result<Announced, NetworkError>;

/// What this node asks of the DHT.
pub(super) struct Dht {
    pub(super) schedule: Schedule,
    announcing: HashMap<QueryId, DiscoveryKey>,
    waiters: HashMap<DiscoveryKey, Vec<Reply<Told>>>,
    deferred: Vec<(DiscoveryKey, mpsc::Sender<Provider>)>,
    lookups: HashMap<QueryId, Lookup>,
}

struct Lookup {
    providers: mpsc::Sender<Provider>,
    /// Who was told already, and whether with addresses.
    found: HashMap<LibPeerId, bool>,
}

impl Dht {
    pub(super) fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
            announcing: HashMap::new(),
            waiters: HashMap::new(),
            deferred: Vec::new(),
            lookups: HashMap::new(),
        }
    }

    /// Announces a key; `reply` hears of the first round.
    pub(super) fn announce(&mut self, key: DiscoveryKey, reply: Reply<Told>, now: Instant) {
        let waiting = self.waiters.get(&key).map_or(0, Vec::len);
        let outcome = match self.schedule.insert(key, now, true) {
            Err(Full { limit }) => Err(NetworkError::TooManyAnnouncements { limit }),
            Ok(()) if waiting >= MAX_WAITERS => Err(NetworkError::Busy { what: "announcements of one content" }),
            Ok(()) => {
                self.waiters.entry(key).or_default().push(reply);
                return;
            }
        };
        // Whoever asked may have gone.
        let _ = reply.send(outcome);
    }

    /// Announces keys when their turn comes, in this order.
    pub(super) fn keep_announced(&mut self, keys: Vec<DiscoveryKey>, now: Instant) -> Result<(), NetworkError> {
        for (at, key) in (0..).zip(keys) {
            self.schedule
                .insert(key, now + Duration::from_nanos(at), false)
                .map_err(|Full { limit }| NetworkError::TooManyAnnouncements { limit })?;
        }
        Ok(())
    }

    /// Looks for providers as soon as that makes sense. If too many lookups run, this one ends with nothing.
    pub(super) fn find(&mut self, key: DiscoveryKey, providers: mpsc::Sender<Provider>) {
        if self.deferred.len() + self.lookups.len() < MAX_LOOKUPS {
            self.deferred.push((key, providers));
        } else {
            tracing::warn!("too many lookups are under way: one ends at once");
        }
    }

    /// Starts the lookups that were held back.
    pub(super) fn ask_deferred(&mut self, behaviour: &mut Behaviour) {
        for (key, providers) in std::mem::take(&mut self.deferred) {
            if providers.is_closed() {
                continue;
            }
            let mut lookup = Lookup { providers, found: HashMap::new() };
            let key = record_key(&key);
            // All that this node keeps for others, not only the sample that it would answer with.
            for (peer, addresses) in behaviour.kad.store_mut().all(&key, Instant::now()) {
                lookup.tell(peer, addresses.to_vec());
            }
            let query = behaviour.kad.get_providers(key);
            self.lookups.insert(query, lookup);
        }
    }

    /// Announces a key no more. Who waits for its announcement hears that nobody was told.
    pub(super) fn stop_announcing(&mut self, key: &DiscoveryKey, kad: &mut kad::Behaviour<Records>) {
        kad.stop_providing(&record_key(key));
        for (query, _) in self.announcing.extract_if(|_, announced| announced == key) {
            if let Some(mut query) = kad.query_mut(&query) {
                query.finish();
            }
        }
        self.schedule.remove(key);
        self.tell_waiters(key, 0);
    }

    fn tell_waiters(&mut self, key: &DiscoveryKey, told: usize) {
        for waiter in self.waiters.remove(key).into_iter().flatten() {
            // Whoever asked may have gone.
            let _ = waiter.send(Ok(Announced { told }));
        }
    }

    /// An announcement is over.
    fn finish_announcement(&mut self, key: DiscoveryKey, told: usize, now: Instant) {
        self.schedule.finished(key, told, now);
        self.tell_waiters(&key, told);
    }
}

impl Lookup {
    fn tell(&mut self, peer: LibPeerId, addresses: Vec<Multiaddr>) {
        let provider = provider(peer, addresses);
        let has_addresses = !provider.addresses.is_empty();
        let news = match self.found.get(&peer) {
            None => self.found.len() < MAX_FOUND,
            Some(had_addresses) => !had_addresses && has_addresses,
        };
        if !news {
            return;
        }
        self.found.insert(peer, has_addresses);
        if self.providers.try_send(provider).is_err() {
            tracing::debug!("nobody takes the providers that a lookup found: dropping one");
        }
    }
}

impl Driver {
    /// Starts the announcements whose time has come.
    pub(super) fn announce_due(&mut self, now: Instant) {
        while let Some(key) = self.dht.schedule.start(now) {
            match self.swarm.behaviour_mut().kad.start_providing(record_key(&key)) {
                Ok(query) => {
                    self.dht.announcing.insert(query, key);
                }
                Err(e) => {
                    tracing::warn!(error = %e, "cannot keep an own provider record");
                    self.dht.finish_announcement(key, 0, now);
                }
            }
        }
    }

    pub(super) fn handle_kad(&mut self, event: kad::Event) {
        match event {
            kad::Event::InboundRequest { request: kad::InboundRequest::AddProvider { record: Some(record) } } => {
                self.handle_record(record);
            }
            kad::Event::OutboundQueryProgressed { id, result, stats, step } => match result {
                kad::QueryResult::StartProviding(outcome) => {
                    if let Some(key) = self.dht.announcing.remove(&id) {
                        let told = outcome.map_or(0, |_| told(&stats));
                        self.dht.finish_announcement(key, told, Instant::now());
                    }
                }
                kad::QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders { providers, .. })) => {
                    self.handle_found(id, providers);
                    if step.last {
                        self.dht.lookups.remove(&id);
                    }
                }
                kad::QueryResult::GetProviders(_) => {
                    self.dht.lookups.remove(&id);
                }
                _ => {}
            },
            kad::Event::RoutingUpdated { .. } => self.update_dht_peers(),
            kad::Event::ModeChanged { new_mode } => tracing::info!(%new_mode, "the DHT's mode changed"),
            _ => {}
        }
    }

    /// Keeps a record, and tells of it. Its provider is the peer that sent it: Kademlia has checked that.
    fn handle_record(&mut self, record: ProviderRecord) {
        let (peer, addresses) = (record.provider, record.addresses.clone());
        let key = <[u8; 32]>::try_from(record.key.as_ref()).map(DiscoveryKey::from_bytes);
        match (self.swarm.behaviour_mut().kad.store_mut().add_provider(record), key) {
            (Err(e), _) => tracing::debug!(error = %e, "not keeping a provider record"),
            // An error means that nobody listens.
            (Ok(()), Ok(key)) => drop(self.records.send(NewRecord { key, provider: provider(peer, addresses) })),
            (Ok(()), Err(_)) => {}
        }
    }

    fn handle_found(&mut self, id: QueryId, providers: impl IntoIterator<Item = LibPeerId>) {
        let local = *self.swarm.local_peer_id();
        let kad = &mut self.swarm.behaviour_mut().kad;
        let Some(lookup) = self.dht.lookups.get_mut(&id) else { return };
        for peer in providers.into_iter().filter(|peer| *peer != local) {
            let named = self.peers.get(&peer).map(|peer| peer.addresses.clone()).unwrap_or_default();
            let known = known_addresses(kad, peer);
            lookup.tell(peer, known.into_iter().chain(named).collect());
        }
        if lookup.providers.is_closed() || lookup.found.len() >= MAX_FOUND {
            if let Some(mut query) = kad.query_mut(&id) {
                query.finish();
            }
            self.dht.lookups.remove(&id);
        }
    }

    /// Counts the routing table anew, and tells those who want to know.
    pub(super) fn update_dht_peers(&mut self) {
        let count = self.swarm.behaviour_mut().kad.kbuckets().map(|bucket| bucket.num_entries()).sum();
        self.dht_peers.send_if_modified(|known| std::mem::replace(known, count) != count);
        self.dht.schedule.handle_peers(count, Instant::now());
    }
}

/// The addresses that Kademlia knows of a peer: from its routing table, and from the answers to questions under way,
/// which is where the addresses of a provider are while it is being found. The library has no other way to read them
/// than to ask what it would dial.
pub(super) fn known_addresses(kad: &mut kad::Behaviour<Records>, peer: LibPeerId) -> Vec<Multiaddr> {
    let nobody = ConnectionId::new_unchecked(usize::MAX);
    kad.handle_pending_outbound_connection(nobody, Some(peer), &[], Endpoint::Dialer).unwrap_or_default()
}

/// At most so many peers of the routing table, chosen at random, with the addresses that it has of them.
pub(super) fn acquaintances(kad: &mut kad::Behaviour<Records>, limit: usize) -> Vec<(LibPeerId, Vec<Multiaddr>)> {
    let random = Random::new();
    let entry = |peer: LibPeerId, addresses: &kad::Addresses| (peer, addresses.iter().cloned().collect());
    let mut peers: Vec<_> = kad
        .kbuckets()
        .flat_map(|bucket| {
            let entries = bucket.iter().map(|known| entry(*known.node.key.preimage(), known.node.value));
            entries.collect::<Vec<_>>()
        })
        .collect();
    for at in 0..limit.min(peers.len()) {
        let other = at + random.below(peers.len() - at);
        peers.swap(at, other);
    }
    peers.truncate(limit);
    peers
}

/// Takes the addresses of a peer that answers into the routing table. What the peer said before is kept besides, since
/// an address that it does not name may be the one that works from here; but not without end, as a peer may say
/// something else every second.
pub(super) fn learn(kad: &mut kad::Behaviour<Records>, peer: LibPeerId, addresses: &[Multiaddr]) {
    for address in addresses {
        kad.add_address(&peer, address.clone());
    }
    let bucket = kad.kbucket(peer);
    let entry = bucket.as_ref().and_then(|bucket| bucket.iter().find(|entry| *entry.node.key.preimage() == peer));
    let Some(known) = entry.map(|entry| entry.node.value) else { return };
    let excess = known.len().saturating_sub(MAX_ROUTED);
    let old = known.iter().filter(|address| !addresses.contains(address)).take(excess);
    for address in old.cloned().collect::<Vec<_>>() {
        kad.remove_address(&peer, &address);
    }
}

/// A provider as others are told of it.
fn provider(peer: LibPeerId, addresses: Vec<Multiaddr>) -> Provider {
    let addresses = reach::worth_dialling(addresses, peer).into_iter().map(Address::from_libp2p).collect();
    Provider { peer: PeerId::from_libp2p(peer), addresses }
}

/// The key under which the DHT has a discovery key.
pub(in crate::network) fn record_key(key: &DiscoveryKey) -> RecordKey {
    RecordKey::new(key.as_bytes())
}

/// How many nodes an announcement went to. The library tells the requests of both its phases together: first it asks
/// for the nearest nodes, then it sends the record to those of them that answered, at most k, which counts as
/// success at once.
fn told(stats: &QueryStats) -> usize {
    let successes = usize::try_from(stats.num_successes()).unwrap_or(usize::MAX);
    if successes >= 2 * REPLICATION { REPLICATION } else { successes / 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::NetworkLimits;

    #[test]
    fn a_discovery_key_is_its_own_record_key() {
        let key = DiscoveryKey::from_bytes([7; 32]);
        assert_eq!(record_key(&key).as_ref(), key.as_bytes());
    }

    #[test]
    fn a_peer_that_moves_all_the_time_is_known_by_few_addresses() {
        let (local, peer) = (LibPeerId::random(), LibPeerId::random());
        let mut kad = kad::Behaviour::new(local, Records::new(local, &NetworkLimits::default()));
        let at = |port: u16| -> Multiaddr { format!("/ip4/192.0.2.1/tcp/{port}/p2p/{peer}").parse().unwrap() };
        for round in 0..100 {
            learn(&mut kad, peer, &[at(2 * round + 1), at(2 * round + 2)]);
            let known = known_addresses(&mut kad, peer);
            assert!(known.contains(&at(2 * round + 1)) && known.contains(&at(2 * round + 2)), "{known:?}");
            assert!(known.len() <= MAX_ROUTED, "{} addresses", known.len());
        }
        assert_eq!(known_addresses(&mut kad, peer).len(), MAX_ROUTED);
    }
}

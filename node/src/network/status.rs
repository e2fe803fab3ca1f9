//! What the network tells about itself: plain data for `status` and `peers`.

use std::time::Duration;

use shoal_protocol::hash::DiscoveryKey;

use super::{Address, PeerId, TransportKind};

/// What carries a stream or a connection, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// What carries it.
    pub transport: TransportKind,
    /// Whether it goes through a relay.
    pub relayed: bool,
    /// Whether the other side opened the connection.
    pub inbound: bool,
    /// The address at the other end.
    pub remote: Address,
}

impl Path {
    /// Better paths are smaller: direct before relayed, TCP before QUIC.
    pub(super) fn rank(&self) -> u8 {
        let transport = match self.transport {
            TransportKind::Tcp => 0,
            TransportKind::Quic => 1,
            TransportKind::Other => 2,
        };
        transport + if self.relayed { 4 } else { 0 }
    }
}

/// A peer that at least one connection is open with.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerInfo {
    /// The peer.
    pub peer: PeerId,
    /// The best connection: the one that transfers use.
    pub path: Path,
    /// How many connections are open with it.
    pub connections: usize,
    /// What the peer calls its program, once it said.
    pub agent: Option<String>,
    /// Round-trip time of the last ping that was answered.
    pub rtt: Option<Duration>,
    /// How long the oldest connection has stood.
    pub connected_for: Duration,
    /// Whether the peer belongs to this node's network, once it said.
    pub same_network: Option<bool>,
}

/// What a stranger's lookup of a key that this node announces came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sighting {
    /// Nodes that answered that this node is a provider. At most the 20 or so that are nearest to the key are asked.
    pub keepers: usize,
    /// Nodes nearest to the key that answered at all, at most 20.
    pub asked: usize,
}

/// Whether this node answers the DHT's queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DhtMode {
    /// It answers and keeps records for others.
    Server,
    /// It only asks: others cannot reach it.
    Client,
}

/// What became of one bootstrap address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootstrapState {
    /// Being dialled for the first time or again.
    Dialling,
    /// It answered; the peer there is known.
    Joined(PeerId),
    /// It did not answer, and will be tried again.
    Failed {
        /// Why.
        reason: String,
        /// How many times in a row.
        failures: u32,
    },
}

/// The network at a glance.
#[derive(Debug, Clone)]
pub struct NetworkStatus {
    /// Established connections.
    pub connections: usize,
    /// Peers that they lead to.
    pub connected_peers: usize,
    /// Peers in the DHT's routing table.
    pub dht_peers: usize,
    /// Whether this node answers queries.
    pub dht_mode: DhtMode,
    /// Each bootstrap address and what became of it.
    pub bootstrap: Vec<(Address, BootstrapState)>,
    /// Keys that this node announces.
    pub own_records: usize,
    /// Of these, keys that at least one other node was told about in the last round.
    pub own_records_told: usize,
    /// Provider records kept for others.
    pub foreign_records: usize,
    /// Addresses that others may reach this node at, each with `/p2p/…`.
    pub external_addresses: Vec<Address>,
    /// Inbound transfer streams that were refused because nobody took them in time, since the start.
    pub refused_streams: u64,
    /// Whether multicast DNS runs.
    pub mdns: bool,
}

/// What an announcement came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// How many other nodes the record was sent to. Nodes do not acknowledge records, so this is not a count of who
    /// keeps it. 0 when no other node is known yet: the key is announced as soon as one is.
    pub told: usize,
}

/// A peer that says it has a content, and where it may be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The peer.
    pub peer: PeerId,
    /// Its addresses, as far as they came with the record; may be empty.
    pub addresses: Vec<Address>,
}

/// A provider record that another node has just left at this one, for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// The key.
    pub key: DiscoveryKey,
    /// The node, which is up: it brought the record itself.
    pub provider: Provider,
}

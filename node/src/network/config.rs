//! What a [`Network`](super::Network) is started with.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use libp2p::StreamProtocol;

use super::{Address, Identity};

/// The longest name of a network.
pub const MAX_NETWORK_NAME_CHARS: usize = 64;

/// Everything that a network is started with.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// Who this node is.
    pub identity: Identity,
    /// The network it belongs to. Nodes of different networks neither share a DHT nor transfer to each other.
    pub network: NetworkName,
    /// Where to listen; port 0 lets the system choose. Empty: TCP and QUIC on every interface, ports of the system's
    /// choice, where a protocol that the machine lacks (IPv6) is passed over.
    pub listen: Vec<Address>,
    /// Addresses to give to others in place of those that this node listens on, which are then told to nobody: where a
    /// router or a relay in front of it is reached. Empty: those that it listens on.
    pub announce: Vec<Address>,
    /// Nodes to join the DHT through, with or without `/p2p/…`.
    pub bootstrap: Vec<Address>,
    /// Whether to look for nodes on the local network by multicast DNS, and be found so.
    pub mdns: bool,
    /// What this node calls its program towards others.
    pub agent: String,
    /// What is written to an inbound stream that cannot be taken, before it is closed: the transfer protocol's way of
    /// saying "busy". Empty: it is just closed.
    pub refusal: Bytes,
    /// Bounds on what others can cost this node.
    pub limits: NetworkLimits,
}

impl NetworkConfig {
    /// The defaults for a node with this identity: the network `main`, every interface, multicast DNS on, nobody to
    /// join through.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            network: NetworkName::default(),
            listen: Vec::new(),
            announce: Vec::new(),
            bootstrap: Vec::new(),
            mdns: true,
            agent: concat!("shoal/", env!("CARGO_PKG_VERSION")).to_owned(),
            refusal: Bytes::new(),
            limits: NetworkLimits::default(),
        }
    }
}

/// Bounds on what others can cost this node.
#[derive(Debug, Clone)]
pub struct NetworkLimits {
    /// Established connections in all.
    pub connections: u32,
    /// Of these, connections that others opened, so that they cannot keep this node from dialling.
    pub inbound_connections: u32,
    /// Connections with one peer: TCP, QUIC and a relayed one in both directions, and one more while one is replaced.
    pub connections_per_peer: u32,
    /// Handshakes under way, each way.
    pub pending_connections: u32,
    /// New connections are refused while the process uses more than this share of the machine's memory (0 to 1).
    pub memory_share: f64,
    /// Streams of one connection, both ways together. Each reserves 256 KiB of receive window.
    pub streams_per_connection: usize,
    /// Bytes that one connection's receive windows may grow by beyond what each stream starts with. 64 MiB carry
    /// 1 Gbit/s over 200 ms of round trip: twice the 25 MB in flight, since half a window is granted anew at a time.
    pub receive_window_bytes: usize,
    /// Inbound transfer streams that wait for the node to take them; what comes beyond is refused.
    pub inbound_streams: usize,
    /// Discovery keys that this node announces.
    pub own_records: usize,
    /// Provider records kept for others, with up to 8 addresses each.
    pub foreign_records: usize,
    /// Provider records kept for others under one key; the freshest stay.
    pub providers_per_key: usize,
    /// How long a provider record lives unless it is announced again.
    pub record_life: Duration,
    /// How often an own key is announced again. Some way under a third of the record's life, so that two failures in
    /// a row cost nothing.
    pub announce_every: Duration,
    /// How long a connection without streams is kept.
    pub idle_timeout: Duration,
}

impl Default for NetworkLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            inbound_connections: 768,
            connections_per_peer: 6,
            pending_connections: 128,
            memory_share: 0.9,
            streams_per_connection: 128,
            receive_window_bytes: 64 << 20,
            inbound_streams: 64,
            own_records: 1 << 20,
            foreign_records: 100_000,
            providers_per_key: 256,
            record_life: Duration::from_secs(6 * 3600),
            announce_every: Duration::from_secs(100 * 60),
            idle_timeout: Duration::from_secs(60),
        }
    }
}

/// The name of a network: 1 to 64 of `a-z`, `0-9`, `-`, `_` and `.`, since it stands in protocol names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NetworkName(String);

impl NetworkName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The protocol name of the network's DHT.
    pub(super) fn kad_protocol(&self) -> StreamProtocol {
        self.protocol("kad")
    }

    /// The protocol name of transfers between the network's nodes.
    pub(super) fn transfer_protocol(&self) -> StreamProtocol {
        self.protocol("transfer")
    }

    fn protocol(&self, what: &str) -> StreamProtocol {
        // The name cannot hold what a protocol name may not, and the text begins with a slash.
        StreamProtocol::try_from_owned(format!("/shoal/{}/{what}/1", self.0))
            .unwrap_or(StreamProtocol::new("/shoal/unnamed/1"))
    }
}

impl Default for NetworkName {
    fn default() -> Self {
        Self("main".to_owned())
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for NetworkName {
    type Err = NetworkNameError;

    fn from_str(text: &str) -> Result<Self, NetworkNameError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
        if let Some(found) = text.chars().find(|c| !allowed(*c)) {
            return Err(NetworkNameError::Character { found });
        }
        match text.len() {
            1..=MAX_NETWORK_NAME_CHARS => Ok(Self(text.to_owned())),
            chars => Err(NetworkNameError::Length { chars }),
        }
    }
}

/// Why a text is not the name of a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkNameError {
    /// Empty or too long.
    #[error("a network's name has 1 to {MAX_NETWORK_NAME_CHARS} characters, this has {chars}")]
    Length {
        /// How many it has.
        chars: usize,
    },
    /// A character that it cannot have.
    #[error("{found:?} cannot stand in a network's name (it has a-z, 0-9, '-', '_' and '.')")]
    Character {
        /// The first such character.
        found: char,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_into_protocol_names() {
        let name: NetworkName = "team-7.test_x".parse().unwrap();
        assert_eq!(name.kad_protocol().as_ref(), "/shoal/team-7.test_x/kad/1");
        assert_eq!(name.transfer_protocol().as_ref(), "/shoal/team-7.test_x/transfer/1");
        assert_eq!(NetworkName::default().as_str(), "main");
    }

    #[test]
    fn other_names_are_refused() {
        for bad in ["", "Main", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<NetworkName>().is_err(), "{bad:?}");
        }
    }
}

//! How a node is, and whom it knows.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shoal_protocol::hash::ContentHash;

use super::Progress;

/// Who a node is and where it listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The peer id.
    pub peer_id: String,
    /// Addresses to give to others, each with `/p2p/…`.
    pub addresses: Vec<String>,
}

/// A peer that a connection is open with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// The peer's id.
    pub peer: String,
    /// The address at the other end of the best connection.
    pub address: String,
    /// `tcp` or `quic`.
    pub transport: String,
    /// Whether the connection goes through a relay.
    pub relayed: bool,
    /// Whether the other side opened it.
    pub inbound: bool,
    /// What the peer calls its program.
    pub agent: Option<String>,
    /// Round-trip time of the last ping, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// For how long the connection has stood, in seconds.
    pub connected_seconds: u64,
    /// Chunk bytes taken from it since the node started.
    pub received_bytes: u64,
    /// Chunk bytes given to it since the node started.
    pub sent_bytes: u64,
}

/// A transfer under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransferInfo {
    /// The content.
    pub hash: ContentHash,
    /// The name it goes by.
    pub name: Option<String>,
    /// How far it is.
    pub progress: Progress,
    /// What it waits for, while nothing comes; stands here rather than in `progress`.
    pub waits_for: Option<String>,
}

/// A session in which this node serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServingInfo {
    /// Who is served.
    pub peer: String,
    /// The content.
    pub hash: ContentHash,
    /// What it does or waits for: `nothing` (it wants nothing), `sending`, `turn` (others come first), `limit` (a rate
    /// limit is used up) or `reader` (it does not read what it is sent).
    pub waits_for: String,
    /// How long it has spent at each of these, in milliseconds.
    pub waited_ms: BTreeMap<String, u64>,
    /// Bytes of chunks and manifest nodes that it has been sent.
    pub sent_bytes: u64,
    /// Chunks that it has been sent.
    pub sent_chunks: u64,
    /// Chunks that it wants and that are not on their way.
    pub wanted_chunks: u64,
    /// Chunks that it was told to get from others that had just got them.
    pub put_off_chunks: u64,
    /// Chunks that it took back in time.
    pub cancelled_chunks: u64,
    /// How often it was told to come again later.
    pub busy: u64,
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// Who it is and where it listens.
    pub identity: Identity,
    /// The network it belongs to.
    pub network: String,
    /// The folder it lives in.
    pub home: PathBuf,
    /// For how long it has run, in seconds.
    pub uptime_seconds: u64,
    /// Open connections.
    pub connections: u32,
    /// Peers in the DHT's routing table.
    pub dht_peers: u32,
    /// Whether the node answers DHT queries (`server`), only asks (`client`) or stays away from the network
    /// (`offline`).
    pub dht_mode: String,
    /// Discovery keys that this node announces.
    pub announced_keys: u64,
    /// Provider records that this node keeps for others.
    pub foreign_records: u64,
    /// Contents held.
    pub contents: u64,
    /// Chunks held.
    pub chunks: u64,
    /// Bytes of these chunks.
    pub payload_bytes: u64,
    /// Bytes that the store takes on disk.
    pub disk_bytes: u64,
    /// Chunk bytes taken from peers since the node started.
    pub received_bytes: u64,
    /// Chunk bytes given to peers since the node started.
    pub sent_bytes: u64,
    /// Sessions in which this node serves.
    pub serving_sessions: u32,
    /// These sessions, those that are sent the most first; 64 at most.
    #[serde(default)]
    pub serving: Vec<ServingInfo>,
    /// Fetches under way.
    pub fetches: Vec<TransferInfo>,
    /// What is wrong, one line each; empty when all is well.
    pub problems: Vec<String>,
    /// Counters by name, for those who plot them.
    pub counters: BTreeMap<String, u64>,
}

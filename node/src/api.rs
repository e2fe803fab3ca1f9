//! What a node is asked and what it answers, as plain data.
//!
//! These types are the node's public face, the bodies of its control API and the `--json` output of the command line,
//! so a field that is named here is a promise. Sizes are bytes, times are milliseconds of Unix time or, where a name
//! says so, seconds. Peers and addresses are text.

mod explain;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shoal_protocol::hash::ContentHash;

pub use explain::{Explained, FetchReport, FetchState, PeerFailure, PeerShare, PeerWork};

/// Asks to publish files and folders as one content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishRequest {
    /// Absolute paths. One file becomes a single-file manifest; one folder becomes its contents; several become a
    /// folder that holds each under its own last name.
    pub paths: Vec<PathBuf>,
    /// The name that goes into the link and the listing; default: the last name of the only path.
    pub name: Option<String>,
    /// Store only: neither announce nor wait for anybody.
    #[serde(default)]
    pub import_only: bool,
    /// Copy no file of 1 MiB or more: note where in it each chunk lies.
    #[serde(default)]
    pub in_place: bool,
}

/// What a publish made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The content hash.
    pub hash: ContentHash,
    /// A link with the name and addresses of this node.
    pub link: String,
    /// Bytes of the content.
    pub bytes: u64,
    /// Chunks of the content.
    pub chunks: u64,
    /// Bytes of chunks that this node did not hold before.
    pub new_bytes: u64,
    /// Files, empty folders and symbolic links; 1 for a single file.
    pub entries: u64,
    /// How many other nodes took the provider record; `None` when nothing was announced.
    pub announced_to: Option<u32>,
}

/// Asks to fetch a content to a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// What to fetch.
    pub hash: ContentHash,
    /// Where to put it: an absolute path that must not exist unless `force`. `None`: hold it in the store only.
    pub output: Option<PathBuf>,
    /// Addresses (with `/p2p/…`) of peers to ask besides those that the DHT names.
    #[serde(default)]
    pub peers: Vec<String>,
    /// The name for the listing.
    pub name: Option<String>,
    /// Most bytes a second to take in for this fetch.
    pub limit_down: Option<u64>,
    /// How long to look for a first provider, in milliseconds.
    pub timeout_ms: u64,
    /// Replace what stands at `output`.
    #[serde(default)]
    pub force: bool,
    /// Keep what is put at `output` as this node's copy of files of 1 MiB and more, instead of a second one.
    #[serde(default)]
    pub in_place: bool,
    /// Earlier contents that share chunks with it, 8 at most: their providers are asked for those, too.
    #[serde(default)]
    pub bases: Vec<ContentHash>,
    /// Whether nobody waits for it: then it leaves the memory for what is in flight to fetches that somebody waits for.
    #[serde(default)]
    pub background: bool,
}

/// What a fetch did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fetched {
    /// The content hash.
    pub hash: ContentHash,
    /// Where it was put.
    pub path: Option<PathBuf>,
    /// Bytes of the content.
    pub bytes: u64,
    /// Chunk bytes that came from peers and were kept.
    pub fetched_bytes: u64,
    /// Bytes that were held already or stand several times in the content.
    pub reused_bytes: u64,
    /// Chunk bytes that came from peers and were of no use (twice, unasked, wrong).
    pub wasted_bytes: u64,
    /// Bytes of manifest nodes that came from peers.
    pub manifest_bytes: u64,
    /// From the request to the finished, durable output.
    pub seconds: f64,
    /// What each peer gave.
    pub peers: Vec<PeerShare>,
}

/// Asks to hash again what is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyRequest {
    /// Only this content; `None`: everything, and the store's own tables.
    pub hash: Option<ContentHash>,
    /// Fetch anew what is damaged, and mend what can be mended from within.
    #[serde(default)]
    pub repair: bool,
    /// Most bytes a second to read. `None`: as fast as the disk gives them.
    pub rate: Option<u64>,
    /// Addresses (with `/p2p/…`) of peers to ask besides those that the DHT names.
    #[serde(default)]
    pub peers: Vec<String>,
    /// How long to look for a first provider of each content, in milliseconds.
    pub timeout_ms: u64,
}

/// What verifying has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Chunks and manifest nodes that were read and hashed.
    pub checked: u64,
    /// Their bytes.
    pub checked_bytes: u64,
    /// Chunks, nodes and parts of tables that are damaged or missing.
    pub damaged: u64,
    /// Those of them that are as they should be now.
    pub repaired: u64,
    /// What was damaged, one by one: the first 100.
    pub damage: Vec<DamageInfo>,
}

/// One thing that is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamageInfo {
    /// What it is.
    pub what: String,
    /// The file it lies in; empty if it lies nowhere any more.
    pub file: PathBuf,
    /// What about it is wrong.
    pub detail: String,
}

/// One line of a streamed answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<T> {
    /// How far it is; comes a few times a second.
    Progress(Progress),
    /// Something a person should know that ends nothing.
    Note {
        /// One line.
        message: String,
    },
    /// The result; nothing comes after it.
    Done(T),
    /// What went wrong; nothing comes after it.
    Error(Failure),
}

/// What a long operation is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Looking at what is to be published.
    #[default]
    Scanning,
    /// Reading, chunking, hashing and storing.
    Importing,
    /// Telling the DHT.
    Announcing,
    /// Looking for a first provider.
    Searching,
    /// Taking in the manifest.
    Manifest,
    /// Taking in chunks.
    Fetching,
    /// Writing what was held already, and making the output durable.
    Writing,
    /// Hashing again what is held.
    Verifying,
}

/// How far a long operation is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// What it is at.
    pub phase: Phase,
    /// Bytes of content done.
    pub done_bytes: u64,
    /// Bytes of content in all, once known.
    pub total_bytes: Option<u64>,
    /// Bytes a second, lately.
    pub rate: u64,
    /// Peers that a session is open with.
    pub peers: u32,
    /// Of these, peers that have everything.
    pub seeders: u32,
    /// What it waits for, while nothing comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// Which family an error belongs to; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Exit code 1.
    Failed,
    /// Exit code 2: what was asked makes no sense.
    Usage,
    /// Exit code 3: no provider has it, or none answered.
    NotFound,
    /// Exit code 4: what was found could not be verified.
    Integrity,
    /// Exit code 5: no space or no permission.
    Denied,
    /// Exit code 130: stopped on request, can be resumed.
    Interrupted,
}

/// An error as a person reads it: one line, with the causes beneath.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The family.
    pub kind: FailureKind,
    /// What happened, to what, and what to do next, in one line.
    pub message: String,
    /// The chain of causes, outermost first, for `-v`.
    #[serde(default)]
    pub causes: Vec<String>,
}

impl Failure {
    /// A failure with a message and no causes.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new() }
    }

    /// A failure whose message is the error's own and whose causes are its sources.
    pub fn from_error(kind: FailureKind, error: &dyn std::error::Error) -> Self {
        let causes = std::iter::successors(error.source(), |e| e.source()).map(ToString::to_string).collect();
        Self { kind, message: error.to_string(), causes }
    }
}

/// Who a node is and where it listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The peer id.
    pub peer_id: String,
    /// Addresses to give to others, each with `/p2p/…`.
    pub addresses: Vec<String>,
}

/// Asks to keep a content, fetching what is missing of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinRequest {
    /// The content.
    pub hash: ContentHash,
    /// Addresses (with `/p2p/…`) of peers to ask besides those that the DHT names.
    #[serde(default)]
    pub peers: Vec<String>,
    /// The name for the listing.
    pub name: Option<String>,
    /// How long to look for a first provider, in milliseconds.
    pub timeout_ms: u64,
}

/// A content is kept now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// The content hash.
    pub hash: ContentHash,
    /// Bytes of the content.
    pub bytes: u64,
    /// Chunk bytes that came from peers for it.
    pub fetched_bytes: u64,
}

/// Names a content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentRequest {
    /// The content.
    pub hash: ContentHash,
}

/// A content may be evicted now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpinned {
    /// The content hash.
    pub hash: ContentHash,
}

/// A content is not held any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The content hash.
    pub hash: ContentHash,
    /// Bytes of the disk that came back.
    pub reclaimed_bytes: u64,
}

/// Asks to give back room that nothing needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CollectRequest {
    /// Only say what would go.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a collection did, or with a dry run would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Collected {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Bytes of the disk that came back.
    pub reclaimed_bytes: u64,
    /// Segments that went because nothing in them was needed.
    pub dropped_segments: u64,
    /// Segments that went after what was needed of them had been copied.
    pub rewritten_segments: u64,
    /// Bytes that were copied for that.
    pub moved_bytes: u64,
    /// Bytes that contents need.
    pub live_bytes: u64,
    /// Bytes that nothing needs and that stay, as they are not worth the copying.
    pub garbage_bytes: u64,
}

/// How far this node holds a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentState {
    /// Not all of it yet.
    Partial,
    /// All of it.
    Complete,
}

/// One content in the listing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContentInfo {
    /// The content hash.
    pub hash: ContentHash,
    /// The name it was published or fetched under.
    pub name: Option<String>,
    /// Bytes of the content.
    pub bytes: u64,
    /// Bytes of it that this node holds.
    pub held_bytes: u64,
    /// Chunks of the content.
    pub chunks: u64,
    /// Files, empty folders and symbolic links; 1 for a single file.
    pub entries: u64,
    /// Whether all of it is held.
    pub state: ContentState,
    /// Whether it is kept from eviction.
    pub pinned: bool,
    /// When it came, in milliseconds of Unix time.
    pub created_ms: u64,
    /// When it was last published, fetched, read or served, in milliseconds of Unix time.
    pub last_used_ms: u64,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryType {
    /// A file.
    File,
    /// A file with the executable bit.
    Executable,
    /// A folder with nothing in it.
    EmptyFolder,
    /// A symbolic link.
    Symlink,
}

/// One entry of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryInfo {
    /// The path within the content; empty for a single file, which has no name of its own.
    pub path: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EntryType,
    /// Bytes of a file, 0 for the rest.
    pub bytes: u64,
    /// Where a symbolic link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Asks for the entries of a content, or of a folder in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntriesRequest {
    /// The content.
    pub hash: ContentHash,
    /// A path within it; empty for all.
    #[serde(default)]
    pub path: String,
    /// Peers to ask besides those that the DHT names.
    #[serde(default)]
    pub peers: Vec<String>,
    /// How long to look for a first provider, in milliseconds.
    pub timeout_ms: u64,
}

/// Asks for bytes of a content, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BytesRequest {
    /// The content.
    pub hash: ContentHash,
    /// A file's path within it; empty for a single file.
    #[serde(default)]
    pub path: String,
    /// First byte wanted; default 0.
    pub start: Option<u64>,
    /// Last byte wanted, itself included; default the last there is.
    pub end: Option<u64>,
    /// Peers to ask besides those that the DHT names.
    #[serde(default)]
    pub peers: Vec<String>,
    /// How long to look for a first provider, in milliseconds.
    pub timeout_ms: u64,
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

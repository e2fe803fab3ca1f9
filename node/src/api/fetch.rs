//! Fetching to a path.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shoal_protocol::hash::ContentHash;

use super::PeerShare;

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

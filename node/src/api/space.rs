//! What a node keeps and gives back.

use serde::{Deserialize, Serialize};
use shoal_protocol::hash::ContentHash;

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
    /// Bytes that nothing needs and that stay, because there is no room for copies of what is needed beside them.
    #[serde(default)]
    pub blocked_bytes: u64,
}

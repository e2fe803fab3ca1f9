//! What is held, and what is in it.

use serde::{Deserialize, Serialize};
use shoal_protocol::hash::ContentHash;

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

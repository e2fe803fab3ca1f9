//! Hashing again what is held.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shoal_protocol::hash::ContentHash;

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
    /// What was damaged, the objects of a file put together: the first 1,000 files and parts of tables.
    pub damage: Vec<DamageInfo>,
}

const fn one() -> u64 {
    1
}

/// Something that is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamageInfo {
    /// What it is.
    pub what: String,
    /// The file it lies in; empty if it lies nowhere any more.
    pub file: PathBuf,
    /// What about it is wrong.
    pub detail: String,
    /// How many chunks and manifest nodes in that file are damaged, of which this is the first; 1 for a part of a
    /// table.
    #[serde(default = "one")]
    pub count: u64,
}

//! Publishing.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shoal_protocol::hash::ContentHash;

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
    /// Return only once others find it, and fail when they do not within so many milliseconds. Not with `import_only`.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// Asks to publish bytes that come along with the request as one file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishStreamRequest {
    /// The name that goes into the link and the listing.
    pub name: Option<String>,
    /// Store only: neither announce nor wait for anybody.
    #[serde(default)]
    pub import_only: bool,
    /// Return only once others find it, and fail when they do not within so many milliseconds. Not with `import_only`.
    #[serde(default)]
    pub wait_ms: Option<u64>,
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
    /// How many other nodes named this node to a stranger who looked the content up; `None` when nobody waited for
    /// that.
    #[serde(default)]
    pub found_through: Option<u32>,
}

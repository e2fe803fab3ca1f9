//! What every long operation tells: how far it is, and what went wrong.

use serde::{Deserialize, Serialize};

use super::Failure;

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
    /// Waiting until others find what was announced.
    Confirming,
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

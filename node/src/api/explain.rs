//! What a fetch tells of itself: per peer and as a whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shoal_protocol::hash::ContentHash;

use super::Progress;

/// Why the fetches of a content are as fast or slow as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// The content.
    pub hash: ContentHash,
    /// Its fetches that run or have ended lately, the latest first.
    pub fetches: Vec<FetchReport>,
}

/// How a fetch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FetchState {
    /// It goes on.
    #[default]
    Running,
    /// It has got all that it was for.
    Done,
    /// It gave up.
    Failed,
    /// Whoever wanted it went away.
    Cancelled,
}

/// One fetch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FetchReport {
    /// What it is for: `fetch`, `repair`, `read` (bytes in order), `list` (entries) or `base` (the chunk list, for
    /// another fetch).
    pub purpose: String,
    /// How it stands.
    pub state: FetchState,
    /// Why it failed.
    pub error: Option<String>,
    /// When it began, in milliseconds of Unix time.
    pub started_ms: u64,
    /// For how long it has run, or ran.
    pub seconds: f64,
    /// How far it is.
    pub progress: Progress,
    /// What it waits for, if nothing moves.
    pub waits_for: Option<String>,
    /// Chunk bytes that came and were kept.
    pub fetched_bytes: u64,
    /// Chunk bytes that came and were of no use.
    pub wasted_bytes: u64,
    /// Bytes of manifest nodes that came.
    pub manifest_bytes: u64,
    /// Chunk bytes asked for that have not come.
    pub in_flight_bytes: u64,
    /// What may be in flight at most.
    pub budget_bytes: u64,
    /// Most bytes a second that it may take in.
    pub limit_down: Option<u64>,
    /// Chunks that are missing and that nobody has been asked for yet.
    pub unasked_chunks: u64,
    /// Peers that may have it, by who named them: `given`, `dht`, `swarm` (other sessions of this node), `hearsay`
    /// (other peers).
    pub candidates: BTreeMap<String, u32>,
    /// Of these, how many are being dialled.
    pub dialling: u32,
    /// Nodes of the DHT that can be asked.
    pub dht_peers: u32,
    /// Peers that there is no session with, and why: 32 at most.
    pub failures: Vec<PeerFailure>,
    /// Peers that there is or was a session with.
    pub peers: Vec<PeerShare>,
}

/// A peer that could not be used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerFailure {
    /// The peer's id.
    pub peer: String,
    /// Who named it.
    pub source: String,
    /// Failures in a row.
    pub failures: u32,
    /// What went wrong last.
    pub reason: String,
    /// When it is tried again, in seconds; `None`: not at all.
    pub again_in_seconds: Option<f64>,
}

/// What one peer gave to a fetch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerShare {
    /// The peer's id.
    pub peer: String,
    /// The address that the session ran over.
    pub address: String,
    /// Chunk bytes that were kept.
    pub bytes: u64,
    /// Chunks that were kept.
    pub chunks: u64,
    /// Chunk bytes of no use.
    pub wasted_bytes: u64,
    /// Why the session ended early, if it did.
    pub ended: Option<String>,
    /// How that went.
    #[serde(flatten)]
    pub work: PeerWork,
}

/// How the sessions with one peer went.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerWork {
    /// Sessions, one after the other.
    pub sessions: u32,
    /// What it does now or what it is waited with for: `receiving`, `nodes`, `no_availability`, `nothing_to_ask`,
    /// `budget`, `busy`, `back_off` or `probing`; `None`: no session is open.
    pub now: Option<String>,
    /// Seconds spent at each of these.
    pub waited: BTreeMap<String, f64>,
    /// Bytes a second as measured last; 0: not yet.
    pub rate: u64,
    /// The shortest round trip seen, in milliseconds.
    pub round_trip_ms: Option<f64>,
    /// What may be in flight from it.
    pub window_bytes: u64,
    /// What is in flight from it.
    pub in_flight_bytes: u64,
    /// Manifest nodes that it gave.
    pub nodes: u64,
    /// Chunks that it was asked for.
    pub asked_chunks: u64,
    /// Chunks taken back because it made no progress, was busy or went away.
    pub withdrawn_chunks: u64,
    /// Chunks taken back because another had them sooner.
    pub taken_over_chunks: u64,
    /// Chunks that it said not to have after all.
    pub declined_chunks: u64,
    /// How often it moved nothing for too long.
    pub deadlines_missed: u32,
    /// How often it said that it is busy.
    pub busy: u32,
}

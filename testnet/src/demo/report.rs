//! The outcome of a demo, as `--json` prints it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// All that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DemoReport {
    /// The nodes' names, in order.
    pub nodes: Vec<String>,
    /// What was published.
    pub published: Vec<DemoPublish>,
    /// Every fetch, in the order of their ends.
    pub fetches: Vec<DemoFetch>,
    /// The provider that was killed.
    pub killed: String,
    /// How far the watched fetch was at that moment, in bytes.
    pub killed_at_bytes: u64,
    /// Files, links and empty folders that were compared with the originals.
    pub checked_items: u64,
    /// Bytes that were compared with the originals.
    pub checked_bytes: u64,
    /// From the start of the first node to the end of the last.
    pub seconds: f64,
}

/// One published thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DemoPublish {
    /// `folder` or `file`.
    pub what: String,
    /// Its content hash.
    pub hash: String,
    /// Its bytes.
    pub bytes: u64,
    /// Its chunks.
    pub chunks: u64,
}

/// One fetch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DemoFetch {
    /// The node that fetched.
    pub node: String,
    /// `folder` or `file`.
    pub what: String,
    /// Bytes of the content.
    pub bytes: u64,
    /// Bytes that came from peers and were kept.
    pub fetched_bytes: u64,
    /// Bytes that came from peers and were of no use.
    pub wasted_bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Bytes from each node, by its name.
    pub from: BTreeMap<String, u64>,
}

impl DemoReport {
    /// What each node received from each other node, over all fetches.
    pub(super) fn received(&self) -> BTreeMap<&str, BTreeMap<&str, u64>> {
        let mut all: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for fetch in &self.fetches {
            let row = all.entry(&fetch.node).or_default();
            for (from, bytes) in &fetch.from {
                *row.entry(from).or_default() += bytes;
            }
        }
        all
    }
}

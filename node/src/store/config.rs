//! The store's knobs.

use std::time::Duration;

/// How the store spends memory and when it commits. The defaults are the measured ones of `docs/decisions/0002`.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// A commit group is written once it holds this many bytes (default 2 MiB). Larger groups mean fewer syncs and
    /// more memory: each writer keeps 2.5 times this in its cache.
    pub group_bytes: usize,
    /// … or once its first object has waited this long (default 200 ms), which bounds how long an object that comes
    /// alone is not yet durable.
    pub group_delay: Duration,
    /// Segments open for append, each with a thread of its own (default 6): a thread waits for the disk for two thirds
    /// of its time, and others copy meanwhile.
    pub writers: usize,
    /// Payload a segment takes before it is sealed (default 1,008 MiB, which keeps its file under 1 GiB).
    pub segment_bytes: u64,
    /// Bytes handed in and not yet copied into a segment (default 3 groups); beyond that, putting waits.
    pub queue_bytes: usize,
    /// Cache of the index (default 8 MiB): lookups beyond it go to the system's page cache.
    pub index_cache_bytes: usize,
    /// Cache of each sealed segment that is open for reading (default 1 MiB).
    pub segment_cache_bytes: usize,
    /// Sealed segments kept open for reading (default 8); others are opened when asked for, which takes under 1 ms.
    pub open_segments: usize,
    /// Most bytes of the disk that the home may take, in blocks and with everything in it (default: no limit). Segments
    /// then have at most a sixteenth of it, and contents that nobody pinned go when it is reached.
    pub quota: Option<u64>,
    /// Groups between two durable commits of the index (default 32): what an unclean end makes the next start replay.
    pub index_commit_groups: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        let group_bytes = 2 << 20;
        Self {
            group_bytes,
            group_delay: Duration::from_millis(200),
            writers: 6,
            segment_bytes: 1008 << 20,
            queue_bytes: 3 * group_bytes,
            index_cache_bytes: 8 << 20,
            segment_cache_bytes: 1 << 20,
            open_segments: 8,
            quota: None,
            index_commit_groups: 32,
        }
    }
}

impl StoreConfig {
    /// The same with segments and groups that suit the quota.
    pub(super) fn fitted(&self) -> Self {
        let Some(quota) = self.quota else { return self.clone() };
        let file_bytes = quota / 16;
        let group_bytes = self.group_bytes.min(usize::try_from(file_bytes / 8).unwrap_or(usize::MAX)).max(1);
        // The last group may go a little beyond, and redb takes its share.
        let segment_bytes = file_bytes - file_bytes / 16 - 2 * group_bytes as u64;
        Self {
            group_bytes,
            segment_bytes: self.segment_bytes.min(segment_bytes),
            queue_bytes: self.queue_bytes.min(3 * group_bytes),
            ..self.clone()
        }
    }
}

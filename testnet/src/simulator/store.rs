//! What a virtual peer holds: chunks and manifest nodes, and when they are durable.
//!
//! As in the node: a group is committed once it holds so many bytes or its first chunk has waited so long, and while
//! others wait for what is fetched as soon as the last such commit is so long ago. Only what is durable is told to
//! others and served.

use std::collections::VecDeque;
use std::time::Duration;

use shoal_protocol::availability::{Availability, ChunkIndex, ChunkRange, push_index};

use super::events::{Nanos, nanos};

/// When chunks become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durability {
    /// A group is committed once it holds so much. Default 4 MiB, as the node's store.
    pub group_bytes: u64,
    /// … or once its first chunk has waited so long. Default 200 ms, likewise.
    pub group_delay: Duration,
    /// … or while anybody has a session for it, so long after it was last done for that. Default 50 ms, as the node's
    /// fetches.
    pub awaited_delay: Duration,
    /// How long the disk takes for a commit. Default 10 ms.
    pub commit: Duration,
}

impl Default for Durability {
    fn default() -> Self {
        Self {
            group_bytes: 4 << 20,
            group_delay: Duration::from_millis(200),
            awaited_delay: Duration::from_millis(50),
            commit: Duration::from_millis(10),
        }
    }
}

/// The chunks and nodes of one peer.
#[derive(Debug)]
pub(super) struct Store {
    durability: Durability,
    /// What is durable.
    pub(super) held: Availability,
    /// Nodes that are held, by their place.
    pub(super) nodes: Vec<bool>,
    open: Vec<u32>,
    open_bytes: u64,
    /// When the open group was opened, and when it is due.
    opened: Nanos,
    due: Option<Nanos>,
    /// When a group was last closed because others waited for it.
    hurried: Option<Nanos>,
    closing: VecDeque<Vec<u32>>,
}

/// What is to be waited for after a chunk was put.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// A group was opened and is due then.
    Opened(Nanos),
    /// A group was closed and is durable then.
    Closed(Nanos),
    /// Nothing new.
    Added,
}

impl Store {
    pub(super) fn new(durability: Durability, held: Availability, nodes: Vec<bool>) -> Self {
        Self {
            durability,
            held,
            nodes,
            open: Vec::new(),
            open_bytes: 0,
            opened: 0,
            due: None,
            hurried: None,
            closing: VecDeque::new(),
        }
    }

    /// Takes a verified chunk in, for which others may wait.
    pub(super) fn put(&mut self, index: u32, bytes: u64, is_awaited: bool, now: Nanos) -> Put {
        self.open.push(index);
        self.open_bytes += bytes;
        if self.open_bytes >= self.durability.group_bytes {
            return Put::Closed(self.close(now));
        }
        if self.open.len() == 1 {
            self.opened = now;
            let due = if is_awaited { self.hurry_at() } else { self.full_at() };
            self.due = Some(due);
            return Put::Opened(due);
        }
        Put::Added
    }

    /// Others wait from now on; gives when the open group is due, if that is sooner.
    pub(super) fn awaited(&mut self, now: Nanos) -> Option<Nanos> {
        let sooner = self.hurry_at().max(now);
        self.due.filter(|due| sooner < *due)?;
        self.due = Some(sooner);
        self.due
    }

    fn full_at(&self) -> Nanos {
        self.opened + nanos(self.durability.group_delay)
    }

    /// When the open group is due if others wait for it.
    fn hurry_at(&self) -> Nanos {
        let next = self.hurried.map_or(0, |last| last + nanos(self.durability.awaited_delay));
        self.opened.max(next).min(self.full_at())
    }

    /// The open group may be due; gives when it is durable if it is.
    pub(super) fn group_due(&mut self, now: Nanos) -> Option<Nanos> {
        self.due.filter(|due| *due <= now)?;
        if now < self.full_at() {
            self.hurried = Some(now);
        }
        Some(self.close(now))
    }

    /// Closes the open group, if there is anything in it; gives when it is durable.
    pub(super) fn flush(&mut self, now: Nanos) -> Option<Nanos> {
        (!self.open.is_empty()).then(|| self.close(now))
    }

    fn close(&mut self, now: Nanos) -> Nanos {
        self.closing.push_back(std::mem::take(&mut self.open));
        self.open_bytes = 0;
        self.due = None;
        now + nanos(self.durability.commit)
    }

    /// The oldest closed group is durable: these chunks are.
    pub(super) fn durable(&mut self) -> Vec<ChunkRange> {
        let mut group = self.closing.pop_front().unwrap_or_default();
        group.sort_unstable();
        let mut ranges = Vec::new();
        for index in group {
            push_index(&mut ranges, ChunkIndex(u64::from(index)));
        }
        for range in &ranges {
            self.held.insert_range(*range);
        }
        ranges
    }

    /// Everything is there, and durable.
    pub(super) fn fill(&mut self, chunks: u64) {
        self.held = Availability::all(chunks);
        self.nodes.fill(true);
    }

    /// What was taken in is durable at once.
    pub(super) fn settle(&mut self) {
        self.closing.push_back(std::mem::take(&mut self.open));
        while !self.closing.is_empty() {
            self.durable();
        }
        self.crash();
    }

    /// Whether everything that was taken in is durable.
    pub(super) fn is_settled(&self) -> bool {
        self.open.is_empty() && self.closing.is_empty()
    }

    /// What is not durable is lost.
    pub(super) fn crash(&mut self) {
        self.open.clear();
        self.open_bytes = 0;
        self.due = None;
        self.closing.clear();
    }

    /// Everything is lost.
    pub(super) fn wipe(&mut self, chunks: u64) {
        self.crash();
        self.held = Availability::new(chunks);
        self.nodes.fill(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_durable_when_it_is_full_or_old_and_lost_before() {
        let mut store = Store::new(Durability::default(), Availability::new(100), Vec::new());
        assert_eq!(store.put(7, 1 << 20, false, 1000), Put::Opened(200_001_000));
        assert_eq!(store.put(6, 2 << 20, true, 1000), Put::Added);
        assert_eq!(store.put(3, 1 << 20, false, 2000), Put::Closed(10_002_000));
        assert_eq!(store.group_due(300_000_000), None);
        assert!(store.held.is_empty());
        let range = |start, count| ChunkRange { start: ChunkIndex(start), count };
        assert_eq!(store.durable(), [range(3, 1), range(6, 2)]);
        assert_eq!(store.held.len(), 3);
        // What others wait for is due at once, and the next 50 ms later.
        assert_eq!(store.put(8, 5, true, 0), Put::Opened(0));
        assert_eq!(store.group_due(0), Some(10_000_000));
        assert_eq!(store.durable(), [range(8, 1)]);
        assert_eq!(store.put(10, 5, false, 20_000_000), Put::Opened(220_000_000));
        assert_eq!((store.awaited(30_000_000), store.awaited(30_000_000)), (Some(50_000_000), None));
        assert_eq!(store.group_due(49_999_999), None);
        assert_eq!(store.group_due(50_000_000), Some(60_000_000));
        assert_eq!(store.durable(), [range(10, 1)]);
        store.put(9, 5, false, 300_000_000);
        assert_eq!(store.group_due(499_999_999), None);
        assert_eq!(store.group_due(500_000_000), Some(510_000_000));
        store.crash();
        assert_eq!((store.durable(), store.held.len()), (Vec::new(), 5));
    }
}

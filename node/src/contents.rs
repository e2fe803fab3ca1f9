//! What is being fetched right now, so that it can be served at the same time.
//!
//! A fetch registers its content here once it knows the root node, and tells which chunks have become durable. A
//! serving session takes a snapshot and subscribes to what comes after it, without a gap between the two.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_protocol::availability::{Availability, ChunkIndex, ChunkRange};
use shoal_protocol::hash::{ContentHash, DiscoveryKey};
use shoal_protocol::manifest::Root;
use tokio::sync::broadcast::{self, error::RecvError};

/// News that a subscriber may lag behind before it has to take a new snapshot.
const NEWS: usize = 1024;

/// A content that is being fetched.
#[derive(Debug)]
pub(crate) struct Live {
    /// Its hash.
    pub(crate) hash: ContentHash,
    /// Its root node.
    pub(crate) root: Root,
    /// Which of its chunks are durable. A std mutex: each section is a few bit operations.
    availability: Mutex<Availability>,
    news: broadcast::Sender<ChunkRange>,
}

impl Live {
    /// Which chunks are durable now, and a receiver of those that become so from now on.
    pub(crate) fn subscribe(&self) -> (Availability, broadcast::Receiver<ChunkRange>) {
        let availability = self.lock();
        (availability.clone(), self.news.subscribe())
    }

    /// Notes that chunks have become durable.
    pub(crate) fn add(&self, range: ChunkRange) {
        let mut availability = self.lock();
        availability.insert_range(range);
        // Nobody listening is fine: whoever comes next takes a snapshot.
        let _ = self.news.send(range);
    }

    /// Whether a chunk is durable.
    pub(crate) fn has(&self, index: ChunkIndex) -> bool {
        self.lock().contains(index)
    }

    /// Waits until a chunk is durable.
    pub(crate) async fn wait_for(&self, index: ChunkIndex) {
        let (availability, mut news) = self.subscribe();
        let mut is_here = availability.contains(index);
        while !is_here {
            match news.recv().await {
                Ok(range) => is_here = (range.start.0..range.end()).contains(&index.0),
                Err(RecvError::Lagged(_)) => is_here = self.has(index),
                // Cannot be: the sender is a field of this very value.
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Availability> {
        self.availability.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The contents that are being fetched.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contents {
    /// A std mutex: each section is one map operation.
    live: Arc<Mutex<HashMap<DiscoveryKey, Arc<Live>>>>,
}

impl Contents {
    /// Makes a content known for as long as the answer lives.
    pub(crate) fn register(&self, hash: ContentHash, root: Root, held: Availability) -> Registration {
        let (news, _) = broadcast::channel(NEWS);
        let live = Arc::new(Live { hash, root, availability: Mutex::new(held), news });
        let key = hash.discovery_key();
        self.lock().insert(key, Arc::clone(&live));
        Registration { contents: self.clone(), key, live }
    }

    /// The content with this discovery key, if it is being fetched.
    pub(crate) fn find(&self, key: &DiscoveryKey) -> Option<Arc<Live>> {
        self.lock().get(key).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DiscoveryKey, Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a content known; dropping it ends that.
#[derive(Debug)]
pub(crate) struct Registration {
    contents: Contents,
    key: DiscoveryKey,
    /// The content.
    pub(crate) live: Arc<Live>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut live = self.contents.lock();
        if live.get(&self.key).is_some_and(|known| Arc::ptr_eq(known, &self.live)) {
            live.remove(&self.key);
        }
    }
}

//! Small contents that were published or served lately: all that a session of one needs to begin, in memory.
//!
//! What has just been published is asked for next, and by many. To read it from the disk for each of them takes two
//! turns of a thread that may block, and hashes anew what was hashed a moment ago. What is kept here was read from the
//! store and checked then; once anything at all has gone from the store, or was found damaged, nothing that was read
//! before is used any more. Of files that the user keeps nothing is ever here: they may change without a word.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use shoal_protocol::availability::Availability;
use shoal_protocol::hash::{ContentHash, DiscoveryKey};
use shoal_protocol::manifest::Root;
use tokio::task::spawn_blocking;

use super::Serving;
use super::beginning::{Beginning, MOST_BYTES};
use super::content::{Known, Served};
use crate::contents::Contents;
use crate::store::Store;

/// What all that is kept may take, in bytes.
const MOST_KEPT_BYTES: usize = 1 << 20;
/// What a content takes besides its frames, reckoned high.
const ENTRY_BYTES: usize = 512;

/// A content of which all is held and fits its beginning.
#[derive(Debug)]
pub(super) struct Small {
    pub(super) hash: ContentHash,
    root: Root,
    pub(super) beginning: Beginning,
}

/// The small contents that are kept.
#[derive(Debug, Default)]
pub(crate) struct Beginnings {
    /// A std mutex: each section is a look-up or an insertion.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    contents: HashMap<DiscoveryKey, Arc<Small>>,
    /// The one that came first goes first.
    order: VecDeque<DiscoveryKey>,
    bytes: usize,
    /// How many losses the store had had before these were read.
    losses: u64,
}

impl Small {
    /// What a session of it serves.
    pub(super) fn served(&self) -> Served {
        let availability = Availability::all(self.root.chunks);
        Served { hash: self.hash, root: self.root.clone(), availability, news: None }
    }

    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.beginning.bytes.len()
    }
}

impl Beginnings {
    /// The content behind a discovery key, if it is kept and the store has lost nothing since it was read.
    pub(super) fn find(&self, store: &Store, key: &DiscoveryKey) -> Option<Arc<Small>> {
        self.kept().as_of(store.losses())?.contents.get(key).map(Arc::clone)
    }

    /// Keeps the content that is served so, if it is small and the store has copies of its own; others make room for
    /// it. `losses` is what the store said before anything of it was looked up.
    pub(super) fn keep(&self, served: &Served, beginning: &Beginning, losses: u64) {
        // What is being fetched changes, and soon comes here as something that is stored.
        if served.news.is_some() || !beginning.is_kept_whole {
            return;
        }
        // Not the buffer that it was read into, which may be twice as large.
        let bytes = Bytes::copy_from_slice(&beginning.bytes);
        let beginning = Beginning { bytes, ..beginning.clone() };
        let small = Small { hash: served.hash, root: served.root.clone(), beginning };
        if let Some(kept) = self.kept().as_of(losses) {
            kept.add(small.hash.discovery_key(), small);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// These, without what was read before so many losses; `None` if there have been more already.
    fn as_of(&mut self, losses: u64) -> Option<&mut Self> {
        if losses > self.losses {
            *self = Self { losses, ..Self::default() };
        }
        (losses == self.losses).then_some(self)
    }

    fn add(&mut self, key: DiscoveryKey, small: Small) {
        self.bytes += small.bytes();
        match self.contents.insert(key, Arc::new(small)) {
            // Another session has read it at the same time.
            Some(same) => self.bytes -= same.bytes(),
            None => self.order.push_back(key),
        }
        while self.bytes > MOST_KEPT_BYTES
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.contents.remove(&oldest).map_or(0, |small| small.bytes());
        }
    }
}

impl Serving {
    /// A small content that was published or served lately, and of which nothing is being fetched now.
    pub(super) fn small(&self, key: &DiscoveryKey) -> Option<Arc<Small>> {
        if self.contents.has(key) { None } else { self.beginnings.find(&self.store, key) }
    }

    /// Has what was just published at hand, if it is small: it is likely to be asked for next.
    pub(crate) async fn have_at_hand(&self, hash: &ContentHash, bytes: u64) {
        if bytes > MOST_BYTES as u64 {
            return;
        }
        let (store, contents) = (self.store.clone(), self.contents.clone());
        let (beginnings, key) = (Arc::clone(&self.beginnings), hash.discovery_key());
        let read = move || read(&store, &contents, &beginnings, &key);
        // Without it the first who asks waits for the disk.
        let _ = spawn_blocking(read).await;
    }
}

fn read(store: &Store, contents: &Contents, beginnings: &Beginnings, key: &DiscoveryKey) {
    let losses = store.losses();
    if let Ok(Some(known)) = Known::look_up(contents, store, key)
        && let Ok(Some(served)) = Served::open(store, known)
    {
        beginnings.keep(&served, &Beginning::read(store, &served), losses);
    }
}

#[cfg(test)]
mod tests;

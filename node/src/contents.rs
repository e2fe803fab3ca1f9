//! What is being fetched right now, so that it can be served at the same time.
//!
//! A fetch registers its content here once it knows the root node, and tells which chunks have become durable. Fetches
//! of the same content share one entry, which goes away with the last of them. A serving session takes a snapshot and
//! subscribes to what comes after it, without a gap between the two; it holds nothing of the entry, so that it learns
//! when the last fetch ends: its news are closed then.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
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
    hash: ContentHash,
    root: Root,
    /// A std mutex: each section is a few bit operations.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What others are told: what is durable, and what a record says is held even if it has not been looked at yet.
    told: Availability,
    /// Chunks that a fetch has found or made durable: what readers wait for.
    durable: Availability,
    news: NewsState,
}

/// Who is told of what becomes durable.
#[derive(Debug)]
enum NewsState {
    /// Nobody has subscribed yet.
    Unheard,
    Told(broadcast::Sender<ChunkRange>),
    /// The last fetch is over.
    Over,
}

impl NewsState {
    /// What comes from now on; `None` once it is over.
    fn subscribe(&mut self) -> Option<broadcast::Receiver<ChunkRange>> {
        match self {
            Self::Unheard => {
                let (sender, news) = broadcast::channel(NEWS);
                *self = Self::Told(sender);
                Some(news)
            }
            Self::Told(sender) => Some(sender.subscribe()),
            Self::Over => None,
        }
    }
}

impl Live {
    /// Notes that chunks have become durable.
    pub(crate) fn add(&self, range: ChunkRange) {
        let mut state = self.lock();
        state.told.insert_range(range);
        state.durable.insert_range(range);
        if let NewsState::Told(news) = &state.news {
            // Nobody listening is fine: whoever comes next takes a snapshot.
            let _ = news.send(range);
        }
    }

    /// Whether anybody waits for what becomes durable: a peer that is being served, or a reader.
    pub(crate) fn is_awaited(&self) -> bool {
        matches!(&self.lock().news, NewsState::Told(news) if news.receiver_count() > 0)
    }

    /// Whether a chunk is durable.
    pub(crate) fn has(&self, index: ChunkIndex) -> bool {
        self.lock().durable.contains(index)
    }

    /// Waits until a chunk is durable, or no fetch brings it any more.
    pub(crate) async fn wait_for(&self, index: ChunkIndex) {
        loop {
            let mut news = {
                let mut state = self.lock();
                if state.durable.contains(index) {
                    return;
                }
                let Some(news) = state.news.subscribe() else { return };
                news
            };
            loop {
                match news.recv().await {
                    Ok(range) if (range.start.0..range.end()).contains(&index.0) => return,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_) | RecvError::Closed) => break,
                }
            }
        }
    }

    fn subscribe(&self) -> Option<Subscription> {
        let mut state = self.lock();
        let news = state.news.subscribe()?;
        Some(Subscription { hash: self.hash, root: self.root.clone(), availability: state.told.clone(), news })
    }

    /// Takes in what one more fetch says is held.
    fn merge(&self, held: &Availability) {
        let mut state = self.lock();
        let before = state.told.len();
        for part in held.parts() {
            state.told.insert_part(&part);
        }
        if state.told.len() > before {
            // That may be more than news can carry. Closing them sends subscribers for a new snapshot.
            state.news = NewsState::Unheard;
        }
    }

    fn end(&self) {
        self.lock().news = NewsState::Over;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A snapshot of a content that is being fetched, and what comes after it.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// Its hash.
    pub(crate) hash: ContentHash,
    /// Its root node.
    pub(crate) root: Root,
    /// Which of its chunks are held now.
    pub(crate) availability: Availability,
    /// Those that become durable from now on. Lagging or closed: look the content up anew.
    pub(crate) news: broadcast::Receiver<ChunkRange>,
}

/// A live content and how many fetches have it registered.
#[derive(Debug)]
struct Registered {
    live: Arc<Live>,
    fetches: usize,
}

/// The contents that are being fetched.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contents {
    /// A std mutex: each section is one map operation. Taken before that of a [`Live`].
    live: Arc<Mutex<HashMap<DiscoveryKey, Registered>>>,
}

impl Contents {
    /// Makes a content known for as long as the answer lives. `held` is what the caller knows to be held already.
    pub(crate) fn register(&self, hash: ContentHash, root: Root, held: Availability) -> Registration {
        let key = hash.discovery_key();
        let live = match self.lock().entry(key) {
            Entry::Occupied(mut known) => {
                known.get_mut().fetches += 1;
                known.get().live.merge(&held);
                Arc::clone(&known.get().live)
            }
            Entry::Vacant(place) => {
                let durable = Availability::new(root.chunks);
                let state = State { told: held, durable, news: NewsState::Unheard };
                let live = Arc::new(Live { hash, root, state: Mutex::new(state) });
                place.insert(Registered { live: Arc::clone(&live), fetches: 1 });
                live
            }
        };
        Registration { contents: self.clone(), key, live }
    }

    /// Whether a content is being fetched.
    pub(crate) fn has(&self, key: &DiscoveryKey) -> bool {
        self.lock().contains_key(key)
    }

    /// A snapshot of a content and what comes after it, if it is being fetched.
    pub(crate) fn subscribe(&self, key: &DiscoveryKey) -> Option<Subscription> {
        self.lock().get(key)?.live.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DiscoveryKey, Registered>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a content known; dropping the last one of a content ends that.
#[derive(Debug)]
pub(crate) struct Registration {
    contents: Contents,
    key: DiscoveryKey,
    /// The content.
    pub(crate) live: Arc<Live>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut contents = self.contents.lock();
        if let Some(known) = contents.get_mut(&self.key) {
            known.fetches -= 1;
            if known.fetches == 0 {
                contents.remove(&self.key);
                self.live.end();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_protocol::hash::NodeId;
    use shoal_protocol::manifest::ContentKind;
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;

    const CHUNKS: u64 = 10_000;

    fn root() -> Root {
        let (chunk_root, entry_root) = (Some(NodeId::of(b"chunks")), None);
        Root { kind: ContentKind::File, bytes: 1, chunks: CHUNKS, entries: 0, small_bytes: 0, chunk_root, entry_root }
    }

    fn register(contents: &Contents, held: Availability) -> Registration {
        contents.register(root().content_hash(), root(), held)
    }

    #[test]
    fn fetches_of_one_content_share_it_until_the_last_ends() {
        let contents = Contents::default();
        let key = root().content_hash().discovery_key();
        let first = register(&contents, Availability::new(CHUNKS));
        assert!(!first.live.is_awaited());
        let mut session = contents.subscribe(&key).unwrap();
        assert!(first.live.is_awaited());
        let second = register(&contents, Availability::new(CHUNKS));
        drop(first);
        second.live.add(ChunkRange::one(ChunkIndex(7)));
        assert_eq!(session.news.try_recv(), Ok(ChunkRange::one(ChunkIndex(7))));
        assert!(contents.has(&key));
        let reader = Arc::clone(&second.live);
        drop(second);
        assert_eq!(session.news.try_recv(), Err(TryRecvError::Closed), "while a reader still has the content");
        assert!(!contents.has(&key));
        assert!(reader.has(ChunkIndex(7)));
    }

    #[test]
    fn what_is_held_already_is_told_at_once_but_readers_wait_until_it_is_found() {
        let contents = Contents::default();
        let key = root().content_hash().discovery_key();
        let first = register(&contents, Availability::new(CHUNKS));
        let mut session = contents.subscribe(&key).unwrap();
        let second = register(&contents, Availability::all(CHUNKS));
        assert!(Arc::ptr_eq(&first.live, &second.live));
        assert_eq!(session.news.try_recv(), Err(TryRecvError::Closed), "it is sent for a new snapshot");
        assert!(contents.subscribe(&key).unwrap().availability.is_complete());
        assert!(!second.live.has(ChunkIndex(3)));
    }

    #[tokio::test]
    async fn a_reader_waits_through_a_merge_and_until_the_end() {
        let contents = Contents::default();
        let first = register(&contents, Availability::new(CHUNKS));
        let live = Arc::clone(&first.live);
        let reader = tokio::spawn(async move {
            live.wait_for(ChunkIndex(3)).await;
            live.wait_for(ChunkIndex(4)).await;
        });
        tokio::task::yield_now().await;
        let second = register(&contents, Availability::all(CHUNKS));
        tokio::task::yield_now().await;
        assert!(!reader.is_finished());
        second.live.add(ChunkRange::one(ChunkIndex(3)));
        tokio::task::yield_now().await;
        assert!(!reader.is_finished());
        drop((first, second));
        reader.await.unwrap();
    }
}

//! What a session serves: a content that is held whole, in part, or being fetched right now.

use std::sync::Arc;

use shoal_protocol::availability::{Availability, ChunkRange};
use shoal_protocol::hash::{ContentHash, DiscoveryKey};
use shoal_protocol::manifest::Root;
use tokio::sync::broadcast;

use super::Serving;
use crate::contents::Live;
use crate::manifests::{ManifestReadError, held, read_root};
use crate::store::{ContentState, Store};

/// A content that can be served, and what is there of it.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) hash: ContentHash,
    pub(super) root: Root,
    pub(super) availability: Availability,
    /// Present while the content is being fetched: news of chunks that have become durable.
    pub(super) live: Option<(Arc<Live>, broadcast::Receiver<ChunkRange>)>,
}

impl Served {
    /// Finds what stands behind a discovery key. `None`: nothing that this node holds.
    pub(super) async fn find(serving: &Serving, key: DiscoveryKey) -> Result<Option<Self>, ManifestReadError> {
        if let Some(live) = serving.contents.find(&key) {
            let (availability, news) = live.subscribe();
            let (hash, root) = (live.hash, live.root.clone());
            return Ok(Some(Self { hash, root, availability, live: Some((live, news)) }));
        }
        let store = serving.store.clone();
        tokio::task::spawn_blocking(move || stored(&store, &key)).await.unwrap_or(Ok(None))
    }
}

fn stored(store: &Store, key: &DiscoveryKey) -> Result<Option<Served>, ManifestReadError> {
    let Some(record) = store.manifest_by_key(key)? else {
        return Ok(None);
    };
    let Some(root) = read_root(store, &record.hash)? else {
        return Ok(None);
    };
    let availability = match record.state {
        ContentState::Complete => Availability::all(root.chunks),
        ContentState::Fetching => held(store, &root)?.availability,
    };
    Ok(Some(Served { hash: record.hash, root, availability, live: None }))
}

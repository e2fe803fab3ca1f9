//! What a session serves: a content that is held whole, in part, or being fetched right now.

use std::sync::Arc;

use shoal_protocol::availability::{Availability, ChunkIndex, ChunkRange};
use shoal_protocol::hash::{ContentHash, DiscoveryKey};
use shoal_protocol::manifest::Root;
use tokio::sync::broadcast;

use super::Serving;
use crate::contents::Live;
use crate::manifests::{ChunkRows, ManifestReadError, read_root};
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
            let (hash, root) = (live.hash, live.root);
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
        ContentState::Fetching => held(store, root)?,
    };
    Ok(Some(Served { hash: record.hash, root, availability, live: None }))
}

/// Which chunks of a content the store holds, as far as its chunk list is held. Blocks on the disk.
pub(crate) fn held(store: &Store, root: Root) -> Result<Availability, ManifestReadError> {
    let mut availability = Availability::none(root.chunks);
    let mut rows = ChunkRows::new(store.clone(), root);
    let mut next = 0;
    while next < root.chunks {
        let Some(leaf) = rows.leaf_at(ChunkIndex(next))? else {
            break;
        };
        let ids: Vec<_> = leaf.rows.iter().map(|row| row.id).collect();
        for (index, held) in (leaf.first..).zip(store.holds_chunks(&ids)?) {
            if held {
                availability.set(ChunkIndex(index));
            }
        }
        next = leaf.first + ids.len() as u64;
    }
    Ok(availability)
}

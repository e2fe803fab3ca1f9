//! What a session serves: a content that is held whole, in part, or being fetched right now.

use shoal_protocol::availability::Availability;
use shoal_protocol::hash::{ContentHash, DiscoveryKey};
use shoal_protocol::manifest::Root;
use tokio::task::spawn_blocking;

use super::Serving;
use super::news::News;
use crate::clock::unix_ms;
use crate::contents::{Contents, Subscription};
use crate::manifests::{ManifestReadError, held, read_root};
use crate::store::{ContentState, ManifestRecord, Store};

/// A content that stands behind a discovery key. What there is of it has not been looked at yet, for that may cost a
/// walk over its manifest.
#[derive(Debug)]
pub(super) enum Known {
    /// It is being fetched.
    Live(Box<Subscription>),
    /// The store has a record of it.
    Stored(Box<ManifestRecord>),
}

/// A content that can be served, and what is there of it.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) hash: ContentHash,
    pub(super) root: Root,
    pub(super) availability: Availability,
    /// Present while the content is being fetched.
    pub(super) news: Option<News>,
}

impl Known {
    /// Finds what stands behind a discovery key. `None`: nothing that this node holds. Blocks.
    pub(super) fn look_up(
        contents: &Contents,
        store: &Store,
        key: &DiscoveryKey,
    ) -> Result<Option<Self>, ManifestReadError> {
        if let Some(live) = contents.subscribe(key) {
            return Ok(Some(Self::Live(Box::new(live))));
        }
        Ok(store.manifest_by_key(key)?.map(|record| Self::Stored(Box::new(record))))
    }

    /// The same, on a thread that may block.
    pub(super) async fn find(serving: &Serving, key: DiscoveryKey) -> Result<Option<Self>, ManifestReadError> {
        let (contents, store) = (serving.contents.clone(), serving.store.clone());
        spawn_blocking(move || Self::look_up(&contents, &store, &key)).await.unwrap_or(Ok(None))
    }

    pub(super) fn hash(&self) -> &ContentHash {
        match self {
            Self::Live(live) => &live.hash,
            Self::Stored(record) => &record.hash,
        }
    }
}

impl Served {
    /// Looks at what is there of a content. `None`: not even its root. Blocks.
    pub(super) fn open(store: &Store, known: Known) -> Result<Option<Self>, ManifestReadError> {
        store.note_use(*known.hash(), unix_ms());
        match known {
            Known::Live(live) => {
                let Subscription { hash, root, availability, news } = *live;
                Ok(Some(Self { hash, root, availability, news: Some(News::new(news)) }))
            }
            Known::Stored(record) => stored(store, &record),
        }
    }

    /// Finds out anew what is there. `None`: it is not known any more.
    pub(super) async fn find(serving: &Serving, key: DiscoveryKey) -> Result<Option<Self>, ManifestReadError> {
        let (contents, store) = (serving.contents.clone(), serving.store.clone());
        let find = move || match Known::look_up(&contents, &store, &key)? {
            Some(known) => Self::open(&store, known),
            None => Ok(None),
        };
        spawn_blocking(find).await.unwrap_or(Ok(None))
    }
}

fn stored(store: &Store, record: &ManifestRecord) -> Result<Option<Served>, ManifestReadError> {
    let Some(root) = read_root(store, &record.hash)? else {
        return Ok(None);
    };
    let availability = match record.state {
        ContentState::Complete => Availability::all(root.chunks),
        ContentState::Fetching | ContentState::Damaged => held(store, &root)?.availability,
    };
    Ok(Some(Served { hash: record.hash, root, availability, news: None }))
}

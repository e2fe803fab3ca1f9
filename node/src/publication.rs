//! What comes of a request to publish: the content is imported, announced, and named by a link.

use std::time::Duration;

use bytes::Bytes;
use shoal_protocol::hash::ContentHash;
use shoal_protocol::link::Link;
use shoal_protocol::manifest::ContentKind;
use tokio::task::spawn_blocking;

use crate::api::{Failure, Phase, Progress, PublishRequest, PublishStreamRequest, Published};
use crate::config::DEFAULT_NETWORK;
use crate::control::Items;
use crate::node::Inner;
use crate::operation::Reporter;
use crate::publish::scan::{last_name, scan};
use crate::publish::{Input, PublishError, import};

/// How long a publish waits for the DHT before it says that the announcement goes on in the background.
const ANNOUNCE_PATIENCE: Duration = Duration::from_secs(20);
/// Addresses that go into a link.
const LINK_PEERS: usize = 4;

/// What is the same for all that is published.
struct Publication {
    name: Option<String>,
    /// Bytes to be read, if that is known.
    total_bytes: Option<u64>,
    in_place: bool,
    import_only: bool,
}

impl Inner {
    /// Publishes files and folders.
    pub(crate) async fn publish(&self, request: PublishRequest, reporter: &Reporter) -> Result<Published, Failure> {
        let paths = request.paths;
        let scanned = spawn_blocking(move || -> Result<_, PublishError> {
            let name = match paths.as_slice() {
                [only] => last_name(only).ok(),
                _ => None,
            };
            Ok((scan(&paths)?, name))
        });
        let (scan, name) = scanned.await.map_err(|_| PublishError::Broken)??;
        let publication = Publication {
            name: request.name.or(name),
            total_bytes: Some(scan.bytes()),
            in_place: request.in_place,
            import_only: request.import_only,
        };
        self.publish_input(Input::Paths(scan), publication, reporter).await
    }

    /// Publishes what comes, as one file.
    pub(crate) async fn publish_stream(
        &self,
        request: PublishStreamRequest,
        bytes: Items<Bytes>,
        reporter: &Reporter,
    ) -> Result<Published, Failure> {
        let PublishStreamRequest { name, import_only } = request;
        let publication = Publication { name, total_bytes: None, in_place: false, import_only };
        self.publish_input(Input::of_stream(bytes), publication, reporter).await
    }

    async fn publish_input(
        &self,
        input: Input,
        publication: Publication,
        reporter: &Reporter,
    ) -> Result<Published, Failure> {
        let Publication { name, total_bytes, in_place, import_only } = publication;
        let tell = |phase, done_bytes| {
            reporter.progress.send_replace(Progress { phase, done_bytes, total_bytes, ..Progress::default() });
        };
        let tell_import = |done| tell(Phase::Importing, done);
        let imported = import(&self.store, input, name.clone(), in_place, tell_import).await?;
        let root = &imported.root;
        let mut announced_to = None;
        if !import_only {
            tell(Phase::Announcing, root.bytes);
            announced_to = self.announce(imported.hash, reporter).await;
        }
        Ok(Published {
            hash: imported.hash,
            link: self.link(imported.hash, name),
            bytes: root.bytes,
            chunks: root.chunks,
            new_bytes: imported.new_bytes,
            entries: if root.kind == ContentKind::File { 1 } else { root.entries },
            announced_to,
        })
    }

    /// Tells the DHT; says how many nodes were told, if that is over in time. The content is stored whatever comes of
    /// it, and its hash must not be lost.
    async fn announce(&self, hash: ContentHash, reporter: &Reporter) -> Option<u32> {
        let announce = self.network.announce(hash.discovery_key());
        let note = match tokio::time::timeout(ANNOUNCE_PATIENCE, announce).await {
            Ok(Ok(announced)) => return Some(u32::try_from(announced.told).unwrap_or(u32::MAX)),
            Ok(Err(error)) => format!("not announced: {error}"),
            Err(_) => "announcing takes long and goes on in the background".to_owned(),
        };
        // Nobody may be listening.
        let _ = reporter.notes.try_send(note);
        None
    }

    /// A link to a content, with addresses of this node as hints.
    fn link(&self, hash: ContentHash, name: Option<String>) -> String {
        let mut link = Link::new(hash);
        link.name = name;
        link.peers = self.identity().addresses.into_iter().take(LINK_PEERS).collect();
        link.network = Some(self.config.network.name.clone()).filter(|name| name != DEFAULT_NETWORK);
        link.to_string()
    }
}

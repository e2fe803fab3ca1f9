//! What comes of a request to publish: the content is imported, announced, and named by a link.

use std::time::Duration;

use bytes::Bytes;
use shoal_protocol::hash::ContentHash;
use shoal_protocol::link::Link;
use shoal_protocol::manifest::ContentKind;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout_at};

use crate::api::{Failure, FailureKind, Phase, Progress, PublishRequest, PublishStreamRequest, Published};
use crate::config::DEFAULT_NETWORK;
use crate::control::Items;
use crate::network::{NetworkError, Sighting};
use crate::node::Inner;
use crate::operation::Reporter;
use crate::publish::scan::{last_name, scan};
use crate::publish::{Input, PublishError, import};

/// How long a publish waits for the DHT before it says that the announcement goes on in the background.
const ANNOUNCE_PATIENCE: Duration = Duration::from_secs(20);
/// Addresses that go into a link.
const LINK_PEERS: usize = 4;

/// How many other nodes must name this one to a stranger, if there are so many.
const SEVERAL: usize = 3;
/// The pause between two lookups by strangers.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The longest that a publish waits until others find it.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What is the same for all that is published.
struct Publication {
    name: Option<String>,
    /// Bytes to be read, if that is known.
    total_bytes: Option<u64>,
    in_place: bool,
    import_only: bool,
    wait: Option<Duration>,
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
        if !request.in_place {
            self.store.check_fits(scan.bytes())?;
        }
        let publication = Publication {
            name: request.name.or(name),
            total_bytes: Some(scan.bytes()),
            in_place: request.in_place,
            import_only: request.import_only,
            wait: request.wait_ms.map(Duration::from_millis),
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
        let PublishStreamRequest { name, import_only, wait_ms } = request;
        let wait = wait_ms.map(Duration::from_millis);
        let publication = Publication { name, total_bytes: None, in_place: false, import_only, wait };
        self.publish_input(Input::of_stream(bytes), publication, reporter).await
    }

    async fn publish_input(
        &self,
        input: Input,
        publication: Publication,
        reporter: &Reporter,
    ) -> Result<Published, Failure> {
        let Publication { name, total_bytes, in_place, import_only, wait } = publication;
        if import_only && wait.is_some() {
            return Err(Failure::new(
                FailureKind::Usage,
                "what is only stored is announced to nobody: wait for nothing",
            ));
        }
        let tell = |phase, done_bytes| {
            reporter.progress.send_replace(Progress { phase, done_bytes, total_bytes, ..Progress::default() });
        };
        let tell_import = |done| tell(Phase::Importing, done);
        let imported = import(&self.store, input, name.clone(), in_place, tell_import).await?;
        let root = &imported.root;
        self.serving.have_at_hand(&imported.hash, root.bytes).await;
        let (mut announced_to, mut found_through) = (None, None);
        if !import_only {
            tell(Phase::Announcing, root.bytes);
            announced_to = self.announce(imported.hash, reporter).await;
            if let Some(patience) = wait {
                tell(Phase::Confirming, root.bytes);
                found_through = Some(self.wait_until_found(imported.hash, patience).await?);
            }
        }
        Ok(Published {
            hash: imported.hash,
            link: self.link(imported.hash, name),
            bytes: root.bytes,
            chunks: root.chunks,
            new_bytes: imported.new_bytes,
            entries: if root.kind == ContentKind::File { 1 } else { root.entries },
            announced_to,
            found_through,
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

    /// Waits until a stranger who looks the content up hears of this node from several others, or from all that
    /// answer if they are fewer; says from how many. In between, the record is sent anew.
    async fn wait_until_found(&self, hash: ContentHash, patience: Duration) -> Result<u32, Failure> {
        let key = hash.discovery_key();
        let unknown = |error: NetworkError| {
            let message = format!("{hash} is stored, but it is not known whether others find it: {error}");
            Failure::new(FailureKind::Failed, message)
        };
        let deadline = Instant::now() + patience.min(LONGEST_WAIT);
        let mut last = Sighting::default();
        loop {
            let Ok(sighting) = timeout_at(deadline, self.network.look_up_as_stranger(key)).await else { break };
            last = sighting.map_err(unknown)?;
            if last.keepers >= last.asked.clamp(1, SEVERAL) {
                return Ok(u32::try_from(last.keepers).unwrap_or(u32::MAX));
            }
            let again = async {
                sleep(LOOK_AGAIN).await;
                self.network.announce(key).await
            };
            match timeout_at(deadline, again).await {
                Ok(announced) => drop(announced.map_err(unknown)?),
                Err(_) => break,
            }
        }
        let Sighting { keepers, asked } = last;
        let message = format!(
            "{hash} is stored and announced, but after {patience:?} {keepers} of {asked} nodes that a stranger asks name \
             this node; `shoal peers` shows who is connected, and the same command looks again"
        );
        Err(Failure::new(FailureKind::Failed, message))
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

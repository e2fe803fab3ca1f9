//! What a [`Node`] answers when it is asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use shoal_protocol::engine::Priority;
use shoal_protocol::hash::ContentHash;
use shoal_protocol::link::Link;
use shoal_protocol::manifest::{self, EntryKind, EntryPath, PlacedEntry};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;

use crate::api::{
    BytesRequest, CollectRequest, Collected, ContentInfo, ContentRequest, ContentState, EntriesRequest, EntryInfo,
    EntryType, Explained, Failure, FailureKind, FetchRequest, Fetched, Identity, PeerInfo, Phase, PinRequest, Pinned,
    Progress, PublishRequest, Published, Removed, Status, TransferInfo, Unpinned, Verified, VerifyRequest,
};
use crate::config::DEFAULT_NETWORK;
use crate::control::{Events, Items, Service};
use crate::fetch::{FetchError, Goal, Job, OutputPlan, Reader, distinct_bases};
use crate::manifests::{held, read_root};
use crate::network::{Address, BootstrapState, DhtMode, NetworkError, PeerId};
use crate::node::{Inner, Node};
use crate::operation::Reporter;
use crate::output::{Leftovers, Output};
use crate::publish::scan::{last_name, scan};
use crate::publish::{PublishError, import};
use crate::read::read_in_order;
use crate::store::{self, ManifestRecord, Store};
use crate::verify::verify;

/// How long a publish waits for the DHT before it says that the announcement goes on in the background.
const ANNOUNCE_PATIENCE: Duration = Duration::from_secs(20);
/// Addresses that go into a link.
const LINK_PEERS: usize = 4;
/// Entries and bytes that may wait for a reader.
const READ_QUEUE: usize = 16;

impl Service for Node {
    async fn identity(&self) -> Result<Identity, Failure> {
        Ok(self.inner.identity())
    }

    async fn status(&self) -> Result<Status, Failure> {
        self.inner.status().await
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>, Failure> {
        let peers = self.inner.network.peers().await.map_err(network_failure)?;
        Ok(peers.iter().map(|peer| self.inner.peer_info(peer)).collect())
    }

    async fn contents(&self) -> Result<Vec<ContentInfo>, Failure> {
        let store = self.inner.store.clone();
        let listed = spawn_blocking(move || -> Result<_, FetchError> {
            store.manifests()?.iter().map(|record| content_info(&store, record)).collect()
        });
        Ok(listed.await.map_err(|_| FetchError::Broken)??)
    }

    async fn explain(&self, hash: ContentHash) -> Result<Explained, Failure> {
        let fetches = self.inner.fetching.reports.of(&hash);
        if fetches.is_empty() {
            let what = format!("no fetch of {hash} runs on this node, and none has in the last ten minutes");
            return Err(Failure::new(FailureKind::NotFound, what));
        }
        Ok(Explained { hash, fetches })
    }

    fn publish(&self, request: PublishRequest) -> Events<Published> {
        let inner = Arc::clone(&self.inner);
        self.inner.operations.events(None, |reporter| async move { inner.publish(request, &reporter).await })
    }

    fn fetch(&self, request: FetchRequest) -> Events<Fetched> {
        let inner = Arc::clone(&self.inner);
        let transfer = transfer(request.hash, request.name.clone());
        self.inner.operations.events(Some(transfer), |reporter| async move { inner.fetch(request, reporter).await })
    }

    fn pin(&self, request: PinRequest) -> Events<Pinned> {
        let inner = Arc::clone(&self.inner);
        let transfer = transfer(request.hash, request.name.clone());
        self.inner.operations.events(Some(transfer), |reporter| async move { inner.pin(request, reporter).await })
    }

    fn unpin(&self, request: ContentRequest) -> Events<Unpinned> {
        let inner = Arc::clone(&self.inner);
        self.inner.operations.events(None, |_| async move { inner.unpin(request).await })
    }

    fn remove(&self, request: ContentRequest) -> Events<Removed> {
        let inner = Arc::clone(&self.inner);
        self.inner.operations.events(None, |reporter| async move { inner.remove(request, &reporter).await })
    }

    fn collect(&self, request: CollectRequest) -> Events<Collected> {
        let inner = Arc::clone(&self.inner);
        self.inner.operations.events(None, |_| async move { inner.collect(request).await })
    }

    fn verify(&self, request: VerifyRequest) -> Events<Verified> {
        let inner = Arc::clone(&self.inner);
        self.inner
            .operations
            .events(None, |reporter| async move { verify(&inner.store, &inner.fetching, request, reporter).await })
    }

    fn entries(&self, request: EntriesRequest) -> Items<EntryInfo> {
        let (inner, hash) = (Arc::clone(&self.inner), request.hash);
        let work = |sink, progress| async move { inner.entries(request, sink, progress).await };
        self.inner.operations.items(transfer(hash, None), work)
    }

    fn bytes(&self, request: BytesRequest) -> Items<Bytes> {
        let (inner, hash) = (Arc::clone(&self.inner), request.hash);
        let work = |sink, progress| async move { inner.bytes(request, sink, progress).await };
        self.inner.operations.items(transfer(hash, None), work)
    }
}

impl Inner {
    fn identity(&self) -> Identity {
        let addresses = if self.config.network.offline { Vec::new() } else { self.network.addresses() };
        Identity {
            peer_id: self.network.local_peer().to_string(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
        }
    }

    async fn publish(&self, request: PublishRequest, reporter: &Reporter) -> Result<Published, Failure> {
        let paths = request.paths.clone();
        let scanned = spawn_blocking(move || -> Result<_, PublishError> {
            let name = match paths.as_slice() {
                [only] => last_name(only).ok(),
                _ => None,
            };
            Ok((scan(&paths)?, name))
        });
        let (scan, name) = scanned.await.map_err(|_| PublishError::Broken)??;
        let name = request.name.or(name);
        let total = scan.bytes();
        let tell = |phase, done| {
            reporter.progress.send_replace(Progress {
                phase,
                done_bytes: done,
                total_bytes: Some(total),
                ..Progress::default()
            });
        };
        let tell_import = |done| tell(Phase::Importing, done);
        let imported = import(&self.store, scan, name.clone(), request.in_place, tell_import).await?;
        let mut announced_to = None;
        if !request.import_only {
            tell(Phase::Announcing, total);
            let announce = self.network.announce(imported.hash.discovery_key());
            match tokio::time::timeout(ANNOUNCE_PATIENCE, announce).await {
                Ok(Ok(announced)) => announced_to = Some(u32::try_from(announced.told).unwrap_or(u32::MAX)),
                // It is stored all the same, and its hash must not be lost.
                Ok(Err(error)) => {
                    let _ = reporter.notes.try_send(format!("not announced: {error}"));
                }
                Err(_) => {
                    let _ = reporter.notes.try_send("announcing takes long and goes on in the background".to_owned());
                }
            }
        }
        let root = &imported.root;
        Ok(Published {
            hash: imported.hash,
            link: self.link(imported.hash, name),
            bytes: root.bytes,
            chunks: root.chunks,
            new_bytes: imported.new_bytes,
            entries: if root.kind == manifest::ContentKind::File { 1 } else { root.entries },
            announced_to,
        })
    }

    /// A link to a content, with addresses of this node as hints.
    fn link(&self, hash: ContentHash, name: Option<String>) -> String {
        let mut link = Link::new(hash);
        link.name = name;
        link.peers = self.identity().addresses.into_iter().take(LINK_PEERS).collect();
        link.network = Some(self.config.network.name.clone()).filter(|name| name != DEFAULT_NETWORK);
        link.to_string()
    }

    async fn fetch(&self, request: FetchRequest, reporter: Reporter) -> Result<Fetched, Failure> {
        if let Some(path) = request.output.clone().filter(|_| request.force) {
            let home = self.config.home.clone();
            let kept = spawn_blocking(move || Output::keep_home(&home, &path)).await;
            kept.map_err(|_| FetchError::Broken)?.map_err(FetchError::Output)?;
        }
        let output = request.output.map(|path| OutputPlan {
            path,
            force: request.force,
            leftovers: if request.in_place { Leftovers::Keep } else { Leftovers::Remove },
        });
        let job = Job {
            hash: request.hash,
            name: request.name,
            goal: Goal::Everything { output },
            peers: parse_peers(&request.peers)?,
            timeout: Duration::from_millis(request.timeout_ms),
            limit_down: request.limit_down,
            progress: reporter.progress,
            notes: reporter.notes,
            bases: distinct_bases(request.hash, request.bases)?,
            priority: if request.background { Priority::Background } else { Priority::Waiting },
            hold: self.store.hold(Some(request.hash)),
            record: None,
        };
        Ok(self.fetching.everything(job).await?)
    }

    async fn entries(
        &self,
        request: EntriesRequest,
        sink: mpsc::Sender<EntryInfo>,
        progress: watch::Sender<Progress>,
    ) -> Result<(), Failure> {
        let path = parse_path(&request.path)?;
        let (found, mut entries) = mpsc::channel::<PlacedEntry>(READ_QUEUE);
        let goal = Goal::Entries { path, sink: found };
        let mut job = quiet_job(&self.store, request.hash, goal, &request.peers, request.timeout_ms, progress)?;
        let run = async {
            let outcome = self.fetching.run(&mut job).await;
            // Ends the queue, so that whoever passes entries on ends too.
            drop(job);
            outcome
        };
        let pass = async {
            while let Some(placed) = entries.recv().await {
                if sink.send(entry_info(&placed)).await.is_err() {
                    break;
                }
            }
        };
        let (outcome, ()) = tokio::join!(run, pass);
        let root = outcome?.root;
        if root.kind == manifest::ContentKind::File {
            let lone = EntryInfo { path: String::new(), kind: EntryType::File, bytes: root.bytes, target: None };
            // Whoever asked may be gone.
            let _ = sink.send(lone).await;
        }
        Ok(())
    }

    async fn bytes(
        &self,
        request: BytesRequest,
        sink: mpsc::Sender<Bytes>,
        progress: watch::Sender<Progress>,
    ) -> Result<(), Failure> {
        let path = parse_path(&request.path)?;
        let (reader, place) = Reader::new();
        let goal = Goal::Bytes { path, start: request.start.unwrap_or(0), end: request.end, reader };
        let mut job = quiet_job(&self.store, request.hash, goal, &request.peers, request.timeout_ms, progress)?;
        let run = async { self.fetching.run(&mut job).await.map(drop) };
        let read = async {
            match place.await {
                Ok(place) => read_in_order(&self.store, place, &sink).await,
                // The fetch failed, and says why itself.
                Err(_) => Ok(()),
            }
        };
        tokio::try_join!(run, read)?;
        Ok(())
    }

    fn peer_info(&self, peer: &crate::network::PeerInfo) -> PeerInfo {
        let bytes = self.traffic.of(&peer.peer);
        PeerInfo {
            peer: peer.peer.to_string(),
            address: peer.path.remote.to_string(),
            transport: peer.path.transport.to_string(),
            relayed: peer.path.relayed,
            inbound: peer.path.inbound,
            agent: peer.agent.clone(),
            rtt_ms: peer.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            connected_seconds: peer.connected_for.as_secs(),
            received_bytes: bytes.received,
            sent_bytes: bytes.sent,
        }
    }

    async fn status(&self) -> Result<Status, Failure> {
        let network = self.network.status().await.map_err(network_failure)?;
        let store = self.store.clone();
        let read = spawn_blocking(move || -> Result<_, FetchError> { Ok((store.usage()?, store.manifests()?.len())) });
        let (usage, contents) = read.await.map_err(|_| FetchError::Broken)??;
        let traffic = self.traffic.total();
        let (serving, counted) = crate::serve::tell(&self.serving.scheduler);
        let failed = network.bootstrap.iter().filter_map(|(address, state)| match state {
            BootstrapState::Failed { reason, .. } => {
                Some(format!("bootstrap node {address} does not answer: {reason}"))
            }
            _ => None,
        });
        let mut problems: Vec<String> = failed.collect();
        if network.dht_peers == 0 && !self.config.network.offline {
            problems.push("no other node is known: give a bootstrap address, or start one on this network".to_owned());
        }
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            identity: self.identity(),
            network: self.config.network.name.clone(),
            home: self.config.home.clone(),
            uptime_seconds: self.started.elapsed().as_secs(),
            connections: u32::try_from(network.connections).unwrap_or(u32::MAX),
            dht_peers: u32::try_from(network.dht_peers).unwrap_or(u32::MAX),
            dht_mode: match network.dht_mode {
                _ if self.config.network.offline => "offline".to_owned(),
                DhtMode::Server => "server".to_owned(),
                DhtMode::Client => "client".to_owned(),
            },
            // Without the network, nothing is announced, whatever waits for its turn.
            announced_keys: if self.config.network.offline { 0 } else { network.own_records as u64 },
            foreign_records: network.foreign_records as u64,
            contents: contents as u64,
            chunks: usage.chunks,
            payload_bytes: usage.chunk_bytes,
            disk_bytes: usage.disk_bytes,
            received_bytes: traffic.received,
            sent_bytes: traffic.sent,
            serving,
            serving_sessions: u32::try_from(self.serving.sessions.load(Ordering::Relaxed)).unwrap_or(u32::MAX),
            fetches: self.operations.transfers(),
            problems,
            counters: BTreeMap::from([
                ("refused_streams".to_owned(), network.refused_streams),
                ("connected_peers".to_owned(), network.connected_peers as u64),
                ("announced_keys_told".to_owned(), network.own_records_told as u64),
                ("segments".to_owned(), usage.segments),
            ])
            .into_iter()
            .chain(counted)
            .collect(),
        })
    }
}

/// A transfer that begins.
fn transfer(hash: ContentHash, name: Option<String>) -> TransferInfo {
    let progress = Progress { phase: Phase::Searching, ..Progress::default() };
    TransferInfo { hash, name, progress, waits_for: None }
}

/// A job whose notes nobody follows.
fn quiet_job(
    store: &Store,
    hash: ContentHash,
    goal: Goal,
    peers: &[String],
    timeout_ms: u64,
    progress: watch::Sender<Progress>,
) -> Result<Job, FetchError> {
    let (notes, _) = mpsc::channel(1);
    Ok(Job {
        hash,
        name: None,
        goal,
        peers: parse_peers(peers)?,
        timeout: Duration::from_millis(timeout_ms),
        limit_down: None,
        progress,
        notes,
        bases: Vec::new(),
        priority: Priority::Waiting,
        hold: store.hold(Some(hash)),
        record: None,
    })
}

/// Reads addresses of peers; several of one peer are put together.
pub(crate) fn parse_peers(texts: &[String]) -> Result<Vec<(PeerId, Vec<Address>)>, FetchError> {
    let mut peers: BTreeMap<PeerId, Vec<Address>> = BTreeMap::new();
    for text in texts {
        let bad = |reason: String| FetchError::BadPeer { text: text.clone(), reason };
        let address: Address = text.parse().map_err(|error: crate::network::AddressError| bad(error.to_string()))?;
        let peer = address.peer().ok_or_else(|| bad("it must end with /p2p/ and the peer's id".to_owned()))?;
        peers.entry(peer).or_default().push(address);
    }
    Ok(peers.into_iter().collect())
}

fn parse_path(path: &str) -> Result<Option<EntryPath>, Failure> {
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        return Ok(None);
    }
    let bad = |error| Failure::new(FailureKind::Usage, format!("{path:?} cannot be a path in a content: {error}"));
    EntryPath::new(path).map(Some).map_err(bad)
}

fn entry_info(placed: &PlacedEntry) -> EntryInfo {
    let (kind, target) = match &placed.entry.kind {
        EntryKind::File { executable: false, .. } => (EntryType::File, None),
        EntryKind::File { executable: true, .. } => (EntryType::Executable, None),
        EntryKind::EmptyFolder => (EntryType::EmptyFolder, None),
        EntryKind::Symlink(target) => (EntryType::Symlink, Some(target.as_str().to_owned())),
    };
    EntryInfo { path: placed.entry.path.as_str().to_owned(), kind, bytes: placed.entry.kind.size(), target }
}

fn content_info(store: &Store, record: &ManifestRecord) -> Result<ContentInfo, FetchError> {
    let (state, held_bytes) = match record.state {
        store::ContentState::Complete => (ContentState::Complete, record.bytes),
        store::ContentState::Fetching => {
            let root = read_root(store, &record.hash).unwrap_or_default();
            // What cannot be read of it is not held.
            let held = root.and_then(|root| held(store, &root).ok());
            (ContentState::Partial, held.map_or(0, |held| held.bytes))
        }
    };
    Ok(ContentInfo {
        hash: record.hash,
        name: record.name.clone(),
        bytes: record.bytes,
        held_bytes,
        chunks: record.chunks,
        entries: record.entries,
        state,
        pinned: record.pinned,
        created_ms: record.created_unix_ms,
        last_used_ms: record.last_used_unix_ms,
    })
}

fn network_failure(error: NetworkError) -> Failure {
    Failure::from_error(FailureKind::Failed, &error)
}

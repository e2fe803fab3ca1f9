//! A node that only pretends, for tests of the commands.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use shoal_node::api::{
    BytesRequest, CollectRequest, Collected, ContentInfo, ContentRequest, DamageInfo, EntriesRequest, EntryInfo,
    EntryType, Event, Explained, Failure, FailureKind, FetchReport, FetchRequest, Fetched, Identity, PeerInfo, Phase,
    PinRequest, Pinned, Progress, PublishRequest, PublishStreamRequest, Published, Removed, Status, TransferInfo,
    Unpinned, Verified, VerifyRequest,
};
use shoal_node::control::{Events, Items, Server, Service};
use shoal_protocol::hash::{ContentHash, NodeId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A content that the fake has.
pub(super) fn good() -> ContentHash {
    ContentHash::from_root(NodeId::of(b"good"))
}

/// A content that nobody has.
pub(super) fn missing() -> ContentHash {
    ContentHash::from_root(NodeId::of(b"missing"))
}

/// A content that takes for ever.
pub(super) fn endless() -> ContentHash {
    ContentHash::from_root(NodeId::of(b"endless"))
}

fn published() -> Published {
    Published {
        hash: good(),
        link: format!("shoal:{}?name=x", good()),
        bytes: 2048,
        chunks: 1,
        new_bytes: 0,
        entries: 1,
        announced_to: Some(2),
        found_through: None,
    }
}

#[derive(Default)]
pub(super) struct Fake {
    /// The last fetch that was asked for.
    pub(super) fetch: Mutex<Option<FetchRequest>>,
    /// The last publish that was asked for.
    pub(super) publish: Mutex<Option<PublishRequest>>,
    /// How often the status was asked for since somebody waits for the endless entries.
    looks: Arc<AtomicUsize>,
    /// Lets the endless entries come.
    enough: Arc<Notify>,
    /// Rung when the endless fetch begins.
    pub(super) begun: Notify,
    /// Whether the endless fetch was dropped.
    pub(super) dropped: CancellationToken,
}

/// A fake that is served in a home for as long as this lives.
pub(super) struct Daemon {
    pub(super) home: tempfile::TempDir,
    pub(super) fake: Arc<Fake>,
    _stop: tokio_util::sync::DropGuard,
}

impl Daemon {
    pub(super) fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let fake = Arc::new(Fake::default());
        let stop = CancellationToken::new();
        let server = Server::bind(home.path()).unwrap();
        tokio::spawn(server.run(fake.clone(), stop.clone().cancelled_owned()));
        Self { home, fake, _stop: stop.drop_guard() }
    }
}

fn not_found() -> Failure {
    Failure::new(FailureKind::NotFound, "nobody has it")
}

impl Service for Fake {
    async fn identity(&self) -> Result<Identity, Failure> {
        Ok(Identity { peer_id: "fake".into(), addresses: vec!["/ip4/127.0.0.1/tcp/1/p2p/fake".into()] })
    }

    async fn status(&self) -> Result<Status, Failure> {
        let looks =
            self.looks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |looks| (looks > 0).then_some(looks + 1));
        // By the time of a second look, the first has been shown.
        if looks.is_ok_and(|looks| looks > 1) {
            self.enough.notify_one();
        }
        let searching = TransferInfo {
            hash: endless(),
            name: None,
            progress: Progress { phase: Phase::Searching, ..Progress::default() },
            waits_for: Some("a first provider".into()),
        };
        Ok(Status {
            version: "0".into(),
            identity: self.identity().await?,
            network: "lab".into(),
            home: "/home".into(),
            uptime_seconds: 61,
            connections: 2,
            dht_peers: 1,
            dht_mode: "server".into(),
            announced_keys: 1,
            foreign_records: 0,
            contents: 1,
            chunks: 3,
            payload_bytes: 2048,
            disk_bytes: 4096,
            received_bytes: 0,
            sent_bytes: 0,
            serving_sessions: 0,
            serving: Vec::new(),
            fetches: looks.is_ok().then_some(searching).into_iter().collect(),
            problems: vec!["disk \u{1b}nearly full".into()],
            counters: [].into(),
        })
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>, Failure> {
        Ok(Vec::new())
    }

    async fn contents(&self) -> Result<Vec<ContentInfo>, Failure> {
        Ok(Vec::new())
    }

    async fn explain(&self, hash: ContentHash) -> Result<Explained, Failure> {
        if hash == missing() {
            return Err(not_found());
        }
        Ok(Explained { hash, fetches: vec![FetchReport { purpose: "fetch".into(), ..FetchReport::default() }] })
    }

    fn publish(&self, request: PublishRequest) -> Events<Published> {
        *self.publish.lock().unwrap() = Some(request);
        let published = published();
        stream::iter([Event::Progress(Progress::default()), Event::Done(published)]).boxed()
    }

    fn publish_stream(&self, _: PublishStreamRequest, bytes: Items<Bytes>) -> Events<Published> {
        let all = bytes.collect::<Vec<_>>();
        all.map(|_| Event::Done(published())).into_stream().boxed()
    }

    fn fetch(&self, request: FetchRequest) -> Events<Fetched> {
        let (hash, path) = (request.hash, request.output.clone());
        *self.fetch.lock().unwrap() = Some(request);
        let fetching = Event::Progress(Progress { phase: Phase::Fetching, ..Progress::default() });
        if hash == missing() {
            return stream::iter([fetching, Event::Error(not_found())]).boxed();
        }
        if hash == endless() {
            self.begun.notify_one();
            let guard = self.dropped.clone().drop_guard();
            let pending = std::future::pending::<Event<Fetched>>().map(move |event| {
                let _guard = &guard;
                event
            });
            return stream::iter([fetching]).chain(pending.into_stream()).boxed();
        }
        let fetched = Fetched {
            hash,
            path,
            bytes: 2048,
            fetched_bytes: 2048,
            reused_bytes: 0,
            wasted_bytes: 0,
            manifest_bytes: 1,
            seconds: 1.0,
            peers: Vec::new(),
        };
        let note = Event::Note { message: "a provider is slow".into() };
        stream::iter([fetching, note, Event::Done(fetched)]).boxed()
    }

    fn pin(&self, request: PinRequest) -> Events<Pinned> {
        let end = match request.hash == missing() {
            true => Event::Error(not_found()),
            false => Event::Done(Pinned { hash: request.hash, bytes: 2048, fetched_bytes: 1024 }),
        };
        stream::iter([end]).boxed()
    }

    fn unpin(&self, request: ContentRequest) -> Events<Unpinned> {
        let end = match request.hash == missing() {
            true => Event::Error(not_found()),
            false => Event::Done(Unpinned { hash: request.hash }),
        };
        stream::iter([end]).boxed()
    }

    fn remove(&self, request: ContentRequest) -> Events<Removed> {
        let end = match request.hash == missing() {
            true => Event::Error(not_found()),
            false => Event::Done(Removed { hash: request.hash, reclaimed_bytes: 2048 }),
        };
        stream::iter([end]).boxed()
    }

    fn collect(&self, request: CollectRequest) -> Events<Collected> {
        // For what would really be done, there is no room.
        let blocked_bytes = if request.dry_run { 0 } else { 3 << 20 };
        let collected =
            Collected { dry_run: request.dry_run, reclaimed_bytes: 2048, blocked_bytes, ..Collected::default() };
        stream::iter([Event::Done(collected)]).boxed()
    }

    fn verify(&self, request: VerifyRequest) -> Events<Verified> {
        // What is asked for one content finds something, and repairing mends it.
        let damaged = u64::from(request.hash.is_some());
        // Where nothing mends it, there is more of it.
        let (what, file, count) = ("a chunk".into(), "/f\u{1b}".into(), if request.repair { 1 } else { 3 });
        let damage = DamageInfo { what, file, detail: "it is gone".into(), count };
        let damaged = damaged * count;
        let verified = Verified {
            checked: 3,
            checked_bytes: 2048,
            damaged,
            repaired: if request.repair { damaged } else { 0 },
            damage: vec![damage; damaged.min(1) as usize],
        };
        stream::iter([Event::Done(verified)]).boxed()
    }

    fn entries(&self, request: EntriesRequest) -> Items<EntryInfo> {
        let entry = EntryInfo { path: "a\n".into(), kind: EntryType::File, bytes: 1, target: None };
        if request.hash == endless() {
            self.looks.store(1, Ordering::SeqCst);
            let enough = Arc::clone(&self.enough);
            let late = async move {
                enough.notified().await;
                Ok(entry)
            };
            return stream::once(late).boxed();
        }
        let end = (request.hash == missing()).then(|| Err(not_found()));
        stream::iter([Ok(entry)].into_iter().chain(end).collect::<Vec<_>>()).boxed()
    }

    fn bytes(&self, request: BytesRequest) -> Items<Bytes> {
        let end = (request.hash == missing()).then(|| Err(not_found()));
        stream::iter([Ok(Bytes::from_static(b"bytes"))].into_iter().chain(end).collect::<Vec<_>>()).boxed()
    }
}

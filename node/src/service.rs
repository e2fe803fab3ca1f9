//! What a [`Node`] answers when it is asked.

use std::sync::Arc;

use bytes::Bytes;
use shoal_protocol::engine::Priority;
use shoal_protocol::hash::ContentHash;
use shoal_protocol::manifest::{self, EntryKind, EntryPath, PlacedEntry};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;

use crate::api::{
    BytesRequest, CollectRequest, Collected, ContentInfo, ContentRequest, EntriesRequest, EntryInfo, EntryType,
    Explained, Failure, FailureKind, FetchRequest, Fetched, Identity, PeerInfo, Phase, PinRequest, Pinned, Progress,
    PublishRequest, PublishStreamRequest, Published, Removed, Status, TransferInfo, Unpinned, Verified, VerifyRequest,
};
use crate::control::{Events, Items, Service};
use crate::fetch::{FetchError, Goal, Job, OutputPlan, Reader, distinct_bases};
use crate::node::{Inner, Node};
use crate::operation::Reporter;
use crate::output::{Leftovers, Output};
use crate::read::read_in_order;
use crate::status::{content_info, network_failure};
use crate::verify::verify;

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

    fn publish_stream(&self, request: PublishStreamRequest, bytes: Items<Bytes>) -> Events<Published> {
        let inner = Arc::clone(&self.inner);
        let work = |reporter| async move { inner.publish_stream(request, bytes, &reporter).await };
        self.inner.operations.events(None, work)
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
        let hold = self.store.hold(Some(request.hash));
        let goal = Goal::Everything { output };
        let job = Job {
            name: request.name,
            limit_down: request.limit_down,
            bases: distinct_bases(request.hash, request.bases)?,
            priority: if request.background { Priority::Background } else { Priority::Waiting },
            ..Job::new(request.hash, goal, &request.peers, request.timeout_ms, reporter, hold)?
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
        let (hold, reporter) = (self.store.hold(Some(request.hash)), Reporter::without_notes(progress));
        let mut job = Job::new(request.hash, goal, &request.peers, request.timeout_ms, reporter, hold)?;
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
        let (hold, reporter) = (self.store.hold(Some(request.hash)), Reporter::without_notes(progress));
        let mut job = Job::new(request.hash, goal, &request.peers, request.timeout_ms, reporter, hold)?;
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
}

/// A transfer that begins.
fn transfer(hash: ContentHash, name: Option<String>) -> TransferInfo {
    let progress = Progress { phase: Phase::Searching, ..Progress::default() };
    TransferInfo { hash, name, progress, waits_for: None }
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

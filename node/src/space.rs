//! What a node keeps and what it gives back: pins, removing, collecting.

use shoal_protocol::hash::ContentHash;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::api::{
    CollectRequest, Collected, ContentRequest, Failure, FailureKind, PinRequest, Pinned, Removed, Unpinned,
};
use crate::fetch::{FetchError, Goal, Job};
use crate::network::Network;
use crate::node::Inner;
use crate::operation::Reporter;
use crate::store::{ContentState, Effort, Removal, Store};

fn unknown(hash: ContentHash) -> Failure {
    Failure::new(FailureKind::NotFound, format!("this node does not hold {hash}; `shoal list` shows what it holds"))
}

/// Announces no more what was evicted, until told to stop.
pub(crate) async fn follow_evicted(store: Store, network: Network, stop: CancellationToken) {
    let mut evicted = store.evicted();
    // Its sender must not keep a closed store waiting.
    drop(store);
    loop {
        let hash = tokio::select! {
            () = stop.cancelled() => return,
            hash = evicted.recv() => hash,
        };
        match hash {
            Ok(hash) => {
                if let Err(error) = network.stop_announcing(hash.discovery_key()).await {
                    tracing::debug!(%error, "cannot stop announcing");
                }
            }
            // Some stay announced until the next start: who asks is told that they are not here.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

impl Inner {
    /// Fetches what is missing, then pins: a content of which something is missing is never pinned.
    pub(crate) async fn pin(&self, request: PinRequest, reporter: Reporter) -> Result<Pinned, Failure> {
        let hash = request.hash;
        // Kept from eviction until the pin does that.
        let hold = self.store.hold(Some(hash));
        let store = self.store.clone();
        let record = spawn_blocking(move || store.manifest(&hash)).await.map_err(|_| FetchError::Broken)??;
        let mut fetched_bytes = 0;
        let bytes = match record {
            Some(record) if record.state == ContentState::Complete => record.bytes,
            _ => {
                let goal = Goal::Everything { output: None };
                let job = Job {
                    name: request.name,
                    ..Job::new(hash, goal, &request.peers, request.timeout_ms, reporter, hold.clone())?
                };
                let fetched = self.fetching.everything(job).await?;
                fetched_bytes = fetched.fetched_bytes;
                fetched.bytes
            }
        };
        match self.store.pin_manifest(hash, true).await? {
            true => Ok(Pinned { hash, bytes, fetched_bytes }),
            false => Err(unknown(hash)),
        }
    }

    pub(crate) async fn unpin(&self, request: ContentRequest) -> Result<Unpinned, Failure> {
        match self.store.pin_manifest(request.hash, false).await? {
            true => Ok(Unpinned { hash: request.hash }),
            false => Err(unknown(request.hash)),
        }
    }

    pub(crate) async fn remove(&self, request: ContentRequest, reporter: &Reporter) -> Result<Removed, Failure> {
        let hash = request.hash;
        match self.store.remove_content(hash).await? {
            Removal::Removed => {}
            Removal::Unknown => return Err(unknown(hash)),
            Removal::Pinned => {
                let message = format!("{hash} is pinned: run `shoal unpin {hash}` first");
                return Err(Failure::new(FailureKind::Failed, message));
            }
            Removal::InUse => {
                let message = format!("{hash} is being fetched or read: try again when that is done, or stop it");
                return Err(Failure::new(FailureKind::Failed, message));
            }
        }
        // Others may still come for it for a while and be told that it is not here.
        if let Err(error) = self.network.stop_announcing(hash.discovery_key()).await {
            tracing::debug!(%error, "cannot stop announcing");
        }
        // It is gone from the listing whatever comes of this.
        let later = |why: &str| drop(reporter.notes.try_send(format!("not all of its room comes back yet: {why}")));
        let reclaimed_bytes = match self.store.collect(Effort::Routine, false).await {
            Ok(collected) => {
                if collected.blocked_bytes > 0 {
                    later("there is no room to copy what is needed beside it; free some, then run `shoal gc`");
                }
                collected.reclaimed_bytes
            }
            Err(error) => {
                later(&error.to_string());
                0
            }
        };
        Ok(Removed { hash, reclaimed_bytes })
    }

    pub(crate) async fn collect(&self, request: CollectRequest) -> Result<Collected, Failure> {
        let collected = self.store.collect(Effort::Thorough, request.dry_run).await?;
        Ok(Collected {
            dry_run: request.dry_run,
            reclaimed_bytes: collected.reclaimed_bytes,
            dropped_segments: collected.dropped_segments,
            rewritten_segments: collected.rewritten_segments,
            moved_bytes: collected.moved_bytes,
            live_bytes: collected.live_bytes,
            garbage_bytes: collected.garbage_bytes,
            blocked_bytes: collected.blocked_bytes,
        })
    }
}

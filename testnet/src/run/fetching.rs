//! One fetch of a run: asked of its node until it is done, compared with the original, and told of as it goes on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use shoal_node::api::{Event, Fetched, PeerShare};
use shoal_node::control::{Client, Service};
use shoal_protocol::hash::ContentHash;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::report::FetchOutcome;
use crate::scenario::{ContentIndex, NodeIndex};
use crate::tree::Tree;

/// How long to wait before a node is asked again.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a node may look for a first provider before it is asked again.
const SEARCH_MS: u64 = 15_000;

/// A fetch and how far it is.
#[derive(Debug)]
pub(super) struct Fetching {
    pub(super) node: NodeIndex,
    pub(super) content: ContentIndex,
    state: Mutex<FetchState>,
}

/// How far a fetch is.
#[derive(Debug, Clone, Default)]
pub(super) struct FetchState {
    pub(super) began: Option<Instant>,
    pub(super) ended: Option<Instant>,
    /// How it ended; `None` as long as it goes on.
    pub(super) outcome: Option<FetchOutcome>,
    pub(super) done_bytes: u64,
    pub(super) attempts: u32,
    pub(super) fetched_bytes: u64,
    pub(super) reused_bytes: u64,
    pub(super) wasted_bytes: u64,
    pub(super) shares: Vec<PeerShare>,
    /// What the node said when it failed last.
    pub(super) last_error: Option<String>,
}

/// What a fetch needs to know.
pub(super) struct Errand {
    pub(super) home: PathBuf,
    pub(super) original: PathBuf,
    pub(super) output: PathBuf,
    /// The content hash, once it is published.
    pub(super) hash: watch::Receiver<Option<ContentHash>>,
}

impl Fetching {
    pub(super) fn new(node: NodeIndex, content: ContentIndex) -> Arc<Self> {
        Arc::new(Self { node, content, state: Mutex::default() })
    }

    /// How far it is now.
    pub(super) fn state(&self) -> FetchState {
        self.lock().clone()
    }

    pub(super) fn is_over(&self) -> bool {
        self.lock().outcome.is_some()
    }

    pub(super) fn done_bytes(&self) -> u64 {
        self.lock().done_bytes
    }

    /// Asks until it is done, and compares what came.
    pub(super) async fn run(self: Arc<Self>, mut errand: Errand) {
        self.lock().began = Some(Instant::now());
        let Some(hash) = errand.hash.wait_for(Option::is_some).await.ok().and_then(|hash| *hash) else { return };
        loop {
            if let Some(done) = self.attempt(&errand, hash).await {
                let ended = Instant::now();
                // Not part of the fetch: comparing takes the disk, not the network.
                let outcome = compare(errand.original.clone(), errand.output.clone()).await;
                let mut state = self.lock();
                state.fetched_bytes += done.fetched_bytes;
                state.reused_bytes = done.reused_bytes;
                state.wasted_bytes += done.wasted_bytes;
                state.done_bytes = done.bytes;
                state.shares.extend(done.peers);
                (state.ended, state.outcome) = (Some(ended), Some(outcome));
                return;
            }
            sleep(AGAIN).await;
        }
    }

    /// Asks once; `None` when the node does not answer, fails or dies over it.
    async fn attempt(&self, errand: &Errand, hash: ContentHash) -> Option<Fetched> {
        let client = Client::connect(&errand.home).await.ok()??;
        let again = {
            let mut state = self.lock();
            state.attempts += 1;
            state.attempts > 1
        };
        // As the control API's documents are, so that what they learn to say later changes nothing here. What an
        // attempt has finished without being able to tell is replaced.
        let request = json!({ "hash": hash, "output": errand.output, "timeout_ms": SEARCH_MS, "force": again });
        let mut events = client.fetch(serde_json::from_value(request).ok()?);
        while let Some(event) = events.next().await {
            match event {
                Event::Done(done) => return Some(done),
                Event::Error(failure) => {
                    self.lock().last_error = Some(failure.message);
                    return None;
                }
                Event::Progress(progress) => {
                    let mut state = self.lock();
                    state.done_bytes = state.done_bytes.max(progress.done_bytes);
                }
                Event::Note { .. } => {}
            }
        }
        self.lock().last_error = Some("the node ended".to_owned());
        None
    }

    fn lock(&self) -> MutexGuard<'_, FetchState> {
        // Held for a few assignments, which do not panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn compare(original: PathBuf, output: PathBuf) -> FetchOutcome {
    let compared = tokio::task::spawn_blocking(move || differences(&original, &output)).await;
    match compared {
        Ok(Ok(differences)) if differences.is_empty() => FetchOutcome::Done,
        Ok(Ok(differences)) => FetchOutcome::Wrong(differences.into_iter().take(3).collect::<Vec<_>>().join("; ")),
        Ok(Err(error)) => FetchOutcome::Wrong(format!("cannot be compared: {error}")),
        Err(panic) => FetchOutcome::Wrong(format!("cannot be compared: {panic}")),
    }
}

fn differences(original: &Path, output: &Path) -> std::io::Result<Vec<String>> {
    let differences = Tree::read(original)?.differences(&Tree::read(output)?);
    // It has been looked at and takes room.
    if differences.is_empty() {
        let _ = if output.is_dir() { std::fs::remove_dir_all(output) } else { std::fs::remove_file(output) };
    }
    Ok(differences)
}

//! Serving: answering peers who prove that they know a content hash.
//!
//! One task accepts streams from the network and starts a task for each session, within limits: beyond them a
//! requester is told BUSY, never left waiting. Sessions read from the store on threads that may block and share one
//! rate limit. Whom to favour when there is not enough for all is not decided here yet: every session is served as
//! its turn comes.

mod chunks;
mod content;
mod session;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{MAX_SERVING_SESSIONS, MAX_SERVING_SESSIONS_PER_PEER};
use crate::contents::Contents;
use crate::limiter::Limiter;
use crate::network::{InboundStream, Network, PeerId};
use crate::store::Store;
use crate::swarm::Swarms;
use crate::traffic::Traffic;

/// What every serving session needs.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) store: Store,
    pub(crate) network: Network,
    pub(crate) contents: Contents,
    pub(crate) swarms: Arc<Swarms>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) limit_up: Limiter,
    /// Sessions that are open now.
    pub(crate) sessions: AtomicUsize,
}

/// Accepts sessions until told to stop, then ends them all.
pub(crate) async fn serve(serving: Arc<Serving>, mut inbound: mpsc::Receiver<InboundStream>, stop: CancellationToken) {
    let mut tasks: JoinSet<PeerId> = JoinSet::new();
    let mut per_peer: HashMap<PeerId, usize> = HashMap::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = tasks.join_next() => match ended {
                Ok(peer) => forget(&mut per_peer, peer),
                // A session that panicked is a bug, but not a reason to stop serving. Its place is not given back.
                Err(error) => tracing::error!(%error, "a serving session broke off"),
            },
            stream = inbound.recv() => match stream {
                Some(stream) => {
                    let peer = stream.peer();
                    let count = per_peer.entry(peer).or_default();
                    *count += 1;
                    let busy = *count > MAX_SERVING_SESSIONS_PER_PEER || tasks.len() >= MAX_SERVING_SESSIONS;
                    let serving = Arc::clone(&serving);
                    tasks.spawn(async move {
                        serving.sessions.fetch_add(1, Ordering::Relaxed);
                        session::run(&serving, stream, busy).await;
                        serving.sessions.fetch_sub(1, Ordering::Relaxed);
                        peer
                    });
                }
                None => break,
            },
        }
    }
    tasks.shutdown().await;
}

fn forget(per_peer: &mut HashMap<PeerId, usize>, peer: PeerId) {
    if let Some(count) = per_peer.get_mut(&peer) {
        *count -= 1;
        if *count == 0 {
            per_peer.remove(&peer);
        }
    }
}

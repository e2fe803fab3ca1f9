//! Serving: answering peers who prove that they know a content hash.
//!
//! One task accepts streams from the network and starts a task for each session, within limits: beyond them a
//! requester is told of others and BUSY, never left waiting, and beyond twice the limits its streams are dropped. Who
//! is sent what next, and who is told to come again, the [`scheduler`] decides for all sessions; sessions read from the
//! store on threads that may block and write to their own streams.

mod admit;
mod beginning;
mod beginnings;
mod chunks;
mod content;
mod news;
mod patience;
mod providers;
mod scheduler;
mod session;
mod status;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::{MAX_SERVING_SESSIONS, MAX_SERVING_SESSIONS_PER_PEER};
use crate::contents::Contents;
use crate::leaves::Leaves;
use crate::network::{InboundStream, Network, PeerId};
use crate::store::Store;
use crate::swarm::Swarms;
use crate::traffic::Traffic;

pub(crate) use beginnings::Beginnings;
pub(crate) use scheduler::Scheduler;
pub(crate) use status::tell;

/// What every serving session needs.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) store: Store,
    pub(crate) network: Network,
    pub(crate) contents: Contents,
    pub(crate) swarms: Arc<Swarms>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) leaves: Arc<Leaves>,
    pub(crate) beginnings: Arc<Beginnings>,
    /// Sessions that are open now.
    pub(crate) sessions: AtomicUsize,
}

/// How long sessions may take to say farewell when the node stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// Accepts sessions until told to stop, then ends them all.
pub(crate) async fn serve(serving: Arc<Serving>, mut inbound: mpsc::Receiver<InboundStream>, stop: CancellationToken) {
    let mut tasks: JoinSet<()> = JoinSet::new();
    let places = Arc::<Places>::default();
    let (scheduler, clock) = (Arc::clone(&serving.scheduler), CancellationToken::new());
    let clock_task = tokio::spawn({
        let clock = clock.clone();
        async move { scheduler.run(clock).await }
    });
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = tasks.join_next() => if let Err(error) = ended {
                // A session that panicked is a bug, but not a reason to stop serving.
                tracing::error!(%error, "a serving session broke off");
            },
            stream = inbound.recv() => match stream {
                Some(stream) => {
                    let place = Place::take(&serving, &places, stream.peer());
                    let has_room = place.of_peer <= 2 * MAX_SERVING_SESSIONS_PER_PEER;
                    if has_room && tasks.len() < 2 * MAX_SERVING_SESSIONS {
                        tasks.spawn(run(place, stream, stop.clone()));
                    }
                }
                None => break,
            },
        }
    }
    let farewell = async { while tasks.join_next().await.is_some() {} };
    // Those that take longer are ended by force.
    let _ = timeout(FAREWELL, farewell).await;
    tasks.shutdown().await;
    clock.cancel();
    // It has nothing to say but that it panicked, which the log has.
    let _ = clock_task.await;
}

async fn run(place: Place, stream: InboundStream, stop: CancellationToken) {
    if place.is_served {
        admit::serve_stream(&place.serving, stream, &stop).await;
    } else {
        admit::turn_away(&place.serving, stream).await;
    }
}

/// How many streams of each peer are open. A std mutex: each section is one map operation.
type Places = Mutex<HashMap<PeerId, usize>>;

/// What one stream counts for; dropping it gives that back, however its task ends.
#[derive(Debug)]
struct Place {
    serving: Arc<Serving>,
    places: Arc<Places>,
    peer: PeerId,
    /// How many streams of the peer were open when this one came, with this one.
    of_peer: usize,
    /// Whether it is a session, or one too many.
    is_served: bool,
}

impl Place {
    fn take(serving: &Arc<Serving>, places: &Arc<Places>, peer: PeerId) -> Self {
        let of_peer = {
            let mut counts = places.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(peer).or_default();
            *count += 1;
            *count
        };
        let open = serving.sessions.load(Ordering::Relaxed);
        // Only the task that accepts takes places, so nobody else counts up in between.
        let is_served = of_peer <= MAX_SERVING_SESSIONS_PER_PEER && open < MAX_SERVING_SESSIONS;
        if is_served {
            serving.sessions.fetch_add(1, Ordering::Relaxed);
        }
        Self { serving: Arc::clone(serving), places: Arc::clone(places), peer, of_peer, is_served }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_served {
            self.serving.sessions.fetch_sub(1, Ordering::Relaxed);
        }
        let mut counts = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = counts.entry(self.peer) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

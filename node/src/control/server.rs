//! The listening end of the control API.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{ControlError, Service, routes, socket};

/// Connections served at a time; more wait in the kernel's queue.
pub(crate) const MAX_CONNECTIONS: usize = 256;
/// How long a client may take to say what it wants.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// How long answers may go on once the server is told to stop.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// Pause after the system refused a connection (out of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound control socket.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    open: watch::Sender<usize>,
}

/// A connection that counts as open.
struct Open {
    count: watch::Sender<usize>,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn new(count: watch::Sender<usize>, permit: OwnedSemaphorePermit) -> Self {
        count.send_modify(|open| *open += 1);
        Self { count, _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.count.send_modify(|open| *open -= 1);
    }
}

impl Server {
    /// Binds the control socket of a home, in place of a stale one. Needs a tokio runtime.
    ///
    /// Only whoever holds the store's lock may call this, and must let the server go before the lock.
    ///
    /// # Errors
    /// [`ControlError::Bind`] or [`ControlError::PathTooLong`].
    pub fn bind(home: &Path) -> Result<Self, ControlError> {
        let listener = socket::bind(home)?;
        Ok(Self { listener, path: socket::socket_path(home), open: watch::Sender::new(0) })
    }

    /// How many connections are open at each moment; each request of a [`Client`](super::Client) is one. A program
    /// that is done with its own node waits for 0, so as not to cut off another that has found it.
    pub fn connections(&self) -> watch::Receiver<usize> {
        self.open.subscribe()
    }

    /// Where the socket lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves until `shutdown` is ready, then takes no more connections, removes the socket and gives the answers
    /// under way ten seconds to end: the service should end its streams by then.
    pub async fn run<S: Service>(self, service: Arc<S>, shutdown: impl Future<Output = ()> + Send) {
        let router = routes::router(service);
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let stopping = CancellationToken::new();
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let (stream, permit) = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&self.listener, &permits) => accepted,
            };
            let open = Open::new(self.open.clone(), permit);
            connections.spawn(serve(stream, router.clone(), stopping.clone(), open));
        }
        // Before the listener goes, so that nobody finds a socket that refuses.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "control socket was not removed");
        }
        drop(self.listener);
        stopping.cancel();
        let drained = timeout(DRAIN_DEADLINE, async { while connections.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!(left = connections.len(), "control connections were cut");
        }
        connections.shutdown().await;
    }
}

/// Waits for room, then for a connection.
async fn accept(listener: &UnixListener, permits: &Arc<Semaphore>) -> (UnixStream, OwnedSemaphorePermit) {
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            // The semaphore is never closed.
            return std::future::pending().await;
        };
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                tracing::warn!(%error, "cannot take a control connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, router: Router, stopping: CancellationToken, _open: Open) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Mostly a client that went away, which is how an operation is cancelled.
        tracing::debug!(%error, "control connection ended");
    }
}

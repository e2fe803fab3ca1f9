//! The [`Node`] handle: starts everything in the right order, stops it in the reverse.

use std::cmp::Reverse;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use shoal_protocol::serving::ServingConfig;
use shoal_protocol::wire::ServerMessage;
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::api::{Failure, FailureKind};
use crate::config::{Config, Limits};
use crate::contents::Contents;
use crate::control::{ControlError, MAX_CONNECTIONS, Server, prepare_home};
use crate::fetch::{Bans, Budget, Fetching, Reports};
use crate::limiter::Limiter;
use crate::network::{
    Address, AddressError, Identity, IdentityError, Network, NetworkConfig, NetworkError, NetworkNameError,
};
use crate::output::Claims;
use crate::serve::{Scheduler, Serving, serve};
use crate::space::follow_evicted;
use crate::store::{Store, StoreConfig, StoreError};
use crate::swarm::Swarms;
use crate::traffic::Traffic;

/// The file in the home with the node's secret key.
const IDENTITY_FILE: &str = "identity";
/// What a node that stays away from others listens on: nobody is told.
const OFFLINE_LISTEN: &str = "/ip4/127.0.0.1/tcp/0";
/// When a requester that found all places taken may try again.
const REFUSED_RETRY: Duration = Duration::from_secs(1);
/// How long a node that stops waits for outputs to remove what was written of them, or, where they are kept, to make it
/// durable.
const OUTPUT_DEADLINE: Duration = Duration::from_secs(10);
/// Threads that an operation keeps as long as it lasts, at most, and one more that it needs now and then to go on: a
/// publish has 8 that cut and hash; a fetch has 5 that read and write its output.
const OPERATION_THREADS: usize = 9;
/// What everything else needs, as a runtime has by itself.
const OTHER_THREADS: usize = 512;
/// Threads for blocking work that a runtime should allow for a node. With fewer, so many operations as the control
/// socket takes could keep all of them, and wait for each other for ever. Those that nobody needs are not started.
pub const BLOCKING_THREADS: usize = MAX_CONNECTIONS * OPERATION_THREADS + OTHER_THREADS;

/// A running node. Clones are handles on the same one; it runs until [`Node::shutdown`].
#[derive(Debug, Clone)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
}

/// What a node is made of.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) network: Network,
    pub(crate) fetching: Fetching,
    pub(crate) serving: Arc<Serving>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) started: Instant,
    pub(crate) operations: crate::operation::Operations,
    control_connections: watch::Receiver<usize>,
    stop: CancellationToken,
    serving_ended: CancellationToken,
    control_ended: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// Why a node did not start. Nothing of it runs when this is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another process holds the home.
    #[error("another node is running in {}: talk to that one, or choose another home", home.display())]
    Locked {
        /// The home.
        home: PathBuf,
    },
    /// A name that no network can have.
    #[error(transparent)]
    NetworkName(#[from] NetworkNameError),
    /// A text that is no address.
    #[error(transparent)]
    BadAddress(#[from] AddressError),
    /// The identity could not be read or made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The store could not be opened.
    #[error(transparent)]
    Store(StoreError),
    /// The network could not be started.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The home or the control socket could not be made.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A task of the start ended without a word.
    #[error("the start broke off inside the node; its log says why")]
    Broken,
}

impl StartError {
    /// The family that decides the exit code.
    fn kind(&self) -> FailureKind {
        match self {
            Self::NetworkName(_) | Self::BadAddress(_) => FailureKind::Usage,
            Self::Network(NetworkError::BadListenAddress { .. }) => FailureKind::Usage,
            Self::Store(error) => error.failure_kind(),
            Self::Identity(error) => error.failure_kind(),
            Self::Control(error) => error.failure_kind(),
            _ => FailureKind::Failed,
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::from_error(error.kind(), &error)
    }
}

impl Node {
    /// Starts a node in its home: opens the store, joins the network, serves, and answers on the control socket.
    ///
    /// # Errors
    /// When another process holds the home, or a part cannot start.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let (home, quota) = (config.home.clone(), config.limits.quota);
        let opened = spawn_blocking(move || -> Result<_, StartError> {
            prepare_home(&home)?;
            let store =
                Store::open(&home, StoreConfig { quota, ..StoreConfig::default() }).map_err(|error| match error {
                    StoreError::Locked { home, .. } => StartError::Locked { home },
                    other => StartError::Store(other),
                })?;
            let identity = Identity::load_or_create(&home.join(IDENTITY_FILE))?;
            let keys = store.manifests().map_err(StartError::Store)?;
            Ok((store, identity, keys))
        });
        let (store, identity, records) = opened.await.map_err(|_| StartError::Broken)??;
        match Self::join(config, store.clone(), identity).await {
            Ok(node) => {
                if !node.inner.config.network.offline {
                    // What only looks, or only works with what is here, changes nothing that it is not asked to.
                    node.inner.store.keep_quota();
                }
                let mut records = records;
                // Thousands take minutes: what was used last is most likely to be missed.
                records.sort_by_key(|record| Reverse(record.last_used_unix_ms));
                let keys = records.iter().map(|record| record.hash.discovery_key()).collect();
                if let Err(error) = node.inner.network.keep_announced(keys).await {
                    // It runs and can be reached over links; that it cannot be found is worth a word, not an end.
                    tracing::warn!(%error, "not everything that is held is announced");
                }
                Ok(node)
            }
            Err(error) => {
                // The error is what matters; the store has nothing unwritten yet.
                let _ = store.close().await;
                Err(error)
            }
        }
    }

    async fn join(config: Config, store: Store, identity: Identity) -> Result<Self, StartError> {
        let control = Server::bind(&config.home)?;
        let (network, inbound) = Network::start(network_config(&config, identity)?).await?;
        let (contents, swarms, traffic) = (Contents::default(), Arc::<Swarms>::default(), Arc::<Traffic>::default());
        let serving = Arc::new(Serving {
            store: store.clone(),
            network: network.clone(),
            contents: contents.clone(),
            swarms: Arc::clone(&swarms),
            traffic: Arc::clone(&traffic),
            scheduler: Arc::new(scheduler(config.limits)),
            leaves: Arc::default(),
            beginnings: Arc::default(),
            sessions: AtomicUsize::new(0),
        });
        let fetching = Fetching {
            store: store.clone(),
            network: network.clone(),
            contents,
            swarms,
            traffic: Arc::clone(&traffic),
            limit_down: Arc::new(Limiter::new(config.limits.down)),
            bans: Arc::<Bans>::default(),
            reports: Reports::default(),
            budget: Budget::default(),
            claims: Claims::default(),
        };
        let stop = CancellationToken::new();
        let (serving_ended, control_ended) = (CancellationToken::new(), CancellationToken::new());
        let serve_task = spawn_part(&serving_ended, serve(Arc::clone(&serving), inbound, stop.clone()));
        let node = Self {
            inner: Arc::new(Inner {
                config,
                store,
                network,
                fetching,
                serving,
                traffic,
                started: Instant::now(),
                operations: crate::operation::Operations::default(),
                control_connections: control.connections(),
                stop: stop.clone(),
                serving_ended,
                control_ended: control_ended.clone(),
                tasks: Mutex::new(Vec::new()),
            }),
        };
        let (store, network) = (node.inner.store.clone(), node.inner.network.clone());
        let evicted_task = tokio::spawn(follow_evicted(store, network, stop.clone()));
        let service = Arc::new(node.clone());
        let control_task = spawn_part(&control_ended, control.run(service, stop.cancelled_owned()));
        *node.inner.tasks.lock().await = vec![control_task, serve_task, evicted_task];
        Ok(node)
    }

    /// Ready once the node is part of its network: at least one other node is in its routing table, or there is none
    /// to join through. Errors name the bootstrap addresses that do not answer; the node goes on trying.
    ///
    /// # Errors
    /// When no bootstrap address has answered within `patience`.
    pub async fn ready(&self, patience: Duration) -> Result<(), Failure> {
        if self.inner.config.network.bootstrap.is_empty() {
            return Ok(());
        }
        let mut peers = self.inner.network.dht_peers();
        let joined = peers.wait_for(|peers| *peers > 0);
        if let Ok(Ok(_)) = tokio::time::timeout(patience, joined).await {
            return Ok(());
        }
        let list = self.inner.config.network.bootstrap.join(", ");
        let message = format!(
            "no bootstrap node answered within {} s ({list}): check the addresses and that the nodes run; trying on",
            patience.as_secs()
        );
        Err(Failure::new(FailureKind::NotFound, message))
    }

    /// Ready when no other program is connected to the control socket.
    pub async fn unused(&self) {
        // An error means that the control server is gone: then nobody uses the node through it.
        let _ = self.inner.control_connections.clone().wait_for(|open| *open == 0).await;
    }

    /// Ready when the node does no more what it is for, although nobody has stopped it: a part of it has ended, which
    /// only a fault in the program can do. Says which; the log says why. What is held is safe. During and after
    /// [`Node::shutdown`] it means nothing.
    pub async fn broken(&self) -> Failure {
        // In this order: serving ends with the network.
        let part = tokio::select! {
            biased;
            () = self.inner.network.ended() => "the network",
            () = self.inner.serving_ended.cancelled() => "serving",
            () = self.inner.control_ended.cancelled() => "the control server",
        };
        let message =
            format!("the node broke off: {part} has ended by a fault in shoal; start it again (its log says more)");
        Failure::new(FailureKind::Failed, message)
    }

    /// Stops the node: takes nothing new, ends sessions, makes everything durable and gives up the home.
    ///
    /// # Errors
    /// When the store cannot be closed cleanly. What was acknowledged is safe all the same.
    pub async fn shutdown(&self) -> Result<(), Failure> {
        self.inner.stop.cancel();
        self.inner.operations.cancel_all();
        for task in self.inner.tasks.lock().await.drain(..) {
            // A task that panicked has said so in the log; the rest still wants to be stopped.
            let _ = task.await;
        }
        if tokio::time::timeout(OUTPUT_DEADLINE, self.inner.fetching.claims.given_up()).await.is_err() {
            tracing::warn!("an output is still being written to the disk: what was not, the next fetch of it writes");
        }
        self.inner.network.shutdown().await;
        self.inner.store.close().await.map_err(|error| Failure::from_error(error.failure_kind(), &error))
    }
}

/// Runs a part of the node in a task; `ended` is cancelled when it ends, and when it panics.
fn spawn_part(ended: &CancellationToken, part: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let ended = ended.clone().drop_guard();
    tokio::spawn(async move {
        let _ended = ended;
        part.await;
    })
}

fn scheduler(limits: Limits) -> Scheduler {
    let config = ServingConfig {
        limit_per_peer: limits.up_per_peer,
        limit_per_content: limits.up_per_content,
        ..ServingConfig::new(limits.up)
    };
    // Different each time: it only spreads out when those who were told to come again do so.
    Scheduler::new(config, RandomState::new().hash_one(Instant::now()))
}

fn network_config(config: &Config, identity: Identity) -> Result<NetworkConfig, StartError> {
    let options = &config.network;
    let addresses = |texts: &[String]| texts.iter().map(|text| text.parse()).collect::<Result<Vec<Address>, _>>();
    let mut refusal = BytesMut::new();
    let retry_after_ms = u32::try_from(REFUSED_RETRY.as_millis()).unwrap_or(u32::MAX);
    ServerMessage::Busy { retry_after_ms }.encode(&mut refusal);
    let mut network = NetworkConfig::new(identity);
    network.network = options.name.parse()?;
    network.refusal = refusal.freeze();
    if options.offline {
        network.listen = vec![OFFLINE_LISTEN.parse()?];
        network.mdns = false;
    } else {
        network.listen = addresses(&options.listen)?;
        network.announce = addresses(&options.announce)?;
        network.bootstrap = addresses(&options.bootstrap)?;
        network.mdns = options.mdns;
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NetworkOptions;

    fn offline(home: &std::path::Path) -> Config {
        Config { network: NetworkOptions { offline: true, ..NetworkOptions::default() }, ..Config::new(home) }
    }

    #[tokio::test]
    async fn a_part_that_ends_by_itself_is_noticed() {
        let home = tempfile::tempdir().unwrap();
        let node = Node::start(offline(home.path())).await.unwrap();
        let mut broken = Box::pin(node.broken());
        assert!(futures::poll!(&mut broken).is_pending(), "it runs");
        // To those who hold a handle, a driver that panics looks the same.
        node.inner.network.shutdown().await;
        let failure = broken.await;
        assert!(failure.message.contains("the network has ended"), "{failure}");
        assert_eq!(failure.kind, FailureKind::Failed);
        node.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn a_part_that_panics_says_that_it_has_ended() {
        let ended = CancellationToken::new();
        let task = spawn_part(&ended, async { panic!("on purpose") });
        ended.cancelled().await;
        assert!(task.await.unwrap_err().is_panic());
    }
}

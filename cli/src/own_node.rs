//! The node that a command starts in its own process when none runs in the home.
//!
//! The one place where the command line meets `shoal_node::Node`.

use std::path::PathBuf;
use std::time::Duration;

use shoal_node::api::Failure;
use shoal_node::config::{Limits, NetworkOptions};
use shoal_node::{Config, Node};

/// The network of those who name none.
pub(crate) use shoal_node::config::DEFAULT_NETWORK;
/// The least quota that a home takes.
pub(crate) use shoal_node::config::MIN_QUOTA_BYTES;
/// How the node judges what is set, so that wrong settings are refused where they are made.
pub(crate) use shoal_node::config::{check_address, check_network_name};

/// How long a node may take to find the first other one before it says that it goes on without.
const JOIN_PATIENCE: Duration = Duration::from_secs(15);

/// What such a node needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeSettings {
    /// Where it lives.
    pub(crate) home: PathBuf,
    /// The network it joins.
    pub(crate) network: String,
    /// Addresses it listens on; none: any port on all interfaces.
    pub(crate) listen: Vec<String>,
    /// Addresses it gives to others; none: those it listens on.
    pub(crate) announce: Vec<String>,
    /// Peers through which it finds others.
    pub(crate) bootstrap: Vec<String>,
    /// Whether it looks for peers on the local network.
    pub(crate) mdns: bool,
    /// Most bytes a second it gives.
    pub(crate) limit_up: Option<u64>,
    /// Most bytes a second it gives to one peer.
    pub(crate) limit_up_per_peer: Option<u64>,
    /// Most bytes a second it gives of one content.
    pub(crate) limit_up_per_content: Option<u64>,
    /// Most bytes a second it takes.
    pub(crate) limit_down: Option<u64>,
    /// Most bytes of the disk that the home may take.
    pub(crate) quota: Option<u64>,
    /// Whether it stays away from the network: it neither listens nor dials.
    pub(crate) offline: bool,
}

/// Why a node did not start.
#[derive(Debug)]
pub(crate) enum StartError {
    /// Another process holds the home.
    Locked,
    /// Anything else.
    Failure(Failure),
}

/// A node in this process. It serves the control socket of its home for as long as it lives.
#[derive(Debug)]
pub(crate) struct OwnNode {
    node: Node,
}

impl OwnNode {
    /// Starts a node; on return its control socket answers.
    pub(crate) async fn start(settings: &NodeSettings) -> Result<Self, StartError> {
        match Node::start(config(settings)).await {
            Ok(node) => Ok(Self { node }),
            Err(shoal_node::StartError::Locked { .. }) => Err(StartError::Locked),
            Err(error) => Err(StartError::Failure(error.into())),
        }
    }

    /// Ready once the node is part of its network; an error says why it could not join (it goes on trying).
    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        self.node.ready(JOIN_PATIENCE).await
    }

    /// Ready once no other command uses this node: when nothing is connected to its control socket.
    pub(crate) async fn unused(&self) {
        self.node.unused().await;
    }

    /// Ready when the node has broken off by itself: it is of no use any more.
    pub(crate) async fn broken(&self) -> Failure {
        self.node.broken().await
    }

    /// Stops: no new work, open streams drained, everything held made durable.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        self.node.shutdown().await
    }
}

fn config(settings: &NodeSettings) -> Config {
    Config {
        home: settings.home.clone(),
        network: NetworkOptions {
            name: settings.network.clone(),
            listen: settings.listen.clone(),
            announce: settings.announce.clone(),
            bootstrap: settings.bootstrap.clone(),
            mdns: settings.mdns,
            offline: settings.offline,
        },
        limits: Limits {
            up: settings.limit_up,
            up_per_peer: settings.limit_up_per_peer,
            up_per_content: settings.limit_up_per_content,
            down: settings.limit_down,
            quota: settings.quota,
        },
    }
}

//! The node that a command starts in its own process when none runs in the home.
//!
//! The one place where the command line meets `shoal_node::Node`.

use std::path::PathBuf;

use shoal_node::api::{Failure, FailureKind};

/// The network of those who name none.
pub(crate) const DEFAULT_NETWORK: &str = "main";

/// What such a node needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeSettings {
    /// Where it lives.
    pub(crate) home: PathBuf,
    /// The network it joins.
    pub(crate) network: String,
    /// Addresses it listens on; none: any port on all interfaces.
    pub(crate) listen: Vec<String>,
    /// Peers through which it finds others.
    pub(crate) bootstrap: Vec<String>,
    /// Whether it looks for peers on the local network.
    pub(crate) mdns: bool,
    /// Most bytes a second it gives.
    pub(crate) limit_up: Option<u64>,
    /// Most bytes a second it takes.
    pub(crate) limit_down: Option<u64>,
    /// Whether it stays away from the network: it neither listens nor dials.
    pub(crate) offline: bool,
}

/// Why a node did not start.
#[derive(Debug)]
pub(crate) enum StartError {
    /// Another process holds the home.
    #[expect(dead_code, reason = "constructed once the node is joined")]
    Locked,
    /// Anything else.
    Failure(Failure),
}

/// A node in this process. It serves the control socket of its home for as long as it lives.
#[derive(Debug)]
pub(crate) struct OwnNode {}

impl OwnNode {
    /// Starts a node; on return its control socket answers.
    pub(crate) async fn start(settings: &NodeSettings) -> Result<Self, StartError> {
        let message = format!("no node runs in {}", settings.home.display());
        Err(StartError::Failure(Failure::new(FailureKind::Failed, message)))
    }

    /// Ready once the node is part of its network; an error says why it could not join (it goes on trying).
    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// Ready once no other command uses this node: when nothing is connected to its control socket.
    pub(crate) async fn unused(&self) {}

    /// Stops: no new work, open streams drained, everything held made durable.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        Ok(())
    }
}

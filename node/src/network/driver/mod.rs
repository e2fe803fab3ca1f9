//! The task that owns the swarm.

use tokio::sync::{mpsc, watch};

use super::command::Command;
use super::{Address, InboundStream, NetworkConfig, NetworkError};

/// What the handle needs of a driver that runs.
pub(super) struct Started {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) addresses: watch::Receiver<Vec<Address>>,
    pub(super) dht_peers: watch::Receiver<usize>,
    pub(super) inbound: mpsc::Receiver<InboundStream>,
}

pub(super) async fn start(_config: NetworkConfig) -> Result<Started, NetworkError> {
    Err(NetworkError::Stopped)
}

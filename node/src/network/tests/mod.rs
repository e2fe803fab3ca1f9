//! Several networks in one process, over real sockets on loopback.

mod dht;
mod listen;
mod records;
mod streams;
mod tls;

use std::time::Duration;

use tokio::sync::mpsc;

use super::*;

/// More than any single step takes on a busy machine; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A network and the streams that come to it.
pub(super) struct Node {
    pub(super) network: Network,
    pub(super) inbound: mpsc::Receiver<InboundStream>,
}

/// A configuration that stays on loopback.
pub(super) fn config(bootstrap: &[&Node]) -> NetworkConfig {
    let mut config = NetworkConfig::new(Identity::generate());
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    config.mdns = false;
    config.bootstrap = bootstrap.iter().map(|node| node.address()).collect();
    config
}

pub(super) async fn start(config: NetworkConfig) -> Node {
    let (network, inbound) = Network::start(config).await.unwrap();
    Node { network, inbound }
}

/// A node that joins through others, and has joined when this returns.
pub(super) async fn joined(bootstrap: &[&Node]) -> Node {
    let node = start(config(bootstrap)).await;
    node.knows(1).await;
    node
}

impl Node {
    pub(super) fn peer(&self) -> PeerId {
        self.network.local_peer()
    }

    pub(super) fn address(&self) -> Address {
        self.network.addresses().first().unwrap().clone()
    }

    /// Returns when the routing table has so many peers.
    pub(super) async fn knows(&self, peers: usize) {
        let mut count = self.network.dht_peers();
        within(count.wait_for(|count| *count >= peers)).await.unwrap();
    }

    /// Looks for providers until one is found: records are not acknowledged, so a lookup may come before them.
    pub(super) async fn finds(&self, key: DiscoveryKey) -> Provider {
        within(async {
            loop {
                let mut found = self.network.find_providers(key).await.unwrap();
                if let Some(provider) = found.recv().await {
                    return provider;
                }
            }
        })
        .await
    }
}

pub(super) async fn within<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(PATIENCE, work).await.expect("took too long")
}

pub(super) fn key(n: u8) -> DiscoveryKey {
    DiscoveryKey::from_bytes([n; 32])
}

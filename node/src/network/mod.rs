//! The network: libp2p connections, the DHT and streams between nodes, behind a [`Network`] handle.
//!
//! It owns the node's identity, its connections, the provider records of the DHT and the streams that transfers run
//! on. It knows nothing of chunks, manifests or the store, and reads and writes no byte of a transfer. Its public face
//! shows no type of libp2p. One task owns the swarm (`driver`); the handle talks to it through a bounded queue.
//!
//! Where to look: `transport`, `muxer` and `gather` for what carries connections, `behaviour` for the protocols,
//! `driver` for the task, `records` and `announce` for the DHT's records, `stranger` for whether others find them,
//! `discovery` for how others are found, `streams` and `connect` for how a stream comes to be.

mod address;
mod announce;
mod behaviour;
mod command;
mod config;
mod connect;
mod discovery;
mod driver;
mod error;
mod gather;
mod identity;
mod muxer;
mod reach;
mod records;
mod status;
mod stranger;
mod streams;
mod tls;
mod transport;

use shoal_protocol::hash::DiscoveryKey;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use command::Command;

pub use address::{Address, AddressError, MAX_ADDRESS_BYTES, MAX_ADDRESS_CHARS, PeerId, TransportKind};
pub use config::{MAX_NETWORK_NAME_CHARS, NetworkConfig, NetworkLimits, NetworkName, NetworkNameError};
pub use error::{Attempt, NetworkError, OpenError};
pub use identity::{Identity, IdentityError};
pub use status::{Announced, BootstrapState, DhtMode, NetworkStatus, NewRecord, Path, PeerInfo, Provider, Sighting};
pub use streams::{InboundStream, TransferStream};

/// Providers that may wait to be taken from one lookup; what comes beyond is dropped.
const PROVIDER_QUEUE: usize = 512;

/// A handle on the network; clones talk to the same one. When the last is dropped, the network shuts down.
#[derive(Debug, Clone)]
pub struct Network {
    commands: mpsc::Sender<Command>,
    local: PeerId,
    name: NetworkName,
    limits: NetworkLimits,
    addresses: watch::Receiver<Vec<Address>>,
    dht_peers: watch::Receiver<usize>,
    records: broadcast::Sender<NewRecord>,
}

impl Network {
    /// Starts to listen, and to join the DHT in the background. The receiver gives the transfer streams that others
    /// open; it is bounded, and streams that find it full are refused.
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub async fn start(config: NetworkConfig) -> Result<(Self, mpsc::Receiver<InboundStream>), NetworkError> {
        let local = config.identity.peer_id();
        let (name, limits) = (config.network.clone(), config.limits.clone());
        let started = driver::start(config).await?;
        let network = Self {
            commands: started.commands,
            local,
            name,
            limits,
            addresses: started.addresses,
            dht_peers: started.dht_peers,
            records: started.records,
        };
        Ok((network, started.inbound))
    }

    /// Who this node is.
    pub fn local_peer(&self) -> PeerId {
        self.local
    }

    /// Where this node listens, each address with `/p2p/…`, the most useful to others first. Known from the start,
    /// and kept up to date as interfaces come and go.
    pub fn addresses(&self) -> Vec<Address> {
        self.addresses.borrow().clone()
    }

    /// How many peers the DHT's routing table has, and when that changes. 0: this node knows nobody yet.
    pub fn dht_peers(&self) -> watch::Receiver<usize> {
        self.dht_peers.clone()
    }

    /// The provider records that other nodes leave here, from now on. Whoever is slow to listen misses some.
    pub fn records(&self) -> broadcast::Receiver<NewRecord> {
        self.records.subscribe()
    }

    /// Opens a transfer stream to a peer, dialling it first if need be, on the best connection that can be had: TCP
    /// before QUIC, direct before relayed. `addresses` are tried besides those that are known already. Bounded in
    /// time. Dropping the future stops it; a dial that has begun may still end in a connection. Whether the peer speaks
    /// the protocol shows with the first read.
    ///
    /// # Errors
    /// When the peer cannot be reached.
    pub async fn open_stream(&self, peer: &PeerId, addresses: &[Address]) -> Result<TransferStream, OpenError> {
        connect::open_stream(self, *peer, addresses).await
    }

    /// What to say of a peer on whose stream the first read failed with [`std::io::ErrorKind::Unsupported`].
    pub async fn unsupported(&self, peer: &PeerId) -> OpenError {
        connect::unsupported(self, *peer).await
    }

    /// Announces to the DHT that this node provides the content with this key, now and from now on. Returns when the
    /// first round is over. If the node is still joining, that begins when it has joined or has failed to; dropping
    /// the future leaves the key announced.
    ///
    /// # Errors
    /// When the quota of announcements is full.
    pub async fn announce(&self, key: DiscoveryKey) -> Result<Announced, NetworkError> {
        self.ask(|reply| Command::Announce { key, reply }).await?
    }

    /// Announces these keys from now on, without waiting: for what a node holds when it starts. They are spread out
    /// in time, the first of them first.
    ///
    /// # Errors
    /// When the quota of announcements is full.
    pub async fn keep_announced(&self, keys: Vec<DiscoveryKey>) -> Result<(), NetworkError> {
        self.ask(|reply| Command::KeepAnnounced { keys, reply }).await?
    }

    /// Stops announcing a key. Other nodes forget it when its record's life is over.
    ///
    /// # Errors
    /// When the network was shut down.
    pub async fn stop_announcing(&self, key: DiscoveryKey) -> Result<(), NetworkError> {
        self.send(Command::StopAnnouncing { key }).await
    }

    /// Looks for providers of a key. They come as they are found, each peer once (again when its addresses were
    /// unknown at first), this node never. The channel closes when the lookup is over; dropping the receiver ends it.
    ///
    /// # Errors
    /// When the network was shut down.
    pub async fn find_providers(&self, key: DiscoveryKey) -> Result<mpsc::Receiver<Provider>, NetworkError> {
        let (providers, found) = mpsc::channel(PROVIDER_QUEUE);
        self.send(Command::FindProviders { key, providers }).await?;
        Ok(found)
    }

    /// Looks for providers of a key as a stranger would, who starts from other nodes and never asks this one, and
    /// says how many nodes answered that this one is a provider. Takes a while, at most as long as any lookup.
    ///
    /// # Errors
    /// When the network was shut down, or the second node cannot be started.
    pub async fn look_up_as_stranger(&self, key: DiscoveryKey) -> Result<Sighting, NetworkError> {
        let starts = self.ask(|reply| Command::Acquaintances { limit: stranger::STARTS, reply }).await?;
        stranger::look_up(&self.name, &self.limits, starts, self.local.libp2p(), key).await
    }

    /// Who is connected.
    ///
    /// # Errors
    /// When the network was shut down.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, NetworkError> {
        self.ask(|reply| Command::Peers { reply }).await
    }

    /// How the network is.
    ///
    /// # Errors
    /// When the network was shut down.
    pub async fn status(&self) -> Result<NetworkStatus, NetworkError> {
        self.ask(|reply| Command::Status { reply }).await
    }

    /// Addresses that a peer named or the DHT knows, the best first, each with `/p2p/…`; empty if there are none.
    ///
    /// # Errors
    /// When the network was shut down.
    pub async fn addresses_of(&self, peer: &PeerId) -> Result<Vec<Address>, NetworkError> {
        let lib = peer.libp2p();
        let routes = self.ask(|reply| Command::Routes { peer: lib, reply }).await?;
        Ok(routes.addresses.into_iter().map(|a| Address::from_libp2p(a).with_peer(*peer)).collect())
    }

    /// Ready once the network has ended, whether it was shut down or broke off.
    pub async fn ended(&self) {
        self.commands.closed().await;
    }

    /// Stops listening, closes every connection and ends; returns when that is done. Handles that are still about get
    /// [`NetworkError::Stopped`] from then on.
    pub async fn shutdown(&self) {
        // An error means that it has ended already.
        let _ = self.ask(|reply| Command::Shutdown { reply }).await;
    }

    async fn send(&self, command: Command) -> Result<(), NetworkError> {
        self.commands.send(command).await.map_err(|_| NetworkError::Stopped)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, NetworkError> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply)).await?;
        answer.await.map_err(|_| NetworkError::Stopped)
    }
}

#[cfg(test)]
mod tests;

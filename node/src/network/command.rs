//! What the network's handle asks of the task that drives the swarm. Every question has its answer in a oneshot, so
//! whoever asks learns of the driver's end too.

use libp2p::{Multiaddr, PeerId as LibPeerId};
use shoal_protocol::hash::DiscoveryKey;
use tokio::sync::{mpsc, oneshot};

use super::error::{Attempt, NetworkError};
use super::status::{Announced, NetworkStatus, Path, PeerInfo, Provider};
use super::streams::OpenRequest;

/// Questions that may wait for the driver; beyond, askers wait themselves.
pub(super) const COMMAND_QUEUE: usize = 256;

pub(super) type Reply<T> = oneshot::Sender<T>;

/// One question.
pub(super) enum Command {
    /// What ways there are to a peer.
    Routes { peer: LibPeerId, reply: Reply<Routes> },
    /// Dial a peer at these addresses and no others, unless a connection of this [rank](Path::rank) or a better one
    /// stands by now.
    Dial { peer: LibPeerId, rank: u8, addresses: Vec<Multiaddr>, reply: Reply<Result<(), Vec<Attempt>>> },
    /// Open a stream on the best connection there is.
    Open(OpenRequest),
    /// Announce a key now, and from now on.
    Announce { key: DiscoveryKey, reply: Reply<Result<Announced, NetworkError>> },
    /// Announce these keys from now on, each when its turn comes.
    KeepAnnounced { keys: Vec<DiscoveryKey>, reply: Reply<Result<(), NetworkError>> },
    /// Announce a key no more.
    StopAnnouncing { key: DiscoveryKey },
    /// Look for providers; the lookup ends when the receiver is dropped.
    FindProviders { key: DiscoveryKey, providers: mpsc::Sender<Provider> },
    /// Some peers of the routing table, chosen at random, with the addresses that it has of them.
    Acquaintances { limit: usize, reply: Reply<Vec<(LibPeerId, Vec<Multiaddr>)>> },
    /// Who is connected.
    Peers { reply: Reply<Vec<PeerInfo>> },
    /// How the network is.
    Status { reply: Reply<NetworkStatus> },
    /// Close everything and end.
    Shutdown { reply: Reply<()> },
}

/// The ways to a peer.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// The best connection, if one is open.
    pub(super) connected: Option<Path>,
    /// Addresses that the peer named or the DHT knows.
    pub(super) addresses: Vec<Multiaddr>,
    /// Whether something better than what is connected was dialled in vain lately.
    pub(super) upgrade_failed: bool,
    /// Protocols of the transfer family that the peer said it speaks.
    pub(super) speaks: Vec<String>,
}

//! How a stream to a peer comes to be: dial what is worth dialling, then open a stream on the best connection.
//!
//! Runs on the caller's task. Where the best connection stands already, one question to the driver does. Kinds of
//! addresses are dialled one after another with a head start for the better kind (TCP, then QUIC, then relays), since
//! whichever connection comes first is the one that the stream will use. If only a lesser connection stands, because
//! the DHT happened to make it, a better one is tried for briefly.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use libp2p::Multiaddr;
use tokio::time::{Instant, sleep_until, timeout};

use super::command::{Command, Routes};
use super::error::Attempt;
use super::streams::{NEGOTIATION_TIMEOUT, OpenFailure, OpenRequest};
use super::{Address, Network, NetworkError, OpenError, PeerId, TransferStream, TransportKind, reach};

/// How long a better kind of address is tried before the next kind is tried beside it.
const HEAD_START: Duration = Duration::from_millis(500);
/// How long a better connection is tried for when one stands already.
const UPGRADE_PATIENCE: Duration = Duration::from_millis(1500);
/// More than any dial takes: the transports give up before.
const DIAL_PATIENCE: Duration = Duration::from_secs(20);
/// Addresses from a caller that are looked at.
const MAX_GIVEN: usize = 64;
/// How often a stream is tried for when the connection closes under it.
const TRIES: usize = 2;
/// The rank of a connection than which there is no better.
const BEST: u8 = 0;

/// See [`Network::open_stream`].
pub(super) async fn open_stream(
    network: &Network,
    peer: PeerId,
    given: &[Address],
) -> Result<TransferStream, OpenError> {
    if peer == network.local_peer() {
        return Err(OpenError::ThisNode { peer });
    }
    let mut broken = String::new();
    for _ in 0..TRIES {
        let opened = match open(network, peer, BEST).await? {
            Err(OpenFailure::NotConnected) => {
                let routes = routes(network, peer).await?;
                connect(network, peer, given, routes).await?;
                open(network, peer, u8::MAX).await?
            }
            opened => opened,
        };
        match opened {
            Ok(stream) => return Ok(stream),
            Err(OpenFailure::NotConnected) => "it closed at once".clone_into(&mut broken),
            Err(OpenFailure::Io(e)) => broken = e.to_string(),
            Err(OpenFailure::TimedOut) => return Err(OpenError::TimedOut { peer, after: NEGOTIATION_TIMEOUT }),
            Err(OpenFailure::Busy) => return Err(OpenError::Busy),
            Err(OpenFailure::Unsupported) => return Err(unsupported(network, peer).await),
        }
    }
    Err(OpenError::Broken { peer, reason: broken })
}

/// See [`Network::unsupported`].
pub(super) async fn unsupported(network: &Network, peer: PeerId) -> OpenError {
    match routes(network, peer).await {
        Ok(Routes { speaks, .. }) => {
            OpenError::UnsupportedProtocol { peer, protocol: network.name.transfer_protocol().to_string(), speaks }
        }
        Err(error) => error,
    }
}

/// Makes sure that a connection stands, the best that can be had.
async fn connect(network: &Network, peer: PeerId, given: &[Address], routes: Routes) -> Result<(), OpenError> {
    let rank = routes.connected.as_ref().map(super::Path::rank);
    if rank == Some(BEST) {
        return Ok(());
    }
    let mut attempts = Vec::new();
    let kinds = kinds(peer, given, routes.addresses, &mut attempts);
    match rank {
        None => dial_kinds(network, peer, kinds, attempts).await,
        Some(_) if routes.upgrade_failed => Ok(()),
        Some(rank) => {
            let better = kinds.into_iter().filter(|kind| kind.rank < rank).collect();
            // What stands is good enough when nothing better comes.
            match timeout(UPGRADE_PATIENCE, dial_kinds(network, peer, better, Vec::new())).await {
                Ok(Err(OpenError::Stopped)) => Err(OpenError::Stopped),
                _ => Ok(()),
            }
        }
    }
}

/// Addresses of one kind.
struct Kind {
    /// As [`super::Path::rank`]: what a connection to them would be worth.
    rank: u8,
    addresses: Vec<Multiaddr>,
}

/// The addresses by kind, the best first. Those that make no sense for the peer go to `attempts`.
fn kinds(peer: PeerId, given: &[Address], known: Vec<Multiaddr>, attempts: &mut Vec<Attempt>) -> Vec<Kind> {
    let mut addresses = known;
    for address in given.iter().take(MAX_GIVEN) {
        match address.peer() {
            Some(other) if other != peer && !address.is_relayed() => {
                let reason = "the address is another peer's".to_owned();
                attempts.push(Attempt { address: Some(address.clone()), reason });
            }
            _ => addresses.push(address.with_peer(peer).into_libp2p()),
        }
    }
    addresses.sort_by_key(reach::preference);
    addresses.dedup();
    let mut kinds: Vec<Kind> = Vec::new();
    for address in addresses {
        let public = Address::from_libp2p(address.clone());
        let transport = match public.transport() {
            TransportKind::Tcp => 0,
            TransportKind::Quic => 1,
            TransportKind::Other if public.is_relayed() => 2,
            TransportKind::Other => {
                let reason = "this node dials TCP and QUIC only".to_owned();
                attempts.push(Attempt { address: Some(public.without_peer()), reason });
                continue;
            }
        };
        // A connection through a relay is only worth as much as the relay, whatever leads to that.
        let rank = if public.is_relayed() { 4 } else { transport };
        match kinds.iter_mut().find(|kind| kind.rank == rank) {
            Some(kind) => kind.addresses.push(address),
            None => kinds.push(Kind { rank, addresses: vec![address] }),
        }
    }
    kinds.sort_by_key(|kind| kind.rank);
    kinds
}

/// Dials one kind after another until a connection stands.
async fn dial_kinds(
    network: &Network,
    peer: PeerId,
    kinds: Vec<Kind>,
    mut attempts: Vec<Attempt>,
) -> Result<(), OpenError> {
    let mut kinds = kinds.into_iter().peekable();
    let mut dials = FuturesUnordered::new();
    while let Some(kind) = kinds.next() {
        dials.push(dial(network, peer, kind));
        let head_start = Instant::now() + HEAD_START;
        while !dials.is_empty() {
            tokio::select! {
                Some(outcome) = dials.next() => match outcome? {
                    Ok(()) => return Ok(()),
                    Err(failed) => attempts.extend(failed),
                },
                () = sleep_until(head_start), if kinds.peek().is_some() => break,
            }
        }
    }
    Err(OpenError::Unreachable { peer, attempts })
}

async fn dial(
    network: &Network,
    peer: PeerId,
    Kind { rank, addresses }: Kind,
) -> Result<Result<(), Vec<Attempt>>, OpenError> {
    let dial = network.ask(|reply| Command::Dial { peer: peer.libp2p(), rank, addresses, reply });
    match timeout(DIAL_PATIENCE, dial).await {
        Ok(outcome) => outcome.map_err(stopped),
        Err(_) => Ok(Err(vec![Attempt { address: None, reason: "no answer in time".to_owned() }])),
    }
}

/// Opens a stream on the best connection, if that has this rank or a better one.
async fn open(
    network: &Network,
    peer: PeerId,
    worst_rank: u8,
) -> Result<Result<TransferStream, OpenFailure>, OpenError> {
    let request = |reply| Command::Open(OpenRequest { peer: peer.libp2p(), worst_rank, reply });
    match timeout(NEGOTIATION_TIMEOUT * 2, network.ask(request)).await {
        Ok(Ok(outcome)) => Ok(outcome),
        // The connection closed with the request in it, or the driver ended; the next question tells which.
        Ok(Err(_)) => Ok(Err(OpenFailure::NotConnected)),
        Err(_) => Ok(Err(OpenFailure::TimedOut)),
    }
}

async fn routes(network: &Network, peer: PeerId) -> Result<Routes, OpenError> {
    network.ask(|reply| Command::Routes { peer: peer.libp2p(), reply }).await.map_err(stopped)
}

fn stopped(_: NetworkError) -> OpenError {
    OpenError::Stopped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Identity;

    #[test]
    fn addresses_are_dialled_by_kind() {
        let peer = Identity::generate().peer_id();
        let other = Identity::generate().peer_id();
        let given: Vec<Address> = [
            "/ip4/192.0.2.1/udp/1/quic-v1".to_owned(),
            format!("/ip4/192.0.2.9/tcp/1/p2p/{other}/p2p-circuit"),
            "/ip4/192.0.2.1/tcp/1".to_owned(),
            format!("/ip4/192.0.2.1/tcp/1/p2p/{peer}"),
            format!("/ip4/192.0.2.2/tcp/1/p2p/{other}"),
            "/ip4/192.0.2.1/tcp/1/ws".to_owned(),
        ]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
        let mut attempts = Vec::new();
        let kinds = kinds(peer, &given, Vec::new(), &mut attempts);
        let seen: Vec<_> = kinds.iter().map(|kind| (kind.rank, kind.addresses.len())).collect();
        assert_eq!(seen, [(0, 1), (1, 1), (4, 1)]);
        assert_eq!(attempts.len(), 2, "{attempts:?}");
    }
}

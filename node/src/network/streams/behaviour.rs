//! The part of transfer streams that knows every connection and chooses among those of a peer.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::behaviour::{AddressChange, ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{PeerId as LibPeerId, StreamProtocol};
use tokio::sync::mpsc;

use super::TransferStream;
use super::handler::{Handler, OpenFailure, Reply, Shared};
use crate::network::{Address, Path, PeerId};

/// Asks for a stream to a peer that is connected.
pub(crate) struct OpenRequest {
    /// To whom.
    pub(crate) peer: LibPeerId,
    /// The rank of the worst connection that will do.
    pub(crate) worst_rank: u8,
    /// Whom to tell. If this is dropped unanswered, the connection closed.
    pub(crate) reply: Reply,
}

/// Opens streams on the best connection with a peer, and knows the way each connection takes.
pub(crate) struct Behaviour {
    shared: Shared,
    connections: HashMap<LibPeerId, Vec<(ConnectionId, Path)>>,
    requests: VecDeque<(LibPeerId, ConnectionId, Reply)>,
    waker: Option<Waker>,
}

impl Behaviour {
    /// Streams of `protocol`; inbound ones go to `inbound`, and those that it has no room for are told `refusal`.
    pub(crate) fn new(protocol: StreamProtocol, inbound: mpsc::Sender<TransferStream>, refusal: Bytes) -> Self {
        let shared = Shared { protocol, inbound, refusal, refused: Arc::new(AtomicU64::new(0)) };
        Self { shared, connections: HashMap::new(), requests: VecDeque::new(), waker: None }
    }

    /// Opens a stream on the best connection with the peer, if that is good enough.
    pub(crate) fn open(&mut self, OpenRequest { peer, worst_rank, reply }: OpenRequest) {
        let Some((connection, _)) = self.best(&peer).filter(|(_, path)| path.rank() <= worst_rank) else {
            // The asker may have gone; nothing is lost then.
            let _ = reply.send(Err(OpenFailure::NotConnected));
            return;
        };
        self.requests.push_back((peer, *connection, reply));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The way of the best connection with the peer.
    pub(crate) fn best_path(&self, peer: &LibPeerId) -> Option<&Path> {
        self.best(peer).map(|(_, path)| path)
    }

    /// Inbound streams refused since the start.
    pub(crate) fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    fn best(&self, peer: &LibPeerId) -> Option<&(ConnectionId, Path)> {
        // Among equals the youngest: the oldest may be dead without anybody having noticed.
        self.connections.get(peer)?.iter().rev().min_by_key(|(_, path)| path.rank())
    }

    fn handler(&self, peer: LibPeerId, remote: &Multiaddr, inbound: bool) -> Handler {
        Handler::new(self.shared.clone(), PeerId::from_libp2p(peer), path(remote, inbound))
    }
}

/// The way of a connection whose far end is at `remote`.
fn path(remote: &Multiaddr, inbound: bool) -> Path {
    let remote = Address::from_libp2p(remote.clone());
    Path { transport: remote.transport(), relayed: remote.is_relayed(), inbound, remote }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: LibPeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, remote, true))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: LibPeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, remote, false))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, endpoint, .. }) => {
                let path = path(endpoint.get_remote_address(), endpoint.is_listener());
                self.connections.entry(peer_id).or_default().push((connection_id, path));
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                if let Some(connections) = self.connections.get_mut(&peer_id) {
                    connections.retain(|(id, _)| *id != connection_id);
                    if connections.is_empty() {
                        self.connections.remove(&peer_id);
                    }
                }
            }
            FromSwarm::AddressChange(AddressChange { peer_id, connection_id, new, .. }) => {
                let connections = self.connections.get_mut(&peer_id).into_iter().flatten();
                for (_, old) in connections.filter(|(id, _)| *id == connection_id) {
                    *old = path(new.get_remote_address(), old.inbound);
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: LibPeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        match self.requests.pop_front() {
            Some((peer_id, connection, event)) => {
                Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(connection), event })
            }
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

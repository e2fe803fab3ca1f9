//! The part of transfer streams that runs beside one connection.
//!
//! It runs on the connection's own task, not on the swarm's. Inbound streams go straight into the bounded channel
//! that the node takes them from; when that is full, the stream gets the configured refusal and is closed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use futures::{AsyncWriteExt, FutureExt};
use libp2p::StreamProtocol;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol};
use tokio::sync::{mpsc, oneshot};

use super::TransferStream;
use crate::network::{Path, PeerId};

/// How long a peer may take to agree on the protocol of one stream.
pub(crate) const NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams that may wait to be opened on one connection.
const MAX_WAITING: usize = 64;
/// Refusals that may be under way on one connection; beyond, streams are reset without a word.
const MAX_REFUSALS: usize = 8;
/// How long a refusal may take.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a stream was not opened on a connection.
#[derive(Debug)]
pub(crate) enum OpenFailure {
    /// No connection with the peer, or none that is good enough.
    NotConnected,
    /// The peer does not speak the protocol.
    Unsupported,
    /// The peer did not agree in time.
    TimedOut,
    /// The connection failed.
    Io(io::Error),
    /// Too many streams wait already.
    Busy,
}

/// Whom to tell when the stream is open.
pub(crate) type Reply = oneshot::Sender<Result<TransferStream, OpenFailure>>;

/// What all handlers of one node share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) protocol: StreamProtocol,
    pub(super) inbound: mpsc::Sender<TransferStream>,
    pub(super) refusal: Bytes,
    pub(super) refused: Arc<AtomicU64>,
}

/// Opens and takes transfer streams on one connection.
pub(crate) struct Handler {
    shared: Shared,
    peer: PeerId,
    path: Path,
    waiting: VecDeque<Reply>,
    refusals: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl Handler {
    pub(super) fn new(shared: Shared, peer: PeerId, path: Path) -> Self {
        Self { shared, peer, path, waiting: VecDeque::new(), refusals: FuturesUnordered::new() }
    }

    fn take_inbound(&mut self, stream: libp2p::Stream) {
        let stream = TransferStream::new(stream, self.peer, self.path.clone());
        match self.shared.inbound.try_send(stream) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(stream)) => self.refuse(stream),
            // Nobody takes streams any more: the node is going away.
            Err(mpsc::error::TrySendError::Closed(stream)) => drop(stream),
        }
    }

    fn refuse(&mut self, stream: TransferStream) {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(peer = %self.peer, "refusing a transfer stream: too many wait already");
        if self.refusals.len() >= MAX_REFUSALS || self.shared.refusal.is_empty() {
            return;
        }
        let words = self.shared.refusal.clone();
        let say = async move {
            let mut stream = tokio_util::compat::TokioAsyncReadCompatExt::compat(stream);
            if stream.write_all(&words).await.is_ok() {
                // Best effort: the peer may be gone.
                let _ = stream.close().await;
            }
        };
        self.refusals.push(tokio::time::timeout(REFUSAL_TIMEOUT, say).map(|_| ()).boxed());
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Reply;
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Reply;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, ()> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.shared.protocol.clone()), ()).with_timeout(NEGOTIATION_TIMEOUT)
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Reply, Infallible>> {
        while let Poll::Ready(Some(())) = self.refusals.poll_next_unpin(cx) {}
        while let Some(reply) = self.waiting.pop_front() {
            if reply.is_closed() {
                continue;
            }
            let upgrade = ReadyUpgrade::new(self.shared.protocol.clone());
            let protocol = SubstreamProtocol::new(upgrade, reply).with_timeout(NEGOTIATION_TIMEOUT);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, reply: Reply) {
        if self.waiting.len() >= MAX_WAITING {
            // The asker may have gone; nothing is lost then.
            let _ = reply.send(Err(OpenFailure::Busy));
            return;
        }
        self.waiting.push_back(reply);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol, (), Reply>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, info: () }) => {
                self.take_inbound(stream);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info: reply }) => {
                let stream = TransferStream::new(stream, self.peer, self.path.clone());
                // If the asker has gone, the stream comes back here and is reset by being dropped.
                let _ = reply.send(Ok(stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: reply, error }) => {
                let failure = match error {
                    StreamUpgradeError::Timeout => OpenFailure::TimedOut,
                    StreamUpgradeError::NegotiationFailed => OpenFailure::Unsupported,
                    StreamUpgradeError::Io(e) => OpenFailure::Io(e),
                    StreamUpgradeError::Apply(never) => match never {},
                };
                // As above.
                let _ = reply.send(Err(failure));
            }
            _ => {}
        }
    }
}

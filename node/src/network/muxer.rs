//! Many streams over one TCP connection: yamux, with windows of our choice.
//!
//! `libp2p_yamux` hides the two settings that matter here: how far the receive windows of a connection may grow
//! (1 GiB by default, which a peer could make this node hold), and how many bytes go into a frame. This is the same
//! protocol, `/yamux/1.0.0`, over the same implementation, with both set.

use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::UpgradeInfo;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use yamux::{Connection, ConnectionError, Mode};

use super::NetworkLimits;
use super::gather::Gather;

/// Inbound streams that wait to be taken by the swarm; beyond, they are reset. Others open at most as many without
/// an answer.
const MAX_WAITING_STREAMS: usize = 256;
/// Most bytes of one frame. The library's 16 KiB cost a fifth more CPU or worse; more than this
/// gains nothing, and small messages wait longer behind a big one (docs/decisions/0003-network.md).
pub(super) const FRAME_BYTES: usize = 64 << 10;

/// The upgrade of an encrypted connection to one that carries streams.
#[derive(Debug, Clone)]
pub(crate) struct Yamux(yamux::Config);

impl Yamux {
    /// With the windows that the limits allow.
    pub(crate) fn new(limits: &NetworkLimits) -> Self {
        Self::with_frame_bytes(limits, FRAME_BYTES)
    }

    pub(super) fn with_frame_bytes(limits: &NetworkLimits, frame_bytes: usize) -> Self {
        let streams = limits.streams_per_connection.max(1);
        let reserved = streams.saturating_mul(yamux::DEFAULT_CREDIT as usize);
        let mut config = yamux::Config::default();
        // In this order: the library insists at each step that every stream can have its first window.
        config.set_max_connection_receive_window(None);
        config.set_max_num_streams(streams);
        config.set_max_connection_receive_window(Some(reserved.saturating_add(limits.receive_window_bytes)));
        config.set_split_send_size(frame_bytes);
        Self(config)
    }
}

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = std::iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/yamux/1.0.0")
    }
}

impl<C> InboundConnectionUpgrade<C> for Yamux
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<Result<Muxer<C>, io::Error>>;

    fn upgrade_inbound(self, socket: C, _: &'static str) -> Self::Future {
        ready(Ok(Muxer::new(socket, self.0, Mode::Server)))
    }
}

impl<C> OutboundConnectionUpgrade<C> for Yamux
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<Result<Muxer<C>, io::Error>>;

    fn upgrade_outbound(self, socket: C, _: &'static str) -> Self::Future {
        ready(Ok(Muxer::new(socket, self.0, Mode::Client)))
    }
}

/// A connection that carries streams.
pub(crate) struct Muxer<C> {
    connection: Connection<Gather<C>>,
    /// Streams that came while the connection was driven for other reasons.
    waiting: VecDeque<yamux::Stream>,
    taker: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(socket: C, config: yamux::Config, mode: Mode) -> Self {
        Self { connection: Connection::new(Gather::new(socket), config, mode), waiting: VecDeque::new(), taker: None }
    }

    /// Moves bytes both ways until there is nothing to do, or a stream has come. Yamux has this one engine; opening
    /// and taking streams only look at what it did.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        self.connection.poll_next_inbound(cx).map(|next| match next {
            Some(Ok(stream)) => Ok(stream),
            Some(Err(e)) => Err(into_io(e)),
            None => Err(into_io(ConnectionError::Closed)),
        })
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = yamux::Stream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        if let Some(stream) = self.waiting.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let driven = self.drive(cx);
        if driven.is_pending() {
            self.taker = Some(cx.waker().clone());
        }
        driven
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        self.connection.poll_new_outbound(cx).map_err(into_io)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.poll_close(cx).map_err(into_io)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        match self.drive(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Ready(Ok(stream)) => {
                if self.waiting.len() < MAX_WAITING_STREAMS {
                    self.waiting.push_back(stream);
                    if let Some(taker) = self.taker.take() {
                        taker.wake();
                    }
                } else {
                    tracing::debug!("a peer opens streams faster than they are taken: resetting one");
                }
                // There may be more to do; give the task's other work its turn first.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

fn into_io(error: ConnectionError) -> io::Error {
    match error {
        ConnectionError::Io(e) => e,
        other => io::Error::other(other),
    }
}

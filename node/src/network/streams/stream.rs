//! A stream between two nodes, with what is known of the way it takes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{AsyncRead as _, AsyncWrite as _, ready};
use libp2p::core::upgrade::NegotiationError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::network::{Path, PeerId};

/// Bytes that one read gives at most: as many as one frame of the multiplexer carries.
const READ_BYTES: usize = 64 * 1024;

/// A stream of bytes in both directions, authenticated and encrypted. Dropping it resets it; `shutdown` ends the
/// writing half in order. As long as it lives, its connection is kept.
///
/// What it is for goes out with the first bytes that are written. A peer that does not speak the protocol says so only
/// then: the first read fails with [`io::ErrorKind::Unsupported`].
pub struct TransferStream {
    inner: libp2p::Stream,
    peer: PeerId,
    path: Path,
}

/// A stream that a peer opened.
pub type InboundStream = TransferStream;

impl TransferStream {
    pub(super) fn new(stream: libp2p::Stream, peer: PeerId, path: Path) -> Self {
        Self { inner: stream, peer, path }
    }

    /// Who is at the other end: proven by the connection's handshake.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// What carries the stream.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl std::fmt::Debug for TransferStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransferStream").field("peer", &self.peer).field("path", &self.path).finish_non_exhaustive()
    }
}

impl AsyncRead for TransferStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // libp2p's streams read into initialised memory. Zeroing no more than one frame can bring keeps that cheap,
        // however much room the caller has.
        let most = buf.remaining().min(READ_BYTES);
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buf.initialize_unfilled_to(most)));
        buf.advance(read.map_err(named)?);
        Poll::Ready(Ok(()))
    }
}

/// Gives the refusal of the protocol a kind by which it is known.
fn named(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(NegotiationError::Failed) => {
            io::Error::new(io::ErrorKind::Unsupported, "the peer does not speak the transfer protocol")
        }
        _ => error,
    }
}

impl AsyncWrite for TransferStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

//! Puts small writes together: what yamux has to send at one time leaves in one record and one packet.
//!
//! Yamux writes a frame's header and its body one after the other and flushes after each frame, and each write below
//! it would be encrypted, handed to the system and received on its own: eleven for a small content, four now. So a
//! flush waits here until the next read. Yamux reads only when it has nothing more to send, and always before it waits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::io::BufWriter;
use futures::{AsyncRead, AsyncWrite};

/// What is kept at most, for each connection. What is as long goes out as it is, without a copy.
const MOST_BYTES: usize = 4096;

/// A socket for yamux, and for nothing else: what is written to it goes out with the next read.
#[derive(Debug)]
pub(super) struct Gather<C>(BufWriter<C>);

impl<C: AsyncWrite> Gather<C> {
    pub(super) fn new(socket: C) -> Self {
        Self(BufWriter::with_capacity(MOST_BYTES, socket))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gather<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        // Where the other side takes nothing now, this task is woken when it does, and comes by here again.
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.0).poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Gather<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::AsyncWriteExt;
    use futures::task::noop_waker_ref;
    use yamux::{Config, Connection, Mode};

    use super::*;

    /// Takes everything, each write for itself, and has nothing to read.
    #[derive(Clone, Default)]
    struct Line(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Line {
        fn writes(&self) -> Vec<usize> {
            std::mem::take(&mut *self.0.lock().unwrap()).iter().map(Vec::len).collect()
        }
    }

    impl AsyncRead for Line {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Line {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.0.lock().unwrap().push(buf.to_vec());
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_yamux_has_to_send_at_one_time_leaves_at_once_and_none_of_it_stays() {
        const HEADER: usize = 12;
        let line = Line::default();
        let mut cx = Context::from_waker(noop_waker_ref());
        let mut connection = Connection::new(Gather::new(line.clone()), Config::default(), Mode::Client);
        let Poll::Ready(Ok(mut stream)) = connection.poll_new_outbound(&mut cx) else { panic!("no stream") };
        // It begins with a ping.
        assert!(connection.poll_next_inbound(&mut cx).is_pending());
        assert_eq!(line.writes(), [HEADER]);
        // As much as goes into one record, and what is longer: that is not copied for it.
        for (messages, writes) in [(&[3, 5][..], &[2 * HEADER + 8][..]), (&[MOST_BYTES], &[HEADER, MOST_BYTES])] {
            for message in messages {
                stream.write_all(&vec![7; *message]).await.unwrap();
            }
            assert!(connection.poll_next_inbound(&mut cx).is_pending());
            assert_eq!(line.writes(), writes, "for messages of {messages:?} bytes");
        }
    }

    #[tokio::test]
    async fn closing_lets_nothing_lie() {
        let line = Line::default();
        let mut gather = Gather::new(line.clone());
        gather.write_all(b"farewell").await.unwrap();
        gather.flush().await.unwrap();
        assert!(line.writes().is_empty());
        assert!(Pin::new(&mut gather).poll_close(&mut Context::from_waker(noop_waker_ref())).is_ready());
        assert_eq!(line.writes(), [8]);
    }
}

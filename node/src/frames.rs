//! Frames over a stream: whole ones out of bytes as they come, with a deadline on progress.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use shoal_protocol::wire::{Direction, FrameHeader, HEADER_BYTES, WireError, take_frame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::config::FRAME_DEADLINE;

/// Bytes that one read may bring. Frames are slices of it, so a chunk is not copied between the stream and the store.
const READ_BYTES: usize = 512 * 1024;

/// Why a stream of frames ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FrameError {
    /// The stream broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The other side said something that the protocol does not have.
    #[error("the peer broke the protocol: {0}")]
    Wire(#[from] WireError),
    /// The stream ended in the middle of a frame, or before one that was due.
    #[error("the peer closed the session")]
    Ended,
    /// The other side did not move a byte for too long.
    #[error("the peer moved nothing for {} s", .0.as_secs())]
    Stuck(Duration),
}

/// Cuts a stream into frames.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    stream: R,
    direction: Direction,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads frames that come in this direction.
    pub(crate) fn new(stream: R, direction: Direction) -> Self {
        Self { stream, direction, buffer: BytesMut::new() }
    }

    /// The next frame, if all of it is here.
    pub(crate) fn take(&mut self) -> Result<Option<(FrameHeader, Bytes)>, WireError> {
        take_frame(&mut self.buffer, self.direction)
    }

    /// Whether a whole frame, or a malformed one, is here.
    pub(crate) fn has_frame(&self) -> bool {
        let Some((header, rest)) = self.buffer.split_first_chunk::<HEADER_BYTES>() else {
            return false;
        };
        FrameHeader::decode(header, self.direction).is_ok_and(|header| rest.len() >= header.payload_bytes())
    }

    /// Waits for bytes and says how many came. May be dropped at any time without losing any.
    pub(crate) async fn fill(&mut self) -> Result<usize, FrameError> {
        self.buffer.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(FrameError::Ended),
            read => Ok(read),
        }
    }

    /// The next frame, however long it takes. May be dropped at any time without losing bytes.
    pub(crate) async fn next(&mut self) -> Result<(FrameHeader, Bytes), FrameError> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }
}

/// Writes all of `bytes`, as long as the other side takes some of them every now and then.
pub(crate) async fn write_all<W: AsyncWrite + Unpin>(stream: &mut W, mut bytes: &[u8]) -> Result<(), FrameError> {
    while !bytes.is_empty() {
        let written = deadline(stream.write(bytes)).await?;
        if written == 0 {
            return Err(FrameError::Ended);
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    deadline(stream.flush()).await
}

/// Waits for one step of the other side, for as long as a step may take.
pub(crate) async fn deadline<T, E: Into<FrameError>>(
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, FrameError> {
    match tokio::time::timeout(FRAME_DEADLINE, step).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(FrameError::Stuck(FRAME_DEADLINE)),
    }
}

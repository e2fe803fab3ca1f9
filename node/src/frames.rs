//! Frames over a stream: whole ones out of bytes as they come, with a deadline on progress.

use std::io;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use shoal_protocol::wire::{Direction, FrameHeader, HEADER_BYTES, WireError, take_frame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::config::FRAME_DEADLINE;

/// Room that a buffer for chunks begins with. Frames are slices of it, so a chunk is not copied between the stream and
/// the store; what straddles two buffers is, which is why it is longer than the longest chunk; and no longer than what
/// the allocator keeps at hand, or the system would clear every page of it anew.
const CHUNK_BUFFER_BYTES: usize = 384 * 1024;
/// A buffer with less room than this is exchanged for a new one before the next read.
const CHUNK_LEAST_ROOM: usize = 64 * 1024;
/// The same for a requester's messages, which are small: a server has many sessions.
const MESSAGE_BUFFER_BYTES: usize = 8 * 1024;
const MESSAGE_LEAST_ROOM: usize = 1024;

/// How often it is asked whether a slow peer is still waited for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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

    /// The next frame, if all of it is here and it is of this kind.
    pub(crate) fn take_if(
        &mut self,
        kind: impl Fn(&FrameHeader) -> bool,
    ) -> Result<Option<(FrameHeader, Bytes)>, WireError> {
        match self.peek() {
            Some((header, _)) if kind(&header) => self.take(),
            _ => Ok(None),
        }
    }

    /// Whether the next frame is a chunk, of which a part is here.
    pub(crate) fn has_part_of_a_chunk(&self) -> bool {
        self.peek().is_some_and(|(header, here)| header.is_chunk() && here < header.payload_bytes())
    }

    /// The next frame's header, and how many bytes of the payload and beyond are here.
    fn peek(&self) -> Option<(FrameHeader, usize)> {
        let (header, rest) = self.buffer.split_first_chunk::<HEADER_BYTES>()?;
        Some((FrameHeader::decode(header, self.direction).ok()?, rest.len()))
    }

    /// Waits for bytes and says how many came. May be dropped at any time without losing any.
    pub(crate) async fn fill(&mut self) -> Result<usize, FrameError> {
        let (least, fresh) = match self.direction {
            Direction::ToServer => (MESSAGE_LEAST_ROOM, MESSAGE_BUFFER_BYTES),
            Direction::ToRequester => (CHUNK_LEAST_ROOM, CHUNK_BUFFER_BYTES),
        };
        if self.buffer.capacity() - self.buffer.len() < least {
            self.buffer.reserve(fresh);
        }
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

/// Writes all of `bytes` for as long as `is_enough` does not say that the other side takes them too slowly. It is asked
/// at least every second, with how many bytes were taken, in what time, and how long ago the last of them were.
pub(crate) async fn write_while<W: AsyncWrite + Unpin>(
    stream: &mut W,
    bytes: &[u8],
    is_enough: impl Fn(usize, Duration, Duration) -> bool,
) -> Result<(), FrameError> {
    let begun = Instant::now();
    let (mut written, mut moved) = (0, begun);
    loop {
        let rest = bytes.get(written..).unwrap_or_default();
        let step = async {
            if rest.is_empty() { stream.flush().await.map(|()| None) } else { stream.write(rest).await.map(Some) }
        };
        match tokio::time::timeout(LOOK_EVERY, step).await {
            Ok(Ok(None)) => return Ok(()),
            Ok(Ok(Some(0))) => return Err(FrameError::Ended),
            Ok(Ok(Some(more))) => (written, moved) = (written + more, Instant::now()),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {}
        }
        if !is_enough(written, begun.elapsed(), moved.elapsed()) {
            return Err(FrameError::Stuck(moved.elapsed()));
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writing_ends_when_the_other_side_is_too_slow() {
        let (mut from, mut to) = tokio::io::duplex(16);
        let bytes: Vec<u8> = (0..200).collect();
        let mut read = Vec::new();
        let (written, taken) = tokio::join!(write_while(&mut from, &bytes, |_, _, _| true), async {
            let mut part = [0; 200];
            to.read_exact(&mut part).await.map(|_| read.extend(part))
        });
        assert!(written.is_ok() && taken.is_ok() && read == bytes);
        // As much as fits is taken, and then nothing any more.
        let ended = write_while(&mut from, &bytes, |written, _, _| written < 16).await;
        assert!(matches!(ended, Err(FrameError::Stuck(_))));
    }
}

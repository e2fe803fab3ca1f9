//! Reading and writing frames on a libp2p stream.

use std::io;

use bytes::{Bytes, BytesMut};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::Stream;
use shoal_protocol::wire::{Direction, FrameHeader, HEADER_BYTES};

/// The next frame, `None` at a proper end between two.
pub(super) async fn read(stream: &mut Stream, direction: Direction) -> io::Result<Option<(FrameHeader, Bytes)>> {
    let mut head = [0; HEADER_BYTES];
    match stream.read_exact(&mut head).await {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let header = FrameHeader::decode(&head, direction).map_err(io::Error::other)?;
    let mut payload = vec![0; header.payload_bytes()];
    stream.read_exact(&mut payload).await?;
    Ok(Some((header, payload.into())))
}

/// Writes what has been encoded and sends it off.
pub(super) async fn write(stream: &mut Stream, encoded: &mut BytesMut) -> io::Result<()> {
    stream.write_all(&encoded.split()).await?;
    stream.flush().await
}

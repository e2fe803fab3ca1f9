//! The standard input as content.

use std::io::{IsTerminal, stdin};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use shoal_node::api::{Failure, FailureKind};
use shoal_node::control::Items;
use tokio_util::io::ReaderStream;

/// Most bytes that are passed on at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Whether a person types it.
pub(crate) fn is_terminal() -> bool {
    stdin().is_terminal()
}

/// All of it, as it comes.
pub(crate) fn bytes() -> Items<Bytes> {
    let failed = |error| Failure::new(FailureKind::Failed, format!("cannot read stdin: {error}; nothing is published"));
    ReaderStream::with_capacity(tokio::io::stdin(), PIECE_BYTES).map_err(failed).boxed()
}

//! What an import reads.

use std::fmt::{self, Debug, Formatter};
use std::io::{self, Read};

use bytes::Bytes;
use futures::stream::{BoxStream, TryStreamExt};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::scan::Scan;
use crate::api::Failure;

/// What an import reads.
pub(crate) enum Input {
    /// Files and folders.
    Paths(Scan),
    /// Bytes that come from somewhere, of which nobody knows how many; they become what a file of them would.
    Stream(Box<dyn Read + Send>),
}

impl Input {
    /// What comes out of a stream. Must be called within a tokio runtime, and be read on a thread that may block.
    pub(crate) fn of_stream(bytes: BoxStream<'static, Result<Bytes, Failure>>) -> Self {
        Self::Stream(Box::new(SyncIoBridge::new(StreamReader::new(bytes.map_err(io::Error::other)))))
    }
}

impl Debug for Input {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paths(scan) => f.debug_tuple("Paths").field(scan).finish(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

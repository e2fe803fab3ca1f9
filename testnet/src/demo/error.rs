//! How the demo can fail.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::TestnetError;
use crate::narrator::NarrationError;

/// Why the demo did not come to its good end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// A node or a command failed.
    #[error(transparent)]
    Testnet(#[from] TestnetError),
    /// Stopped by Ctrl-C or another signal.
    #[error("the demo was interrupted; nothing of it is left")]
    Interrupted,
    /// It took longer than it may.
    #[error("the demo took longer than {0:?} and was stopped")]
    TooLong(Duration),
    /// What a node fetched is not what was published.
    #[error("what {node} fetched differs from what was published: {}", differences.join("; "))]
    Differs {
        /// The node.
        node: String,
        /// A line for each difference.
        differences: Vec<String>,
    },
    /// The fetch was over before the provider could be killed in the middle of it.
    #[error("{node} had fetched everything before its provider could be killed; ask for a larger file")]
    TooQuick {
        /// The node.
        node: String,
    },
    /// The content could not be made or read.
    #[error("{path}: {source}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The story could not be written out.
    #[error(transparent)]
    Narration(#[from] NarrationError),
    /// Signals cannot be caught here.
    #[error("cannot wait for Ctrl-C: {0}")]
    Signals(#[source] io::Error),
}

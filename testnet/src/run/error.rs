//! Why a scenario could not be run.

use std::io;
use std::path::PathBuf;

use crate::error::TestnetError;
use crate::narrator::NarrationError;
use crate::scenario::Scenario;

/// Why a scenario could not be run, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A node or a command failed.
    #[error(transparent)]
    Testnet(#[from] TestnetError),
    /// Stopped by Ctrl-C or another signal.
    #[error("the run was interrupted; nothing of it is left")]
    Interrupted,
    /// More nodes than can be processes here.
    #[error(
        "{nodes} nodes are too many for real processes: at most {} (`shoal testnet simulate run` takes them)",
        Scenario::MAX_CLUSTER_NODES
    )]
    TooMany {
        /// How many.
        nodes: usize,
    },
    /// There is no executable for liars.
    #[error(
        "this scenario has liars, and {program} is not there: build it with `cargo build --release -p shoal-tests \
         --bin shoal-liar`"
    )]
    NoLiar {
        /// Where it was looked for.
        program: PathBuf,
    },
    /// A node that is well does not publish what it should.
    #[error("{node} cannot publish {content}: {why}")]
    Publish {
        /// The node.
        node: String,
        /// The content.
        content: String,
        /// What the node said.
        why: String,
    },
    /// An original could not be made, or an output not be read.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The lines between the nodes could not be set up.
    #[error("cannot set up the lines between the nodes: {0}")]
    Links(#[source] io::Error),
    /// What happens could not be written out.
    #[error(transparent)]
    Narration(#[from] NarrationError),
}

impl RunError {
    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

//! What can go wrong with a network that stays.

use std::io;
use std::path::PathBuf;

use crate::error::TestnetError;

/// Why a standing network could not be started, stopped or looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StandingError {
    /// A node or a command failed.
    #[error(transparent)]
    Testnet(#[from] TestnetError),
    /// Every node of it runs already.
    #[error("a network of {nodes} nodes runs in {folder} already; stop it with `shoal testnet down --dir {folder}`")]
    Running {
        /// The folder.
        folder: PathBuf,
        /// How many nodes it has.
        nodes: usize,
    },
    /// Another command changes it right now.
    #[error("another command starts or stops the network in {folder} right now; wait for it and try again")]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds other things.
    #[error("{folder} is not empty and holds no network; name an empty or a new folder with --dir")]
    Occupied {
        /// The folder.
        folder: PathBuf,
    },
    /// There is no network in the folder.
    #[error("there is no network in {folder}; start one with `shoal testnet up --dir {folder}`")]
    Nothing {
        /// The folder.
        folder: PathBuf,
    },
    /// Another number of nodes was asked for than the folder holds.
    #[error(
        "the network in {folder} has {found} nodes, not {wanted}; leave --nodes out to start those, or remove it \
         with `shoal testnet down --remove --dir {folder}`"
    )]
    OtherSize {
        /// The folder.
        folder: PathBuf,
        /// How many it has.
        found: usize,
        /// How many were asked for.
        wanted: usize,
    },
    /// What is written about the network cannot be read.
    #[error("{path} cannot be read as the state of a network ({reason}); nothing was started or stopped")]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Stopped by Ctrl-C or another signal before it stood.
    #[error("interrupted; the nodes that were started by this command are stopped")]
    Interrupted,
    /// A process could not be signalled.
    #[error("cannot stop {node} (process {pid}): {source}")]
    Signal {
        /// The node.
        node: String,
        /// Its process.
        pid: u32,
        /// What the system said.
        source: io::Error,
    },
}

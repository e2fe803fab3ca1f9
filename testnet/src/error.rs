//! What can go wrong with a local network, always with the node or the command that it happened to.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a local network could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestnetError {
    /// A process could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The executable.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A node did not come up in time.
    #[error("{node} is not ready after {deadline:?}; the end of its log {log}:\n{tail}")]
    NotReady {
        /// The node.
        node: String,
        /// How long was waited.
        deadline: Duration,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A node ended by itself.
    #[error("{node} ended before it was ready ({status}); the end of its log {log}:\n{tail}")]
    Ended {
        /// The node.
        node: String,
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A node does not run, or there is no node of that number.
    #[error("there is no running node-{index}")]
    NoNode {
        /// The number.
        index: usize,
    },
    /// A file or folder of the network could not be made, read or removed.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A command ended with another exit code than 0.
    #[error("`{command}` ended with {code:?}: {stderr}")]
    Command {
        /// The command line.
        command: String,
        /// The exit code; `None` when a signal ended it.
        code: Option<i32>,
        /// What it said.
        stderr: String,
    },
    /// A command's JSON was not what the contract says.
    #[error("`{command}` printed something else than expected ({source}): {stdout}")]
    Output {
        /// The command line.
        command: String,
        /// What the parser said.
        source: serde_json::Error,
        /// What was printed.
        stdout: String,
    },
    /// Something took longer than it may.
    #[error("{what} took longer than {deadline:?}")]
    Deadline {
        /// What was waited for.
        what: String,
        /// How long.
        deadline: Duration,
    },
}

impl TestnetError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

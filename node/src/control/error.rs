//! What can go wrong between the two ends of the control API.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::api::{Failure, FailureKind};
use crate::way_out::way_out;

/// Why a control server could not be opened or a request to one had no proper answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The home could not be made or looked at.
    #[error("cannot use {} as a home: {error}; name another with --home", path.display())]
    Home {
        /// The home.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The home's path is too long for a Unix socket and this system has no way round.
    #[error("{} is too long for a socket (at most {limit} bytes); choose a home with a shorter path", path.display())]
    PathTooLong {
        /// Where the socket would lie.
        path: PathBuf,
        /// Most bytes of such a path.
        limit: usize,
    },
    /// The socket could not be made.
    #[error("cannot listen on {}: {error}{}", path.display(), way_out(error))]
    Bind {
        /// Where the socket would lie.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// There is a socket, but no way to it.
    #[error("cannot reach the node at {}: {error}{}", path.display(), way_out(error))]
    Connect {
        /// Where the socket lies.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The node took the connection and said nothing.
    #[error("the node at {} did not answer within {} s; it may be stuck: see its log", path.display(), waited.as_secs())]
    NoAnswer {
        /// Where the socket lies.
        path: PathBuf,
        /// How long it had.
        waited: Duration,
    },
    /// The connection ended before the answer did.
    #[error("the node stopped in the middle of an answer; see its log, then run the same command again")]
    Lost {
        /// What the connection says, if anything.
        #[source]
        source: Option<hyper::Error>,
    },
    /// An answer that this program does not understand.
    #[error("the node's answer makes no sense ({what}); is it of another version than this program?")]
    Gibberish {
        /// What was wrong with it.
        what: String,
    },
    /// What is asked for cannot be said in JSON.
    #[error("{what} is not UTF-8 and cannot be handed to the node; rename it")]
    NotText {
        /// What it was.
        what: String,
    },
    /// The node understood and said no.
    #[error(transparent)]
    Refused(#[from] Failure),
}

impl From<ControlError> for Failure {
    fn from(problem: ControlError) -> Self {
        let kind = match &problem {
            ControlError::Refused(failure) => return failure.clone(),
            ControlError::NotText { .. } => FailureKind::Usage,
            ControlError::Home { error, .. }
            | ControlError::Bind { error, .. }
            | ControlError::Connect { error, .. } => match error.kind() {
                io::ErrorKind::PermissionDenied
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded => FailureKind::Denied,
                _ => FailureKind::Failed,
            },
            _ => FailureKind::Failed,
        };
        Failure::from_error(kind, &problem)
    }
}

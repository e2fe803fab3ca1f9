//! What can go wrong in the network, in words.

use std::fmt;
use std::io;
use std::time::Duration;

use super::{Address, PeerId};

/// Why a network could not start, or no longer does what it is asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// Another program listens there.
    #[error("cannot listen on {address}: the port is in use by another program; choose another, or 0 for any")]
    PortInUse {
        /// Where.
        address: Address,
    },
    /// No transport of this node can listen on such an address.
    #[error(
        "cannot listen on {address}: {reason}; give an address such as /ip4/0.0.0.0/tcp/4001 or /ip4/0.0.0.0/udp/4001/quic-v1"
    )]
    BadListenAddress {
        /// The address.
        address: Address,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refused.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: Address,
        /// What the system says.
        source: io::Error,
    },
    /// The keys or certificates for encrypted connections could not be made.
    #[error("cannot set up encryption: {reason}")]
    Encryption {
        /// What failed.
        reason: String,
    },
    /// So many operations of this kind are under way that no more are taken.
    #[error("too many {what} are under way")]
    Busy {
        /// Operations of which kind.
        what: &'static str,
    },
    /// The quota of own announcements is full.
    #[error("this node announces {limit} contents already, which is the most it is configured for")]
    TooManyAnnouncements {
        /// The quota.
        limit: usize,
    },
    /// The network was shut down.
    #[error("the network has been shut down")]
    Stopped,
}

/// Why there is no stream to a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No address of the peer answered.
    #[error("cannot reach {peer}: {}", Attempts(attempts))]
    Unreachable {
        /// The peer.
        peer: PeerId,
        /// What was tried, and what came of it; empty when no address was known.
        attempts: Vec<Attempt>,
    },
    /// The peer answered, and does not speak this transfer protocol: another version, or another network.
    #[error("{peer} does not speak {protocol}{}", Speaks(speaks))]
    UnsupportedProtocol {
        /// The peer.
        peer: PeerId,
        /// What this node asked for.
        protocol: String,
        /// Protocols of this family that the peer does speak, as far as it said.
        speaks: Vec<String>,
    },
    /// The peer took the connection and did not answer on it.
    #[error("{peer} did not answer within {after:?}")]
    TimedOut {
        /// The peer.
        peer: PeerId,
        /// How long it was given.
        after: Duration,
    },
    /// The connection broke while the stream was opened.
    #[error("the connection to {peer} broke: {reason}")]
    Broken {
        /// The peer.
        peer: PeerId,
        /// What is known.
        reason: String,
    },
    /// The peer is this node itself.
    #[error("{peer} is this node itself")]
    ThisNode {
        /// The peer.
        peer: PeerId,
    },
    /// So many streams are being opened that no more are taken.
    #[error("too many streams are being opened at once")]
    Busy,
    /// The network was shut down.
    #[error("the network has been shut down")]
    Stopped,
}

/// One address that was tried in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The address, if one was tried at all.
    pub address: Option<Address>,
    /// What came of it.
    pub reason: String,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some(address) => write!(f, "{address}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

struct Attempts<'a>(&'a [Attempt]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no address of it is known");
        }
        for (i, attempt) in self.0.iter().enumerate() {
            write!(f, "{}{attempt}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

struct Speaks<'a>(&'a [String]);

impl fmt::Display for Speaks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => Ok(()),
            some => write!(f, " but {}", some.join(", ")),
        }
    }
}

/// The error and its causes in one line, each said once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

/// The kind of the first `io::Error` of a meaning of its own in a chain of causes.
pub(super) fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut cause = Some(error);
    while let Some(e) = cause {
        if let Some(io) = e.downcast_ref::<io::Error>() {
            if io.kind() != io::ErrorKind::Other {
                return Some(io.kind());
            }
            // `io::Error::other` hides its content from `source`.
            if let Some(inner) = io.get_ref() {
                let inner: &(dyn std::error::Error + 'static) = inner;
                if let Some(kind) = io_kind(inner) {
                    return Some(kind);
                }
            }
        }
        cause = e.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_read_as_one_line() {
        let peer = super::super::Identity::generate().peer_id();
        let attempt =
            |address: &str, reason: &str| Attempt { address: address.parse().ok(), reason: reason.to_owned() };
        let error = OpenError::Unreachable {
            peer,
            attempts: vec![attempt("/ip4/192.0.2.1/tcp/1", "refused"), attempt("/ip4/192.0.2.2/tcp/1", "timed out")],
        };
        assert_eq!(
            error.to_string(),
            format!("cannot reach {peer}: /ip4/192.0.2.1/tcp/1: refused; /ip4/192.0.2.2/tcp/1: timed out")
        );
        let none = OpenError::Unreachable { peer, attempts: Vec::new() };
        assert!(none.to_string().ends_with("no address of it is known"));
    }

    #[test]
    fn the_kind_is_found_under_wrappers() {
        let inner = io::Error::from(io::ErrorKind::AddrInUse);
        let wrapped = io::Error::other(io::Error::other(inner));
        assert_eq!(io_kind(&wrapped), Some(io::ErrorKind::AddrInUse));
        assert_eq!(io_kind(&io::Error::other("no")), None);
    }
}

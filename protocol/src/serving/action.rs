//! What goes into the policy and comes out of it: names, actions, refusals.

use std::time::Duration;

use crate::availability::{ChunkIndex, ChunkRange};

/// A session that is being served, as the shell numbers it. A number is never used twice within one policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A peer, as the shell numbers it: sessions of one peer that are open at the same time have the same number, and no
/// two peers ever have the same. Of a peer that comes again under the number it had, it is known how it did before, as
/// long as not 1,024 others have gone since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerNumber(pub u64);

/// A content, as the shell numbers it: sessions for one content that are open at the same time have the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentNumber(pub u64);

/// What is known of a session when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Who wants something.
    pub peer: PeerNumber,
    /// Of what.
    pub content: ContentNumber,
    /// Chunks of the content: wants beyond are refused.
    pub chunks: u64,
    /// Bytes of a chunk on average: how many chunks are handed out at once is reckoned with it.
    pub mean_chunk_bytes: u32,
    /// Whether this node holds all of the content.
    pub holds_all: bool,
    /// Whether the requester says that it serves the content itself.
    pub serves: bool,
    /// Whether the requester reads in order: then nothing is moved or put off.
    pub in_order: bool,
}

/// Something for the shell to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send manifest nodes: the first so many of those that the session wants. Then call
    /// [`handle_read`](super::ServingPolicy::handle_read) and
    /// [`handle_sent`](super::ServingPolicy::handle_sent).
    SendNodes {
        /// To whom.
        session: SessionId,
        /// How many.
        nodes: usize,
    },
    /// Send chunks: these, in this order, up to and with the one that reaches `bytes`. Call
    /// [`handle_read`](super::ServingPolicy::handle_read) as soon as it is known how many these are, and
    /// [`handle_sent`](super::ServingPolicy::handle_sent) when the stream has taken them.
    SendChunks {
        /// To whom.
        session: SessionId,
        /// Which chunks; at least one.
        chunks: Vec<ChunkIndex>,
        /// How much: the last chunk may pass it.
        bytes: u64,
        /// If present: write no faster than so many bytes a second, in small pieces. A limit is so low that the
        /// chunks would otherwise come in one burst after a long silence, which looks like a dead peer.
        pace: Option<u64>,
    },
    /// Send NO_CHUNKS: others have just been given these, and can be asked for them. An [`Action::Offer`] follows,
    /// unless the session ends.
    PutOff {
        /// To whom.
        session: SessionId,
        /// Which chunks.
        ranges: Vec<ChunkRange>,
    },
    /// Send HAVE: what was put off may be asked for again.
    Offer {
        /// To whom.
        session: SessionId,
        /// Which chunks.
        ranges: Vec<ChunkRange>,
    },
    /// Send BUSY, with other providers before it: all that the session wanted has been dropped. Nothing is under
    /// way to it.
    Busy {
        /// To whom.
        session: SessionId,
        /// When it may ask again.
        retry_after: Duration,
    },
}

/// What no honest requester wants. The shell ends the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WantError {
    /// A run of no chunks.
    #[error("it wants a range without chunks")]
    Empty,
    /// Chunks past the end.
    #[error("it wants chunks that the content does not have")]
    Beyond,
    /// More than may be wanted and not answered at once.
    #[error("it wants too much at once")]
    TooMany,
}

/// What a session does, or why it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServingWait {
    /// It wants nothing.
    Nothing,
    /// Something is being read for it or written to it.
    Sending,
    /// Others come first.
    Turn,
    /// The rate limit of the node, of its peer or of its content is used up.
    Limit,
    /// It does not read what it is sent.
    Reader,
}

impl ServingWait {
    /// Every value, in order.
    pub const ALL: [Self; 5] = [Self::Nothing, Self::Sending, Self::Turn, Self::Limit, Self::Reader];
}

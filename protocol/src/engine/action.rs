//! What goes out of the engine: actions, verdicts on what came, reasons.

use std::time::Duration;

use crate::availability::ChunkRange;
use crate::hash::NodeId;

/// A session, as the shell that runs it numbers it. A number is never used twice within one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u32);

/// What is known of a session when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newcomer {
    /// Whether it can be asked for manifest nodes: not where it is about another content that shares chunks.
    pub gives_nodes: bool,
    /// Whether the peer has been asked before and moved nothing: then it has to deliver one thing before it is asked
    /// for more, and one missed deadline ends it.
    pub on_probation: bool,
}

impl Default for Newcomer {
    fn default() -> Self {
        Self { gives_nodes: true, on_probation: false }
    }
}

/// Something for the shell to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send WANT_NODES; at most 64 ids.
    WantNodes {
        /// To whom.
        session: SessionId,
        /// Which nodes.
        ids: Vec<NodeId>,
    },
    /// Send WANT; at most 256 runs.
    Want {
        /// To whom.
        session: SessionId,
        /// Which chunks, in this order.
        ranges: Vec<ChunkRange>,
    },
    /// Send CANCEL; at most 256 runs.
    Cancel {
        /// To whom.
        session: SessionId,
        /// Which chunks.
        ranges: Vec<ChunkRange>,
    },
    /// End the session. The engine has forgotten it already: nothing that still comes from it counts, and
    /// `handle_closed` need not be called (it does no harm).
    Close {
        /// Which one.
        session: SessionId,
        /// Why; some reasons are for a ban.
        reason: CloseReason,
    },
}

/// Why the engine ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// It sent a chunk whose bytes are not what its id says. The shell bans the peer.
    BadChunk,
    /// It sent a node whose bytes are not what its id says. The shell bans the peer.
    BadNode,
    /// It kept sending what nobody had asked it for. The shell bans the peer.
    Unasked,
    /// It was asked several times, with pauses, and gave nothing. Worth a new attempt later.
    NoProgress,
}

impl CloseReason {
    /// Whether the peer broke its word, rather than being slow or gone.
    pub const fn is_a_fault(self) -> bool {
        !matches!(self, Self::NoProgress)
    }
}

/// What a chunk that came is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkVerdict {
    /// It was missing: store it.
    New,
    /// It had been asked for, but is held already: drop it. Counted as wasted.
    Duplicate,
    /// The session had not been asked for it, and it is not missing: drop it. Counted as wasted.
    Unasked,
}

/// What a session is doing or waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wait {
    /// Chunks are on their way from it.
    Receiving,
    /// Only manifest nodes are on their way from it.
    Nodes,
    /// It has not said yet that it holds anything.
    NoAvailability,
    /// There is nothing to ask it for: what it holds is held here, or others are about to deliver it.
    NothingToAsk,
    /// The memory budget is used up by the chunks in flight from others.
    Budget,
    /// It said that it is busy.
    Busy,
    /// It made no progress; it rests before it is tried again.
    BackOff,
    /// It is being tried again, with one chunk.
    Probing,
}

impl Wait {
    /// Every value, in order.
    pub const ALL: [Self; 8] = [
        Self::Receiving,
        Self::Nodes,
        Self::NoAvailability,
        Self::NothingToAsk,
        Self::Budget,
        Self::Busy,
        Self::BackOff,
        Self::Probing,
    ];

    /// What it is called in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Receiving => "receiving",
            Self::Nodes => "nodes",
            Self::NoAvailability => "no_availability",
            Self::NothingToAsk => "nothing_to_ask",
            Self::Budget => "budget",
            Self::Busy => "busy",
            Self::BackOff => "back_off",
            Self::Probing => "probing",
        }
    }
}

/// Why a fetch as a whole does not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stall {
    /// No session is open.
    NoSession,
    /// Sessions are open, but none holds what is missing.
    NobodyHasIt,
    /// Every session that holds what is missing rests or is busy, the first until this time.
    AllResting {
        /// On the clock that the engine is given.
        until: Duration,
    },
    /// The manifest nodes that are needed next have been asked for and have not come.
    Nodes,
    /// Everything handed in is held; the shell has to hand in more of the layout.
    Layout,
}

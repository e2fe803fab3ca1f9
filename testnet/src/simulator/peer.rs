//! A virtual peer: its lines, what it holds, what it fetches and whom it serves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shoal_protocol::engine::Engine;
use shoal_protocol::hash::NodeId;
use shoal_protocol::manifest::ChunkWalk;
use shoal_protocol::serving::ServingPolicy;

use super::events::Nanos;
use super::line::{Downlink, Line, Uplink};
use super::meeting::{Candidates, Swarm};
use super::setup::Nature;
use super::store::Store;

/// Whether a peer is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is, and works.
    Up,
    /// It stands still; its connections live.
    Paused,
    /// It is not.
    Down,
}

/// A peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) presence: Presence,
    pub(super) nature: Nature,
    pub(super) line: Line,
    /// Reaches only those on the same side of a partition; 0 is the network's.
    pub(super) side: u32,
    /// Nothing can be written to its disk.
    pub(super) is_full: bool,
    pub(super) up: Uplink,
    pub(super) down: Downlink,
    pub(super) store: Store,
    pub(super) policy: ServingPolicy,
    /// Channels in which it serves; which are open.
    pub(super) served: BTreeSet<u32>,
    pub(super) serving_timer: Option<Nanos>,
    /// Its policy is being asked what to do, until there is nothing more.
    pub(super) is_serving: bool,
    /// How many newcomers its swarm had seen when all whom it serves were told of them; `None`: it serves nobody who
    /// would be told.
    pub(super) told_news: Option<u64>,
    pub(super) fetch: Option<Fetch>,
    pub(super) swarm: Swarm,
    pub(super) is_announced: bool,
    /// When its process works that has been started.
    pub(super) starts_at: Option<Nanos>,
    /// Most bytes that it has had of what it fetches, and when it got the last of them.
    pub(super) had_bytes: u64,
    pub(super) got_at: Nanos,
    /// Since when it wants the content, and when it had it.
    pub(super) began: Option<Nanos>,
    pub(super) done: Option<Nanos>,
    /// Requests that came while it stood still.
    pub(super) unread: Vec<(u32, super::channel::Request)>,
    pub(super) tally: Tally,
}

/// What a peer has moved, over all of its lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Chunk bytes that left it.
    pub(super) sent_bytes: u64,
    /// Chunk bytes that came and were kept.
    pub(super) kept_bytes: u64,
    /// Chunk bytes that came and were of no use, wrong ones among them.
    pub(super) wasted_bytes: u64,
    /// Of these: wrong ones.
    pub(super) wrong_bytes: u64,
    /// Everything else that it sent: messages, manifest nodes, frame headers.
    pub(super) control_bytes: u64,
}

/// A fetch at work.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) engine: Engine,
    pub(super) timer: Option<Nanos>,
    pub(super) walk: Option<ChunkWalk>,
    /// Leaves of the chunk list that it has handed to the engine.
    pub(super) leaves: usize,
    pub(super) asked: BTreeSet<NodeId>,
    pub(super) layout_done: bool,
    /// Channels that are open or being dialled.
    pub(super) channels: BTreeMap<u32, Dial>,
    pub(super) candidates: Candidates,
    /// How many newcomers the swarm had seen when it was last looked at.
    pub(super) looked_at: u64,
    pub(super) look_up_pause: Duration,
    /// When the DHT answers next.
    pub(super) next_answer: Option<Nanos>,
    pub(super) next_meet: Option<Nanos>,
}

/// How far a channel of a fetch is, seen from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dial {
    /// The dial, or the first answer, is on its way.
    Waiting,
    /// The session is accepted.
    Open,
}

impl Fetch {
    /// Whether every chunk has come; they may not be durable yet.
    pub(super) fn is_complete(&self) -> bool {
        self.layout_done && self.engine.is_complete()
    }

    pub(super) fn open(&self) -> usize {
        self.channels.values().filter(|dial| **dial == Dial::Open).count()
    }

    pub(super) fn dialling(&self) -> usize {
        self.channels.len() - self.open()
    }
}

impl Peer {
    pub(super) fn works(&self) -> bool {
        self.presence == Presence::Up
    }

    /// Why no fetch can be expected of it; `None` if one can.
    pub(super) fn excuse(&self) -> Option<&'static str> {
        match self {
            Self { presence: Presence::Down, .. } => Some("it is down"),
            Self { presence: Presence::Paused, .. } => Some("it is paused"),
            Self { side: 1.., .. } => Some("it is cut off"),
            Self { is_full: true, .. } => Some("its disk is full"),
            _ => None,
        }
    }

    /// Whether it can be counted on: it is there and does as it should.
    pub(super) fn is_steady(&self) -> bool {
        self.works() && self.nature == Nature::Honest
    }
}

//! A transfer session between two peers: a stream from the server to its client, and messages the other way.

use std::collections::VecDeque;
use std::sync::Arc;

use shoal_protocol::availability::{AvailabilityPart, ChunkRange};
use shoal_protocol::hash::NodeId;

use super::events::Nanos;
use super::line::Path;
use super::stream::Stream;

/// What a server puts on a stream before it waits: the buffers of the stream and the kernel.
const SEND_BUFFER: u64 = 256 * 1024;

/// Something on the stream from a server to its client.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// The session is accepted. With it come the manifest's first nodes by their places, right or wrong, for one that
    /// knows nothing yet.
    Accept { beginning: Box<[u32]>, right: bool },
    /// Which chunks the server holds.
    Availability(Arc<[AvailabilityPart]>),
    /// Chunks that it holds by now; shared by all who are told.
    Have(Arc<[ChunkRange]>),
    /// A chunk, right or wrong.
    Chunk { index: u32, right: bool },
    /// A manifest node by its place, right or wrong.
    Node { place: u32, right: bool },
    /// Nodes that are not held.
    NoNodes(Box<[NodeId]>),
    /// Chunks that will not come.
    NoChunks(Box<[ChunkRange]>),
    /// What was asked for is dropped.
    Busy { millis: u32 },
    /// Peers that have the content, too.
    Providers(Box<[u32]>),
}

impl Item {
    /// Whether it is payload, and not what it takes to move payload.
    pub(super) const fn is_payload(&self) -> bool {
        matches!(self, Self::Chunk { .. })
    }
}

/// What a requester says.
#[derive(Debug)]
pub(super) enum Request {
    Nodes(Vec<NodeId>),
    Want(Vec<ChunkRange>),
    Cancel(Vec<ChunkRange>),
    Close,
}

/// How far a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChannelState {
    /// The client's dial is on its way.
    Dialling,
    /// Both ends have it.
    Open,
    /// One end has ended it.
    Closed,
}

/// A session and what is on its way in it.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) client: u32,
    pub(super) server: u32,
    pub(super) state: ChannelState,
    pub(super) path: Path,
    pub(super) stream: Stream,
    /// Whether it stands in the ring of the server's line.
    pub(super) is_lined_up: bool,
    /// The client wants nothing of it any more, and the server does not know that yet.
    pub(super) is_left: bool,
    /// Nothing passes: the two cannot reach each other.
    pub(super) is_cut: bool,
    /// Since when, or since when it is not.
    pub(super) cut_at: Nanos,
    /// The server's line may pass nothing of it before this.
    pub(super) next_start: Nanos,
    /// Items that landed while the client stood still.
    pub(super) unread: u32,
    /// Bytes that have left and have not been taken, at both ends alike: that they were taken makes room at once,
    /// though it takes a way until a server that stood still for want of it goes on.
    pub(super) transit: u64,
    /// No item's first byte comes before this, and none's last byte before that: a stream keeps its order.
    pub(super) first_at: Nanos,
    pub(super) last_at: Nanos,
    pub(super) lands_at: Nanos,
    /// Bytes ever put on the stream, and of these, those that have left.
    put: u64,
    left: u64,
    /// Where grants of the serving policy end that the stream has not taken yet.
    grants: VecDeque<u64>,
    /// Nodes that the client wants, in order.
    pub(super) wanted_nodes: VecDeque<NodeId>,
    /// Whom the server has told of, and how many newcomers it had seen then.
    pub(super) told_news: u64,
    pub(super) told_providers: Vec<u32>,
    /// Chunk bytes that came over it and were kept.
    pub(super) kept_bytes: u64,
    /// Requests that came while nothing passed.
    pub(super) held_back: Vec<Request>,
}

impl Channel {
    pub(super) fn new(client: u32, server: u32, path: Path) -> Self {
        Self {
            client,
            server,
            state: ChannelState::Dialling,
            path,
            stream: Stream::default(),
            is_lined_up: false,
            is_left: false,
            is_cut: false,
            cut_at: 0,
            next_start: 0,
            unread: 0,
            transit: 0,
            first_at: 0,
            last_at: 0,
            lands_at: 0,
            put: 0,
            left: 0,
            grants: VecDeque::new(),
            wanted_nodes: VecDeque::new(),
            told_news: 0,
            told_providers: Vec::new(),
            kept_bytes: 0,
            held_back: Vec::new(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == ChannelState::Open
    }

    /// Puts an item on the stream.
    pub(super) fn put(&mut self, item: Item, bytes: u64, pace: Option<u64>) {
        self.put += bytes;
        self.stream.put(item, bytes, pace);
    }

    /// What was put since the last grant ended is one grant.
    pub(super) fn end_grant(&mut self) {
        self.grants.push_back(self.put);
    }

    /// So many bytes have left.
    pub(super) fn departed(&mut self, bytes: u64) {
        self.left += bytes;
    }

    /// A grant of which no more is to be put than buffers hold, if there is one; it is told of once.
    pub(super) fn taken_grant(&mut self) -> bool {
        let is_taken = self.grants.front().is_some_and(|end| self.left + SEND_BUFFER >= *end);
        if is_taken {
            self.grants.pop_front();
        }
        is_taken
    }

    /// Bytes that wait for the line.
    pub(super) fn waiting_bytes(&self) -> u64 {
        self.put - self.left
    }

    /// Whether the line may take something from it.
    pub(super) fn can_send(&mut self) -> bool {
        self.is_open() && !self.is_cut && self.transit < self.path.window && self.stream.first_waiting().is_some()
    }

    /// Keeps an item that has come ahead of what is on its way until its client works again.
    pub(super) fn hold(&mut self, item: Item, bytes: u64) {
        self.unread += 1;
        self.transit += bytes;
        self.stream.land_ahead(item, bytes);
    }

    /// Ends it; gives the bytes that were under way and are lost.
    pub(super) fn close(&mut self) -> u64 {
        self.state = ChannelState::Closed;
        self.grants = VecDeque::new();
        self.wanted_nodes = VecDeque::new();
        self.told_providers = Vec::new();
        self.held_back = Vec::new();
        self.unread = 0;
        self.stream.end()
    }
}

//! The serving side of a peer: the node's own policy, and what `node/src/serve` does round it.

use shoal_protocol::availability::{ChunkIndex, ChunkRange, push_index};
use shoal_protocol::hash::NodeId;
use shoal_protocol::serving::{Action, ContentNumber, Opening, PeerNumber, SessionId};
use shoal_protocol::wire::{MAX_RANGES, NoChunksReason, ServerMessage};

use super::channel::{Item, Request};
use super::content::NODE_HEADER_BYTES;
use super::events::{Event, nanos};
use super::meeting::TELL_EVERY;
use super::setup::Nature;
use super::world::World;

/// Bytes of a chunk frame before the chunk's own.
pub(super) const CHUNK_HEADER_BYTES: u64 = 14;
/// What may wait for a line in one channel: two batches, each with a chunk beyond, what is told meanwhile, and nodes.
const MOST_WAITING: u64 = 4 << 20;
/// How long a dripping server takes for a byte.
const DRIP: std::time::Duration = std::time::Duration::from_secs(1);

impl World {
    /// A session begins: the server greets.
    pub(super) fn greet(&mut self, number: u32) {
        let Some(channel) = self.channels.get(number as usize) else { return };
        let (client, server) = (channel.client, channel.server);
        let Some(peer) = self.peers.get_mut(server as usize) else { return };
        let opening = Opening {
            peer: PeerNumber(u64::from(client)),
            content: ContentNumber(0),
            chunks: self.content.chunks(),
            mean_chunk_bytes: self.content.mean_chunk_bytes(),
            holds_all: peer.store.held.is_complete(),
            serves: true,
            in_order: false,
        };
        peer.policy.handle_opened(session(number), opening, std::time::Duration::from_nanos(self.now));
        peer.served.insert(number);
        let now = self.now;
        if let Some(due) = peer.store.awaited(now) {
            self.events.add(due, server, Event::GroupDue(server));
        }
        let parts = peer.store.held.parts();
        self.send_accept(number, client, server);
        let messages: Vec<_> = parts.iter().cloned().map(ServerMessage::Availability).collect();
        let bytes = messages.iter().map(|message| self.wire_bytes(message)).sum();
        if !parts.is_empty() {
            self.put(number, Item::Availability(parts.into()), bytes, None);
        }
        self.tell_providers(number);
        if let Some(peer) = self.peers.get_mut(server as usize)
            && peer.told_news.is_none()
        {
            peer.told_news = Some(peer.swarm.news);
            self.events.add(now + nanos(TELL_EVERY), server, Event::Tell(server));
        }
        self.saw(server, client, true);
    }

    /// Accepts a session. One that knows nothing of the manifest is sent its first nodes with that: past the policy, as
    /// small messages go.
    fn send_accept(&mut self, number: u32, client: u32, server: u32) {
        let client = self.peers.get(client as usize).and_then(|peer| peer.fetch.as_ref());
        let knows_nothing = client.is_some_and(|fetch| fetch.walk.is_none());
        let Some(peer) = self.peers.get(server as usize) else { return };
        let is_sent = |place: &u32| knows_nothing && peer.store.nodes.get(*place as usize).copied().unwrap_or(false);
        let beginning: Box<[u32]> = self.content.beginning.iter().copied().take_while(is_sent).collect();
        let length = |place: &u32| self.content.nodes.get(*place as usize).map_or(0, |(_, bytes)| bytes.len() as u64);
        let nodes: u64 = beginning.iter().map(|place| NODE_HEADER_BYTES + length(place)).sum();
        let right = peer.nature != Nature::WrongNodes;
        // The frame's header, the version and the proof.
        self.put(number, Item::Accept { beginning, right }, 5 + 2 + 32 + nodes, None);
    }

    /// Tells all whom a peer serves of newcomers, if there are any.
    pub(super) fn tell_timer(&mut self, number: u32) {
        let Some(peer) = self.peers.get_mut(number as usize) else { return };
        if peer.served.is_empty() {
            peer.told_news = None;
            return;
        }
        self.events.add(self.now + nanos(TELL_EVERY), number, Event::Tell(number));
        if peer.works() && peer.told_news.replace(peer.swarm.news) != Some(peer.swarm.news) {
            for channel in peer.served.iter().copied().collect::<Vec<_>>() {
                self.tell_providers(channel);
            }
        }
    }

    /// Tells of peers that the client has not been told of.
    pub(super) fn tell_providers(&mut self, number: u32) {
        let Some(channel) = self.channels.get(number as usize) else { return };
        let (client, server) = (channel.client, channel.server);
        let Some(peer) = self.peers.get(server as usize).filter(|peer| peer.works()) else { return };
        let news = peer.swarm.news;
        if channel.told_news == news {
            return;
        }
        let known = peer.swarm.known(client, shoal_protocol::wire::MAX_PROVIDERS, self.now);
        if let Some(channel) = self.channels.get_mut(number as usize) {
            channel.told_news = news;
        }
        let Some(channel) = self.channels.get(number as usize) else { return };
        if known.iter().all(|other| channel.told_providers.contains(other)) {
            return;
        }
        if let Some(channel) = self.channels.get_mut(number as usize) {
            channel.told_providers.clone_from(&known);
        }
        let bytes = provider_bytes(known.len());
        self.put(number, Item::Providers(known.into()), bytes, None);
    }

    /// A request has come to a server that works.
    pub(super) fn take_request(&mut self, server: u32, number: u32, request: Request) {
        let now = self.time();
        let is_open = self.channels.get(number as usize).is_some_and(super::channel::Channel::is_open);
        let Some(peer) = self.peers.get_mut(server as usize).filter(|_| is_open) else { return };
        match request {
            Request::Close => return self.server_gone(number),
            _ if peer.nature == Nature::Silent => return,
            Request::Want(_) if peer.nature == Nature::Drips => {
                let client = self.channels.get(number as usize).map_or(0, |channel| channel.client);
                self.events.add(self.now + nanos(DRIP), client, Event::Progress(number));
                return;
            }
            Request::Want(ranges) => {
                if let Err(error) = peer.policy.handle_want(session(number), &ranges, now) {
                    self.break_rule(|| format!("peer {server} is asked for what no honest peer wants: {error}"));
                }
            }
            Request::Cancel(ranges) => peer.policy.handle_cancel(session(number), &ranges, now),
            Request::Nodes(ids) => {
                if let Err(error) = peer.policy.handle_want_nodes(session(number), ids.len(), now) {
                    self.break_rule(|| format!("peer {server} is asked for what no honest peer wants: {error}"));
                }
                if let Some(channel) = self.channels.get_mut(number as usize) {
                    channel.wanted_nodes.extend(ids);
                }
            }
        }
        self.serve(server);
    }

    pub(super) fn serving_timer(&mut self, number: u32) {
        let Some(peer) = self.peers.get_mut(number as usize) else { return };
        if peer.serving_timer.is_some_and(|at| at <= self.now) {
            peer.serving_timer = None;
            self.serve(number);
        }
    }

    /// Does what the policy of a peer says.
    pub(super) fn serve(&mut self, server: u32) {
        let now = self.time();
        loop {
            let Some(peer) = self.peers.get_mut(server as usize).filter(|peer| peer.works()) else { return };
            let Some(action) = peer.policy.poll(now) else {
                peer.is_serving = false;
                break;
            };
            peer.is_serving = true;
            match action {
                Action::SendNodes { session, nodes } => self.send_nodes(server, session, nodes),
                Action::SendChunks { session, chunks, bytes, pace } => {
                    self.send_chunks(server, session, chunks, bytes, pace);
                }
                Action::PutOff { session, ranges } => self.send_no_chunks(number_of(session), ranges),
                Action::Offer { session, ranges } => {
                    let bytes = range_bytes(ranges.len());
                    self.put(number_of(session), Item::Have(ranges.into()), bytes, None);
                }
                Action::Busy { session, retry_after } => {
                    let number = number_of(session);
                    if let Some(channel) = self.channels.get_mut(number as usize) {
                        channel.wanted_nodes.clear();
                    }
                    self.tell_providers(number);
                    let millis = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX);
                    self.put(number, Item::Busy { millis }, 9, None);
                }
            }
        }
        let due = self.peers.get(server as usize).and_then(|peer| peer.policy.next_timeout());
        if let (Some(due), Some(peer)) = (due, self.peers.get_mut(server as usize)) {
            let due = nanos(due).max(self.now + 1000);
            if peer.serving_timer.is_none_or(|at| due < at) {
                peer.serving_timer = Some(due);
                self.events.add(due, server, Event::ServingTimer(server));
            }
        }
    }

    fn send_nodes(&mut self, server: u32, id: SessionId, nodes: usize) {
        let number = number_of(id);
        let Some(channel) = self.channels.get_mut(number as usize) else { return };
        let count = nodes.min(channel.wanted_nodes.len());
        let ids: Vec<NodeId> = channel.wanted_nodes.drain(..count).collect();
        let Some(peer) = self.peers.get(server as usize) else { return };
        let right = peer.nature != Nature::WrongNodes;
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for id in ids {
            let place = self.content.place(&id);
            match place.filter(|place| peer.store.nodes.get(*place as usize).copied().unwrap_or(false)) {
                Some(place) => found.push(place),
                None => missing.push(id),
            }
        }
        let mut total = 0;
        for place in found {
            let length = self.content.nodes.get(place as usize).map_or(0, |(_, bytes)| bytes.len() as u64);
            let bytes = NODE_HEADER_BYTES + length;
            total += bytes;
            self.put(number, Item::Node { place, right }, bytes, None);
        }
        if !missing.is_empty() {
            let bytes = 5 + 2 + 32 * missing.len() as u64;
            self.put(number, Item::NoNodes(missing.into()), bytes, None);
        }
        self.granted(server, number, nodes, total);
    }

    fn send_chunks(&mut self, server: u32, id: SessionId, chunks: Vec<ChunkIndex>, most: u64, pace: Option<u64>) {
        let number = number_of(id);
        let Some(peer) = self.peers.get(server as usize) else { return };
        let right = peer.nature != Nature::WrongChunks;
        let (mut total, mut answered) = (0, 0);
        let mut found = Vec::with_capacity(chunks.len());
        let mut missing: Vec<ChunkRange> = Vec::new();
        for index in chunks {
            if total >= most {
                break;
            }
            answered += 1;
            if peer.store.held.contains(index) {
                let bytes = CHUNK_HEADER_BYTES + u64::from(self.content.len(index.0));
                total += bytes;
                found.push((index.0 as u32, bytes));
            } else {
                push_index(&mut missing, index);
            }
        }
        for (index, bytes) in found {
            self.put(number, Item::Chunk { index, right }, bytes, pace);
        }
        self.send_no_chunks(number, missing);
        self.granted(server, number, answered, total);
    }

    fn send_no_chunks(&mut self, number: u32, ranges: Vec<ChunkRange>) {
        for ranges in ranges.chunks(MAX_RANGES) {
            let message = ServerMessage::NoChunks { reason: NoChunksReason::NotHeld, ranges: ranges.to_vec() };
            let bytes = self.wire_bytes(&message);
            self.put(number, Item::NoChunks(ranges.into()), bytes, None);
        }
    }

    /// What was granted has been read and put on the stream.
    fn granted(&mut self, server: u32, number: u32, answered: usize, bytes: u64) {
        let now = self.time();
        if let Some(peer) = self.peers.get_mut(server as usize) {
            peer.policy.handle_read(session(number), answered, bytes, now);
        }
        let mut waiting = 0;
        if let Some(channel) = self.channels.get_mut(number as usize) {
            channel.end_grant();
            waiting = channel.waiting_bytes();
        }
        if waiting > MOST_WAITING {
            self.break_rule(|| format!("{waiting} bytes wait in channel {number} of peer {server}"));
        }
        self.grants_taken(number);
    }

    /// Tells the policy of grants that a stream has taken by now.
    pub(super) fn grants_taken(&mut self, number: u32) {
        let now = self.time();
        let mut any = false;
        let Some(channel) = self.channels.get_mut(number as usize) else { return };
        let server = channel.server;
        while channel.taken_grant() {
            any = true;
            if let Some(peer) = self.peers.get_mut(server as usize) {
                peer.policy.handle_sent(session(number), now);
            }
        }
        if any {
            self.wake_serving(server);
        }
    }

    /// The policy is to be asked again in this moment, but not in the middle of what goes on; unless it is being asked.
    fn wake_serving(&mut self, server: u32) {
        if let Some(peer) = self.peers.get_mut(server as usize).filter(|peer| !peer.is_serving)
            && peer.serving_timer.is_none_or(|at| at > self.now)
        {
            peer.serving_timer = Some(self.now);
            self.events.add(self.now, server, Event::ServingTimer(server));
        }
    }

    /// The server's end of a channel is over.
    pub(super) fn server_gone(&mut self, number: u32) {
        let now = self.time();
        let Some(channel) = self.channels.get(number as usize) else { return };
        let server = channel.server;
        self.shut(number);
        if let Some(peer) = self.peers.get_mut(server as usize)
            && peer.served.remove(&number)
        {
            peer.policy.handle_closed(session(number), now);
            self.serve(server);
        }
    }
}

/// Bytes of HAVE, WANT or CANCEL with so many runs: the frame's header, their number, and 12 for each.
pub(super) fn range_bytes(ranges: usize) -> u64 {
    5 + 2 + 12 * ranges as u64
}

/// Bytes of PROVIDERS with so many peers of two addresses each.
pub(super) fn provider_bytes(peers: usize) -> u64 {
    const PEER: u64 = 2 + 38 + 2 + 2 * (2 + 10);
    5 + 2 + PEER * peers as u64
}

fn session(number: u32) -> SessionId {
    SessionId(u64::from(number))
}

fn number_of(session: SessionId) -> u32 {
    u32::try_from(session.0).unwrap_or(u32::MAX)
}

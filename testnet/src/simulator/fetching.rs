//! The fetching side of a peer: the node's own engine, and what `node/src/fetch` does round it.

use std::time::Duration;

use shoal_protocol::availability::ChunkIndex;
use shoal_protocol::engine::{Action, ChunkVerdict, Engine, SessionId};
use shoal_protocol::manifest::{ChunkWalk, Step};
use shoal_protocol::wire::RequesterMessage;

use super::channel::{Item, Request};
use super::events::{Event, nanos};
use super::meeting::{Candidates, FIRST_LOOK_UP_PAUSE, Source};
use super::peer::{Dial, Fetch, Peer};
use super::setup::Nature;
use super::store::Put;
use super::world::World;

/// Nodes that are asked for ahead of the one that is needed next.
const READ_AHEAD: usize = 32;
/// How long a peer rests after its session ended without fault.
const REST_AFTER_CLOSE: Duration = Duration::from_secs(1);

impl World {
    /// A peer begins to fetch, or goes on, if it wants the content and is able to.
    pub(super) fn begin(&mut self, number: u32) {
        let wants = |peer: &&mut Peer| peer.began.is_some() && peer.done.is_none() && peer.fetch.is_none();
        let Some(peer) = self.peers.get_mut(number as usize).filter(wants).filter(|peer| peer.works() && !peer.is_full)
        else {
            return;
        };
        let seed = self.dice.seed();
        let config = self.setup.engine.clone();
        peer.fetch = Some(Fetch {
            engine: Engine::new(config, seed),
            timer: None,
            walk: None,
            leaves: 0,
            asked: Default::default(),
            looked_at: u64::MAX,
            layout_done: false,
            channels: Default::default(),
            candidates: Candidates::default(),
            look_up_pause: FIRST_LOOK_UP_PAUSE,
            next_answer: None,
            next_meet: None,
        });
        self.advance(number);
        self.note_had(number);
        self.look_up(number);
        self.meet(number);
        self.fetch_on(number);
    }

    /// Walks on in the manifest as far as the nodes that are here allow, and as the engine has use for.
    fn advance(&mut self, number: u32) {
        let now = self.time();
        let Some(peer) = self.peers.get_mut(number as usize) else { return };
        let Some(fetch) = &mut peer.fetch else { return };
        let is_held =
            |place: Option<u32>| place.filter(|place| peer.store.nodes.get(*place as usize).copied().unwrap_or(false));
        while !fetch.layout_done {
            let Some(walk) = &mut fetch.walk else {
                let root = self.content.root_id;
                if is_held(self.content.place(&root)).is_none() {
                    if fetch.asked.insert(root) {
                        fetch.engine.want_node(root, now);
                    }
                    return;
                }
                fetch.engine.set_chunk_count(self.content.chunks(), now);
                fetch.walk = Some(ChunkWalk::all(&self.content.root));
                continue;
            };
            if !fetch.engine.needs_layout() {
                return;
            }
            match walk.step() {
                Ok(Step::Leaf(leaf)) => {
                    let lens: Vec<u32> = leaf.rows.iter().map(|row| row.len).collect();
                    fetch.leaves += 1;
                    let held = |at: usize| peer.store.held.contains(ChunkIndex(leaf.first + at as u64));
                    fetch.engine.handle_layout(ChunkIndex(leaf.first), &lens, &held, now);
                }
                Ok(Step::Done) => {
                    fetch.engine.layout_finished();
                    fetch.layout_done = true;
                }
                Ok(Step::Need(_)) => {
                    let mut fed = false;
                    for id in walk.needs((1 + fetch.leaves).min(READ_AHEAD)) {
                        if let Some(place) = is_held(self.content.place(&id)) {
                            if let Some((_, bytes)) = self.content.nodes.get(place as usize) {
                                fed |= walk.feed(id, bytes).is_ok();
                            }
                        } else if fetch.asked.insert(id) {
                            fetch.engine.want_node(id, now);
                        }
                    }
                    if !fed {
                        return;
                    }
                }
                Err(error) => {
                    self.broken.push(format!("peer {number} cannot read the manifest: {error}"));
                    return;
                }
            }
        }
    }

    pub(super) fn engine_timer(&mut self, number: u32) {
        let now = self.now;
        let fetch = self.peers.get_mut(number as usize).and_then(|peer| peer.fetch.as_mut());
        if let Some(fetch) = fetch.filter(|fetch| fetch.timer.is_some_and(|at| at <= now)) {
            fetch.timer = None;
            self.fetch_on(number);
        }
    }

    /// Does what the engine of a peer says, until it has nothing more to say.
    pub(super) fn fetch_on(&mut self, number: u32) {
        let now = self.time();
        loop {
            let Some(peer) = self.peers.get_mut(number as usize).filter(|peer| peer.works()) else { return };
            let Some(fetch) = &mut peer.fetch else { return };
            if fetch.is_complete() && peer.store.held.is_complete() {
                // It had all of it before.
                return self.finish(number, self.now);
            }
            let Some(action) = fetch.engine.poll(now) else { break };
            match action {
                Action::WantNodes { session, ids } => self.ask(session.0, RequesterMessage::WantNodes(ids)),
                Action::Want { session, ranges } => self.ask(session.0, RequesterMessage::Want(ranges)),
                Action::Cancel { session, ranges } => self.ask(session.0, RequesterMessage::Cancel(ranges)),
                Action::Close { session, reason } => {
                    self.hang_up(number, session.0, reason.is_a_fault());
                    self.meet(number);
                }
            }
        }
        self.look_at(number);
        let Some(fetch) = self.peers.get_mut(number as usize).and_then(|peer| peer.fetch.as_mut()) else { return };
        if let Some(due) = fetch.engine.next_timeout() {
            let due = nanos(due).max(self.now + 1000);
            if fetch.timer.is_none_or(|at| due < at) {
                fetch.timer = Some(due);
                self.events.add(due, number, Event::EngineTimer(number));
            }
        }
    }

    /// The client ends a channel.
    pub(super) fn hang_up(&mut self, client: u32, number: u32, is_ban: bool) {
        let now = self.now;
        let Some(channel) = self.channels.get_mut(number as usize) else { return };
        channel.is_left = true;
        let server = channel.server;
        self.send_request(number, Request::Close, 0);
        if let Some(fetch) = self.peers.get_mut(client as usize).and_then(|peer| peer.fetch.as_mut()) {
            fetch.channels.remove(&number);
            if is_ban {
                fetch.candidates.banned(server);
            } else {
                fetch.candidates.failed(server, REST_AFTER_CLOSE, now);
            }
        }
    }

    /// The client's end of a channel is over.
    pub(super) fn client_gone(&mut self, number: u32) {
        let now = self.time();
        let Some(channel) = self.channels.get(number as usize) else { return };
        let (client, server) = (channel.client, channel.server);
        self.shut(number);
        let Some(fetch) = self.peers.get_mut(client as usize).and_then(|peer| peer.fetch.as_mut()) else { return };
        if fetch.channels.remove(&number).is_some() {
            fetch.engine.handle_closed(SessionId(number), now);
            fetch.candidates.failed(server, REST_AFTER_CLOSE, nanos(now));
            self.meet(client);
            self.fetch_on(client);
        }
    }

    /// Some of an item that takes long has come to a client.
    pub(super) fn progress(&mut self, number: u32) {
        let now = self.time();
        let Some(channel) = self.channels.get(number as usize).filter(|channel| channel.is_open()) else { return };
        if channel.is_cut {
            return;
        }
        let (client, server) = (channel.client, channel.server);
        let drips = self.peers.get(server as usize).is_some_and(|peer| peer.nature == Nature::Drips);
        let bytes = if drips { 1 } else { channel.stream.first_left().map_or(0, |framed| framed.bytes.min(16 * 1024)) };
        if drips {
            self.events.add(self.now + 1_000_000_000, client, Event::Progress(number));
        }
        if let Some(fetch) = self.peers.get_mut(client as usize).and_then(|peer| peer.fetch.as_mut()) {
            fetch.engine.handle_progress(SessionId(number), usize::try_from(bytes).unwrap_or(0), now);
        }
    }

    /// An item has come to a client that works.
    pub(super) fn take(&mut self, client: u32, number: u32, item: Item) {
        let now = self.time();
        let session = SessionId(number);
        if let Item::Chunk { index, right } = item {
            return self.take_chunk(client, number, index, right);
        }
        let is_followed = self.channels.get(number as usize).is_some_and(|channel| !channel.is_left);
        let Some(peer) = self.peers.get_mut(client as usize) else { return };
        let Some(fetch) = peer.fetch.as_mut().filter(|_| is_followed) else { return };
        match item {
            Item::Accept { beginning, right } => {
                fetch.channels.insert(number, Dial::Open);
                fetch.engine.handle_opened(session, now);
                if let Some(server) = self.channels.get(number as usize).map(|channel| channel.server) {
                    self.saw(client, server, true);
                }
                // Before anything is asked for.
                beginning.iter().for_each(|place| self.take_node(client, number, *place, right));
            }
            Item::Availability(parts) => {
                parts.iter().for_each(|part| fetch.engine.handle_availability(session, part, now))
            }
            Item::Have(ranges) => fetch.engine.handle_have(session, &ranges, now),
            Item::Node { place, right } => self.take_node(client, number, place, right),
            Item::NoNodes(ids) => fetch.engine.handle_no_nodes(session, &ids, now),
            Item::NoChunks(ranges) => fetch.engine.handle_no_chunks(session, &ranges, now),
            Item::Busy { millis } => fetch.engine.handle_busy(session, Duration::from_millis(millis.into()), now),
            Item::Providers(peers) => {
                for other in peers {
                    if other != client {
                        fetch.candidates.add(other, Source::Hearsay, nanos(now), &mut self.dice);
                    }
                }
                self.meet(client);
            }
            Item::Chunk { .. } => {}
        }
        self.fetch_on(client);
    }

    fn take_node(&mut self, client: u32, number: u32, place: u32, right: bool) {
        let now = self.time();
        let session = SessionId(number);
        let Some(peer) = self.peers.get_mut(client as usize) else { return };
        let (Some(fetch), Some((id, bytes))) = (&mut peer.fetch, self.content.nodes.get(place as usize)) else {
            return;
        };
        if !right {
            fetch.engine.handle_bad_node(session, id, now);
            return;
        }
        if fetch.engine.handle_node(session, id, bytes.len(), now) {
            fetch.asked.remove(id);
            if let Some(held) = peer.store.nodes.get_mut(place as usize) {
                *held = true;
            }
            self.advance(client);
        }
    }

    fn take_chunk(&mut self, client: u32, number: u32, index: u32, right: bool) {
        let now = self.time();
        let (session, chunk) = (SessionId(number), ChunkIndex(u64::from(index)));
        let bytes = u64::from(self.content.len(u64::from(index)));
        let Some(channel) = self.channels.get_mut(number as usize) else { return };
        let Some(peer) = self.peers.get_mut(client as usize) else { return };
        let Some(fetch) = peer.fetch.as_mut().filter(|_| !channel.is_left) else {
            peer.tally.wasted_bytes += bytes;
            return;
        };
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        // The shell looks at no chunk that is not missing, so that a wrong one may go by unnoticed, and unused.
        if !fetch.engine.is_missing(chunk) {
            peer.tally.wasted_bytes += bytes;
            fetch.engine.handle_unneeded(session, chunk, length, now);
        } else if !right {
            peer.tally.wasted_bytes += bytes;
            peer.tally.wrong_bytes += bytes;
            fetch.engine.handle_bad_chunk(session, chunk, now);
        } else if fetch.engine.handle_chunk(session, chunk, length, now) == ChunkVerdict::New {
            peer.tally.kept_bytes += bytes;
            if channel.kept_bytes == 0 {
                fetch.candidates.did_well(channel.server);
            }
            channel.kept_bytes += bytes;
            peer.got_at = self.now;
            match peer.store.put(index, bytes, !peer.served.is_empty(), self.now) {
                Put::Opened(due) => self.events.add(due, client, Event::GroupDue(client)),
                Put::Closed(durable) => self.events.add(durable, client, Event::Durable(client)),
                Put::Added => {}
            }
            if fetch.engine.needs_layout() {
                self.advance(client);
            }
            self.note_had(client);
            self.flush_if_done(client);
        } else {
            peer.tally.wasted_bytes += bytes;
        }
        self.fetch_on(client);
    }

    /// What came last does not wait for a group to fill.
    fn flush_if_done(&mut self, client: u32) {
        let Some(peer) = self.peers.get_mut(client as usize) else { return };
        if peer.fetch.as_ref().is_some_and(Fetch::is_complete)
            && let Some(durable) = peer.store.flush(self.now)
        {
            self.events.add(durable, client, Event::Durable(client));
        }
    }

    pub(super) fn group_due(&mut self, number: u32) {
        if let Some(durable) = self.peers.get_mut(number as usize).and_then(|peer| peer.store.group_due(self.now)) {
            self.events.add(durable, number, Event::Durable(number));
        }
    }

    /// Chunks of a peer are durable: others are told, and can have them.
    pub(super) fn durable(&mut self, number: u32) {
        let now = self.now;
        let Some(peer) =
            self.peers.get_mut(number as usize).filter(|peer| peer.presence != super::peer::Presence::Down)
        else {
            return;
        };
        let ranges = peer.store.durable();
        if ranges.is_empty() {
            return;
        }
        let is_done = peer.fetch.is_some() && peer.store.held.is_complete();
        // It reads what it has fetched, and finds it damaged.
        let is_damaged = !is_done && peer.store.is_settled() && peer.fetch.as_ref().is_some_and(Fetch::is_complete);
        self.announce(number, false);
        self.news(number, &ranges);
        if is_done {
            self.finish(number, now);
        } else if is_damaged {
            self.break_off(number);
            self.begin(number);
        }
    }

    /// Notes how much a fetch has by now.
    fn note_had(&mut self, number: u32) {
        let fetch = self.peers.get(number as usize).and_then(|peer| peer.fetch.as_ref());
        if let Some(bytes) = fetch.map(|fetch| fetch.engine.progress().held_bytes) {
            self.had(number, bytes);
        }
    }

    /// The fetch of a peer ends before it is done.
    pub(super) fn break_off(&mut self, number: u32) {
        let fetch = self.peers.get_mut(number as usize).and_then(|peer| peer.fetch.take());
        for number in fetch.into_iter().flat_map(|fetch| fetch.channels.into_keys()) {
            if let Some(channel) = self.channels.get_mut(number as usize) {
                channel.is_left = true;
            }
            self.send_request(number, Request::Close, 0);
        }
    }

    fn finish(&mut self, number: u32, now: u64) {
        let Some(peer) = self.peers.get_mut(number as usize) else { return };
        let Some(fetch) = peer.fetch.take() else { return };
        peer.done = Some(now);
        let was_hopeless = peer.excuse().is_some();
        self.fetching -= 1;
        if was_hopeless {
            self.count_hopeless();
        }
        self.look_over(number, &fetch);
        self.had(number, self.content.bytes);
        for channel in fetch.channels.into_keys() {
            self.send_request(channel, Request::Close, 0);
        }
    }
}

//! The virtual network at work: its state, its clock, and what happens at each event.
//!
//! One thing happens at a time, in an order that the setup and the seed decide alone: no map with random state, no
//! floating point, no clock.

use std::time::Duration;

use bytes::BytesMut;
use shoal_protocol::availability::Availability;
use shoal_protocol::serving::ServingPolicy;
use shoal_protocol::wire::{RequesterMessage, ServerMessage};
use slab::Slab;

use super::SimulatorError;
use super::channel::{Channel, Request};
use super::content::Content;
use super::dice::Dice;
use super::events::{Event, Events, Nanos, nanos};
use super::line::{Downlink, Path, Uplink};
use super::meeting::{Dht, Swarm};
use super::meets::Refusal;
use super::peer::{Peer, Presence, Tally};
use super::script::Script;
use super::setup::{Fault, Holds, PeerSetup, Setup};
use super::store::Store;
use super::telling::Telling;
use crate::report::Sample;

/// How often it is noted how far everything is, in nanoseconds.
const SAMPLE_EVERY: Nanos = 250_000_000;

/// The virtual network.
#[derive(Debug)]
pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) seed: u64,
    pub(super) content: Content,
    /// The moment of the peer whose turn it is: others may be further, by less than any way between two.
    pub(super) now: Nanos,
    pub(super) events: Events,
    pub(super) peers: Vec<Peer>,
    /// Every channel there ever was: numbers are never used twice.
    pub(super) channels: Vec<Channel>,
    requests: Slab<(u32, Request)>,
    /// Dials that were not taken, of which the client does not know yet.
    pub(super) refusals: Slab<Refusal>,
    /// News on their way, and their bytes.
    pub(super) tellings: Slab<Telling>,
    pub(super) told_bytes: u64,
    pub(super) dice: Dice,
    pub(super) dht: Dht,
    pub(super) totals: Totals,
    pub(super) script: Script,
    /// The faults that have struck, by their places, each with its moment.
    pub(super) happened: Vec<(Nanos, u32)>,
    /// Fetches that are not done, and of these, those at peers that are in no state to and stay so.
    pub(super) fetching: usize,
    pub(super) hopeless: usize,
    /// Whether that number may be another by now.
    pub(super) is_stale: bool,
    /// Most bytes that each fetch has had, all together.
    pub(super) had_bytes: u64,
    scratch: BytesMut,
    /// What should never be.
    pub(super) broken: Vec<String>,
    next_sample: Nanos,
    /// How far everything was, now and then.
    pub(super) samples: Vec<Sample>,
}

/// Bytes of all peers together, as they are on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Bytes that have left: items, and what was sent again.
    pub(super) sent_bytes: u64,
    /// Bytes of items that have come.
    pub(super) received_bytes: u64,
    /// Bytes lost on the way, sent again or never to come.
    pub(super) lost_bytes: u64,
    /// Payload bytes among those sent.
    pub(super) payload_bytes: u64,
    /// Requests, which go ahead of everything.
    pub(super) request_bytes: u64,
    /// Messages and nodes from servers to clients, and the headers of chunks.
    pub(super) control_bytes: u64,
    /// Dials, those refused among them.
    pub(super) dials: u64,
}

impl World {
    pub(super) fn new(setup: Setup, seed: u64) -> Result<Self, SimulatorError> {
        let mut dice = Dice::new(seed);
        let content = Content::new(setup.bytes, setup.chunk_bytes, dice.seed())?;
        let events = Events::new(setup.shortest_way(), SAMPLE_EVERY, nanos(setup.limit));
        let mut world = Self {
            peers: Vec::with_capacity(setup.peers.len()),
            setup,
            seed,
            content,
            now: 0,
            events,
            channels: Vec::new(),
            requests: Slab::new(),
            refusals: Slab::new(),
            tellings: Slab::new(),
            told_bytes: 0,
            dice,
            dht: Dht::default(),
            totals: Totals::default(),
            script: Script::default(),
            happened: Vec::new(),
            fetching: 0,
            hopeless: 0,
            is_stale: false,
            had_bytes: 0,
            scratch: BytesMut::new(),
            broken: Vec::new(),
            next_sample: 0,
            samples: Vec::new(),
        };
        let setups = std::mem::take(&mut world.setup.peers);
        for setup in &setups {
            let peer = world.peer(setup);
            world.peers.push(peer);
        }
        world.setup.peers = setups;
        world.write_script();
        Ok(world)
    }

    fn peer(&mut self, setup: &PeerSetup) -> Peer {
        let chunks = self.content.chunks();
        let comes_with_it = setup.publishes.is_none() && setup.holds != Holds::Nothing;
        let held = match &setup.holds {
            Holds::All if comes_with_it => Availability::all(chunks),
            Holds::All | Holds::Nothing => Availability::new(chunks),
            Holds::Chunks(ranges) => {
                let mut held = Availability::new(chunks);
                ranges.iter().for_each(|range| held.insert_range(*range));
                held
            }
        };
        Peer {
            presence: Presence::Down,
            nature: setup.nature,
            line: setup.line,
            side: 0,
            is_full: false,
            up: Uplink { rate: setup.line.up, ..Uplink::default() },
            down: Downlink { rate: setup.line.down, ..Downlink::default() },
            store: Store::new(self.setup.durability, held, vec![comes_with_it; self.content.nodes.len()]),
            policy: ServingPolicy::new(self.setup.serving(setup.limit_up), self.dice.seed()),
            served: Default::default(),
            serving_timer: None,
            is_serving: false,
            told_news: None,
            fetch: None,
            swarm: Swarm::new(self.dice.seed()),
            is_announced: false,
            starts_at: None,
            had_bytes: 0,
            got_at: 0,
            began: None,
            done: None,
            unread: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Runs until every fetch is done that can be, nothing can happen any more, or the limit has passed.
    pub(super) fn run(&mut self) {
        let limit = nanos(self.setup.limit);
        let mut latest = 0;
        while self.fetching > self.hopeless {
            let Some((at, event)) = self.events.next() else { break };
            if at != self.now && std::mem::take(&mut self.is_stale) {
                self.count_hopeless();
                if self.fetching <= self.hopeless {
                    break;
                }
            }
            if at > limit {
                latest = limit;
                break;
            }
            while at >= self.next_sample {
                self.sample(self.next_sample);
                self.next_sample += SAMPLE_EVERY;
            }
            self.now = at;
            latest = latest.max(at);
            self.happen(event);
        }
        self.now = latest;
    }

    pub(super) fn time(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::EngineTimer(peer) => self.engine_timer(peer),
            Event::ServingTimer(peer) => self.serving_timer(peer),
            Event::Sent(peer) => self.sent(peer),
            Event::Unpaused(channel) => self.line_up(channel),
            Event::Arrives(channel) => self.arrives(channel),
            Event::Lands(channel) => self.lands(channel),
            Event::Progress(channel) => self.progress(channel),
            Event::Request(place) => self.request_came(place),
            Event::Told { telling, channel } => self.told(telling, channel),
            Event::Dialled(channel) => self.dialled(channel),
            Event::Refused(place) => self.refused(place),
            Event::ServerGone(channel) => self.server_gone(channel),
            Event::ClientGone(channel) => self.client_gone(channel),
            Event::Expires(channel) => self.expires(channel),
            Event::GroupDue(peer) => self.group_due(peer),
            Event::Durable(peer) => self.durable(peer),
            Event::Started(peer) => self.started(peer),
            Event::Found(peer) => self.found(peer),
            Event::Meet(peer) => self.meet_timer(peer),
            Event::Tell(peer) => self.tell_timer(peer),
            Event::Turn(place) => self.turn(place),
        }
    }

    pub(super) fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(peer) => self.kill(peer),
            Fault::Stop(peer) => self.stop(peer),
            Fault::Vanish(peer) => self.vanish(peer),
            Fault::Wipe(peer) => {
                self.kill(peer);
                let chunks = self.content.chunks();
                if let Some(peer) = self.peers.get_mut(peer as usize) {
                    peer.store.wipe(chunks);
                }
            }
            Fault::Return(peer) => self.comes_back(peer),
            Fault::Start(peer) => self.start(peer),
            Fault::Pause(peer) => self.pause(peer),
            Fault::Resume(peer) => self.resume(peer),
            Fault::Line(peer, line) => self.change_line(peer, line),
            Fault::Side(peer, side) => self.change_side(peer, side),
            Fault::Fill(peer) => self.fill_disk(peer),
            Fault::Free(peer) => self.free_disk(peer),
            Fault::Corrupt { peer, bytes, seed } => self.corrupt(peer, bytes, seed),
        }
    }

    pub(super) fn path(&self, from: u32, to: u32) -> Path {
        let line = |peer: u32| self.peers.get(peer as usize).map(|peer| peer.line).unwrap_or_default();
        Path::new(&line(from), &line(to))
    }

    /// Whether what one sends can reach the other.
    pub(super) fn reaches(&self, one: u32, other: u32) -> bool {
        let side = |peer: u32| self.peers.get(peer as usize).map(|peer| peer.side);
        side(one) == side(other)
    }

    pub(super) fn wire_bytes(&mut self, message: &ServerMessage) -> u64 {
        self.scratch.clear();
        message.encode(&mut self.scratch);
        self.scratch.len() as u64
    }

    /// Sends a requester's message: ahead of everything else on its line, which pays for it later.
    pub(super) fn ask(&mut self, number: u32, message: RequesterMessage) {
        self.scratch.clear();
        message.encode(&mut self.scratch);
        let bytes = self.scratch.len() as u64;
        let request = match message {
            RequesterMessage::WantNodes(ids) => Request::Nodes(ids),
            RequesterMessage::Want(ranges) => Request::Want(ranges),
            RequesterMessage::Cancel(ranges) => Request::Cancel(ranges),
            RequesterMessage::Open(_) => return,
        };
        self.send_request(number, request, bytes);
    }

    pub(super) fn send_request(&mut self, number: u32, request: Request, bytes: u64) {
        let Some(channel) = self.channels.get(number as usize) else { return };
        let (at, to) = (self.now + channel.path.delay, channel.server);
        if let Some(server) = self.peers.get_mut(channel.server as usize) {
            server.down.debt += bytes;
        }
        if let Some(client) = self.peers.get_mut(channel.client as usize) {
            client.up.debt += bytes;
            client.tally.control_bytes += bytes;
        }
        self.totals.request_bytes += bytes;
        let place = self.requests.insert((number, request)) as u32;
        self.events.add(at, to, Event::Request(place));
    }

    fn request_came(&mut self, place: u32) {
        let Some((number, request)) = self.requests.try_remove(place as usize) else { return };
        let Some(channel) = self.channels.get_mut(number as usize).filter(|channel| channel.is_open()) else { return };
        if channel.is_cut {
            channel.held_back.push(request);
            return;
        }
        let server = channel.server;
        match self.peers.get_mut(server as usize) {
            Some(peer) if peer.presence == Presence::Paused => peer.unread.push((number, request)),
            Some(_) => self.take_request(server, number, request),
            None => {}
        }
    }
}

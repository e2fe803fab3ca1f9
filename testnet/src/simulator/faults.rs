//! What goes wrong: peers that die, vanish, stand still, come back, or cannot be reached.

use std::time::Duration;

use shoal_protocol::availability::ChunkIndex;
use shoal_protocol::serving::ServingPolicy;

use super::channel::Request;
use super::dice::Dice;
use super::events::{Event, nanos};
use super::line::Line;
use super::meeting::{CUT_PATIENCE, Swarm};
use super::peer::Presence;
use super::world::World;

/// How long a process takes that is started again, as real ones do on a machine that has other things to do.
const START: Duration = Duration::from_millis(500);

impl World {
    /// The channels of a peer that are open or being dialled.
    fn channels_of(&self, number: u32) -> Vec<u32> {
        let Some(peer) = self.peers.get(number as usize) else { return Vec::new() };
        let fetched = peer.fetch.iter().flat_map(|fetch| fetch.channels.keys().copied());
        peer.served.iter().copied().chain(fetched).collect()
    }

    /// The process of a peer ends; the systems of both ends tell those who talk to it.
    pub(super) fn kill(&mut self, number: u32) {
        for channel in self.end(number) {
            let Some(found) = self.channels.get(channel as usize) else { continue };
            let at = self.now + found.path.delay;
            let (other, event) = match found.client == number {
                true => (found.server, Event::ServerGone(channel)),
                false => (found.client, Event::ClientGone(channel)),
            };
            self.events.add(at, other, event);
        }
    }

    /// The process of a peer ends as it should: what it has taken in is durable.
    pub(super) fn stop(&mut self, number: u32) {
        if let Some(peer) = self.peers.get_mut(number as usize) {
            peer.store.settle();
        }
        self.kill(number);
    }

    /// A peer is gone, and nobody says so.
    pub(super) fn vanish(&mut self, number: u32) {
        for channel in self.end(number) {
            self.events.add(self.now + nanos(CUT_PATIENCE), number, Event::Expires(channel));
        }
    }

    /// Ends what a peer does; gives the channels that the others still believe in.
    fn end(&mut self, number: u32) -> Vec<u32> {
        let channels = self.channels_of(number);
        for channel in &channels {
            self.shut(*channel);
        }
        let (seed, order) = (self.dice.seed(), self.dice.seed());
        let limit_up = self.setup.peers.get(number as usize).and_then(|setup| setup.limit_up);
        if let Some(peer) = self.peers.get_mut(number as usize) {
            peer.presence = Presence::Down;
            peer.starts_at = None;
            peer.policy = ServingPolicy::new(self.setup.serving(limit_up), seed);
            peer.served.clear();
            peer.serving_timer = None;
            peer.fetch = None;
            peer.swarm = Swarm::new(order);
            peer.store.crash();
            peer.unread.clear();
            peer.up.ring.clear();
            peer.up.passing = None;
            peer.up.debt = 0;
        }
        channels
    }

    /// The process of a peer is started; it works a while later.
    pub(super) fn start(&mut self, number: u32) {
        let at = self.now + nanos(START);
        if let Some(peer) = self.peers.get_mut(number as usize).filter(|peer| peer.presence == Presence::Down) {
            peer.starts_at = Some(at);
            self.events.add(at, number, Event::Started(number));
        }
    }

    /// A process works, unless it has been ended since it was started.
    pub(super) fn started(&mut self, number: u32) {
        let starts_at = self.peers.get(number as usize).and_then(|peer| peer.starts_at);
        if starts_at == Some(self.now) {
            self.comes_back(number);
            self.is_stale = true;
        }
    }

    /// A peer is there again: it announces what it holds and goes on.
    pub(super) fn comes_back(&mut self, number: u32) {
        let Some(peer) = self.peers.get_mut(number as usize).filter(|peer| peer.presence == Presence::Down) else {
            return;
        };
        peer.presence = Presence::Up;
        peer.starts_at = None;
        if !peer.store.held.is_empty() {
            self.announce(number, true);
        }
        self.begin(number);
    }

    /// A peer can write nothing from now on: its fetch breaks off, and what was not durable is lost.
    pub(super) fn fill_disk(&mut self, number: u32) {
        let Some(peer) = self.peers.get_mut(number as usize) else { return };
        peer.is_full = true;
        peer.store.crash();
        self.break_off(number);
    }

    /// A peer can write again, and goes on.
    pub(super) fn free_disk(&mut self, number: u32) {
        if let Some(peer) = self.peers.get_mut(number as usize) {
            peer.is_full = false;
            self.begin(number);
        }
    }

    /// Bytes of what a peer holds change: it has the chunks no more.
    pub(super) fn corrupt(&mut self, number: u32, bytes: u32, seed: u64) {
        let Some(peer) = self.peers.get_mut(number as usize) else { return };
        let held: Vec<ChunkIndex> =
            (0..self.content.chunks()).map(ChunkIndex).filter(|chunk| peer.store.held.contains(*chunk)).collect();
        let mut dice = Dice::new(seed);
        for _ in 0..bytes {
            if let Some(chunk) = held.get(dice.index(held.len())) {
                peer.store.held.remove(*chunk);
            }
        }
    }

    pub(super) fn pause(&mut self, number: u32) {
        if let Some(peer) = self.peers.get_mut(number as usize).filter(|peer| peer.works()) {
            peer.presence = Presence::Paused;
        }
    }

    pub(super) fn resume(&mut self, number: u32) {
        let Some(peer) = self.peers.get_mut(number as usize).filter(|peer| peer.presence == Presence::Paused) else {
            return;
        };
        peer.presence = Presence::Up;
        let unread = std::mem::take(&mut peer.unread);
        // What it was to begin meanwhile.
        self.begin(number);
        for (channel, request) in unread {
            self.take_request(number, channel, request);
        }
        for channel in self.channels_of(number) {
            let waiting = self.channels.get_mut(channel as usize).map(|channel| std::mem::take(&mut channel.unread));
            for _ in 0..waiting.unwrap_or(0) {
                self.lands(channel);
            }
        }
        self.meet(number);
        self.fetch_on(number);
        self.serve(number);
        self.pass(number);
    }

    /// The line of a peer is another from now on; what is on its way stays on its way.
    pub(super) fn change_line(&mut self, number: u32, line: Line) {
        let Some(peer) = self.peers.get_mut(number as usize) else { return };
        peer.line = line;
        peer.up.rate = line.up;
        peer.down.rate = line.down;
        for channel in self.channels_of(number) {
            let Some((client, server)) = self.channels.get(channel as usize).map(|found| (found.client, found.server))
            else {
                continue;
            };
            let path = self.path(server, client);
            if let Some(found) = self.channels.get_mut(channel as usize) {
                found.path = path;
            }
            self.line_up(channel);
        }
    }

    /// A peer changes to another side of a partition.
    pub(super) fn change_side(&mut self, number: u32, side: u32) {
        let Some(peer) = self.peers.get_mut(number as usize) else { return };
        peer.side = side;
        for channel in self.channels_of(number) {
            let Some((client, server)) = self.channels.get(channel as usize).map(|found| (found.client, found.server))
            else {
                continue;
            };
            let is_cut = !self.reaches(client, server);
            let Some(found) = self.channels.get_mut(channel as usize) else { continue };
            if found.is_cut == is_cut {
                continue;
            }
            found.is_cut = is_cut;
            found.cut_at = self.now;
            if is_cut {
                self.events.add(self.now + nanos(CUT_PATIENCE), number, Event::Expires(channel));
                continue;
            }
            let held_back = std::mem::take(&mut found.held_back);
            self.line_up(channel);
            for request in held_back {
                self.deliver(server, channel, request);
            }
        }
    }

    fn deliver(&mut self, server: u32, channel: u32, request: Request) {
        match self.peers.get_mut(server as usize) {
            Some(peer) if peer.presence == Presence::Paused => peer.unread.push((channel, request)),
            _ => self.take_request(server, channel, request),
        }
    }

    /// Nothing has passed in a channel for long, or its other end is gone: it is over for whoever is left.
    pub(super) fn expires(&mut self, number: u32) {
        let Some(channel) = self.channels.get(number as usize) else { return };
        // It may have been joined again, and cut anew.
        let is_cut = channel.is_cut && self.now - channel.cut_at >= nanos(CUT_PATIENCE);
        if channel.is_open() && !is_cut {
            return;
        }
        self.server_gone(number);
        self.client_gone(number);
    }
}

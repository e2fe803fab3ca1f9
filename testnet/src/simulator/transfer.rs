//! Bytes on their way: from a server's stream over its line and the client's line to the client.

use std::time::Duration;

use super::channel::Item;
use super::events::{Event, Nanos, nanos};
use super::line::time_of;
use super::stream::Framed;
use super::world::World;

/// An item that takes longer than this on its way is heard of while it comes.
const HEARD_OF: Duration = Duration::from_secs(1);

impl World {
    /// Puts an item on the stream of a channel.
    pub(super) fn put(&mut self, number: u32, item: Item, bytes: u64, pace: Option<u64>) {
        if let Some(channel) = self.channels.get_mut(number as usize).filter(|channel| channel.is_open()) {
            channel.put(item, bytes, pace);
            self.line_up(number);
        }
    }

    /// Puts a channel that has something to send in the ring of its server's line.
    pub(super) fn line_up(&mut self, number: u32) {
        let Some(channel) = self.channels.get_mut(number as usize) else { return };
        if channel.is_lined_up || !channel.can_send() {
            return;
        }
        channel.is_lined_up = true;
        let server = channel.server;
        if let Some(peer) = self.peers.get_mut(server as usize) {
            peer.up.ring.push_back(number);
        }
        self.pass(server);
    }

    /// Lets the line of a peer pass the next item, if it is free.
    pub(super) fn pass(&mut self, server: u32) {
        loop {
            let Some(peer) = self.peers.get_mut(server as usize) else { return };
            if !peer.works() || peer.up.passing.is_some() {
                return;
            }
            let Some(number) = peer.up.ring.pop_front() else { return };
            let Some(channel) = self.channels.get_mut(number as usize) else { continue };
            channel.is_lined_up = false;
            if !channel.can_send() {
                continue;
            }
            if channel.next_start > self.now {
                // It stays out of the ring until then.
                self.events.add(channel.next_start, server, Event::Unpaused(number));
                continue;
            }
            match self.depart(server, number) {
                0 => self.passed(server),
                takes => {
                    self.events.add(self.now + takes, server, Event::Sent(server));
                    return;
                }
            }
        }
    }

    /// The line takes the first item of a channel. Gives how long it will be busy with it.
    fn depart(&mut self, server: u32, number: u32) -> Nanos {
        let (Some(peer), Some(channel)) = (self.peers.get_mut(server as usize), self.channels.get_mut(number as usize))
        else {
            return 0;
        };
        let Some(framed) = channel.stream.first_waiting() else { return 0 };
        let bytes = framed.bytes;
        let lost = channel.path.lost_of(bytes, &mut self.dice);
        let passed = bytes + lost + std::mem::take(&mut peer.up.debt);
        let takes = time_of(passed, peer.up.rate);
        peer.up.passed += passed;
        peer.up.busy += takes;
        let most = [channel.path.most, framed.pace].into_iter().flatten().min();
        channel.next_start = self.now + time_of(bytes, most);
        channel.transit += bytes;
        self.totals.sent_bytes += bytes + lost;
        self.totals.lost_bytes += lost;
        if framed.item.is_payload() {
            let payload = bytes - super::serving::CHUNK_HEADER_BYTES;
            peer.tally.sent_bytes += payload;
            self.totals.payload_bytes += payload;
            peer.tally.control_bytes += super::serving::CHUNK_HEADER_BYTES;
            self.totals.control_bytes += super::serving::CHUNK_HEADER_BYTES;
        } else {
            peer.tally.control_bytes += bytes;
            self.totals.control_bytes += bytes;
        }
        let delay = channel.path.delay;
        // What is lost is missed, asked for and sent again: a round trip for all behind it.
        let again = if lost > 0 { 2 * delay } else { 0 };
        let first_byte = (self.now + delay).max(channel.first_at);
        let whole = takes.max(time_of(bytes, most));
        let last_byte = (self.now + whole + delay + again).max(channel.last_at);
        channel.first_at = first_byte;
        channel.last_at = last_byte;
        let parts = whole / nanos(HEARD_OF);
        framed.last_byte = last_byte;
        channel.stream.depart();
        let client = channel.client;
        let is_free = self.peers.get(client as usize).is_none_or(|client| client.down.rate.is_none());
        if is_free {
            self.events.add(last_byte, client, Event::Arrives(number));
        } else {
            self.events.add(first_byte, client, Event::Arrives(number));
        }
        for part in 1..=parts {
            self.events.add(first_byte + part * nanos(HEARD_OF), client, Event::Progress(number));
        }
        if let Some(peer) = self.peers.get_mut(server as usize) {
            peer.up.passing = Some((number, bytes));
            peer.up.free_at = self.now + takes;
        }
        takes
    }

    /// The line of a peer has passed an item.
    pub(super) fn sent(&mut self, server: u32) {
        // What was being passed when a peer died is not what it passes now.
        if self.peers.get(server as usize).is_none_or(|peer| peer.up.free_at > self.now) {
            return;
        }
        self.passed(server);
        self.pass(server);
    }

    /// Notes that an item has left. The line counts as busy until the end, so that what this sets going does not begin
    /// in the middle of it.
    fn passed(&mut self, server: u32) {
        let Some((number, bytes)) = self.peers.get(server as usize).and_then(|peer| peer.up.passing) else { return };
        if let Some(channel) = self.channels.get_mut(number as usize).filter(|channel| channel.is_open()) {
            channel.departed(bytes);
        }
        self.grants_taken(number);
        self.line_up(number);
        if let Some(peer) = self.peers.get_mut(server as usize) {
            peer.up.passing = None;
        }
    }

    /// The first byte of an item is at its client's line; or all of it, where that has no rate.
    pub(super) fn arrives(&mut self, number: u32) {
        let Some(channel) = self.channels.get_mut(number as usize).filter(|channel| channel.is_open()) else { return };
        let Some(&Framed { bytes, last_byte, .. }) = channel.stream.first_flying() else { return };
        let client = channel.client;
        let Some(peer) = self.peers.get_mut(client as usize) else { return };
        let is_waited_for = peer.works() && !channel.stream.has_landed();
        channel.stream.land();
        if peer.down.rate.is_none() && is_waited_for {
            return self.received(number);
        }
        if peer.down.rate.is_none() {
            return self.lands(number);
        }
        let at = peer.down.lands(bytes, last_byte, self.now).max(channel.lands_at);
        channel.lands_at = at;
        let parts = at.saturating_sub(last_byte) / nanos(HEARD_OF);
        for part in 1..=parts {
            self.events.add(last_byte + part * nanos(HEARD_OF), client, Event::Progress(number));
        }
        self.events.add(at, client, Event::Lands(number));
    }

    /// An item has come whole.
    pub(super) fn lands(&mut self, number: u32) {
        let Some(channel) = self.channels.get_mut(number as usize).filter(|channel| channel.is_open()) else { return };
        let client = channel.client;
        if !self.peers.get(client as usize).is_some_and(super::peer::Peer::works) {
            channel.unread += 1;
            return;
        }
        if channel.stream.has_landed() {
            self.received(number);
        }
    }

    /// A client that works has taken an item off a stream.
    fn received(&mut self, number: u32) {
        let Some(channel) = self.channels.get_mut(number as usize) else { return };
        let Some(framed) = channel.stream.take() else { return };
        let (client, server) = (channel.client, channel.server);
        let was_full = channel.transit >= channel.path.window;
        let back = self.now + channel.path.delay;
        channel.transit -= framed.bytes;
        self.totals.received_bytes += framed.bytes;
        if was_full {
            self.events.add(back, server, Event::Unpaused(number));
        }
        self.take(client, number, framed.item);
    }

    /// Ends a channel in both directions at once, as far as bytes go.
    pub(super) fn shut(&mut self, number: u32) {
        if let Some(channel) = self.channels.get_mut(number as usize) {
            self.totals.lost_bytes += channel.close();
        }
    }
}

//! What a server tells all whom it serves at once: chunks that it holds by now.
//!
//! These are most of what happens in a crowd: each is a few bytes to each of dozens. So where nothing else is on a
//! stream and nothing can be lost, they go ahead of all items, as what requesters say does: the line pays for them with
//! its next item, and they come to all at the same moment, which is one event.

use std::sync::Arc;

use shoal_protocol::availability::ChunkRange;
use shoal_protocol::wire::MAX_RANGES;

use super::channel::Item;
use super::events::{Event, Nanos};
use super::serving::range_bytes;
use super::world::World;

/// Chunks that a server holds by now, on their way to some whom it serves.
#[derive(Debug)]
pub(super) struct Telling {
    at: Nanos,
    channels: Vec<u32>,
    ranges: Arc<[ChunkRange]>,
}

impl World {
    /// Tells all who fetch from a peer of chunks that it holds by now.
    pub(super) fn news(&mut self, server: u32, ranges: &[ChunkRange]) {
        let Some(peer) = self.peers.get(server as usize) else { return };
        let told: Vec<u32> = peer.served.iter().copied().collect();
        for ranges in ranges.chunks(MAX_RANGES) {
            self.tell(server, &told, ranges.into());
        }
    }

    fn tell(&mut self, server: u32, told: &[u32], ranges: Arc<[ChunkRange]>) {
        let bytes = range_bytes(ranges.len());
        let mut telling: Option<Telling> = None;
        for number in told {
            let Some(at) = self.goes_ahead(server, *number, bytes) else {
                self.put(*number, Item::Have(ranges.clone()), bytes, None);
                continue;
            };
            if let Some(open) = &mut telling
                && open.at == at
            {
                open.channels.push(*number);
                continue;
            }
            let next = Telling { at, channels: vec![*number], ranges: ranges.clone() };
            self.send_telling(telling.replace(next));
        }
        self.send_telling(telling);
    }

    /// Lets news go ahead in a channel, if they can; gives when they come.
    fn goes_ahead(&mut self, server: u32, number: u32, bytes: u64) -> Option<Nanos> {
        let peer = self.peers.get_mut(server as usize).filter(|peer| peer.works())?;
        let channel = self.channels.get_mut(number as usize)?;
        if !channel.is_open() || channel.is_cut || !channel.stream.is_empty() || channel.path.loses() {
            return None;
        }
        let at = channel.last_at.max(self.now + channel.path.delay);
        (channel.first_at, channel.last_at) = (at, at);
        peer.up.debt += bytes;
        peer.tally.control_bytes += bytes;
        self.totals.control_bytes += bytes;
        self.totals.sent_bytes += bytes;
        self.told_bytes += bytes;
        Some(at)
    }

    fn send_telling(&mut self, telling: Option<Telling>) {
        if let Some(telling) = telling {
            let at = telling.at;
            let place = self.tellings.insert(telling) as u32;
            self.events.add(at, Event::Told(place));
        }
    }

    /// News have come to all whom they were for.
    pub(super) fn told(&mut self, place: u32) {
        let Some(Telling { channels, ranges, .. }) = self.tellings.try_remove(place as usize) else { return };
        let bytes = range_bytes(ranges.len());
        for number in channels {
            self.told_bytes -= bytes;
            let Some(channel) = self.channels.get_mut(number as usize).filter(|channel| channel.is_open()) else {
                self.totals.lost_bytes += bytes;
                continue;
            };
            let client = channel.client;
            let Some(peer) = self.peers.get_mut(client as usize) else { continue };
            peer.down.debt += bytes;
            if !peer.works() {
                channel.hold(Item::Have(ranges.clone()), bytes);
                continue;
            }
            self.totals.received_bytes += bytes;
            self.take(client, number, Item::Have(ranges.clone()));
        }
    }
}

//! What a server tells all whom it serves at once: chunks that it holds by now.
//!
//! These are most of what happens in a crowd: each is a few bytes to each of dozens. So where nothing else is on a
//! stream and nothing can be lost, they go ahead of all items, as what requesters say does: the line pays for them with
//! its next item, and each is one event. What they say is kept once for all.

use std::sync::Arc;

use shoal_protocol::availability::ChunkRange;
use shoal_protocol::wire::MAX_RANGES;

use super::channel::Item;
use super::events::{Event, Nanos};
use super::serving::range_bytes;
use super::world::World;

/// News on their way.
#[derive(Debug)]
pub(super) struct Telling {
    ranges: Arc<[ChunkRange]>,
    /// To how many they have not come yet.
    left: usize,
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
        let place = self.tellings.insert(Telling { ranges: ranges.clone(), left: 0 });
        let mut left = 0;
        for number in told {
            match self.goes_ahead(server, *number, bytes) {
                Some((client, at)) => {
                    self.events.add(at, client, Event::Told { telling: place as u32, channel: *number });
                    left += 1;
                }
                None => self.put(*number, Item::Have(ranges.clone()), bytes, None),
            }
        }
        if left == 0 {
            self.tellings.remove(place);
        } else if let Some(telling) = self.tellings.get_mut(place) {
            telling.left = left;
        }
    }

    /// Lets news go ahead in a channel, if they can; gives to whom and when they come.
    fn goes_ahead(&mut self, server: u32, number: u32, bytes: u64) -> Option<(u32, Nanos)> {
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
        Some((channel.client, at))
    }

    /// News have come to whom they were for.
    pub(super) fn told(&mut self, place: u32, number: u32) {
        let Some(telling) = self.tellings.get_mut(place as usize) else { return };
        telling.left -= 1;
        let is_last = telling.left == 0;
        let ranges = telling.ranges.clone();
        if is_last {
            self.tellings.remove(place as usize);
        }
        let bytes = range_bytes(ranges.len());
        self.told_bytes -= bytes;
        let Some(channel) = self.channels.get_mut(number as usize).filter(|channel| channel.is_open()) else {
            self.totals.lost_bytes += bytes;
            return;
        };
        let client = channel.client;
        let Some(peer) = self.peers.get_mut(client as usize) else { return };
        peer.down.debt += bytes;
        if !peer.works() {
            channel.hold(Item::Have(ranges), bytes);
            return;
        }
        self.totals.received_bytes += bytes;
        self.take(client, number, Item::Have(ranges));
    }
}

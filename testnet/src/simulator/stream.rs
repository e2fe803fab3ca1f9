//! What a server has put on a stream and its client has not taken yet, in order.

use std::collections::VecDeque;

use super::channel::Item;
use super::events::Nanos;

/// An item with its length on the wire.
#[derive(Debug)]
pub(super) struct Framed {
    pub(super) item: Item,
    pub(super) bytes: u64,
    /// It may not come sooner than so many bytes a second allow.
    pub(super) pace: Option<u64>,
    /// When its last byte can be there; known once it has left.
    pub(super) last_byte: Nanos,
}

/// The items of a stream: first those that have landed at the client, then those on their way, then those that wait for
/// the server's line. What becomes of one moves a boundary, and no item.
#[derive(Debug, Default)]
pub(super) struct Stream {
    items: VecDeque<Framed>,
    landed: usize,
    /// How many have left the server, those that have landed among them.
    left: usize,
}

impl Stream {
    /// Puts an item at the end.
    pub(super) fn put(&mut self, item: Item, bytes: u64, pace: Option<u64>) {
        self.items.push_back(Framed { item, bytes, pace, last_byte: 0 });
    }

    /// The first that waits for the line.
    pub(super) fn first_waiting(&mut self) -> Option<&mut Framed> {
        self.items.get_mut(self.left)
    }

    /// That one leaves.
    pub(super) fn depart(&mut self) {
        self.left = self.items.len().min(self.left + 1);
    }

    /// The first that is on its way.
    pub(super) fn first_flying(&self) -> Option<&Framed> {
        self.items.get(self.landed).filter(|_| self.landed < self.left)
    }

    /// That one lands.
    pub(super) fn land(&mut self) {
        self.landed = self.left.min(self.landed + 1);
    }

    /// An item lands that was not on its way with the others: behind those that have landed.
    pub(super) fn land_ahead(&mut self, item: Item, bytes: u64) {
        self.items.insert(self.landed, Framed { item, bytes, pace: None, last_byte: 0 });
        self.landed += 1;
        self.left += 1;
    }

    /// Whether there is nothing in it, on its way or waiting.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) const fn has_landed(&self) -> bool {
        self.landed > 0
    }

    /// The first that has left and is not taken.
    pub(super) fn first_left(&self) -> Option<&Framed> {
        self.items.front().filter(|_| self.left > 0)
    }

    /// The client takes the first that has left.
    pub(super) fn take(&mut self) -> Option<Framed> {
        self.left = self.left.checked_sub(1)?;
        self.landed = self.landed.saturating_sub(1);
        self.items.pop_front()
    }

    /// Ends it; gives the bytes that had left and are lost.
    pub(super) fn end(&mut self) -> u64 {
        let ended = std::mem::take(self);
        ended.items.iter().take(ended.left).map(|framed| framed.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_leave_land_and_are_taken_in_order() {
        let mut stream = Stream::default();
        (1..=4).for_each(|bytes| stream.put(Item::Busy { millis: 0 }, bytes, None));
        let bytes = |framed: Option<&Framed>| framed.map(|framed| framed.bytes);
        assert_eq!(
            (bytes(stream.first_flying()), bytes(stream.first_left()), stream.take().is_none()),
            (None, None, true)
        );
        for waiting in 1..=3 {
            assert_eq!(stream.first_waiting().map(|framed| framed.bytes), Some(waiting));
            stream.depart();
        }
        assert_eq!((bytes(stream.first_flying()), stream.has_landed()), (Some(1), false));
        // One is taken as it comes, the next waits for its client.
        assert_eq!(stream.take().map(|framed| framed.bytes), Some(1));
        stream.land();
        assert_eq!(
            (bytes(stream.first_left()), bytes(stream.first_flying()), stream.has_landed()),
            (Some(2), Some(3), true)
        );
        assert_eq!(stream.take().map(|framed| framed.bytes), Some(2));
        assert_eq!((bytes(stream.first_left()), stream.has_landed()), (Some(3), false));
        assert_eq!((stream.end(), stream.first_waiting().is_none(), stream.end()), (3, true, 0));
    }

    #[test]
    fn what_lands_ahead_comes_before_what_is_on_its_way() {
        let mut stream = Stream::default();
        assert!(stream.is_empty());
        (1..=3).for_each(|bytes| stream.put(Item::Busy { millis: 0 }, bytes, None));
        stream.depart();
        stream.land();
        stream.depart();
        stream.land_ahead(Item::Busy { millis: 0 }, 10);
        stream.land_ahead(Item::Busy { millis: 0 }, 11);
        assert_eq!(stream.first_waiting().map(|framed| framed.bytes), Some(3));
        assert_eq!(stream.first_flying().map(|framed| framed.bytes), Some(2));
        let mut taken = Vec::new();
        while stream.has_landed() {
            taken.extend(stream.take().map(|framed| framed.bytes));
        }
        assert_eq!((taken, stream.end()), (vec![1, 10, 11], 2));
    }
}

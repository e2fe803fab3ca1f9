//! Lines between a peer and all others: how long bytes take, and what becomes of them.
//!
//! A line passes whole items one after the other, at its rate: what two channels send at the same time takes turns item
//! by item, as grants of the serving policy do. Bytes pass both ends at once (cut-through), so an item on free lines
//! takes its length over the lower of the two rates, and the delay. Loss is that of a reliable stream: a lost packet is
//! sent again and takes the sender's line once more, everything behind it comes a round trip later, and the stream as a
//! whole is no faster than Mathis, Semke, Mahdavi and Ott say (1997): 1.22 packets / (round trip × √loss).

use std::collections::VecDeque;
use std::time::Duration;

use super::dice::{Dice, MILLION};
use super::events::{Nanos, nanos};

/// Bytes of a packet, of those that count here.
const PACKET_BYTES: u64 = 1400;
/// What a stream has on its way beyond rate × round trip before the sender waits for the receiver: the receiver's
/// buffer. Counted from the sender's line to the receiver.
const BUFFER_BYTES: u64 = 256 * 1024;
/// Where no line has a rate, streams are as large as this one would make them: 10 Gbit/s.
const FASTEST: u64 = 1_250_000_000;

/// What a peer's line to the world is like. Delays of both ends add up, and so do losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Line {
    /// Most bytes a second that leave the peer; `None`: as many as it likes.
    pub up: Option<u64>,
    /// Most bytes a second that reach the peer; `None`: as many as others send.
    pub down: Option<u64>,
    /// What the line adds to the time that a byte takes, each way.
    pub delay: Duration,
    /// Packets of a million that are lost, each way.
    pub loss_millionths: u32,
}

/// How long a rate takes for so many bytes, rounded up: a line is never faster than its rate.
pub(super) fn time_of(bytes: u64, rate: Option<u64>) -> Nanos {
    let Some(rate) = rate else { return 0 };
    let time = (u128::from(bytes) * 1_000_000_000).div_ceil(u128::from(rate.max(1)));
    u64::try_from(time).unwrap_or(u64::MAX)
}

/// A way from one peer to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path {
    /// One way.
    pub(super) delay: Nanos,
    loss_millionths: u64,
    /// What loss leaves of a stream's rate, in bytes a second.
    pub(super) most: Option<u64>,
    /// Bytes that may be on their way before the sender waits for the receiver.
    pub(super) window: u64,
}

impl Path {
    pub(super) fn new(from: &Line, to: &Line) -> Self {
        let delay = nanos(from.delay) + nanos(to.delay);
        let loss_millionths = (u64::from(from.loss_millionths) + u64::from(to.loss_millionths)).min(MILLION / 2);
        let round_trip = (2 * delay).max(1);
        let most = (loss_millionths > 0).then(|| {
            // 1.22 x packet / (round trip x sqrt(loss)): sqrt(loss) in thousandths.
            let root = loss_millionths.isqrt().max(1);
            let rate = u128::from(PACKET_BYTES) * 1_220 * 1_000_000_000 / (u128::from(round_trip) * u128::from(root));
            u64::try_from(rate).unwrap_or(u64::MAX).max(PACKET_BYTES)
        });
        let rate = from.up.unwrap_or(FASTEST).min(to.down.unwrap_or(FASTEST));
        let pipe = u128::from(rate) * u128::from(round_trip) / 1_000_000_000;
        Self { delay, loss_millionths, most, window: u64::try_from(pipe).unwrap_or(u64::MAX) + BUFFER_BYTES }
    }

    /// Whether anything can be lost on the way.
    pub(super) const fn loses(&self) -> bool {
        self.loss_millionths > 0
    }

    /// Bytes of an item that are lost on the way and sent again.
    pub(super) fn lost_of(&self, bytes: u64, dice: &mut Dice) -> u64 {
        if self.loss_millionths == 0 {
            return 0;
        }
        let expected = bytes.div_ceil(PACKET_BYTES) * self.loss_millionths;
        let packets = expected / MILLION + u64::from(dice.chance(expected % MILLION));
        (packets * PACKET_BYTES).min(bytes)
    }
}

/// The sending half of a peer's line.
#[derive(Debug, Default)]
pub(super) struct Uplink {
    pub(super) rate: Option<u64>,
    /// Channels that have something to send, in the order of their turns.
    pub(super) ring: VecDeque<u32>,
    /// The channel and the bytes that are being passed.
    pub(super) passing: Option<(u32, u64)>,
    /// When it is free again.
    pub(super) free_at: Nanos,
    /// Bytes of messages that went ahead of all, and that the next item pays for.
    pub(super) debt: u64,
    /// All bytes that have ever passed.
    pub(super) passed: u64,
    /// For how long it has been passing bytes.
    pub(super) busy: Nanos,
}

/// The receiving half of a peer's line.
#[derive(Debug, Default)]
pub(super) struct Downlink {
    pub(super) rate: Option<u64>,
    pub(super) free_at: Nanos,
    pub(super) debt: u64,
    /// All bytes that have ever passed, and for how long it passed them.
    pub(super) passed: u64,
    pub(super) busy: Nanos,
}

impl Downlink {
    /// When an item has come whole whose first byte is here now, and whose last byte cannot be before `last`.
    pub(super) fn lands(&mut self, bytes: u64, last: Nanos, now: Nanos) -> Nanos {
        let start = now.max(self.free_at);
        let passed = bytes + std::mem::take(&mut self.debt);
        let takes = time_of(passed, self.rate);
        self.passed += passed;
        self.busy += takes;
        self.free_at = start + takes;
        self.free_at.max(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    #[test]
    fn a_rate_is_never_exceeded_by_rounding() {
        for (bytes, rate, time) in [(1, 3, 333_333_334), (20 * MB, 20 * MB, 1_000_000_000), (0, 5, 0)] {
            assert_eq!(time_of(bytes, Some(rate)), time);
        }
        assert_eq!(time_of(MB, None), 0);
    }

    #[test]
    fn what_comes_together_shares_the_downlink_and_nothing_is_early() {
        let mut down = Downlink { rate: Some(10 * MB), ..Downlink::default() };
        // Two items of 1 MB at once, sent at 5 MB/s: the first is held up by its sender, the second by the line.
        assert_eq!(down.lands(MB, 200_000_000, 0), 200_000_000);
        assert_eq!(down.lands(MB, 200_000_000, 0), 200_000_000);
        assert_eq!(down.lands(MB, 200_000_000, 0), 300_000_000);
    }

    #[test]
    fn loss_slows_a_stream_as_mathis_has_it() {
        let line = Line { delay: Duration::from_millis(25), loss_millionths: 5_000, ..Line::default() };
        let path = Path::new(&line, &line);
        // 1.22 x 1400 / (0.1 s x sqrt(0.01)) = 170,800 bytes a second.
        assert_eq!(path.most, Some(170_800));
        assert_eq!(Path::new(&Line::default(), &Line::default()).most, None);
        let mut dice = Dice::new(1);
        let lost: u64 = (0..1000).map(|_| path.lost_of(14_000, &mut dice)).sum();
        assert!((100_000..180_000).contains(&lost), "{lost} of 14 MB at a loss of 1 %");
    }
}

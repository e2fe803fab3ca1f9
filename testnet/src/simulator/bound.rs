//! How quickly it could be done at best.

use std::time::Duration;

use super::line::time_of;
use super::setup::{Holds, Nature, Setup};

/// The least time in which `N` peers that have nothing can get `F` bytes each, when all begin at once: `max(F / Σu_s,
/// F / d_min, N·F / (Σu_s + Σu_i))`, where `u_s` are the rates at which the seeders send, `u_i` those of the others and
/// `d_min` is the lowest at which one takes in (Kumar and Ross, "Peer-Assisted File Distribution: The Minimum
/// Distribution Time", 2006). `None` when no rate limits it.
pub(super) fn lower_bound(setup: &Setup, bytes: u64) -> Option<Duration> {
    let honest = || setup.peers.iter().filter(|peer| peer.nature == Nature::Honest);
    let up = |peer: &super::setup::PeerSetup| match (peer.line.up, peer.limit_up) {
        (Some(line), Some(limit)) => Some(line.min(limit)),
        (line, limit) => line.or(limit),
    };
    let seeders = honest().filter(|peer| peer.holds == Holds::All);
    let sum = |rates: &mut dyn Iterator<Item = Option<u64>>| rates.sum::<Option<u64>>();
    let seeding = sum(&mut seeders.map(up));
    let leechers = || honest().filter(|peer| peer.fetches.is_some() && peer.holds != Holds::All);
    let count = leechers().count() as u64;
    let slowest = leechers().filter_map(|peer| peer.line.down).min();
    let together = seeding.and_then(|seeding| Some(seeding + sum(&mut leechers().map(up))?));
    let bounds = [(bytes, seeding), (bytes, slowest), (bytes.saturating_mul(count), together)];
    let times = bounds.into_iter().filter(|(_, rate)| rate.is_some()).map(|(bytes, rate)| time_of(bytes, rate));
    times.max().filter(|_| count > 0).map(Duration::from_nanos)
}

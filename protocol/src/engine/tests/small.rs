//! Contents that are over before much is known: what comes twice, and how long it takes.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::super::slots::random_below;
use super::super::*;
use super::peer::Peer;
use super::rates::lens;
use super::world::World;

const MB: u64 = 1_000_000;

/// What may come twice: a couple of chunks, or a hundredth.
fn allowed(bytes: u64) -> u64 {
    (bytes / 100).max(256 * 1024)
}

/// Fetches from healthy peers; gives how long it took, as parts per hundred of the ideal. What a slow peer was asked
/// for before anything was known of it may cost half a second.
fn check_small(name: &str, seed: u64, bytes: u64, peers: Vec<Peer>) -> u128 {
    let lens = lens((bytes / (77 * 1024)).max(1), seed);
    let rates: u64 = peers.iter().map(|peer| peer.rate).sum();
    let slowest = peers.iter().map(|peer| peer.delay + peer.joins).max().unwrap();
    let mut world = World::new(EngineConfig::default(), seed, lens, peers);
    assert!(world.run(Duration::from_secs(600)), "{name}, seed {seed}: {:?}", world.engine.stall());
    let wasted = world.engine.progress().wasted_bytes;
    let total = world.total_bytes();
    assert!(wasted <= allowed(total), "{name}, seed {seed}: {wasted} of {total} bytes came twice");
    let ideal = window::time_for(total, rates) + slowest * 4;
    assert!(world.now <= ideal * 2 + Duration::from_millis(500), "{name}, seed {seed}: {:?} of {ideal:?}", world.now);
    world.now.as_nanos() * 100 / ideal.as_nanos()
}

fn peers(seed: u64, bytes: u64, rates: (usize, usize), delays_us: (usize, usize)) -> Vec<Peer> {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let mut between = |(least, most): (usize, usize)| (least + random_below(&mut dice, most - least)) as u64;
    let count = between((2, 5));
    let peer = |_| {
        let mut peer = Peer::seeder(between(rates) * MB, (bytes / (77 * 1024)).max(1));
        peer.delay = Duration::from_micros(between(delays_us));
        peer.joins = Duration::from_micros(between((0, 5000)));
        peer
    };
    (0..count).map(peer).collect()
}

/// Runs many, half of which stay below so many parts per hundred of the ideal time.
fn check_many(name: &str, rates: (usize, usize), delays_us: (usize, usize), most: u128) {
    let mut times: Vec<_> = (0..500)
        .map(|seed| {
            let bytes = MB + seed * 37_123 % (9 * MB);
            check_small(name, seed, bytes, peers(seed, bytes, rates, delays_us))
        })
        .collect();
    times.sort_unstable();
    let median = times[times.len() / 2];
    assert!(median <= most, "{name}: half took {median} % of the ideal time");
}

#[test]
fn from_healthy_peers_little_comes_twice() {
    check_many("fast and near", (100, 1000), (20, 300), 150);
    check_many("equal", (20, 21), (500, 501), 130);
    check_many("ordinary", (2, 50), (500, 20_000), 130);
}

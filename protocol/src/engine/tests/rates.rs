//! How much of what peers can give is used.

use std::time::Duration;

use super::super::*;
use super::peer::{Nature, Peer};
use super::world::World;
use crate::availability::{Availability, ChunkRange};

const MB: u64 = 1_000_000;

/// Lengths around 77 KiB, different each.
pub(super) fn lens(count: u64, seed: u64) -> Vec<u32> {
    (0..count).map(|at| 16_384 + ((at + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u32 % 124_928).collect()
}

/// Runs, and gives the parts per thousand of `rate` that were reached and wasted.
fn reached(world: &mut World, rate: u64) -> (u64, u64) {
    assert!(world.run(Duration::from_secs(600)), "not complete: {:?}", world.engine.stall());
    let total = world.total_bytes();
    let nanos = world.now.as_nanos() as u64;
    let reached = (u128::from(total) * 1_000_000_000 / u128::from(nanos) * 1000 / u128::from(rate)) as u64;
    (reached, world.engine.progress().wasted_bytes * 1000 / total)
}

/// Checks what is reached and wasted with several seeds; gives the most bytes that were in flight at once.
fn check_rates(name: &str, rates: &[u64], bytes: u64, least: u64, change: impl Fn(&mut Vec<Peer>)) -> u64 {
    let mut most = 0;
    for seed in 0..5 {
        let lens = lens(bytes / (77 * 1024), seed);
        let mut peers: Vec<_> = rates.iter().map(|rate| Peer::seeder(*rate, lens.len() as u64)).collect();
        change(&mut peers);
        let mut world = World::new(EngineConfig::default(), seed, lens, peers);
        let (reached, wasted) = reached(&mut world, rates.iter().sum());
        assert!(reached >= least, "{name}, seed {seed}: {reached} ‰ of the rate");
        assert!(wasted <= 10, "{name}, seed {seed}: {wasted} ‰ wasted");
        most = most.max(world.most_in_flight);
    }
    most
}

#[test]
fn four_equal_peers_are_used_to_the_end() {
    check_rates("4 x 20", &[20 * MB; 4], 400 * MB, 970, |_| {});
}

#[test]
fn four_equal_peers_with_bursts() {
    check_rates("4 x 20, bursts", &[20 * MB; 4], 400 * MB, 970, |peers| {
        for peer in peers {
            peer.bursts = true;
        }
    });
}

#[test]
fn four_unequal_peers_are_used_to_the_end() {
    check_rates("5/10/20/40", &[5 * MB, 10 * MB, 20 * MB, 40 * MB], 400 * MB, 950, |_| {});
    check_rates("5/10/20/40, bursts", &[5 * MB, 10 * MB, 20 * MB, 40 * MB], 400 * MB, 950, |peers| {
        for peer in peers {
            peer.bursts = true;
        }
    });
}

#[test]
fn small_content_is_shared_well_too() {
    check_rates("4 x 20, 40 MB", &[20 * MB; 4], 40 * MB, 970, |_| {});
    check_rates("4 x 20, 50 MB, bursts", &[20 * MB; 4], 50 * MB, 970, |peers| {
        for peer in peers {
            peer.bursts = true;
        }
    });
    check_rates("5/10/20/40, 40 MB", &[5 * MB, 10 * MB, 20 * MB, 40 * MB], 40 * MB, 950, |_| {});
}

#[test]
fn one_fast_peer_is_kept_busy() {
    let most = check_rates("1 x 1 GB/s, 0.1 ms", &[1000 * MB], 1000 * MB, 970, |peers| {
        peers[0].delay = Duration::from_micros(50);
    });
    assert!(most <= 10 * MB, "{most} bytes in flight, all of which may lie in memory");
    check_rates("1 x 400 MB/s, bursts", &[400 * MB], 1000 * MB, 970, |peers| {
        peers[0].bursts = true;
    });
    check_rates("4 x 250 MB/s", &[250 * MB; 4], 1000 * MB, 970, |_| {});
}

#[test]
fn a_long_fat_pipe_fills() {
    // 62.5 MB/s × 200 ms = 12.5 MB in flight; the bar of issue 4 is 85 % between seconds 5 and 15.
    check_rates("62.5 MB/s x 200 ms", &[62_500_000], 900 * MB, 900, |peers| {
        peers[0].delay = Duration::from_millis(100);
    });
    check_rates("125 MB/s x 200 ms", &[125_000_000], 1800 * MB, 850, |peers| {
        peers[0].delay = Duration::from_millis(100);
    });
}

#[test]
fn far_and_near_together() {
    check_rates("20 near, 20 far, 5 very far", &[20 * MB, 20 * MB, 5 * MB], 400 * MB, 930, |peers| {
        peers[1].delay = Duration::from_millis(40);
        peers[2].delay = Duration::from_millis(150);
    });
}

#[test]
fn joining_late_and_leaving_costs_little() {
    let lens = lens(3000, 1);
    let total: u64 = lens.iter().map(|len| u64::from(*len)).sum();
    let mut peers = vec![Peer::seeder(20 * MB, 3000); 4];
    peers[3].joins = Duration::from_secs(1);
    let mut world = World::new(EngineConfig::default(), 1, lens.clone(), peers.clone());
    assert!(world.run(Duration::from_secs(60)));
    let ideal = (total + 20 * MB) as f64 / (80 * MB) as f64;
    assert!(world.now.as_secs_f64() <= ideal * 1.03, "late: {:?} of {ideal}", world.now);
    peers[3].joins = Duration::ZERO;
    peers[3].nature = Nature::Leaves(Duration::from_secs(2));
    let mut world = World::new(EngineConfig::default(), 1, lens, peers);
    assert!(world.run(Duration::from_secs(60)));
    let ideal = (total - 40 * MB) as f64 / (60 * MB) as f64;
    assert!(world.now.as_secs_f64() <= ideal * 1.03, "left: {:?} of {ideal}", world.now);
}

#[test]
fn nineteen_useless_peers_do_not_matter() {
    for seed in 0..20 {
        let mut peers = vec![Peer::seeder(20 * MB, 770); 20];
        for (at, peer) in peers.iter_mut().enumerate().skip(1) {
            peer.nature = if at % 2 == 0 { Nature::Silent } else { Nature::Drips };
        }
        let honest = seed as usize % 20;
        peers.swap(0, honest);
        let mut world = World::new(EngineConfig::default(), seed, lens(770, seed), peers);
        assert!(world.run(Duration::from_secs(60)), "{:?}", world.engine.stall());
        let honest = world.total_bytes() as f64 / (20 * MB) as f64;
        assert!(world.now.as_secs_f64() <= honest * 1.2 + 2.0, "seed {seed}: {:?} against {honest}", world.now);
    }
}

#[test]
fn liars_cost_their_first_window_at_most() {
    for seed in 0..20 {
        let mut peers = vec![Peer::seeder(20 * MB, 770); 8];
        for peer in peers.iter_mut().skip(1) {
            peer.nature = Nature::Lies;
        }
        let mut world = World::new(EngineConfig::default(), seed, lens(770, seed), peers);
        assert!(world.run(Duration::from_secs(60)));
        assert_eq!(world.closed.len(), 7);
        assert!(world.closed.iter().all(|(_, reason)| *reason == CloseReason::BadChunk));
        let wasted = world.engine.progress().wasted_bytes;
        assert!(wasted <= 7 * 1024 * 1024, "{wasted}");
    }
}

#[test]
fn many_who_hold_little_do_not_slow_the_one_who_holds_all() {
    let chunks = 8000;
    let mut peers = vec![Peer::seeder(1000 * MB, chunks)];
    for peer in 0..40 {
        let mut partial = Peer::seeder(5 * MB, chunks);
        partial.holds = Availability::new(chunks);
        for gain in 0..200 {
            let start = ChunkIndex((gain * 7919 + peer * 131) % chunks);
            partial.gains.push((Duration::from_millis(gain * 5), ChunkRange { start, count: 1 + gain as u32 % 3 }));
        }
        peers.push(partial);
    }
    let mut world = World::new(EngineConfig::default(), 1, lens(chunks, 1), peers);
    let (reached, wasted) = reached(&mut world, 1200 * MB);
    assert!(reached >= 950 && wasted <= 10, "{reached} ‰ of the rate, {wasted} ‰ wasted");
}

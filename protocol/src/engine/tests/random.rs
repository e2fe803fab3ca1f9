//! Hundreds of random worlds in which every chunk is at some honest peer that can be reached.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::super::slots::random_below;
use super::super::*;
use super::peer::{Nature, Peer};
use super::rates::lens;
use super::world::{Event, World};
use crate::availability::{Availability, ChunkRange};

const CASES: u64 = 1000;

struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, below: usize) -> usize {
        random_below(&mut self.0, below)
    }

    fn millis(&mut self, below: usize) -> Duration {
        Duration::from_millis(self.below(below) as u64)
    }

    fn nature(&mut self) -> Nature {
        let from = self.millis(8000);
        match self.below(16) {
            0 => Nature::Silent,
            1 => Nature::Drips,
            2 => Nature::Lies,
            3 => Nature::Leaves(from),
            4 => Nature::Returns(from, from + self.millis(10_000)),
            5 | 6 => Nature::Stalls(from, from + self.millis(30_000)),
            7 => Nature::Busy(1 + self.below(3) as u32),
            8 => Nature::Declines(2 + self.below(9) as u64),
            _ => Nature::Honest,
        }
    }

    fn peer(&mut self, chunks: u64) -> Peer {
        let rate = 300_000 + (1 << self.below(26));
        let mut peer = Peer::seeder(rate, chunks);
        peer.delay = Duration::from_micros(1 << self.below(18));
        peer.nature = self.nature();
        peer.bursts = self.below(3) == 0;
        if self.below(3) == 0 && !matches!(peer.nature, Nature::Leaves(_) | Nature::Returns(..)) {
            peer.joins = self.millis(6000);
        }
        if self.below(2) == 0 {
            let mut partial = Availability::new(chunks);
            for _ in 0..self.below(6) {
                partial.insert_range(self.run(chunks));
            }
            peer.holds = partial;
            for _ in 0..self.below(8) {
                peer.gains.push((self.millis(9000), self.run(chunks)));
            }
        }
        peer
    }

    fn run(&mut self, chunks: u64) -> ChunkRange {
        let start = self.below(chunks as usize) as u64;
        let count = 1 + self.below((chunks - start) as usize) as u32;
        ChunkRange { start: ChunkIndex(start), count: count.min(1 + self.below(200) as u32) }
    }
}

fn is_steady(peer: &Peer) -> bool {
    matches!(peer.nature, Nature::Honest | Nature::Returns(..) | Nature::Stalls(..) | Nature::Busy(_))
}

fn case(seed: u64) -> World {
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
    let magnitude = 2 + dice.below(9);
    let chunks = 1 + dice.below(1 << magnitude) as u64;
    let mut peers: Vec<_> = (0..1 + dice.below(9)).map(|_| dice.peer(chunks)).collect();
    peers[0].nature = Nature::Honest;
    for index in (0..chunks).map(ChunkIndex) {
        let comes = |peer: &Peer| {
            let later = peer.gains.iter().any(|(_, run)| run.start <= index && index.0 < run.end());
            is_steady(peer) && (later || peer.holds.contains(index))
        };
        if !peers.iter().any(comes) {
            let steady: Vec<_> = (0..peers.len()).filter(|at| is_steady(&peers[*at])).collect();
            let at = steady[dice.below(steady.len())];
            peers[at].holds.insert(index);
        }
    }
    let mut config = if dice.below(4) == 0 { EngineConfig::sequential(4 << 20) } else { EngineConfig::default() };
    if dice.below(4) == 0 {
        config.budget_bytes = 2 << 20;
    }
    if dice.below(4) == 0 {
        config.look_ahead_chunks = 300;
    }
    let mut world = World::new(config, seed, lens(chunks, seed), peers);
    if dice.below(4) == 0 {
        for _ in 0..dice.below(20) {
            // Never less than what each fetch gets at least.
            world.at(dice.millis(9000), Event::Budget((1 << 20) + (1 << dice.below(26))));
        }
    }
    world.node_chain = 1 + dice.below(4) as u64;
    for index in 0..chunks {
        if dice.below(20) == 0 {
            world.held.insert(index);
        }
    }
    world
}

#[test]
fn it_always_completes() {
    for seed in 0..CASES {
        let mut world = case(seed);
        let slowest = world.peers.iter().filter(|peer| is_steady(peer)).map(|peer| peer.rate).min().unwrap();
        // Rests, stalls and late joiners take their time; the slowest may have to give all.
        let limit = Duration::from_secs(90 + 2 * world.total_bytes() / slowest);
        assert!(
            world.run(limit),
            "seed {seed}: {} of {} chunks after {:?}, {:?}\n{:#?}\n{:#?}",
            world.held.len(),
            world.lens.len(),
            world.now,
            world.engine.stall(),
            world.engine.sessions(world.now),
            world.peers.iter().map(|peer| (peer.rate, peer.nature, peer.delay)).collect::<Vec<_>>(),
        );
        assert_eq!(world.held.len(), world.lens.len(), "seed {seed}");
        let progress = world.engine.progress();
        assert_eq!((progress.in_flight_bytes, progress.unassigned_chunks), (0, 0), "seed {seed}");
        // A liar or a stall wastes what is on its way, and every slow session a chunk at the end.
        let troubled = world.peers.iter().filter(|peer| peer.nature != Nature::Honest).count() as u64;
        let allowed = (world.total_bytes() / 20) + (troubled + 1) * 2 * world.engine.config.initial_window_bytes;
        assert!(progress.wasted_bytes <= allowed, "seed {seed}: {} of {allowed} wasted", progress.wasted_bytes);
    }
}

#[test]
fn the_same_seed_makes_the_same_run() {
    for seed in 0..CASES / 8 {
        let run = || {
            let mut world = case(seed);
            world.keeps_log = true;
            world.run(Duration::from_secs(600));
            world.log
        };
        assert_eq!(run(), run(), "seed {seed}");
    }
}

#[test]
fn what_is_rare_comes_first() {
    let mut peers = vec![Peer::seeder(20_000_000, 800); 4];
    for peer in peers.iter_mut().skip(1) {
        peer.holds = Availability::new(800);
        peer.holds.insert_range(ChunkRange { start: ChunkIndex(0), count: 700 });
        peer.rate = 300_000;
    }
    let mut world = World::new(EngineConfig::default(), 7, lens(800, 7), peers);
    assert!(world.run(Duration::from_secs(60)));
    let rare = world.order_held.iter().take(120).filter(|index| **index >= 700).count();
    assert!(rare >= 95, "only {rare} of the 100 chunks that one peer alone holds are among the first 120");
}

#[test]
fn a_reader_gets_the_front_first() {
    let look_ahead = 4 << 20;
    let peers = vec![Peer::seeder(20_000_000, 800); 3];
    let mut world = World::new(EngineConfig::sequential(look_ahead), 7, lens(800, 7), peers);
    assert!(world.run(Duration::from_secs(60)));
    let mut front = 0u64;
    let mut held = std::collections::BTreeSet::new();
    for index in &world.order_held {
        held.insert(*index);
        while held.contains(&front) {
            front += 1;
        }
        // 4 MiB are some 32 chunks, and layout comes in leaves of 300.
        assert!(*index < front + 340, "{index} came while {front} was missing");
    }
}

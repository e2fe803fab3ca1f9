//! Hundreds of random worlds: bounds hold, everybody is served, and a run can be repeated.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::super::*;
use super::world::{CHUNKS, LONGEST, Reads, World, run};

const SEEDS: u64 = 200;
const STEPS: u32 = 400;

fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    u64::from(rng.next_u32()) % bound
}

/// Lets a random crowd do random things, and checks what must hold at each step.
fn live(seed: u64) -> World {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let limit = [None, Some(300_000), Some(3_000_000), Some(50_000_000)][below(&mut rng, 4) as usize];
    let mut config = ServingConfig::new(limit);
    config.limit_per_peer = [None, Some(2_000_000)][below(&mut rng, 2) as usize];
    config.limit_per_content = [None, Some(5_000_000)][below(&mut rng, 2) as usize];
    let mut world = World::new(config.clone(), seed);
    let mut next = 0;
    for _ in 0..STEPS {
        let sessions: Vec<SessionId> = world.requesters.keys().copied().collect();
        let pick = |rng: &mut ChaCha8Rng| sessions.get(below(rng, sessions.len().max(1) as u64) as usize).copied();
        match below(&mut rng, 10) {
            0 if sessions.len() < 40 => {
                let reads = match below(&mut rng, 6) {
                    0 => Reads::Never,
                    1 | 2 => Reads::BytesASecond(50_000 + below(&mut rng, 20_000_000)),
                    _ => Reads::AtOnce,
                };
                let (peer, content) = (below(&mut rng, 20), below(&mut rng, 4));
                let bits = below(&mut rng, 8);
                world.open_as(next, peer, content, reads, |opening| {
                    opening.holds_all = content < 2;
                    opening.serves = bits & 1 == 0;
                    opening.in_order = bits & 6 == 6;
                });
                next += 1;
            }
            1 => {
                if let Some(session) = pick(&mut rng).filter(|_| below(&mut rng, 3) == 0) {
                    world.close(session);
                }
            }
            2 => {
                if let Some(session) = pick(&mut rng) {
                    world.cancel(session, &[run(below(&mut rng, CHUNKS), below(&mut rng, 200) as u32)]);
                }
            }
            3 => {
                if let Some(session) = pick(&mut rng) {
                    let nodes = below(&mut rng, 20) as usize;
                    let _ = world.policy.handle_want_nodes(session, nodes, world.now);
                    world.act();
                }
            }
            4..=6 => {
                if let Some(session) = pick(&mut rng)
                    && world.wanted(session) < 2000
                {
                    let start = below(&mut rng, CHUNKS - 100);
                    world.want(session, &[run(start, 1 + below(&mut rng, 60) as u32), run(start / 2, 3)]);
                }
            }
            _ => world.run_for(Duration::from_millis(below(&mut rng, 200)), |_| {}),
        }
        check(&world, &config, seed);
    }
    // Whoever reads gets all that it wants in the end.
    let deaf = |report: &SessionReport| report.wait == ServingWait::Reader;
    for _ in 0..100_000 {
        if !world.step(world.now + Duration::from_secs(600)) {
            break;
        }
    }
    for report in world.policy.sessions(world.now).iter().filter(|report| !deaf(report)) {
        assert_eq!((report.wanted_chunks, report.wanted_nodes), (0, 0), "seed {seed}: {report:?}");
    }
    world
}

fn check(world: &World, config: &ServingConfig, seed: u64) {
    let policy = &world.policy;
    let report = policy.report(world.now);
    let batch = config.batch_bytes + LONGEST;
    assert!(report.under_way_bytes <= config.out_bytes + batch, "seed {seed}: {report:?}");
    assert!(report.active_peers <= report.places, "seed {seed}: {report:?}");
    assert_eq!(policy.sessions.len(), world.requesters.len());
    assert!(policy.peers.values().all(|peer| !peer.sessions.is_empty()));
    assert_eq!(policy.contents.values().map(|content| content.sessions).sum::<usize>(), policy.sessions.len());
    let fresh: u64 = policy
        .sessions
        .values()
        .flat_map(|session| &session.grants)
        .map(|grant| match grant.state {
            session::GrantState::Fresh { .. } => grant.bytes,
            session::GrantState::Stuck => 0,
        })
        .sum();
    assert_eq!(fresh, policy.fresh_bytes, "seed {seed}");
    for (number, peer) in policy.peers.iter() {
        let times = policy.ring.iter().filter(|other| *other == number).count();
        assert_eq!(times == 1, matches!(peer.place, Place::Ring | Place::Turn), "seed {seed}: {peer:?}");
        assert!(times <= 1);
    }
    for session in policy.sessions.values() {
        assert!(session.grants.iter().map(|grant| grant.bytes).sum::<u64>() <= 2 * batch, "seed {seed}");
        assert!(session.put_off.len() <= session::MAX_PUT_OFF);
    }
}

#[test]
fn bounds_hold_and_all_who_read_are_served() {
    (0..SEEDS).for_each(|seed| drop(live(seed)));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        assert_eq!(live(seed).log, live(seed).log, "seed {seed}");
    }
}

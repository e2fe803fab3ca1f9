//! Shares: who gets how much while others want something, too.

use std::time::Duration;

use super::super::*;
use super::world::{LONGEST, Reads, Requester, World, run};

const SECOND: Duration = Duration::from_secs(1);
const MB: u64 = 1_000_000;

/// Lets every requester always want a few of its own chunks.
fn hungry(world: &mut World) {
    hungry_if(world, |_, _, _| true);
}

fn hungry_if(world: &mut World, asks: impl Fn(SessionId, &Requester, Duration) -> bool) {
    let now = world.now;
    let asking = world.requesters.iter().filter(|(id, requester)| asks(**id, requester, now));
    let sessions: Vec<SessionId> = asking.map(|(id, _)| *id).collect();
    for session in sessions {
        let wanted = world.wanted(session);
        if wanted < 20 {
            let start = (session.0 * 97 + world.requesters[&session].chunks.len() as u64) % 1900;
            world.want(session, &[run(start, 40)]);
        }
    }
}

fn spread_of(world: &World) -> u64 {
    let sent = world.requesters.values().map(|requester| requester.sent);
    sent.clone().max().unwrap_or(0) - sent.min().unwrap_or(0)
}

#[test]
fn equal_demand_gets_equal_bytes() {
    for seed in 0..20 {
        let rate = [5, 20, 100][seed as usize % 3] * MB;
        let config = ServingConfig { turns: u32::MAX, ..ServingConfig::new(Some(rate)) };
        let bound = config.quantum_bytes + LONGEST;
        let mut world = World::new(config, seed);
        for peer in 0..2 + seed {
            world.open(peer, peer, peer % 3, Reads::AtOnce);
        }
        // All want something before anybody is given anything: who is alone owes nobody.
        for peer in 0..2 + seed {
            world.want_quietly(SessionId(peer), &[run(peer * 80, 40)]);
        }
        world.act();
        world.run_for(7 * SECOND, |world| {
            hungry(world);
            assert!(spread_of(world) <= bound, "seed {seed}: {} apart at {:?}", spread_of(world), world.now);
        });
        assert!(world.total > 6 * rate, "seed {seed}: the line was idle");
    }
}

#[test]
fn a_peer_with_many_sessions_has_one_share() {
    let mut world = World::new(ServingConfig::new(Some(20 * MB)), 1);
    for session in 0..12 {
        world.open(session, u64::from(session > 0), session, Reads::AtOnce);
    }
    world.run_for(5 * SECOND, hungry);
    let lone = world.requesters[&SessionId(0)].sent;
    assert!(lone.abs_diff(world.total / 2) < MB, "{lone} of {}", world.total);
}

#[test]
fn a_peer_that_does_not_read_holds_nobody_up() {
    for limit in [Some(20 * MB), None] {
        let mut world = World::new(ServingConfig::new(limit), 1);
        for deaf in 0..40 {
            world.open(deaf, deaf, 0, Reads::Never);
        }
        let good = world.open(40, 40, 0, Reads::BytesASecond(50 * MB));
        let dripping = world.open(41, 41, 0, Reads::BytesASecond(10_000));
        world.run_for(10 * SECOND, hungry);
        let line = limit.unwrap_or(50 * MB);
        let sent = world.requesters[&good].sent;
        assert!(sent >= line * 9, "{sent} of {}", line * 10);
        let reports = world.policy.sessions(world.now);
        for report in &reports[..40] {
            assert!(report.wait == ServingWait::Reader && report.under_way_bytes <= 2 * (256 * 1024 + LONGEST));
        }
        assert!(world.requesters[&dripping].longest_wait < 60 * SECOND);
        assert_eq!(world.policy.report(world.now).under_way_bytes, world.policy.fresh_bytes);
    }
}

#[test]
fn alone_a_fast_peer_gets_full_batches_and_always_has_one_ready() {
    let mut world = World::new(ServingConfig::default(), 1);
    let session = world.open(0, 0, 0, Reads::BytesASecond(1000 * MB));
    world.run_for(SECOND, hungry);
    let sent = world.requesters[&session].sent;
    assert!(sent > 990 * MB, "{sent}");
    let batches = world.log.len() as u64;
    assert!(sent / batches > 400 * 1024, "{batches} batches for {sent} bytes");
}

#[test]
fn who_serves_nobody_waits_longer_while_others_wait() {
    let mut world = World::new(ServingConfig::new(Some(20 * MB)), 1);
    world.open(0, 0, 0, Reads::AtOnce);
    world.open_as(1, 1, 0, Reads::AtOnce, |opening| opening.serves = false);
    world.run_for(5 * SECOND, hungry);
    let [gives, takes] = [0, 1].map(|id| world.requesters[&SessionId(id)].sent);
    assert!((18..22).contains(&(gives * 10 / takes)), "{gives} to {takes}");
}

#[test]
fn more_peers_than_places_are_told_so_and_get_their_turn() {
    let config = ServingConfig::new(Some(MB));
    let mut world = World::new(config, 7);
    let places = world.policy.places();
    let peers = 3 * places as u64;
    for peer in 0..peers {
        world.open(peer, peer, 0, Reads::AtOnce);
    }
    world.run_for(120 * SECOND, |world| {
        // Every other one does not wait for as long as it was told to: that gains nothing.
        hungry_if(world, |id, requester, now| id.0 % 2 == 0 || requester.busy_until <= now);
        assert!(world.policy.active_peers <= places);
    });
    let sent: Vec<u64> = world.requesters.values().map(|requester| requester.sent).collect();
    assert!(sent.iter().all(|sent| *sent > 120 * MB / peers / 2), "{sent:?}");
    assert!(world.requesters.values().filter(|requester| requester.busy > 0).count() > places);
    assert!(world.total > 118 * MB);
}

#[test]
fn places_are_not_kept_empty_for_those_who_are_away() {
    let mut world = World::new(ServingConfig::new(Some(20 * MB)), 7);
    let peers = 3 * world.policy.places() as u64;
    for peer in 0..=peers {
        world.open(peer, peer, 0, Reads::AtOnce);
    }
    (0..peers).for_each(|peer| world.want(SessionId(peer), &[run(peer, 1)]));
    world.run_for(2 * SECOND, |_| {});
    let busy = world.requesters.values().filter(|requester| requester.busy > 0).count();
    assert!(busy as u64 > peers / 2 && world.policy.active_peers == 0, "{busy} were told to come again");
    // Nobody is there: who comes now is served.
    world.want(SessionId(peers), &[run(peers, 1)]);
    world.run_for(SECOND / 2, |_| {});
    let late = &world.requesters[&SessionId(peers)];
    assert_eq!((late.busy, late.chunks.len()), (0, 1));
}

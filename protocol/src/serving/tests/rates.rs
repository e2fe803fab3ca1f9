//! Limits, and what they must not do.

use std::time::Duration;

use super::super::*;
use super::world::{LONGEST, Reads, World, run};

const SECOND: Duration = Duration::from_secs(1);
const MB: u64 = 1_000_000;

/// What may pass beyond the rate: the bucket's burst, and a batch that runs it into debt.
fn slack(rate: u64, config: &ServingConfig) -> u64 {
    (rate / 20).max(256 * 1024) + config.quantum_bytes + LONGEST
}

fn more(world: &mut World) {
    for session in world.requesters.keys().copied().collect::<Vec<_>>() {
        if world.wanted(session) < 20 {
            world.want(session, &[run(session.0 * 31 % 1900, 60)]);
        }
    }
}

#[test]
fn the_limit_of_the_node_is_kept_and_used() {
    for rate in [100_000, MB, 20 * MB, 400 * MB] {
        let config = ServingConfig::new(Some(rate));
        let slack = slack(rate, &config);
        let mut world = World::new(config, 1);
        for peer in 0..5 {
            world.open(peer, peer, peer, if peer == 4 { Reads::Never } else { Reads::AtOnce });
        }
        world.run_for(10 * SECOND, |world| {
            more(world);
            let allowed = u128::from(rate) * world.now.as_nanos() / 1_000_000_000 + u128::from(slack);
            assert!(u128::from(world.total) <= allowed, "{} at {:?} with {rate} B/s", world.total, world.now);
        });
        assert!(world.total * 100 >= rate * 10 * 97 - 100 * LONGEST, "{} of {}", world.total, rate * 10);
        let report = world.policy.report(world.now);
        assert!(report.limited > 8 * SECOND, "{report:?}");
    }
}

#[test]
fn limits_per_peer_and_per_content_are_kept_and_hold_up_nobody_else() {
    let config =
        ServingConfig { limit_per_peer: Some(4 * MB), limit_per_content: Some(10 * MB), ..ServingConfig::default() };
    let slack = slack(10 * MB, &config);
    let mut world = World::new(config, 1);
    // Peers 0 to 3 want content 0, which is limited to 10 MB/s; peer 4 wants contents 1 and 2 and is limited to 4.
    for peer in 0..4 {
        world.open(peer, peer, 0, Reads::AtOnce);
    }
    world.open(4, 4, 1, Reads::AtOnce);
    world.open(5, 4, 2, Reads::AtOnce);
    world.run_for(10 * SECOND, more);
    let of = |pick: &dyn Fn(SessionId) -> bool| {
        world.requesters.iter().filter(|(id, _)| pick(**id)).map(|(_, requester)| requester.sent).sum::<u64>()
    };
    let [content, peer] = [of(&|id| id.0 < 4), of(&|id| id.0 >= 4)];
    assert!(content <= 100 * MB + slack && content > 95 * MB, "{content}");
    assert!(peer <= 40 * MB + slack && peer > 38 * MB, "{peer}");
    for id in 0..4 {
        let sent = of(&|other| other.0 == id);
        assert!(sent.abs_diff(content / 4) <= content / 40, "{id}: {sent} of {content}");
    }
}

#[test]
fn to_come_back_gains_nothing_over_a_limit_per_peer() {
    let mut world = World::new(ServingConfig { limit_per_peer: Some(100_000), ..ServingConfig::default() }, 1);
    let mut sent = 0;
    for session in 0..100 {
        let id = world.open(session, 7, 0, Reads::AtOnce);
        world.run_for(SECOND / 10, more);
        sent += world.requesters[&id].sent;
        world.close(id);
    }
    // Each time it comes it gets one batch at most, since nobody can know that it is the same.
    assert!(sent <= 100 * (64 * 1024 + LONGEST + 256 * 1024), "{sent}");
}

#[test]
fn what_is_cancelled_in_time_costs_nothing() {
    let mut world = World::new(ServingConfig::new(Some(MB)), 1);
    let [one, two] = [0, 1].map(|peer| world.open(peer, peer, 0, Reads::AtOnce));
    for session in [one, two] {
        world.want(session, &[run(session.0 * 100, 100)]);
    }
    let given = world.requesters[&one].chunks.clone();
    world.cancel(one, &[run(0, 100)]);
    world.run_for(20 * SECOND, |_| {});
    assert_eq!(world.requesters[&one].chunks, given, "nothing came after the CANCEL");
    assert_eq!(world.requesters[&two].chunks.len(), 100);
    let counters = world.policy.sessions(world.now)[0].counters;
    assert_eq!(counters.cancelled_chunks + counters.chunks, 100);
}

#[test]
fn at_a_low_rate_a_batch_is_to_be_written_at_its_pace() {
    let pace_at = |rate| {
        let mut policy = ServingPolicy::new(ServingConfig::new(rate), 1);
        let session = SessionId(1);
        let opening = Opening {
            peer: PeerNumber(1),
            content: ContentNumber(1),
            chunks: 10,
            mean_chunk_bytes: 100_000,
            holds_all: true,
            serves: true,
            in_order: false,
        };
        policy.handle_opened(session, opening, Duration::ZERO);
        policy.handle_want(session, &[run(0, 1)], Duration::ZERO).unwrap();
        match policy.poll(Duration::ZERO) {
            Some(Action::SendChunks { pace, .. }) => pace,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([None, Some(20 * MB), Some(10_000)].map(pace_at), [None, None, Some(10_000)]);
}

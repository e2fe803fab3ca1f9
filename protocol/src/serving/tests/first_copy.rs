//! First-copy-first: what a lone seeder sends twice, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::*;
use super::world::{Reads, World, run};
use crate::availability::{ChunkIndex, ChunkRange};

const SECOND: Duration = Duration::from_secs(1);
const MB: u64 = 1_000_000;
const CHUNKS: u64 = 300;

/// Opens sessions of leechers with a lone seeder.
fn crowd(leechers: u64, limit: Option<u64>, put_off: Duration) -> World {
    let mut world = World::new(ServingConfig { put_off, ..ServingConfig::new(limit) }, 1);
    for peer in 0..leechers {
        world.open_as(peer, peer, 0, Reads::AtOnce, |opening| {
            opening.holds_all = true;
            opening.chunks = CHUNKS;
        });
    }
    world
}

/// Lets every leecher want what it has not been sent yet, all from the front: the worst case. What was put off is
/// asked for again only when it has been offered.
fn all_alike(world: &mut World) {
    for session in world.requesters.keys().copied().collect::<Vec<_>>() {
        if world.wanted(session) > 4 {
            continue;
        }
        let requester = &world.requesters[&session];
        let got: BTreeSet<ChunkIndex> = requester.chunks.iter().copied().collect();
        let wants = |chunk: &ChunkIndex| {
            !got.contains(chunk) && (!requester.put_off.contains(chunk) || requester.offered.contains(chunk))
        };
        let next: Vec<ChunkRange> = (0..CHUNKS).map(ChunkIndex).filter(wants).take(12).map(ChunkRange::one).collect();
        // What it still waits for stays where it is: those would be sent twice.
        let next: Vec<_> = next.into_iter().skip(world.wanted(session) as usize).collect();
        if !next.is_empty() {
            world.want(session, &next);
        }
    }
}

fn copies(world: &World) -> BTreeMap<ChunkIndex, u64> {
    let mut copies = BTreeMap::new();
    for chunk in world.requesters.values().flat_map(|requester| &requester.chunks) {
        *copies.entry(*chunk).or_insert(0) += 1;
    }
    copies
}

#[test]
fn every_chunk_leaves_a_lone_seeder_once_before_any_leaves_twice() {
    // Offers come after the first pass only: the leechers exchange what they have among themselves.
    let mut world = crowd(8, Some(20 * MB), 1000 * SECOND);
    let mut first_pass = None;
    world.run_for(60 * SECOND, |world| {
        all_alike(world);
        if first_pass.is_some() {
            return;
        }
        let copies = copies(world);
        if copies.len() as u64 == CHUNKS {
            first_pass = Some(copies.values().sum::<u64>());
        }
    });
    let sent = first_pass.expect("the first pass ends");
    assert!(sent <= CHUNKS + CHUNKS / 100, "{sent} chunks were sent until {CHUNKS} had left");
    assert!(world.policy.counters.put_off_chunks > 0);
    // Then all of it is offered again: nobody is left without.
    for requester in world.requesters.values() {
        assert!(requester.put_off.iter().all(|chunk| requester.offered.contains(chunk)));
        assert_eq!(requester.chunks.iter().collect::<BTreeSet<_>>().len() as u64, CHUNKS);
    }
}

#[test]
fn what_the_line_took_at_once_is_put_off_all_the_same() {
    // Buffers on the way take every grant as it is made: nobody waits for anything when the next one asks.
    let mut world = crowd(2, None, SECOND);
    for session in [0, 1].map(SessionId) {
        world.want(session, &[run(0, 8)]);
        world.run_for(SECOND / 100, |_| {});
        assert_eq!(world.wanted(session), 0);
    }
    let [first, second] = [0, 1].map(|session| &world.requesters[&SessionId(session)]);
    assert_eq!((first.chunks.len(), second.chunks.len(), second.put_off.len()), (8, 0, 8));
}

#[test]
fn nothing_is_put_off_for_the_sake_of_who_serves_nobody_or_has_gone() {
    for gone in [true, false] {
        let mut world = crowd(2, None, SECOND);
        let taker = world.open_as(9, 9, 0, Reads::AtOnce, |opening| {
            (opening.holds_all, opening.chunks, opening.serves) = (true, CHUNKS, gone);
        });
        world.want(taker, &[run(0, 8)]);
        world.run_for(SECOND / 100, |_| {});
        if gone {
            world.close(taker);
        }
        world.want(SessionId(0), &[run(0, 8)]);
        world.run_for(SECOND / 100, |_| {});
        let next = &world.requesters[&SessionId(0)];
        assert_eq!((next.chunks.len(), next.put_off.len()), (8, 0), "gone: {gone}");
    }
}

#[test]
fn what_was_put_off_is_offered_when_the_one_who_got_it_goes() {
    let mut world = crowd(2, None, 1000 * SECOND);
    // One with two sessions, of which one stays, and one for another content.
    for (session, content) in [(7, 0), (8, 0), (9, 1)] {
        world.open_as(session, 7, content, Reads::AtOnce, |opening| {
            (opening.holds_all, opening.chunks) = (true, CHUNKS);
        });
    }
    let offered = |world: &World| world.requesters[&SessionId(0)].offered.len();
    world.want(SessionId(7), &[run(0, 8)]);
    world.run_for(SECOND / 100, |_| {});
    world.want(SessionId(0), &[run(0, 8)]);
    world.run_for(SECOND / 100, |_| {});
    assert_eq!((world.requesters[&SessionId(0)].put_off.len(), offered(&world)), (8, 0));
    world.close(SessionId(7));
    assert_eq!(offered(&world), 0, "it serves the content still");
    world.close(SessionId(8));
    assert_eq!(offered(&world), 8);
    world.want(SessionId(1), &[run(0, 8)]);
    world.run_for(SECOND / 100, |_| {});
    assert_eq!(world.requesters[&SessionId(1)].chunks.len(), 8, "and nothing more is put off");
}

#[test]
fn what_was_put_off_is_offered_after_a_while_and_then_sent() {
    let mut world = crowd(2, Some(MB), SECOND);
    for session in [0, 1].map(SessionId) {
        world.want(session, &[run(0, 8)]);
    }
    world.run_for(3 * SECOND, |_| {});
    let (put_off, offered): (usize, usize) = world
        .requesters
        .values()
        .map(|requester| (requester.put_off.len(), requester.offered.len()))
        .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    assert!(put_off > 0 && put_off == offered, "{put_off} put off, {offered} offered");
    assert_eq!(copies(&world).values().sum::<u64>() + put_off as u64, 16);
    for session in [0, 1].map(SessionId) {
        let again: Vec<_> = world.requesters[&session].offered.iter().copied().map(ChunkRange::one).collect();
        if !again.is_empty() {
            world.want(session, &again);
        }
    }
    world.run_for(3 * SECOND, |_| {});
    assert!(copies(&world).values().all(|copies| *copies == 2), "{:?}", copies(&world));
    assert_eq!(world.policy.counters.came_back_chunks, put_off as u64);
}

#[test]
fn nothing_is_put_off_for_who_reads_in_order_or_serves_nobody_or_is_alone_or_of_what_is_not_held_whole() {
    let check = |leechers: u64, limit, change: &dyn Fn(&mut Opening)| {
        let mut world = World::new(ServingConfig::new(limit), 1);
        for peer in 0..leechers {
            world.open_as(peer, peer, 0, Reads::AtOnce, |opening| {
                opening.holds_all = true;
                opening.chunks = CHUNKS;
                change(opening);
            });
        }
        world.run_for(5 * SECOND, all_alike);
        assert_eq!(world.policy.counters.put_off_chunks, 0);
        world
    };
    let limit = Some(20 * MB);
    let in_order = check(3, limit, &|opening| opening.in_order = true);
    for requester in in_order.requesters.values() {
        assert!(requester.chunks.is_sorted(), "what is read in order is sent in order");
    }
    check(3, limit, &|opening| opening.serves = false);
    check(3, limit, &|opening| opening.holds_all = false);
    check(1, limit, &|_| {});
}

#[test]
fn who_passes_nothing_on_gets_a_smaller_share() {
    let mut world = World::new(ServingConfig { put_off: SECOND / 2, ..ServingConfig::new(Some(20 * MB)) }, 1);
    for peer in 0..3 {
        world.open_as(peer, peer, 0, Reads::AtOnce, |opening| opening.holds_all = true);
    }
    // Peers 1 and 2 want everything that peer 0 got; nobody wants what they got.
    let mut asked = [0_u64; 2];
    world.run_for(20 * SECOND, |world| {
        for id in 0..3 {
            let session = SessionId(id);
            if world.wanted(session) > 8 {
                continue;
            }
            let again: Vec<ChunkRange> = world
                .requesters
                .get_mut(&session)
                .map(|r| std::mem::take(&mut r.offered))
                .unwrap_or_default()
                .into_iter()
                .map(ChunkRange::one)
                .collect();
            if !again.is_empty() {
                world.want(session, &again);
            }
            if id == 0 {
                let got = world.requesters[&session].chunks.len() as u64;
                if got < 600 {
                    world.want(session, &[run(got, 8)]);
                }
            } else {
                let next = &mut asked[id as usize - 1];
                let zero = world.requesters[&SessionId(0)].chunks.len() as u64;
                let fill = run(700 * id + *next % 500, 4);
                let ahead = run(zero.saturating_sub(6), 4);
                *next += 4;
                world.want(session, &[ahead, fill]);
            }
        }
    });
    let shares: Vec<i64> = (0..3).map(|id| world.policy.peers.get(&PeerNumber(id)).unwrap().quantum(1000)).collect();
    assert!(shares[0] < shares[1] && shares[0] < shares[2], "{shares:?}");
    // To come again does not help.
    world.close(SessionId(0));
    assert!(!world.policy.peers.contains_key(&PeerNumber(0)));
    for (session, peer, share) in [(10, 0, shares[0]), (11, 9, 1000)] {
        world.open(session, peer, 0, Reads::AtOnce);
        assert_eq!(world.policy.peers.get(&PeerNumber(peer)).unwrap().quantum(1000), share, "peer {peer}");
    }
}

#[test]
fn what_is_remembered_of_chunks_put_off_is_bounded() {
    let mut world = World::new(ServingConfig { put_off: SECOND, ..ServingConfig::new(Some(400 * MB)) }, 1);
    for peer in 0..2 {
        world.open_as(peer, peer, 0, Reads::AtOnce, |opening| {
            opening.holds_all = true;
            opening.chunks = 20_000;
        });
    }
    // The second always wants what the first has just been sent.
    let mut next = [0_u64; 2];
    world.run_for(8 * SECOND, |world| {
        let sent = world.requesters[&SessionId(0)].chunks.len() as u64;
        for id in 0..2 {
            let at = &mut next[id as usize];
            let wants = if id == 0 { world.wanted(SessionId(0)) < 8 } else { *at + 4 < sent };
            if wants && *at < 19_000 {
                world.want(SessionId(id), &[run(*at, 4)]);
                *at += 4;
            }
        }
    });
    let session = world.policy.sessions.get(&SessionId(1)).unwrap();
    assert!(world.policy.counters.put_off_chunks > 3 * session::MAX_PUT_OFF as u64);
    assert!(session.put_off.len() <= session::MAX_PUT_OFF);
}

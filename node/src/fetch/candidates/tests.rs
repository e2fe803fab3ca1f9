//! Who is tried when.

use super::*;
use crate::network::Identity;

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

#[test]
fn hearsay_neither_crowds_out_nor_goes_first() {
    let now = Instant::now();
    let mut candidates = Candidates::default();
    let peer = || Identity::generate().peer_id();
    for _ in 0..MAX_CANDIDATES {
        candidates.add(peer(), vec![address("/ip4/203.0.113.1/tcp/1")], Source::Hearsay, now);
    }
    assert_eq!(candidates.len(), MAX_CANDIDATES / 2);
    let given = peer();
    candidates.add(given, vec![address("/ip4/203.0.113.2/tcp/1")], Source::Given, now);
    assert_eq!(candidates.next(now, true).map(|(peer, _)| peer), Some(given));
}

#[test]
fn who_was_met_is_told_from_who_was_named() {
    let now = Instant::now();
    let mut candidates = Candidates::default();
    let [named, met] = [0, 1].map(|_| Identity::generate().peer_id());
    for peer in [named, met] {
        candidates.add(peer, vec![address("/ip4/203.0.113.1/tcp/1")], Source::Dht, now);
    }
    assert_eq!((candidates.next(now, false), candidates.next_due(false)), (None, None));
    candidates.add(met, vec![address("/ip4/203.0.113.1/tcp/2")], Source::Swarm, now);
    assert_eq!(candidates.next_due(false), Some(now));
    assert_eq!(candidates.next(now, false).map(|(peer, _)| peer), Some(met));
    assert_eq!(candidates.next(now, false), None);
    assert_eq!(candidates.next(now, true).map(|(peer, _)| peer), Some(named));
}

#[test]
fn each_fetch_tries_equals_in_an_order_of_its_own() {
    let now = Instant::now();
    let peers: Vec<PeerId> = (0..16).map(|_| Identity::generate().peer_id()).collect();
    let order = || {
        let mut candidates = Candidates::default();
        for peer in &peers {
            candidates.add(*peer, vec![address("/ip4/203.0.113.1/tcp/1")], Source::Hearsay, now);
        }
        std::iter::from_fn(move || candidates.next(now, true)).map(|(peer, _)| peer).collect::<Vec<_>>()
    };
    let orders: std::collections::BTreeSet<Vec<PeerId>> = (0..8).map(|_| order()).collect();
    assert!(orders.len() > 1, "all alike");
    assert!(orders.iter().all(|order| order.len() == peers.len()));
}

#[test]
fn who_is_busy_is_tried_when_it_said_and_has_not_failed() {
    let now = Instant::now();
    let mut candidates = Candidates::default();
    let peer = Identity::generate().peer_id();
    candidates.add(peer, vec![address("/ip4/203.0.113.1/tcp/1")], Source::Given, now);
    let rest = Duration::from_secs(2);
    for time in 0..10 {
        let now = now + time * rest;
        assert_eq!(candidates.next(now, true).map(|(peer, _)| peer), Some(peer));
        candidates.busy(&peer, "no place".to_owned(), rest, now);
        assert_eq!((candidates.next(now, true), candidates.next_due(true)), (None, Some(now + rest)));
    }
}

/// A peer that was tried in vain until the pauses were long, and when that was last.
fn unreachable(candidates: &mut Candidates, now: Instant) -> (PeerId, Instant) {
    let (peer, mut now) = (Identity::generate().peer_id(), now);
    candidates.add(peer, vec![address("/ip4/203.0.113.1/tcp/1")], Source::Dht, now);
    loop {
        candidates.next(now, true).unwrap();
        candidates.failed(&peer, "no".to_owned(), Duration::ZERO, now);
        let due = candidates.next_due(true).unwrap();
        if due - now == LONGEST_PAUSE {
            return (peer, now);
        }
        now = due;
    }
}

#[test]
fn a_peer_that_shows_itself_is_tried_soon_but_not_without_end() {
    let mut candidates = Candidates::default();
    let (peer, failed) = unreachable(&mut candidates, Instant::now());
    candidates.is_up(&peer, failed);
    assert_eq!(
        candidates.next_due(true),
        Some(failed + FIRST_PAUSE),
        "one that says so all the time is not dialled so"
    );
    let later = failed + 4 * FIRST_PAUSE;
    candidates.is_up(&peer, later);
    assert!(candidates.next(later, true).is_some());
    // It shows itself while what was known of it before is tried.
    candidates.is_up(&peer, later);
    let late = later + Duration::from_secs(8);
    candidates.failed(&peer, "no".to_owned(), Duration::ZERO, late);
    assert_eq!(candidates.next_due(true), Some(late + FIRST_PAUSE));
    assert!(candidates.next(late + FIRST_PAUSE, true).is_some());
    candidates.failed(&peer, "no".to_owned(), Duration::ZERO, late);
    assert_eq!(candidates.next_due(true), Some(late + LONGEST_PAUSE), "the news was used up");
}

#[test]
fn another_address_is_a_reason_to_try_soon_and_a_known_one_is_not() {
    let mut candidates = Candidates::default();
    let (peer, failed) = unreachable(&mut candidates, Instant::now());
    let now = failed + 4 * FIRST_PAUSE;
    candidates.add(peer, vec![address("/ip4/203.0.113.1/tcp/1")], Source::Dht, now);
    assert_eq!(candidates.next_due(true), Some(failed + LONGEST_PAUSE));
    candidates.add(peer, vec![address("/ip4/203.0.113.1/tcp/2")], Source::Dht, now);
    let (_, addresses) = candidates.next(now, true).unwrap();
    assert_eq!(addresses.len(), 2);
}

#[test]
fn who_asked_for_rest_gets_it() {
    let (mut candidates, now) = (Candidates::default(), Instant::now());
    let peer = Identity::generate().peer_id();
    candidates.add(peer, vec![address("/ip4/203.0.113.1/tcp/1")], Source::Dht, now);
    candidates.next(now, true).unwrap();
    candidates.busy(&peer, "no place".to_owned(), LONGEST_REST, now);
    candidates.is_up(&peer, now);
    candidates.add(peer, vec![address("/ip4/203.0.113.1/tcp/2")], Source::Dht, now);
    assert_eq!(candidates.next_due(true), Some(now + LONGEST_REST));
}

#[test]
fn failures_make_pauses_that_grow_and_end() {
    let mut now = Instant::now();
    let mut candidates = Candidates::default();
    let peer = Identity::generate().peer_id();
    candidates.add(peer, vec![address("/ip4/203.0.113.1/tcp/1")], Source::Dht, now);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        assert!(candidates.next(now, true).is_some() && candidates.next(now, true).is_none());
        candidates.failed(&peer, "no".to_owned(), Duration::ZERO, now);
        assert!(!candidates.has_untried(now + LONGEST_PAUSE), "it failed");
        let due = candidates.next_due(true).unwrap();
        pauses.push(due - now);
        now = due;
    }
    assert!(pauses.is_sorted() && pauses.last() == Some(&LONGEST_PAUSE), "{pauses:?}");
}

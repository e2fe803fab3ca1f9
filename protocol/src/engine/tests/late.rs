//! Sessions whose server's turn does not come.

use super::super::*;
use super::alone::{A, B, actions, at, engine};
use super::world::node;
use crate::availability::{AvailabilityPart, ChunkRange, PartChunks};

const CHUNKS: u64 = 6;
const LEN: usize = 100_000;

/// A has given one of six chunks and pauses; B holds everything and has shown itself.
fn paused() -> Engine {
    let mut engine = engine(CHUNKS, &[A]);
    actions(&mut engine, at(0));
    assert_eq!(engine.handle_chunk(A, ChunkIndex(0), LEN, at(10)), ChunkVerdict::New);
    engine.handle_opened(B, at(20));
    let all = AvailabilityPart { start: ChunkIndex(0), count: CHUNKS, chunks: PartChunks::All };
    engine.handle_availability(B, &all, at(20));
    engine.want_node(node(1), at(20));
    let asked = actions(&mut engine, at(20));
    assert!(matches!(asked.as_slice(), [Action::WantNodes { session: B, .. }]), "{asked:?}");
    assert!(engine.handle_node(B, &node(1), 100, at(30)));
    engine
}

fn moved(actions: &[Action]) -> Option<(&[ChunkRange], &[ChunkRange])> {
    let [Action::Cancel { session: A, ranges: cancelled }, Action::Want { session: B, ranges: wanted }] = actions
    else {
        return None;
    };
    Some((cancelled.as_slice(), wanted.as_slice()))
}

#[test]
fn what_a_server_has_not_begun_to_send_is_moved() {
    let mut engine = paused();
    for millis in (60..=80).step_by(20) {
        assert_eq!(actions(&mut engine, at(millis)), [], "after {millis} ms it may be on its way");
    }
    let actions = actions(&mut engine, at(100));
    let (cancelled, wanted) = moved(&actions).unwrap_or_else(|| panic!("{actions:?}"));
    assert_eq!(cancelled, wanted, "moved, and not asked for twice");
    let chunks: u64 = wanted.iter().map(|range| u64::from(range.count)).sum();
    assert!((1..=2).contains(&chunks), "{chunks}: no more than may come in vain");
}

#[test]
fn two_who_are_late_do_not_rob_each_other() {
    let mut engine = paused();
    assert!(moved(&actions(&mut engine, at(400))).is_some());
    for millis in (420..1000).step_by(20) {
        assert_eq!(actions(&mut engine, at(millis)), [], "after {millis} ms");
    }
    // Whoever delivers goes on.
    assert_eq!(engine.handle_chunk(A, ChunkIndex(1), LEN, at(1000)), ChunkVerdict::New);
    let (asked, left) = (engine.sessions(at(1000)), engine.progress());
    assert_eq!(asked.iter().map(|session| session.in_flight_chunks as u64).sum::<u64>(), CHUNKS - left.held_chunks);
}

//! Manifest nodes: of whom they are asked, and when again.

use super::super::*;
use super::alone::{A, B, actions, at, engine};
use super::world::node;
use crate::availability::{AvailabilityPart, ChunkRange, PartChunks};

#[test]
fn a_node_is_raced_and_asked_for_again_where_it_was_refused() {
    let mut engine = engine(0, &[A, B]);
    engine.handle_opened(SessionId(3), at(0));
    engine.want_node(node(1), at(0));
    let ask = |session| Action::WantNodes { session, ids: vec![node(1)] };
    assert_eq!(actions(&mut engine, at(0)), [ask(A), ask(B)], "nobody has proven anything: two at once");
    assert_eq!(actions(&mut engine, at(250)), [ask(SessionId(3))], "and more when they do not answer");
    for session in [A, B, SessionId(3)] {
        engine.handle_no_nodes(session, &[node(1)], at(300));
    }
    assert_eq!(actions(&mut engine, at(300)), []);
    // What happens meanwhile puts nothing off.
    engine.handle_availability(
        A,
        &AvailabilityPart { start: ChunkIndex(0), count: 1, chunks: PartChunks::All },
        at(424),
    );
    assert_eq!(actions(&mut engine, at(424)), []);
    assert_eq!(actions(&mut engine, at(425)).len(), 3, "by now somebody may have it");
    engine.handle_no_nodes(A, &[node(1)], at(430));
    assert_eq!(actions(&mut engine, at(430)), [], "A has said so twice, and is given more time");
    assert_eq!(actions(&mut engine, at(679)), []);
    assert_eq!(actions(&mut engine, at(680)), [ask(A)]);
    assert!(engine.handle_node(B, &node(1), 100, at(1310)));
    assert!(!engine.handle_node(A, &node(1), 100, at(1311)));
    assert_eq!(engine.progress().node_bytes, 100);
}

/// An engine with sessions that have each said to hold a chunk, after `first`.
fn crowd(sessions: u32, first: &[SessionId]) -> Engine {
    let mut engine = engine(40, first);
    for session in (0..sessions).map(|number| SessionId(10 + number)) {
        engine.handle_opened(session, at(0));
        engine.handle_have(session, &[ChunkRange::one(ChunkIndex(3))], at(0));
    }
    actions(&mut engine, at(0));
    engine
}

/// Who is asked for a node, and for nothing else.
fn asked(engine: &mut Engine, millis: u64) -> Vec<SessionId> {
    let session = |action| match action {
        Action::WantNodes { session, .. } => session,
        other => panic!("{other:?}"),
    };
    actions(engine, at(millis)).into_iter().map(session).collect()
}

#[test]
fn a_leecher_is_asked_before_who_holds_everything_and_no_second_one() {
    let mut engine = crowd(2, &[A]);
    engine.want_node(node(1), at(1));
    assert_eq!(asked(&mut engine, 1), [SessionId(11)], "nothing is in flight from it");
    engine.handle_no_nodes(SessionId(11), &[node(1)], at(5));
    assert_eq!(asked(&mut engine, 5), [A], "at once");
}

#[test]
fn where_nobody_holds_everything_more_are_asked_the_more_have_refused() {
    let mut engine = crowd(31, &[]);
    engine.want_node(node(1), at(1));
    let mut at_once = Vec::new();
    for round in 0.. {
        let asked = asked(&mut engine, 1 + round);
        if asked.is_empty() {
            break;
        }
        at_once.push(asked.len());
        asked.iter().for_each(|session| engine.handle_no_nodes(*session, &[node(1)], at(1 + round)));
    }
    assert_eq!(at_once, [1, 1, 1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 2], "all 31, in fewer round trips");
}

#[test]
fn who_comes_when_all_have_been_asked_is_asked_too() {
    let mut engine = engine(0, &[A]);
    engine.want_node(node(1), at(0));
    assert_eq!(asked(&mut engine, 0), [A]);
    assert_eq!(asked(&mut engine, 250), [], "there is nobody else");
    engine.handle_opened(B, at(300));
    assert_eq!(asked(&mut engine, 499), []);
    assert_eq!(asked(&mut engine, 500), [B], "though the first has not answered yet");
}

#[test]
fn who_has_no_nodes_is_asked_for_none() {
    let mut engine = engine(0, &[]);
    engine.handle_newcomer(A, Newcomer { gives_nodes: false, ..Newcomer::default() }, at(0));
    engine.want_node(node(1), at(0));
    assert_eq!(actions(&mut engine, at(0)), []);
    engine.handle_opened(B, at(1));
    assert_eq!(actions(&mut engine, at(1)), [Action::WantNodes { session: B, ids: vec![node(1)] }]);
}

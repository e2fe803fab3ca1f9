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

#[test]
fn a_leecher_is_asked_before_who_holds_everything() {
    let mut engine = engine(40, &[A]);
    engine.handle_opened(B, at(0));
    engine.handle_have(B, &[ChunkRange::one(ChunkIndex(3))], at(0));
    actions(&mut engine, at(0));
    engine.want_node(node(1), at(1));
    let ask = |session| Action::WantNodes { session, ids: vec![node(1)] };
    assert_eq!(actions(&mut engine, at(1)), [ask(B)]);
    engine.handle_no_nodes(B, &[node(1)], at(5));
    assert_eq!(actions(&mut engine, at(5)), [ask(A)], "at once");
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

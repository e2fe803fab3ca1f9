//! The engine alone, one event at a time.

use std::time::Duration;

use super::super::*;
use super::world::node;
use crate::availability::{AvailabilityPart, ChunkRange, PartChunks};

const LEN: u32 = 100_000;
pub(super) const A: SessionId = SessionId(1);
pub(super) const B: SessionId = SessionId(2);

pub(super) fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// An engine that wants so many chunks, and sessions that hold them all.
pub(super) fn engine(chunks: u64, sessions: &[SessionId]) -> Engine {
    let mut engine = Engine::new(EngineConfig::default(), 1);
    engine.set_chunk_count(chunks, at(0));
    engine.handle_layout(ChunkIndex(0), &vec![LEN; chunks as usize], &|_| false, at(0));
    engine.layout_finished();
    for session in sessions {
        engine.handle_opened(*session, at(0));
        let part = AvailabilityPart { start: ChunkIndex(0), count: chunks, chunks: PartChunks::All };
        engine.handle_availability(*session, &part, at(0));
    }
    engine
}

pub(super) fn actions(engine: &mut Engine, now: Duration) -> Vec<Action> {
    std::iter::from_fn(|| engine.poll(now)).collect()
}

/// Chunks wanted of a session by these actions.
fn wanted(actions: &[Action], of: SessionId) -> Vec<ChunkIndex> {
    let runs = actions.iter().filter_map(|action| match action {
        Action::Want { session, ranges } if *session == of => Some(ranges),
        _ => None,
    });
    runs.flatten().flat_map(ChunkRange::indices).collect()
}

fn chunk(engine: &mut Engine, session: SessionId, index: ChunkIndex, millis: u64) -> ChunkVerdict {
    engine.handle_chunk(session, index, LEN as usize, at(millis))
}

fn report(engine: &Engine, session: SessionId) -> SessionReport {
    engine.sessions(at(0)).into_iter().find(|report| report.session == session).expect("it is open")
}

#[test]
fn who_holds_everything_is_a_seeder() {
    let mut engine = engine(100, &[A]);
    engine.handle_opened(B, at(0));
    assert_eq!(engine.seeders(), 1);
    for (start, seeders) in [(0, 1), (50, 2)] {
        let half = AvailabilityPart { start: ChunkIndex(start), count: 50, chunks: PartChunks::All };
        engine.handle_availability(B, &half, at(0));
        assert_eq!(engine.seeders(), seeders);
    }
    engine.handle_closed(A, at(0));
    assert_eq!(engine.seeders(), 1);
}

#[test]
fn wants_come_in_runs_within_the_first_window() {
    let mut engine = engine(100, &[A]);
    let actions = actions(&mut engine, at(0));
    let [Action::Want { session: A, ranges }] = actions.as_slice() else {
        panic!("{actions:?}");
    };
    assert_eq!(wanted(&actions, A).len(), 10, "1 MiB of 100,000 bytes each");
    assert_eq!(ranges.len(), 1, "ten chunks of one group of sixteen");
    assert_eq!(report(&engine, A).wait, Wait::Receiving);
}

#[test]
fn who_does_not_move_is_put_to_rest_tried_again_and_given_up() {
    let mut engine = engine(4, &[A]);
    assert_eq!(wanted(&actions(&mut engine, at(0)), A).len(), 4);
    assert_eq!(engine.next_timeout(), Some(at(5000)));
    // A drip is no progress.
    engine.handle_progress(A, 100, at(4000));
    let [Action::Cancel { session: A, .. }] = actions(&mut engine, at(5000)).as_slice() else {
        panic!("it should be told");
    };
    assert_eq!(report(&engine, A).wait, Wait::BackOff);
    assert_eq!(engine.stall(), Some(Stall::AllResting { until: at(6000) }));
    assert_eq!(wanted(&actions(&mut engine, at(6000)), A).len(), 1, "a probe");
    assert_eq!(report(&engine, A).wait, Wait::Probing);
    actions(&mut engine, at(11_000));
    assert_eq!(engine.stall(), Some(Stall::AllResting { until: at(13_000) }), "twice as long");
    assert_eq!(wanted(&actions(&mut engine, at(13_000)), A).len(), 1);
    assert_eq!(actions(&mut engine, at(18_000)), [Action::Close { session: A, reason: CloseReason::NoProgress }]);
    assert_eq!(engine.stall(), Some(Stall::NoSession));
    let (ended, reason) = engine.ended_sessions().next().expect("one has ended");
    assert_eq!((ended.counters.deadlines_missed, *reason), (3, Some(CloseReason::NoProgress)));
}

#[test]
fn a_probe_that_is_answered_ends_the_rest() {
    let mut engine = engine(4, &[A]);
    actions(&mut engine, at(0));
    actions(&mut engine, at(5000));
    let probe = wanted(&actions(&mut engine, at(6000)), A)[0];
    assert_eq!(chunk(&mut engine, A, probe, 6100), ChunkVerdict::New);
    assert_eq!(wanted(&actions(&mut engine, at(6100)), A).len(), 3);
}

#[test]
fn bytes_that_keep_coming_are_progress() {
    let mut engine = engine(1, &[A]);
    actions(&mut engine, at(0));
    for second in 1..20 {
        engine.handle_progress(A, 20_000, at(second * 1000));
        assert_eq!(actions(&mut engine, at(second * 1000)), []);
    }
}

#[test]
fn busy_is_waited_for_and_is_no_fault() {
    let mut engine = engine(4, &[A]);
    actions(&mut engine, at(0));
    engine.handle_busy(A, at(300), at(10));
    assert_eq!(actions(&mut engine, at(10)), []);
    assert_eq!(report(&engine, A).wait, Wait::Busy);
    assert_eq!(engine.next_timeout(), Some(at(310)));
    assert_eq!(wanted(&actions(&mut engine, at(310)), A).len(), 4);
    assert_eq!(report(&engine, A).faults, 0);
}

#[test]
fn what_one_declines_another_is_asked_for() {
    let mut engine = engine(4, &[A]);
    actions(&mut engine, at(0));
    engine.handle_no_chunks(A, &[ChunkRange { start: ChunkIndex(1), count: u32::MAX }], at(1));
    assert_eq!(actions(&mut engine, at(1)), []);
    chunk(&mut engine, A, ChunkIndex(0), 2);
    assert_eq!(engine.stall(), Some(Stall::NobodyHasIt));
    engine.handle_opened(B, at(3));
    engine.handle_have(B, &[ChunkRange { start: ChunkIndex(0), count: 3 }], at(3));
    assert_eq!(wanted(&actions(&mut engine, at(3)), B), [ChunkIndex(1), ChunkIndex(2)]);
}

#[test]
fn a_liar_is_closed_and_its_chunks_go_to_others() {
    let mut engine = engine(4, &[A]);
    actions(&mut engine, at(0));
    engine.handle_bad_chunk(A, ChunkIndex(2), at(1));
    assert_eq!(actions(&mut engine, at(1)), [Action::Close { session: A, reason: CloseReason::BadChunk }]);
    assert_eq!(engine.progress().wasted_bytes, u64::from(LEN));
    assert_eq!(chunk(&mut engine, A, ChunkIndex(1), 2), ChunkVerdict::Unasked, "it is forgotten");
    assert!(engine.is_missing(ChunkIndex(1)));
}

#[test]
fn what_nobody_asked_for_is_borne_for_a_while() {
    let mut engine = engine(4, &[A]);
    actions(&mut engine, at(0));
    assert_eq!(chunk(&mut engine, A, ChunkIndex(0), 1), ChunkVerdict::New);
    for _ in 0..10 {
        assert_eq!(chunk(&mut engine, A, ChunkIndex(0), 1), ChunkVerdict::Unasked);
        assert!(!actions(&mut engine, at(1)).iter().any(|action| matches!(action, Action::Close { .. })));
    }
    chunk(&mut engine, A, ChunkIndex(0), 1);
    assert_eq!(actions(&mut engine, at(1)), [Action::Close { session: A, reason: CloseReason::Unasked }]);
}

#[test]
fn what_was_not_verified_is_never_held() {
    let mut engine = engine(4, &[A]);
    assert_eq!(wanted(&actions(&mut engine, at(0)), A).len(), 4);
    engine.handle_unneeded(A, ChunkIndex(0), LEN as usize, at(1));
    assert!(engine.is_missing(ChunkIndex(0)));
    assert_eq!(engine.progress().in_flight_bytes, 3 * u64::from(LEN));
    assert_eq!(wanted(&actions(&mut engine, at(1)), A), [ChunkIndex(0)], "it is asked for again");
    assert_eq!(report(&engine, A).counters.wasted_bytes, u64::from(LEN));
}

#[test]
fn a_flood_of_empty_chunks_ends() {
    let mut engine = engine(4, &[A]);
    actions(&mut engine, at(0));
    let floods = |engine: &mut Engine| {
        (0..100_000).find(|_| {
            engine.handle_unneeded(A, ChunkIndex(9), 0, at(4000));
            engine.poll(at(4000)) == Some(Action::Close { session: A, reason: CloseReason::Unasked })
        })
    };
    assert_eq!(floods(&mut engine), Some(1024 * 1024 / 64));
    assert_eq!(engine.stall(), Some(Stall::NoSession));
}

/// How often this can be done before the session is ended.
fn borne(mut flood: impl FnMut(&mut Engine)) -> usize {
    let mut engine = engine(400, &[A]);
    engine.handle_opened(B, at(0));
    engine.handle_have(B, &[ChunkRange { start: ChunkIndex(0), count: 100 }], at(0));
    actions(&mut engine, at(0));
    let ended = |engine: &mut Engine| {
        actions(engine, at(10)).iter().any(|action| match action {
            Action::Close { reason, .. } => *reason == CloseReason::Unasked,
            _ => false,
        })
    };
    (0..100_000)
        .find(|_| {
            flood(&mut engine);
            ended(&mut engine)
        })
        .expect("it should end")
}

#[test]
fn floods_of_what_is_no_news_end() {
    let known = ChunkRange { start: ChunkIndex(0), count: 100 };
    assert_eq!(borne(|engine| engine.handle_have(B, &[known], at(10))), 16_384);
    assert_eq!(borne(|engine| engine.handle_have(B, &[known; 256], at(10))), 64);
    assert_eq!(borne(|engine| engine.handle_have(A, &[], at(10))), 16_384);
    let bitmap = PartChunks::Bitmap(vec![0; 65_536].into());
    let part = AvailabilityPart { start: ChunkIndex(0), count: 524_288, chunks: bitmap };
    assert_eq!(borne(|engine| engine.handle_availability(B, &part, at(10))), 252);
    let unasked = [ChunkRange { start: ChunkIndex(300), count: 100 }; 256];
    assert_eq!(borne(|engine| engine.handle_no_chunks(B, &unasked, at(10))), 64);
    // One of them answers something, and the peer says that it has it after all.
    let mut asked = vec![ChunkRange { start: ChunkIndex(0), count: 400 }];
    asked.extend([unasked[0]; 255]);
    let takes_back = borne(|engine| {
        engine.handle_no_chunks(B, &asked, at(10));
        engine.handle_have(B, &[ChunkRange { start: ChunkIndex(0), count: 100 }], at(10));
    });
    assert!(takes_back <= 128, "{takes_back}");
    assert_eq!(borne(|engine| engine.handle_no_nodes(B, &[node(1)], at(10))), 16_384);
    assert_eq!(
        borne(|engine| {
            engine.handle_node(B, &node(1), 0, at(10));
        }),
        16_384
    );
    // The first one answers what was asked.
    assert_eq!(borne(|engine| engine.handle_busy(A, at(50), at(10))), 16_385);
}

#[test]
fn news_and_what_is_repeated_now_and_then_are_borne() {
    let mut engine = engine(10_000, &[]);
    engine.handle_opened(A, at(0));
    let part = |count: u64| {
        let bits = (0..1250u64).map(|byte| if byte * 8 < count { 0xff } else { 0 }).collect::<Vec<u8>>();
        AvailabilityPart { start: ChunkIndex(0), count: 10_000, chunks: PartChunks::Bitmap(bits.into()) }
    };
    for second in 0..1000 {
        let now = at(second * 1000);
        engine.handle_availability(A, &part(second * 8), now);
        for step in 0..8 {
            engine.handle_have(A, &[ChunkRange::one(ChunkIndex(second * 8 + step))], now);
        }
        for _ in 0..4 {
            engine.handle_availability(A, &part(second * 8 + 8), now);
        }
        engine.handle_no_chunks(A, &[ChunkRange::one(ChunkIndex(9999))], now);
    }
    assert_eq!(engine.progress().sessions, 1);
}

#[test]
fn who_declines_what_it_was_not_asked_for_still_holds_it() {
    let mut engine = engine(100, &[A]);
    let asked = wanted(&actions(&mut engine, at(0)), A);
    engine.handle_no_chunks(A, &[ChunkRange { start: ChunkIndex(0), count: u32::MAX }], at(1));
    let again = wanted(&actions(&mut engine, at(1)), A);
    assert_eq!((asked.len(), again.len()), (10, 10));
    assert!(again.iter().all(|index| !asked.contains(index)));
}

#[test]
fn busy_is_no_longer_than_a_minute() {
    let mut engine = engine(4, &[A]);
    actions(&mut engine, at(0));
    engine.handle_busy(A, Duration::from_millis(u64::from(u32::MAX)), at(10));
    assert_eq!(engine.stall(), Some(Stall::AllResting { until: at(60_010) }));
    assert_eq!(actions(&mut engine, at(60_009)), []);
    assert_eq!(wanted(&actions(&mut engine, at(60_010)), A).len(), 4);
}

#[test]
fn what_has_no_use_is_no_progress() {
    let mut engine = engine(4, &[A]);
    actions(&mut engine, at(0));
    engine.handle_unneeded(A, ChunkIndex(9), 100, at(4000));
    engine.handle_no_chunks(A, &[ChunkRange::one(ChunkIndex(9))], at(4000));
    engine.handle_have(A, &[ChunkRange::one(ChunkIndex(1))], at(4000));
    engine.handle_no_nodes(A, &[node(7)], at(4000));
    actions(&mut engine, at(5000));
    assert_eq!(report(&engine, A).wait, Wait::BackOff);
}

#[test]
fn the_loser_of_a_copy_is_told_and_not_blamed() {
    let mut engine = engine(1, &[A, B]);
    let first = actions(&mut engine, at(0));
    assert_eq!(wanted(&first, A), [ChunkIndex(0)]);
    // B shows itself by a node; A says nothing for two seconds.
    engine.want_node(node(1), at(0));
    actions(&mut engine, at(0));
    engine.handle_node(B, &node(1), 100, at(10));
    let second = actions(&mut engine, at(2000));
    assert_eq!(wanted(&second, B), [ChunkIndex(0)], "{second:?}");
    assert_eq!(chunk(&mut engine, B, ChunkIndex(0), 2010), ChunkVerdict::New);
    let told = actions(&mut engine, at(2010));
    assert_eq!(told, [Action::Cancel { session: A, ranges: vec![ChunkRange::one(ChunkIndex(0))] }]);
    assert_eq!(chunk(&mut engine, A, ChunkIndex(0), 2020), ChunkVerdict::Duplicate);
    assert_eq!(report(&engine, A).counters.wasted_bytes, u64::from(LEN));
    assert!(engine.is_complete());
}

#[test]
fn what_is_held_by_other_means_is_cancelled() {
    let mut engine = engine(2, &[A]);
    actions(&mut engine, at(0));
    engine.handle_held(ChunkIndex(0), at(1));
    let cancel = Action::Cancel { session: A, ranges: vec![ChunkRange::one(ChunkIndex(0))] };
    assert_eq!(actions(&mut engine, at(1)), [cancel]);
    assert!(!engine.is_missing(ChunkIndex(0)));
}

#[test]
fn who_is_on_probation_has_one_chance_with_one_chunk() {
    let mut engine = engine(40, &[]);
    let part = AvailabilityPart { start: ChunkIndex(0), count: 40, chunks: PartChunks::All };
    engine.handle_newcomer(A, Newcomer { on_probation: true, ..Newcomer::default() }, at(0));
    engine.handle_availability(A, &part, at(0));
    assert_eq!(wanted(&actions(&mut engine, at(0)), A).len(), 1);
    assert_eq!(report(&engine, A).wait, Wait::Probing);
    assert_eq!(actions(&mut engine, at(5000)), [Action::Close { session: A, reason: CloseReason::NoProgress }]);
    engine.handle_newcomer(B, Newcomer { on_probation: true, ..Newcomer::default() }, at(6000));
    engine.handle_availability(B, &part, at(6000));
    let first = wanted(&actions(&mut engine, at(6000)), B)[0];
    chunk(&mut engine, B, first, 6010);
    assert_eq!(wanted(&actions(&mut engine, at(6010)), B).len(), 10, "it is asked like any other again");
}

#[test]
fn a_smaller_budget_is_kept_to_and_a_larger_one_used() {
    let mut engine = engine(400, &[A]);
    engine.set_budget(u64::from(LEN) * 3, at(0));
    assert_eq!(wanted(&actions(&mut engine, at(0)), A).len(), 3);
    assert_eq!(report(&engine, A).wait, Wait::Receiving);
    engine.set_budget(u64::from(LEN) * 30, at(1));
    assert_eq!(wanted(&actions(&mut engine, at(1)), A).len(), 7, "up to the first window");
    engine.set_budget(u64::from(LEN), at(2));
    assert_eq!(actions(&mut engine, at(2)), [], "what is in flight stays");
    assert_eq!(engine.progress().in_flight_bytes, u64::from(LEN) * 10);
}

//! Known cases, and what must always hold.

use std::time::Duration;

use shoal_protocol::engine::EngineConfig;

use super::flash_crowd::FlashCrowd;
use super::*;
use crate::scenario::When;

const START: When = When::at(Duration::ZERO);
const MB: u64 = 1_000_000;

fn setup(peers: Vec<PeerSetup>, bytes: u64) -> Setup {
    Setup {
        name: "test".to_owned(),
        bytes,
        chunk_bytes: 65_536,
        peers,
        faults: Vec::new(),
        meeting: Meeting {
            look_up: Duration::from_millis(1),
            announce: Duration::from_millis(1),
            ..Meeting::default()
        },
        durability: Durability::default(),
        engine: EngineConfig::default(),
        quantum_bytes: None,
        limit: Duration::from_secs(1000),
    }
}

fn with_line(peer: PeerSetup, line: Line) -> PeerSetup {
    PeerSetup { line, ..peer }
}

fn good(setup: Setup) -> Report {
    let report = simulate(setup, 1).unwrap().report;
    assert!(report.is_good(), "{report}");
    report
}

/// Milliseconds that one leecher takes for so many bytes from a seeder.
fn millis(seeder: PeerSetup, leecher: PeerSetup, bytes: u64) -> u64 {
    good(setup(vec![seeder, leecher], bytes)).times.unwrap().last_us / 1000
}

#[test]
fn one_from_one_takes_as_long_as_the_slower_line() {
    let line = |up, down| Line { up, down, delay: Duration::from_micros(500), ..Line::default() };
    let (seeder, leecher) = (PeerSetup::seeder, PeerSetup::leecher);
    let check = |found: u64| assert!((4_940..=5_100).contains(&found), "{found} ms for 100 MB at 20 MB/s");
    check(millis(with_line(seeder(), line(Some(20 * MB), None)), with_line(leecher(), line(None, None)), 100 * MB));
    check(millis(with_line(seeder(), line(None, None)), with_line(leecher(), line(None, Some(20 * MB))), 100 * MB));
    check(millis(
        with_line(seeder(), line(Some(20 * MB), None)),
        with_line(leecher(), line(None, Some(21 * MB))),
        100 * MB,
    ));
    // A limit lets a burst through at first.
    let limited = PeerSetup { limit_up: Some(20 * MB), ..with_line(seeder(), line(None, None)) };
    check(millis(limited, with_line(leecher(), line(None, None)), 100 * MB));
}

#[test]
fn a_long_line_is_used() {
    let far = Line { up: Some(60 * MB), delay: Duration::from_millis(50), ..Line::default() };
    let took = millis(with_line(PeerSetup::seeder(), far), with_line(PeerSetup::leecher(), far), 600 * MB);
    assert!((10_000..16_000).contains(&took), "{took} ms for what takes 10 s at 60 MB/s over 200 ms");
}

#[test]
fn a_lossy_line_is_as_slow_as_loss_makes_it() {
    let lossy = Line { delay: Duration::from_millis(25), loss_millionths: 5_000, ..Line::default() };
    let took = millis(with_line(PeerSetup::seeder(), lossy), with_line(PeerSetup::leecher(), lossy), 5 * MB);
    // 170,800 bytes a second: `line` has the formula.
    assert!((29_000..33_000).contains(&took), "{took} ms for 5 MB at a loss of 1 % over 100 ms");
}

#[test]
fn bytes_are_sent_received_or_lost_and_no_line_is_faster_than_it_is() {
    let line =
        |up, down| Line { up: Some(up), down: Some(down), delay: Duration::from_millis(3), loss_millionths: 2_000 };
    let mut peers = vec![with_line(PeerSetup::seeder(), line(9 * MB, 9 * MB))];
    peers.extend((1..8).map(|n| with_line(PeerSetup::leecher(), line(n * MB, 2 * n * MB))));
    let mut setup = setup(peers, 20 * MB);
    let at = |seconds| When::at(Duration::from_secs(seconds));
    setup.faults = vec![(at(2), Fault::Kill(3)), (at(4), Fault::Return(3))];
    let report = good(setup);
    let Wire { sent_bytes, received_bytes, lost_bytes, on_the_way_bytes } = report.wire;
    assert_eq!(sent_bytes, received_bytes + lost_bytes + on_the_way_bytes);
    assert!(lost_bytes > 0 && received_bytes > 7 * 20 * MB, "{report}");
}

#[test]
fn an_engine_never_keeps_what_a_liar_sends_and_never_waits_for_a_mute_one() {
    for nature in [Nature::WrongChunks, Nature::WrongNodes, Nature::Silent, Nature::Drips] {
        let slow = Line { up: Some(5 * MB), delay: Duration::from_millis(1), ..Line::default() };
        let near = Line { delay: Duration::from_millis(1), ..Line::default() };
        let bad = PeerSetup { nature, line: near, ..PeerSetup::seeder() };
        let mut peers = vec![with_line(PeerSetup::seeder(), slow)];
        peers.extend(std::iter::repeat_n(bad, 5));
        peers.push(with_line(PeerSetup::leecher(), slow));
        let report = good(setup(peers, 20 * MB));
        assert_eq!(report.wrong_bytes > 0, nature == Nature::WrongChunks, "{nature:?}: {report}");
        // A window of each is wasted at most, and the honest one needs four seconds alone.
        assert!(report.wasted_bytes <= 6 * MB && report.ended_us < 12_000_000, "{nature:?}: {report}");
    }
}

#[test]
fn a_fetch_survives_the_death_of_its_peer_and_its_own() {
    let line = Line { up: Some(5 * MB), delay: Duration::from_millis(1), ..Line::default() };
    let peers = vec![
        with_line(PeerSetup::seeder(), line),
        with_line(PeerSetup::seeder(), line),
        with_line(PeerSetup::leecher(), line),
    ];
    for (fault, undone) in [
        (Fault::Kill(0), None),
        (Fault::Vanish(0), None),
        (Fault::Side(0, 1), None),
        (Fault::Pause(0), None),
        (Fault::Kill(2), Some(Fault::Return(2))),
        (Fault::Wipe(2), Some(Fault::Return(2))),
        (Fault::Pause(2), Some(Fault::Resume(2))),
        (Fault::Side(2, 1), Some(Fault::Side(2, 0))),
    ] {
        let mut setup = setup(peers.clone(), 20 * MB);
        setup.faults = vec![(When::at(Duration::from_millis(700)), fault)];
        setup.faults.extend(undone.map(|undone| (When::at(Duration::from_millis(2200)), undone)));
        let report = good(setup);
        assert!(report.ended_us < 60_000_000, "{fault:?}: {report}");
    }
}

#[test]
fn who_cannot_reach_the_rest_is_not_called_stuck() {
    let mut setup = setup(vec![PeerSetup::seeder(), PeerSetup::leecher()], 20 * MB);
    setup.faults = vec![(START, Fault::Side(1, 1))];
    setup.limit = Duration::from_secs(30);
    let report = simulate(setup.clone(), 1).unwrap().report;
    assert!(report.done == 0 && report.stuck.is_empty() && !report.is_good());
    setup.faults = vec![(START, Fault::Side(1, 1)), (When::at(Duration::from_secs(1)), Fault::Side(1, 0))];
    good(setup);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
    let run = |seed| {
        let Simulated { report, run, .. } =
            simulate(FlashCrowd { bytes: 10 * MB, ..FlashCrowd::new(12) }.setup(), seed).unwrap();
        serde_json::to_string(&report).unwrap() + &serde_json::to_string(&run).unwrap()
    };
    let first = run(7);
    assert_eq!(first, run(7));
    assert_ne!(first, run(8));
}

/// The same bytes on every machine. The case is one that leaves the engine and the policy few choices; if they come to
/// choose otherwise on purpose, the new digest takes the place of this one.
#[test]
fn a_small_report_is_the_same_everywhere() {
    let line = Line { up: Some(2 * MB), down: Some(3 * MB), delay: Duration::from_millis(7), loss_millionths: 3_000 };
    let peers = vec![with_line(PeerSetup::seeder(), line), with_line(PeerSetup::leecher(), line)];
    let mut report = simulate(setup(peers, 200_000), 7).unwrap().report;
    report.events = 0;
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(blake3::hash(json.as_bytes()).to_hex().as_str(), GOLDEN, "{json}");
}

const GOLDEN: &str = "d452b953a9c3a28677cbfcf80da47a31b0fb346e160a198a1f30aef329428aff";

#[test]
fn a_flash_crowd_is_near_the_lower_bound() {
    let report = good(FlashCrowd { bytes: 100 * MB, ..FlashCrowd::new(50) }.setup());
    assert!(report.p99_of_bound_permille.unwrap() <= 1_400, "{report}");
    assert!(report.seeder_copies_permille <= 1_500 && report.wasted_ppm <= 10_000, "{report}");
    assert!(report.fair_rates_permille >= 980, "{report}");
}

#[test]
fn too_much_is_refused() {
    let error = simulate(setup(Vec::new(), 1 << 50), 1).unwrap_err();
    assert!(matches!(error, SimulatorError::TooMany { what: "chunks", .. }), "{error}");
}

/// Hundreds of random networks; `shoal testnet simulate random --seed N` runs one again.
fn random(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let (report, wrong) = random::run(seed).unwrap();
        assert!(
            wrong.is_empty(),
            "seed {seed}: {wrong:#?}\nagain: shoal testnet simulate random --seed {seed}\n{report}"
        );
    }
}

#[test]
fn random_networks_from_0() {
    random(0..100);
}

#[test]
fn random_networks_from_100() {
    random(100..200);
}

#[test]
fn random_networks_from_200() {
    random(200..300);
}

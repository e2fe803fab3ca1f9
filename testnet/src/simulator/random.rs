//! Random networks in which much goes wrong, and what must hold of each: a seed says everything.
//!
//! In each, every chunk is at peers that are honest and there in the end, and whoever fetches comes back: so every
//! fetch has to end.

use std::time::Duration;

use shoal_protocol::availability::{ChunkIndex, ChunkRange};
use shoal_protocol::engine::EngineConfig;

use super::dice::Dice;
use super::line::Line;
use super::setup::{Fault, Holds, Meeting, Nature, PeerSetup, Setup};
use super::store::Durability;
use super::{Report, Simulated, SimulatorError, simulate};
use crate::scenario::When;

/// Something goes wrong until then.
const TROUBLE: Duration = Duration::from_secs(20);
/// What may be wasted for each peer that is no good and each fault: two windows of which nothing is known.
const WASTE_EACH: u64 = 2 * 1024 * 1024;

/// Makes the setup of a seed.
pub fn setup(seed: u64) -> Setup {
    let mut dice = Dice::new(seed);
    let chunk_bytes = (16 * 1024) << dice.below(4);
    let magnitude = dice.between(1, 9);
    let chunks = 1 + dice.below(1 << magnitude);
    let fetches = dice.between(1, 12);
    let mut peers = givers(&mut dice, chunks * 2);
    let first = peers.len() as u32;
    for _ in 0..fetches {
        let joins = if dice.chance(300_000) { dice.time(Duration::ZERO, TROUBLE) } else { Duration::ZERO };
        let mut peer =
            PeerSetup { line: line(&mut dice), joins, fetches: Some(When::at(joins)), ..PeerSetup::leecher() };
        peer.limit_up = limit(&mut dice);
        if dice.chance(100_000) {
            peer.holds = Holds::Chunks(runs(&mut dice, chunks));
        }
        peers.push(peer);
    }
    let mut faults = faults(&mut dice, &peers, first);
    if dice.chance(500_000) {
        let least = Duration::from_micros(1 << dice.between(9, 13));
        keep_apart(least, &mut peers, &mut faults);
    }
    let slowest = peers.iter().filter_map(|peer| peer.line.up.min(peer.line.down).or(peer.limit_up)).min();
    let bytes = chunks * chunk_bytes;
    // Rests, stalls and late comers take their time, and the slowest may have to give all to all.
    let giving = slowest.map_or(0, |rate| 4 * bytes * (fetches + 1) / rate);
    Setup {
        name: "random".to_owned(),
        bytes,
        chunk_bytes: chunk_bytes as u32,
        peers,
        faults,
        meeting: Meeting::default(),
        durability: Durability::default(),
        engine: EngineConfig {
            budget_bytes: if dice.chance(200_000) { 2 << 20 } else { EngineConfig::default().budget_bytes },
            ..EngineConfig::default()
        },
        quantum_bytes: None,
        limit: Duration::from_secs(400 + giving),
    }
}

/// Those who have something at the beginning. The first are honest and stay, and have everything together.
fn givers(dice: &mut Dice, chunks: u64) -> Vec<PeerSetup> {
    let steady = dice.between(1, 3);
    let mut peers: Vec<PeerSetup> = (0..steady)
        .map(|part| {
            let mut peer = PeerSetup { line: line(dice), ..PeerSetup::seeder() };
            peer.limit_up = limit(dice);
            if steady > 1 && dice.chance(500_000) {
                // Each has its part, and some of the others'; the manifest is at all of them.
                let (from, to) = (chunks * part / steady, chunks * (part + 1) / steady);
                let own = ChunkRange { start: ChunkIndex(from), count: u32::try_from(to - from).unwrap_or(u32::MAX) };
                let mut held = runs(dice, chunks);
                held.push(own);
                peer.holds = Holds::Chunks(held);
            }
            peer
        })
        .collect();
    for _ in 0..dice.below(4) {
        let mut peer = PeerSetup { line: line(dice), nature: nature(dice), ..PeerSetup::seeder() };
        peer.limit_up = limit(dice);
        if dice.chance(300_000) {
            peer.joins = dice.time(Duration::ZERO, TROUBLE);
        }
        if dice.chance(300_000) {
            peer.holds = Holds::Chunks(runs(dice, chunks));
        }
        peers.push(peer);
    }
    peers
}

fn nature(dice: &mut Dice) -> Nature {
    match dice.below(8) {
        0 => Nature::Silent,
        1 => Nature::Drips,
        2 | 3 => Nature::WrongChunks,
        4 => Nature::WrongNodes,
        _ => Nature::Honest,
    }
}

fn line(dice: &mut Dice) -> Line {
    let rate = |dice: &mut Dice| dice.chance(700_000).then(|| 200_000 + (1 << dice.below(26)));
    Line {
        up: rate(dice),
        down: rate(dice),
        delay: Duration::from_micros(1 << dice.below(17)),
        loss_millionths: if dice.chance(200_000) { dice.below(10_000) as u32 } else { 0 },
    }
}

fn limit(dice: &mut Dice) -> Option<u64> {
    dice.chance(300_000).then(|| 200_000 + (1 << dice.below(25)))
}

fn runs(dice: &mut Dice, chunks: u64) -> Vec<ChunkRange> {
    (0..dice.below(6))
        .map(|_| {
            let start = dice.below(chunks);
            let count = dice.between(1, (chunks - start).clamp(1, 200));
            ChunkRange { start: ChunkIndex(start), count: u32::try_from(count).unwrap_or(1) }
        })
        .collect()
}

/// What goes wrong, and is undone; those from `first` on fetch, and the others may stay away.
fn faults(dice: &mut Dice, peers: &[PeerSetup], first: u32) -> Vec<(When, Fault)> {
    let mut faults = Vec::new();
    let count = peers.len() as u64;
    for _ in 0..dice.below(8) {
        let number = u32::try_from(dice.below(count)).unwrap_or(0);
        let Some(peer) = peers.get(number as usize) else { continue };
        let from = peer.joins + dice.time(Duration::from_millis(1), TROUBLE);
        let until = from + dice.time(Duration::from_millis(1), TROUBLE);
        let fetches = number >= first;
        let (fault, undone) = match dice.below(8) {
            0 => (Fault::Kill(number), Fault::Return(number)),
            1 => (Fault::Vanish(number), Fault::Return(number)),
            2 if fetches => (Fault::Wipe(number), Fault::Return(number)),
            2 | 3 => (Fault::Side(number, 1), Fault::Side(number, 0)),
            4 => (Fault::Line(number, line(dice)), Fault::Line(number, peer.line)),
            _ => (Fault::Pause(number), Fault::Resume(number)),
        };
        faults.push((from, fault));
        faults.push((until, undone));
    }
    // What overlaps may leave somebody away: in the end everybody is there.
    for number in 0..u32::try_from(count).unwrap_or(0) {
        for undone in [Fault::Return(number), Fault::Resume(number), Fault::Side(number, 0)] {
            faults.push((3 * TROUBLE, undone));
        }
    }
    faults.into_iter().map(|(at, fault)| (When::at(at), fault)).collect()
}

/// Makes all ways long enough that peers have their turns in windows.
fn keep_apart(least: Duration, peers: &mut [PeerSetup], faults: &mut [(When, Fault)]) {
    let later = faults.iter_mut().filter_map(|(_, fault)| match fault {
        Fault::Line(_, line) => Some(line),
        _ => None,
    });
    let lines = peers.iter_mut().map(|peer| &mut peer.line).chain(later);
    lines.for_each(|line| line.delay = line.delay.max(least));
}

/// Runs the setup of a seed and judges what came of it.
///
/// # Errors
/// As [`simulate`].
pub fn run(seed: u64) -> Result<(Report, Vec<String>), SimulatorError> {
    let setup = setup(seed);
    let limit = setup.limit;
    let bad = setup.peers.iter().filter(|peer| peer.nature != Nature::Honest).count() as u64;
    // The last of the faults are those that make everybody be there.
    let faults = (setup.faults.len() - 3 * setup.peers.len()) as u64;
    let Simulated { report, .. } = simulate(setup, seed)?;
    let mut wrong: Vec<String> = report.broken.clone();
    if report.done < report.fetches {
        let (done, fetches) = (report.done, report.fetches);
        wrong.push(format!(
            "{done} of {fetches} fetches are done after {} s; stuck: {:?}",
            limit.as_secs(),
            report.stuck
        ));
    }
    let moved = report.bytes * report.fetches;
    let allowed = moved / 20 + (bad + faults + 1) * (report.fetches + 1) * WASTE_EACH;
    if report.wasted_bytes > allowed {
        wrong.push(format!("{} bytes are wasted, and {allowed} are allowed", report.wasted_bytes));
    }
    Ok((report, wrong))
}

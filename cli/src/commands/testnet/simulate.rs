//! `shoal testnet simulate`: virtual peers with the node's own engine; the work is `shoal_testnet`'s.
//!
//! What is shown on stdout depends on the arguments alone. How long it took and how much memory that needed goes to
//! stderr.

use std::time::{Duration, Instant};

use serde::Serialize;
use shoal_node::api::FailureKind;
use shoal_testnet::resources::Usage;
use shoal_testnet::simulator::flash_crowd::FlashCrowd;
use shoal_testnet::simulator::{Report, SimulatorError, random, simulate};
use shoal_testnet::size::show_size;
use tokio::task::spawn_blocking;

use super::player::Player;
use super::run::{make_room, write};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::simulate_args::{FlashCrowdArgs, RandomArgs, SimulateCommand};
use crate::stop::{Outcome, Stop};

/// How often it is said how far many runs are.
const TELL_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn run(command: SimulateCommand, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    match command {
        SimulateCommand::FlashCrowd(args) => flash_crowd(args, output, interrupt).await,
        SimulateCommand::Random(args) => random_networks(args, output, interrupt).await,
        SimulateCommand::Run(args) => super::run::run(args, Player::Simulator, output, interrupt).await,
    }
}

async fn flash_crowd(args: FlashCrowdArgs, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let mut crowd = FlashCrowd::new(args.peers);
    crowd.bytes = args.size;
    crowd.up = args.up;
    crowd.seeder_up = args.seeder_up;
    crowd.down = args.down;
    crowd.delay = args.delay;
    if let Some(chunk) = args.chunk {
        crowd.chunk_bytes = u32::try_from(chunk).unwrap_or(u32::MAX);
    }
    make_room(args.report.as_deref())?;
    let started = Instant::now();
    let setup = crowd.setup();
    let simulated = interrupt.or(spawn_blocking(move || simulate(setup, args.seed))).await?;
    let simulated = simulated.map_err(broke_off)?.map_err(refused)?;
    show(&simulated.report, output)?;
    write(&simulated.run, args.report.as_deref(), output)?;
    output.note(&cost(started.elapsed()));
    if simulated.report.is_good() { Ok(()) } else { Err(failed("not every fetch came to its end as it should")) }
}

/// What came of many runs.
#[derive(Debug, Default, Serialize)]
struct Many {
    runs: u64,
    failed: Vec<Failed>,
}

/// A seed with which something was wrong, and what.
#[derive(Debug, Serialize)]
struct Failed {
    seed: u64,
    wrong: Vec<String>,
}

async fn random_networks(args: RandomArgs, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let started = Instant::now();
    let mut told = started;
    let mut many = Many::default();
    for seed in args.seed..args.seed.saturating_add(args.runs) {
        let ran = interrupt.or(spawn_blocking(move || random::run(seed))).await?;
        let (report, wrong) = ran.map_err(broke_off)?.map_err(refused)?;
        many.runs += 1;
        if args.runs == 1 {
            show(&report, output)?;
        }
        if !wrong.is_empty() {
            output.warn(&format!("seed {seed}: {}", wrong.join("; ")));
            many.failed.push(Failed { seed, wrong });
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            output.note(&format!("{} of {} networks, {} failed", many.runs, args.runs, many.failed.len()));
        }
    }
    if args.runs > 1 {
        if output.json() {
            output.document(&many)?;
        } else {
            output.line(&format!("{} networks, {} failed", many.runs, many.failed.len()))?;
        }
    }
    output.note(&cost(started.elapsed()));
    match many.failed.first() {
        None => Ok(()),
        Some(Failed { seed, .. }) => {
            Err(failed(&format!("it failed; again with: shoal testnet simulate random --seed {seed}")))
        }
    }
}

fn show(report: &Report, output: &mut Output) -> Outcome {
    if output.json() {
        return output.document(report);
    }
    report.to_string().lines().try_for_each(|line| output.line(line))
}

/// What the simulation itself took: not part of the report, which is the same everywhere.
pub(super) fn cost(took: Duration) -> String {
    let memory =
        Usage::of(std::process::id()).map(|usage| format!(", {} of memory", show_size(usage.peak_resident_bytes)));
    format!("simulated in {}.{:01} s{}", took.as_secs(), took.subsec_millis() / 100, memory.unwrap_or_default())
}

pub(super) fn refused(error: SimulatorError) -> Stop {
    Stop::usage(error.to_string())
}

pub(super) fn broke_off(error: tokio::task::JoinError) -> Stop {
    failed(&format!("the simulation broke off: {error}"))
}

fn failed(text: &str) -> Stop {
    Stop::new(FailureKind::Failed, text.to_owned())
}

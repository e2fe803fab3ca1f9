//! `--seeds` of `shoal testnet run` and `shoal testnet simulate run`: scenarios with many seeds, a line for each run.

use std::collections::BTreeSet;
use std::path::Path;

use shoal_node::api::FailureKind;
use shoal_testnet::report::{Report, Summary};
use shoal_testnet::scenario::Scenario;

use super::player::Player;
use super::run::{kind, unwritten};
use crate::args::Seeds;
use crate::escape::printable;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::stop::{Outcome, Stop};

/// Widths of the columns after the scenario's name; they are printed as they come, so none can wait for the widest.
const WIDTHS: [usize; 6] = [8, 9, 7, 8, 10, 0];
const SEED_WIDTH: usize = 6;

/// Runs all, one after another, also those after one that does not hold; fails if any does not.
pub(super) async fn run(
    scenarios: &[Scenario],
    seeds: Seeds,
    player: Player,
    folder: Option<&Path>,
    output: &mut Output,
    interrupt: &Interrupt,
) -> Outcome {
    let mut names = BTreeSet::new();
    if let Some(twice) = scenarios.iter().find(|scenario| !names.insert(&scenario.name)).filter(|_| folder.is_some()) {
        let name = &twice.name;
        return Err(Stop::usage(format!(
            "two of the scenarios are called {name}: one report would replace the other's"
        )));
    }
    let width = scenarios.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0).max("SCENARIO".len());
    if !output.json() {
        line(output, width, "SCENARIO", "SEED", &Summary::HEADINGS.map(str::to_owned))?;
    }
    let (mut runs, mut failed, mut worst) = (0, Vec::new(), FailureKind::Failed);
    for scenario in scenarios {
        for seed in seeds.first..=seeds.last {
            let report = player.play(scenario, seed, true, output, interrupt).await?;
            if let Some(folder) = folder {
                report.write_to(&folder.join(format!("{}-{seed}", scenario.name))).map_err(unwritten)?;
            }
            show(&report, width, output)?;
            runs += 1;
            if !report.passed() {
                failed.push(format!("{} with seed {seed}", scenario.name));
                if kind(&report) == FailureKind::Integrity {
                    worst = FailureKind::Integrity;
                }
            }
        }
    }
    if failed.is_empty() {
        output.note(&format!("all {runs} runs hold"));
        return Ok(());
    }
    Err(Stop::new(worst, format!("{} of {runs} runs do not hold: {}", failed.len(), failed.join(", "))))
}

fn show(report: &Report, width: usize, output: &mut Output) -> Outcome {
    if output.json() {
        output.document(report)?;
    } else {
        line(output, width, &report.scenario, &report.seed.to_string(), &report.summary().cells())?;
    }
    output.flush()
}

fn line(output: &mut Output, width: usize, name: &str, seed: &str, cells: &[String; 6]) -> Outcome {
    let cells = cells.iter().zip(WIDTHS).map(|(cell, width)| format!("  {cell:<width$}"));
    let cells: String = cells.collect();
    output.line(&printable(format!("{name:<width$}  {seed:>SEED_WIDTH$}{cells}").trim_end()))
}

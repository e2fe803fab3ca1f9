//! `shoal testnet run`: a scenario with real nodes.

use std::path::Path;

use shoal_node::api::{Failure, FailureKind};
use shoal_testnet::report::{FetchOutcome, Report};
use shoal_testnet::run::{self, RunError, RunOptions, Shown};

use super::demo::Story;
use super::{scenarios, series};
use crate::args::RunArgs;
use crate::escape::printable;
use crate::interrupt::Interrupt;
use crate::output::{Output, stdout_failed};
use crate::stop::{Outcome, Stop};

/// What liars run; it lies beside this program.
const LIAR: &str = "shoal-liar";

pub(super) async fn run(args: RunArgs, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    if args.list {
        return scenarios::list(output);
    }
    // All are read before any is run: what is wrong with one is told before hours have passed.
    let scenarios = args.scenarios.iter().map(|place| scenarios::load(place)).collect::<Outcome<Vec<_>>>()?;
    if let Some(seeds) = args.seeds {
        return series::run(&scenarios, seeds, args.report.as_deref(), output, interrupt).await;
    }
    let [scenario] = scenarios.as_slice() else {
        return Err(Stop::usage("several scenarios go with --seeds only, such as --seeds 1..10"));
    };
    let seed = args.seed.unwrap_or(scenario.seed);
    if args.plan {
        return scenarios::plan(scenario, seed, output);
    }
    let options = options(seed, output, false)?;
    let json = output.json();
    let ran = run::run(scenario, &options, interrupt.wait(), &mut Story(output)).await;
    let report = ran.map_err(run_failure)?;
    tell(&report, args.report.as_deref(), json, output)
}

/// How scenarios are run here.
pub(super) fn options(seed: u64, output: &Output, board_only: bool) -> Outcome<RunOptions> {
    let program = super::program()?;
    let liar = program.with_file_name(LIAR);
    let shown = Shown { screen: output.screen(), board_only };
    Ok(RunOptions { program, liar, seed, publish: None, shown })
}

/// Shows a report, writes it where it was asked for, and fails if what is demanded does not hold.
pub(super) fn tell(report: &Report, folder: Option<&Path>, json: bool, output: &mut Output) -> Outcome {
    if json {
        output.document(report)?;
    } else {
        output.line("")?;
        for line in report.text().lines() {
            output.line(&printable(line))?;
        }
    }
    if let Some(folder) = folder {
        let names = write(report, folder)?;
        output.note(&format!("written to {}: {}", folder.display(), names.join(", ")));
    }
    judged(report)
}

/// Writes a report into a folder and names the files.
pub(super) fn write(report: &Report, folder: &Path) -> Outcome<Vec<String>> {
    let written = report.write_to(folder).map_err(|error| Failure::from_error(FailureKind::Failed, &error))?;
    Ok(written.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
}

/// Fails if what the scenario demands does not hold.
pub(super) fn judged(report: &Report) -> Outcome {
    if report.passed() {
        return Ok(());
    }
    let failed = report.checks.iter().filter(|check| !check.passed);
    let failed: Vec<String> = failed.map(|check| format!("{} (found: {})", check.what, check.found)).collect();
    let message = format!("{}, seed {}: does not hold: {}", report.scenario, report.seed, failed.join("; "));
    Err(Stop::new(kind(report), message))
}

/// What it is that does not hold: whether something arrived that is not what was published.
pub(super) fn kind(report: &Report) -> FailureKind {
    let wrong = report.fetches.iter().any(|fetch| matches!(fetch.outcome, FetchOutcome::Wrong(_)));
    if wrong { FailureKind::Integrity } else { FailureKind::Failed }
}

/// What it means that a scenario could not be run.
pub(super) fn run_failure(error: RunError) -> Stop {
    let kind = match &error {
        RunError::Narration(error) => return stdout_failed(&error.0),
        RunError::Interrupted => FailureKind::Interrupted,
        RunError::TooMany { .. } | RunError::NoLiar { .. } => FailureKind::Usage,
        _ => FailureKind::Failed,
    };
    Failure::from_error(kind, &error).into()
}

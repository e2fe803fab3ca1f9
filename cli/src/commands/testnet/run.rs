//! `shoal testnet run`: a scenario with real nodes.

use std::path::Path;

use shoal_node::api::{Failure, FailureKind};
use shoal_testnet::report::{FetchOutcome, Report};
use shoal_testnet::run::{self, RunError, RunOptions};

use super::demo::Story;
use super::scenarios;
use crate::args::RunArgs;
use crate::escape::printable;
use crate::interrupt::Interrupt;
use crate::output::{Output, stdout_failed};
use crate::stop::{Outcome, Stop};

/// What liars run; it lies beside this program.
const LIAR: &str = "shoal-liar";

pub(super) async fn run(args: RunArgs, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let Some(place) = args.scenario.filter(|_| !args.list) else { return scenarios::list(output) };
    let scenario = scenarios::load(&place)?;
    let seed = args.seed.unwrap_or(scenario.seed);
    if args.plan {
        return scenarios::plan(&scenario, seed, output);
    }
    let program = super::program()?;
    let liar = program.with_file_name(LIAR);
    let options = RunOptions { program, liar, seed, live: output.tells_live() };
    let json = output.json();
    let ran = run::run(&scenario, &options, interrupt.wait(), &mut Story(output)).await;
    let report = ran.map_err(failure)?;
    tell(&report, args.report.as_deref(), json, output)
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
        let written = report.write_to(folder);
        let written = written.map_err(|error| Failure::from_error(FailureKind::Failed, &error))?;
        let names: Vec<String> =
            written.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
        output.note(&format!("written to {}: {}", folder.display(), names.join(", ")));
    }
    if report.passed() {
        return Ok(());
    }
    let wrong = report.fetches.iter().any(|fetch| matches!(fetch.outcome, FetchOutcome::Wrong(_)));
    let kind = if wrong { FailureKind::Integrity } else { FailureKind::Failed };
    let failed = report.checks.iter().filter(|check| !check.passed);
    let failed: Vec<String> = failed.map(|check| format!("{} (found: {})", check.what, check.found)).collect();
    let message = format!("{}, seed {}: does not hold: {}", report.scenario, report.seed, failed.join("; "));
    Err(Stop::new(kind, message))
}

fn failure(error: RunError) -> Stop {
    let kind = match &error {
        RunError::Narration(error) => return stdout_failed(&error.0),
        RunError::Interrupted => FailureKind::Interrupted,
        RunError::TooMany { .. } | RunError::NoLiar { .. } => FailureKind::Usage,
        _ => FailureKind::Failed,
    };
    Failure::from_error(kind, &error).into()
}

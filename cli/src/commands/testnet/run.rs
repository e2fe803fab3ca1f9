//! `shoal testnet run` and `shoal testnet simulate run`: a scenario with real nodes, or with virtual peers.

use std::path::Path;

use shoal_node::api::{Failure, FailureKind};
use shoal_testnet::report::{FetchOutcome, Report, ReportError, make_folder};

use super::player::Player;
use super::{scenarios, series};
use crate::args::RunArgs;
use crate::escape::printable;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::stop::{Outcome, Stop};

pub(super) async fn run(args: RunArgs, player: Player, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    if args.list {
        return scenarios::list(output);
    }
    // All are read before any is run: what is wrong with one is told before hours have passed.
    let scenarios = args.scenarios.iter().map(|place| scenarios::load(place)).collect::<Outcome<Vec<_>>>()?;
    scenarios.iter().try_for_each(|scenario| player.takes(scenario))?;
    let folder = args.report.as_deref();
    if let Some(seeds) = args.seeds {
        make_room(folder)?;
        return series::run(&scenarios, seeds, player, folder, output, interrupt).await;
    }
    let [scenario] = scenarios.as_slice() else {
        return Err(Stop::usage("several scenarios go with --seeds only, such as --seeds 1..10"));
    };
    let seed = args.seed.unwrap_or(scenario.seed);
    if args.plan {
        return scenarios::plan(scenario, seed, output);
    }
    make_room(folder)?;
    let report = player.play(scenario, seed, false, output, interrupt).await?;
    tell(&report, folder, output)
}

/// Makes the folder that a report is to go to: that it cannot be written is told before anything is run.
pub(super) fn make_room(folder: Option<&Path>) -> Outcome {
    folder.map_or(Ok(()), |folder| make_folder(folder).map_err(unwritten))
}

/// Shows a report, writes it where it was asked for, and fails if what is demanded does not hold.
fn tell(report: &Report, folder: Option<&Path>, output: &mut Output) -> Outcome {
    if output.json() {
        output.document(report)?;
    } else {
        output.line("")?;
        for line in report.text().lines() {
            output.line(&printable(line))?;
        }
    }
    write(report, folder, output)?;
    judged(report)
}

/// Writes a report into a folder, if it was asked for, and names the files.
pub(super) fn write(report: &Report, folder: Option<&Path>, output: &mut Output) -> Outcome {
    let Some(folder) = folder else { return Ok(()) };
    let written = report.write_to(folder).map_err(unwritten)?;
    let names: Vec<_> = written.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    output.note(&format!("written to {}: {}", folder.display(), names.join(", ")));
    Ok(())
}

/// That a report could not be written.
pub(super) fn unwritten(error: ReportError) -> Stop {
    Failure::from_error(FailureKind::Failed, &error).into()
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

//! A scenario with real nodes: starts them, does what the plan says, watches, and tells what came of it.
//!
//! `stage` is what there is: nodes, lines, originals. `strike` does the plan's faults to it, `fetching` and
//! `publishing` are what happens at nodes, `conductor` goes through the plan, `board` shows it, `outcome` makes the
//! report. Nodes are talked to over their control sockets, as the command line does it.
//!
//! What always holds: nothing is started before the whole scenario is known to be possible here; every process and
//! file is gone when [`run`] returns or is dropped; whatever a node is asked is asked again until the run's deadline,
//! as a person would who wants the thing.

mod board;
mod conductor;
mod error;
mod fetching;
mod outcome;
mod publishing;
mod stage;
mod strike;

use std::future::Future;
use std::io::Write;
use std::path::PathBuf;

pub use error::RunError;

use crate::narrator::{Narrator, Screen};
use crate::report::Report;
use crate::scenario::{Plan, Scenario};
use conductor::Conductor;
use stage::Stage;

/// How a scenario is run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The `shoal` executable that every node runs.
    pub program: PathBuf,
    /// The executable that liars run.
    pub liar: PathBuf,
    /// What the plan is drawn from.
    pub seed: u64,
    /// What is published as the scenario's first content in place of something made up; its `bytes` must be those of
    /// this file or folder. It is only read.
    pub publish: Option<PathBuf>,
    /// How it is shown.
    pub shown: Shown,
}

/// How a run is shown while it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shown {
    /// The terminal that the writer is; `None` if it is none, and nothing may be drawn over.
    pub screen: Option<Screen>,
    /// Without the lines that tell what happens: where there is a terminal, only how far all are.
    pub board_only: bool,
}

/// Runs a scenario to its end and judges it; cleans up however it ends.
///
/// # Errors
/// When it could not be run, or was `interrupted`. That a check fails is no error: the report says so.
pub async fn run(
    scenario: &Scenario,
    options: &RunOptions,
    interrupted: impl Future<Output = ()>,
    out: &mut (dyn Write + Send),
) -> Result<Report, RunError> {
    possible(scenario, options)?;
    let mut narrator = Narrator::new(out, options.shown.screen, options.shown.board_only);
    let ended = {
        // Dropping it drops the stage, and with it every process and file.
        let played = play(scenario, options, &mut narrator);
        tokio::select! {
            ended = played => ended,
            () = interrupted => Err(RunError::Interrupted),
        }
    };
    narrator.end_board()?;
    if let Err(RunError::Interrupted) = ended {
        narrator.say("stopped: all nodes and files of the run are gone")?;
    }
    ended
}

/// Whether this machine has what the scenario needs.
fn possible(scenario: &Scenario, options: &RunOptions) -> Result<(), RunError> {
    let nodes = scenario.node_count();
    if nodes > Scenario::MAX_CLUSTER_NODES {
        return Err(RunError::TooMany { nodes });
    }
    if scenario.has_liars() && !options.liar.is_file() {
        return Err(RunError::NoLiar { program: options.liar.clone() });
    }
    Ok(())
}

async fn play(scenario: &Scenario, options: &RunOptions, narrator: &mut Narrator<'_>) -> Result<Report, RunError> {
    let plan = Plan::draw(scenario, options.seed);
    narrator.say(&format!(
        "{}, seed {}: starting {} nodes on loopback, each a process with a home and a key of its own",
        scenario.name,
        options.seed,
        scenario.node_count()
    ))?;
    let stage = Stage::set(scenario, options).await?;
    narrator.say("all nodes are ready and know each other")?;
    let mut conductor = Conductor::new(scenario, &plan, stage, narrator);
    conductor.play().await?;
    Ok(conductor.report())
}

#[cfg(test)]
mod tests;

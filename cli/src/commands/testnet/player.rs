//! Who plays a scenario: real nodes, or virtual peers in the simulator.

use std::time::Instant;

use shoal_node::api::{Failure, FailureKind};
use shoal_testnet::report::Report;
use shoal_testnet::run::{self, RunError, RunOptions, Shown};
use shoal_testnet::scenario::Scenario;
use shoal_testnet::simulator;
use tokio::task::spawn_blocking;

use super::demo::Story;
use super::simulate::{broke_off, cost, refused};
use crate::interrupt::Interrupt;
use crate::output::{Output, stdout_failed};
use crate::stop::{Outcome, Stop};

/// What liars run; it lies beside this program.
const LIAR: &str = "shoal-liar";

/// Who plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Player {
    /// A process for each node.
    Nodes,
    /// The simulator.
    Simulator,
}

impl Player {
    /// Fails if it cannot play a scenario, whatever the machine.
    pub(super) fn takes(self, scenario: &Scenario) -> Outcome {
        match self {
            Self::Nodes => Ok(()),
            Self::Simulator => simulator::can_play(scenario).map_err(refused),
        }
    }

    /// Plays a scenario to its end. With `board_only` nothing is told of what happens meanwhile.
    pub(super) async fn play(
        self,
        scenario: &Scenario,
        seed: u64,
        board_only: bool,
        output: &mut Output,
        interrupt: &Interrupt,
    ) -> Outcome<Report> {
        match self {
            Self::Nodes => {
                let program = super::program()?;
                let liar = program.with_file_name(LIAR);
                let shown = Shown { screen: output.screen(), board_only };
                let options = RunOptions { program, liar, seed, publish: None, shown };
                let ran = run::run(scenario, &options, interrupt.wait(), &mut Story(output)).await;
                ran.map_err(run_failure)
            }
            Self::Simulator => {
                let started = Instant::now();
                let played = scenario.clone();
                let simulated = interrupt.or(spawn_blocking(move || simulator::play(&played, seed))).await?;
                let report = simulated.map_err(broke_off)?.map_err(refused)?;
                if !board_only {
                    output.note(&cost(started.elapsed()));
                }
                Ok(report)
            }
        }
    }
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

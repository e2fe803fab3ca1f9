//! `shoal testnet`: a local network of many nodes; the work is `shoal_testnet`'s.

mod demo;
mod player;
mod run;
mod scenarios;
mod series;
mod simulate;
mod standing;

use std::path::PathBuf;

use shoal_node::api::FailureKind;

use crate::args::{DirArgs, TestnetCommand};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::paths;
use crate::settings::{Environment, data_folder};
use crate::stop::{Outcome, Stop};
use player::Player;

pub(super) async fn run(
    command: TestnetCommand,
    output: &mut Output,
    interrupt: &Interrupt,
    environment: Environment<'_>,
) -> Outcome {
    match command {
        TestnetCommand::Demo(args) => demo::run(args, output, interrupt).await,
        TestnetCommand::Simulate(command) => simulate::run(command, output, interrupt).await,
        TestnetCommand::Run(args) => run::run(args, Player::Nodes, output, interrupt).await,
        TestnetCommand::Up(args) => {
            let folder = folder(&args.dir, environment)?;
            standing::up(args, folder, output, interrupt).await
        }
        TestnetCommand::Status(args) => {
            let folder = folder(&args.dir, environment)?;
            standing::status(args, folder, output, interrupt).await
        }
        TestnetCommand::Down(args) => standing::down(&args, folder(&args.dir, environment)?, output).await,
    }
}

/// This very program, which every node of a network runs.
fn program() -> Outcome<PathBuf> {
    std::env::current_exe()
        .map_err(|error| Stop::new(FailureKind::Failed, format!("cannot find this program's own file: {error}")))
}

/// The folder of a network that stays.
fn folder(args: &DirArgs, environment: Environment<'_>) -> Outcome<PathBuf> {
    match &args.dir {
        Some(folder) => paths::absolute(folder),
        None => paths::absolute(&data_folder(environment)?.join("shoal-testnet")),
    }
}

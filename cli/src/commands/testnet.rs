//! `shoal testnet`: a local network of real nodes; the work is `shoal_testnet`'s.

use std::io::Write;

use shoal_node::api::FailureKind;
use shoal_testnet::demo::{self, DemoError, DemoOptions};

use crate::args::{DemoArgs, TestnetCommand};
use crate::interrupt::Interrupt;
use crate::output::{Output, stdout_failed};
use crate::stop::{Outcome, Stop};

pub(super) async fn run(command: TestnetCommand, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    match command {
        TestnetCommand::Demo(args) => show(args, output).await,
        TestnetCommand::Simulate(command) => super::simulate::run(command, output, interrupt).await,
    }
}

/// Tells the story on stdout, or on stderr when stdout is for the report.
async fn show(args: DemoArgs, output: &mut Output) -> Outcome {
    let program = std::env::current_exe()
        .map_err(|error| Stop::new(FailureKind::Failed, format!("cannot find this program's own file: {error}")))?;
    let (json, live) = (output.json(), output.tells_live());
    let options = DemoOptions { file_bytes: args.size, seed: args.seed, live, ..DemoOptions::new(program) };
    // It listens to signals itself: whatever happens, its nodes end before this process does.
    let told = demo::run(options, &mut Story(output)).await;
    let report = told.map_err(failure)?;
    if json { output.document(&report) } else { Ok(()) }
}

fn failure(error: DemoError) -> Stop {
    match error {
        DemoError::Interrupted => Stop::new(FailureKind::Interrupted, error.to_string()),
        DemoError::Narration(error) => stdout_failed(&error),
        DemoError::Differs { .. } => Stop::new(FailureKind::Integrity, error.to_string()),
        error => shoal_node::api::Failure::from_error(FailureKind::Failed, &error).into(),
    }
}

/// The stream that the story is told on.
struct Story<'a>(&'a mut Output);

impl Write for Story<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.story().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.story().flush()
    }
}

//! `shoal testnet demo`: the story of a small network.

use std::io::Write;

use shoal_node::api::FailureKind;
use shoal_testnet::demo::{self, DemoError, DemoOptions};

use crate::args::DemoArgs;
use crate::output::{Output, stdout_failed};
use crate::stop::{Outcome, Stop};

/// Tells the story on stdout, or on stderr when stdout is for the report.
pub(super) async fn run(args: DemoArgs, output: &mut Output) -> Outcome {
    let program = super::program()?;
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
        DemoError::Narration(error) => stdout_failed(&error.0),
        DemoError::Differs { .. } => Stop::new(FailureKind::Integrity, error.to_string()),
        error => shoal_node::api::Failure::from_error(FailureKind::Failed, &error).into(),
    }
}

/// The stream that a story is told on.
pub(super) struct Story<'a>(pub(super) &'a mut Output);

impl Write for Story<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.story().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.story().flush()
    }
}

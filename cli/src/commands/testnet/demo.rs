//! `shoal testnet demo`: the story of a small network.

use std::io::Write;

use shoal_node::api::{Failure, FailureKind};
use shoal_testnet::demo::{self, DemoContent, DemoError, DemoOptions};
use shoal_testnet::run::Shown;

use super::player::run_failure;
use super::run::judged;
use crate::args::DemoArgs;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::size::show_size;
use crate::stop::{Outcome, Stop};

/// Tells the story on stdout, or on stderr when stdout is for the report.
pub(super) async fn run(args: DemoArgs, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let publish = match args.path {
        Some(path) => DemoContent::Own(path),
        None => DemoContent::MadeUp { bytes: args.size, seed: args.seed },
    };
    let shown = Shown { screen: output.screen(), board_only: false };
    let options = DemoOptions { program: super::program()?, publish, shown };
    let json = output.json();
    let told = demo::run(&options, interrupt.wait(), &mut Story(output)).await;
    let report = told.map_err(failure)?;
    if json {
        output.document(&report)?;
    } else {
        output.line("")?;
        for line in report.text().lines() {
            output.line(line)?;
        }
        let copies = report.fetches.len();
        let size = report.contents.first().map_or(0, |content| content.bytes);
        output.line("")?;
        if report.passed() {
            let size = show_size(size);
            output.line(&format!(
                "{copies} copies of {size} were compared with the original: every byte is right. Nothing is left behind."
            ))?;
        }
    }
    judged(&report)
}

fn failure(error: DemoError) -> Stop {
    match error {
        DemoError::Run(error) => run_failure(error),
        DemoError::TooLittle { .. } => Stop::usage(error.to_string()),
        error => Failure::from_error(FailureKind::Failed, &error).into(),
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

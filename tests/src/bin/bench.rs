//! Prints the table of figures: `cargo run --release -p shoal-tests --bin bench`, with `--quick` for a look.
//!
//! Called by the name `shoal` it is `shoal`, so that one build makes the program and its measure.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use shoal_tests::bench::{self, Options};

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == "shoal") {
        return shoal_tests::entry::shoal();
    }
    let options = Options::parse();
    let json = options.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let ended = runtime.block_on(async {
        let mut notes = io::stderr();
        tokio::select! {
            ended = bench::run(options, &mut notes) => ended,
            _ = tokio::signal::ctrl_c() => Err(bench::BenchError::Interrupted),
        }
    });
    let report = match ended {
        Ok(report) => report,
        Err(error) => return failed(&error),
    };
    let text = if json { report.json() } else { report.table() };
    if let Err(error) = io::stdout().write_all(text.as_bytes()) {
        return failed(&error);
    }
    if report.all_met() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {error}");
    ExitCode::FAILURE
}

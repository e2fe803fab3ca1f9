//! Shoal's command line: arguments, output, progress.
//!
//! A command talks to the node that runs in the home, or starts one in this process and talks to that in the same
//! way; only `own_node` knows the difference. Results go to stdout, everything for people to stderr, and both only
//! through `output`. Nothing here knows libp2p or redb.

mod allocator;
mod args;
mod commands;
mod config_file;
mod count;
mod escape;
mod interrupt;
mod link;
mod output;
mod own_node;
mod paths;
mod progress;
mod quota;
mod session;
mod settings;
mod simulate_args;
mod stdin;
mod stop;
mod table;
mod target;
#[cfg(test)]
mod testing;
mod testnet_args;
mod usage;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use shoal_node::api::FailureKind;
// Scenario files are read with the same units as flags.
use shoal_testnet::{duration, size};

use args::Arguments;
use interrupt::Interrupt;
use output::{Manner, Output};
use stop::{Outcome, Stop};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let words = std::env::args_os().collect::<Vec<_>>();
    let parsed = Arguments::try_parse_from(&words);
    if parsed.as_ref().is_ok_and(Arguments::waits_for_memory) {
        allocator::with_large_pages(&words);
    }
    carry_out(parsed, &words)
}

/// Runs a command line, its program's name first, on the standard streams.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words = arguments.into_iter().collect::<Vec<_>>();
    carry_out(Arguments::try_parse_from(&words), &words)
}

fn carry_out(parsed: Result<Arguments, clap::Error>, words: &[OsString]) -> ExitCode {
    let (mut output, outcome) = match parsed {
        Ok(arguments) => {
            let mut output = Output::standard(arguments.global.manner());
            start_log(&arguments);
            let outcome = in_runtime(arguments, &mut output);
            (output, outcome)
        }
        Err(error) => {
            let mut output = Output::standard(Manner::default());
            let outcome = unparsed(&error, words, &mut output);
            (output, outcome)
        }
    };
    finish(outcome, &mut output)
}

/// Says how it ended, and ends so.
fn finish(outcome: Outcome, output: &mut Output) -> ExitCode {
    match outcome.and_then(|()| output.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            if let Stop::Failure(failure) = &stop {
                // What was streamed before it went wrong; if that fails too, the first failure is the one to tell.
                let _ = output.flush();
                output.failure(failure);
            }
            ExitCode::from(stop.exit_code())
        }
    }
}

fn unparsed(error: &clap::Error, words: &[OsString], output: &mut Output) -> Outcome {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => output.page(&error.render().to_string(), true),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output.page(&error.render().to_string(), false)?;
            Err(Stop::usage("name a command"))
        }
        _ => Err(Stop::usage(usage::one_line(error, words))),
    }
}

fn in_runtime(arguments: Arguments, output: &mut Output) -> Outcome {
    let failed = |error| Stop::new(FailureKind::Failed, format!("cannot start: {error}"));
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().max_blocking_threads(shoal_node::BLOCKING_THREADS).build().map_err(failed)?;
    let outcome = runtime.block_on(async {
        let interrupt = Interrupt::listen().map_err(failed)?;
        commands::run(arguments, output, &interrupt, &settings::process_environment).await
    });
    // A thread that waits for a reader of stdout must not keep the process alive.
    runtime.shutdown_background();
    outcome
}

/// Sends the node's log to stderr, as much of it as was asked for.
fn start_log(arguments: &Arguments) {
    let daemon = matches!(arguments.command, args::Command::Daemon(_));
    let level = match (arguments.global.quiet, arguments.global.verbose) {
        (true, _) => "off",
        // A command says what happened itself, in one line.
        (false, 0) => {
            if daemon {
                "warn,libp2p_kad=error,yamux=error"
            } else {
                "off"
            }
        }
        (false, 1) => "warn,shoal_node=info,shoal_cli=info",
        (false, _) => "info,shoal_node=debug,shoal_cli=debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("SHOAL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    // A program that embeds this command line may have its own.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // It would say so on stderr, and panic when that cannot be written either: on a full disk, in any thread.
        .log_internal_errors(false)
        .try_init();
}

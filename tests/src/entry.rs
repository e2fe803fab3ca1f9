//! The one place that says how the command line is entered.

use std::process::ExitCode;

/// Runs `shoal` with this process's arguments.
pub fn shoal() -> ExitCode {
    shoal_cli::main()
}

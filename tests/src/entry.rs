//! The one place that says how the command line is entered.

use std::process::ExitCode;

/// Runs `shoal` with this process's arguments.
pub fn shoal() -> ExitCode {
    // The command line has no entry yet.
    ExitCode::FAILURE
}

//! The binary that the end-to-end tests run: the same as `shoal`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shoal_tests::entry::shoal()
}

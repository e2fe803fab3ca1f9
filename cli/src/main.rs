//! The `shoal` binary; everything is in the library, so that the tests can build a binary of their own.

fn main() -> std::process::ExitCode {
    shoal_cli::main()
}

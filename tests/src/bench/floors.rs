//! What the same work takes with the plainest of tools.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::BenchError;

/// `cp` of a file and fsync of the copy, in seconds.
pub(super) fn copy_file(source: &Path, copy: &Path) -> Result<f64, BenchError> {
    let started = Instant::now();
    run("cp", Command::new("cp").arg("--reflink=never").arg(source).arg(copy))?;
    sync_file(copy)?;
    Ok(started.elapsed().as_secs_f64())
}

/// `cp -r` of a folder and syncfs of what it is on, in seconds.
pub(super) fn copy_tree(source: &Path, copy: &Path) -> Result<f64, BenchError> {
    let started = Instant::now();
    run("cp", Command::new("cp").arg("-r").arg(source).arg(copy))?;
    settle(copy)?;
    Ok(started.elapsed().as_secs_f64())
}

/// Has everything written to the disk that a path is on, so that what is timed next waits for none of it.
pub(super) fn settle(path: &Path) -> Result<(), BenchError> {
    let file = File::open(path).map_err(BenchError::file(path))?;
    rustix::fs::syncfs(&file).map_err(|error| BenchError::File { path: path.to_owned(), source: error.into() })
}

/// Makes a file durable.
pub(super) fn sync_file(path: &Path) -> Result<(), BenchError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(BenchError::file(path))
}

/// Runs a program to its end; what it says is in the error.
pub(super) fn run(program: &'static str, command: &mut Command) -> Result<(), BenchError> {
    let output = command.stdin(Stdio::null()).output().map_err(BenchError::file(program))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(BenchError::Floor { program, words })
}

/// Whether a program is installed, by running it with an argument that does nothing.
pub(super) fn installed(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

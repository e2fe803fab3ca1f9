//! A program for tests that stands in for `shoal`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Puts a shell script into `folder` as a program. Another process makes the executable: while this one has a file open
/// for writing, so has each child that another test is just starting, and nobody could run it.
pub(crate) fn program(folder: &Path, script: &str) -> PathBuf {
    let (text, program) = (folder.join("fake.sh"), folder.join("fake-shoal"));
    fs::write(&text, script).unwrap();
    assert!(Command::new("install").args(["-m", "755"]).arg(&text).arg(&program).status().unwrap().success());
    fs::remove_file(text).unwrap();
    program
}

//! `shoal testnet demo`, as a new user runs it: without a terminal, to its end, and with Ctrl-C in the middle.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use shoal_testnet::demo::DemoReport;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::{PROGRAM, folder, run_within};

const DEADLINE: Duration = Duration::from_secs(300);

fn demo(temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["testnet", "demo"]).args(arguments).env("TMPDIR", temporary);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Fails when a process has its home in this folder, or a file is left in it.
fn nothing_left(temporary: &Path) {
    assert_eq!(fs::read_dir(temporary).unwrap().count(), 0, "the demo left files behind");
    let needle = temporary.to_str().unwrap();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        assert!(!command.contains(needle), "the demo left a process behind: {command}");
    }
}

#[test]
fn to_its_end_without_a_terminal() {
    run_within(DEADLINE, async {
        let temporary = folder();
        let ended = demo(temporary.path(), &["--json"]).output().await.unwrap();
        let words = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{words}");
        let report: DemoReport = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!((report.nodes.len(), report.fetches.len()), (5, 8));
        assert!(report.killed_at_bytes > 0);
        nothing_left(temporary.path());
    });
}

#[test]
fn ctrl_c_in_the_middle_leaves_nothing() {
    run_within(DEADLINE, async {
        let temporary = folder();
        let mut child = demo(temporary.path(), &[]).spawn().unwrap();
        let (mut out, mut err) = (
            BufReader::new(child.stdout.take().unwrap()).lines(),
            BufReader::new(child.stderr.take().unwrap()).lines(),
        );
        // The story may be told on either: stop once nodes run and something was published.
        loop {
            let line = tokio::select! {
                Ok(Some(line)) = out.next_line() => line,
                Ok(Some(line)) = err.next_line() => line,
                else => panic!("the demo ended without publishing anything"),
            };
            if line.contains("publishes a file") {
                break;
            }
        }
        let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let rest = async { while let Ok(Some(_)) = out.next_line().await {} };
        let rest_of_errors = async { while let Ok(Some(_)) = err.next_line().await {} };
        let (_, (), ()) = tokio::join!(async {}, rest, rest_of_errors);
        let status = timeout(Duration::from_secs(60), child.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(130));
        nothing_left(temporary.path());
    });
}

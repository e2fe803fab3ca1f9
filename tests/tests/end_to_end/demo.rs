//! `shoal testnet demo`, as a new user runs it: without a terminal, to its end, with Ctrl-C in the middle, and killed.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use shoal_testnet::report::{FetchOutcome, Report};
use shoal_testnet::wait;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::{DEADLINE, PROGRAM, folder, refused, run, sample};

fn demo(temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["testnet", "demo"]).args(arguments).env("TMPDIR", temporary);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// What is left in a folder for temporary things: files, and processes that name it.
fn left(temporary: &Path) -> Vec<String> {
    let files = fs::read_dir(temporary).unwrap().map(|entry| entry.unwrap().path().display().to_string());
    let mut left: Vec<String> = files.collect();
    let needle = temporary.to_str().unwrap();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        left.extend(command.contains(needle).then_some(command));
    }
    left
}

#[test]
fn to_its_end_without_a_terminal() {
    run(async {
        let (temporary, own) = (folder(), folder());
        // Something of the user's own, which must be as it was.
        let path = sample(own.path(), "mine", 12 << 20, 5);
        let ended = demo(temporary.path(), &["--json", path.to_str().unwrap()]).output().await.unwrap();
        let words = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{words}");
        let report: Report = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!((report.nodes.len(), report.fetches.len(), report.contents[0].bytes), (5, 4, 12 << 20));
        assert!(report.fetches.iter().all(|fetch| fetch.outcome == FetchOutcome::Done));
        let killed = report.events.iter().position(|event| event.what == "seeder is killed").unwrap();
        let done = |node: &str| report.events.iter().position(|event| event.what.starts_with(node)).unwrap();
        assert!(
            done("early-1 has").max(done("early-2 has")) < killed && killed < done("reader-2 has"),
            "{:?}",
            report.events
        );
        assert!(!words.contains('\x1b') && words.contains("4 of 5 nodes well"), "{words}");
        assert_eq!(left(temporary.path()), [""; 0]);
        assert_eq!(fs::read_dir(own.path()).unwrap().count(), 1);
    });
}

/// Starts the demo and waits until it has published.
async fn in_the_middle(temporary: &Path) -> Child {
    let mut child = demo(temporary, &["--size", "64MiB"]).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = out.next_line().await.unwrap() {
        if line.contains("has published") {
            // Somebody has to read what is told, as long as it is.
            tokio::spawn(async move { while let Ok(Some(_)) = out.next_line().await {} });
            return child;
        }
    }
    panic!("the demo ended without publishing anything");
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn ctrl_c_in_the_middle_leaves_nothing() {
    run(async {
        let temporary = folder();
        let mut child = in_the_middle(temporary.path()).await;
        signal(&child, Signal::INT);
        let status = timeout(DEADLINE, child.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(130));
        assert_eq!(left(temporary.path()), [""; 0]);
    });
}

#[test]
fn not_even_a_killed_demo_leaves_anything_for_long() {
    run(async {
        let temporary = folder();
        let mut child = in_the_middle(temporary.path()).await;
        signal(&child, Signal::KILL);
        child.wait().await.unwrap();
        let gone = || async { Ok(left(temporary.path()).is_empty().then_some(())) };
        wait::until("processes and folders to go", DEADLINE, gone).await.unwrap();
    });
}

#[test]
fn what_is_too_small_to_be_killed_in_the_middle_of_is_refused() {
    run(async {
        let (temporary, own) = (folder(), folder());
        let path = sample(own.path(), "letter", 100, 1);
        let home = crate::support::home(&own, "unused").with_environment("TMPDIR", temporary.path());
        let finished = home.run(["testnet", "demo", path.to_str().unwrap()]).await.unwrap();
        refused(&finished, 2, &["letter", "100 bytes", "1 mib"]);
        assert_eq!(left(temporary.path()), [""; 0]);
    });
}

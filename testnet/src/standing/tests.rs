//! Networks of a stand-in for `shoal` that says what a daemon says, and answers nothing.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use super::state::State;
use super::*;
use crate::process::ProcessMark;

/// A daemon that notes its arguments; `refuse-node-N` in the folder makes that node fail.
const FAKE: &str = r#"#!/bin/sh
home="$2"; shift 2
mkdir -p "$home"; echo "$*" > "$home/arguments"
[ -e "$home/../../refuse-${home##*/}" ] && { echo "port in use" >&2; exit 1; }
echo "{\"event\":\"listening\",\"peer_id\":\"peer-$$\",\"addresses\":[\"/ip4/127.0.0.1/tcp/$$\"]}"
echo '{"event":"ready"}'
trap 'exit 0' TERM
while :; do sleep 0.02; done
"#;

fn options(folder: &Path, nodes: Option<usize>) -> UpOptions {
    let program = crate::fake::program(folder, FAKE);
    let (topology, network) = (Topology::Star, folder.join("network"));
    UpOptions { program, folder: network, nodes, topology, limit_up: None, limit_down: None }
}

async fn start(options: &UpOptions) -> Result<UpReport, StandingError> {
    up(options, std::future::pending(), &mut |_| {}).await
}

fn stop(options: &UpOptions, remove: bool) -> DownOptions {
    DownOptions { folder: options.folder.clone(), remove }
}

/// Stops what a failed test would leave.
struct Cleanup<'a>(&'a UpOptions);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        let state = State::load(&self.0.folder).ok().flatten();
        for mark in state.iter().flat_map(|state| state.nodes.iter().filter_map(|node| node.mark())) {
            let _ = mark.signal(Signal::KILL);
        }
    }
}

#[tokio::test]
async fn one_node_stays_until_it_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), Some(1));
    let _cleanup = Cleanup(&options);
    let report = start(&options).await.unwrap();
    let mark = ProcessMark::of(report.nodes[0].pid).unwrap();
    assert!(report.nodes[0].started && report.resident_bytes > 0);
    assert!(matches!(start(&options).await, Err(StandingError::Running { nodes: 1, .. })));
    let other = UpOptions { nodes: Some(2), ..options.clone() };
    assert!(matches!(start(&other).await, Err(StandingError::OtherSize { found: 1, wanted: 2, .. })));
    let look = Watch::new(&options.folder).look().await.unwrap();
    assert_eq!((look.nodes[0].health, look.nodes[0].pid), (Health::Silent, Some(mark.pid)));
    let stopped = down(&stop(&options, false)).await.unwrap();
    assert_eq!(stopped.nodes, [Stopped { name: "node-0".into(), pid: Some(mark.pid), killed: false }]);
    assert!(!mark.is_alive());
    assert_eq!(down(&stop(&options, true)).await.unwrap().nodes[0].pid, None);
    assert!(!options.folder.exists());
    assert!(matches!(down(&stop(&options, false)).await, Err(StandingError::Nothing { .. })));
}

#[tokio::test]
async fn a_paused_node_is_stopped_too() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), Some(1));
    let _cleanup = Cleanup(&options);
    let report = start(&options).await.unwrap();
    ProcessMark::of(report.nodes[0].pid).unwrap().signal(Signal::STOP).unwrap();
    crate::wait::until("the pause", std::time::Duration::from_secs(10), || async {
        let look = Watch::new(&options.folder).look().await.unwrap();
        Ok((look.nodes[0].health == Health::Paused && look.nodes[0].faults == ["paused"]).then_some(()))
    })
    .await
    .unwrap();
    assert!(!down(&stop(&options, false)).await.unwrap().nodes[0].killed);
}

#[tokio::test]
async fn a_node_that_fails_is_named_and_the_others_are_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), Some(3));
    let _cleanup = Cleanup(&options);
    fs::write(folder.path().join("refuse-node-2"), "").unwrap();
    let error = start(&options).await.unwrap_err().to_string();
    assert!(error.contains("node-2") && error.contains("port in use"), "{error}");
    let state = State::load(&options.folder).unwrap().unwrap();
    assert_eq!((state.nodes.len(), state.alive()), (3, 0));
    let arguments = fs::read_to_string(options.folder.join("node-1/arguments")).unwrap();
    assert!(arguments.contains(&format!("--bootstrap {}", state.nodes[0].addresses[0])), "{arguments}");
}

#[tokio::test]
async fn an_interruption_stops_what_was_started() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), Some(1));
    let _cleanup = Cleanup(&options);
    // The stand-in never says ready when it cannot find its own echo: here it is interrupted at once instead.
    let outcome = up(&options, std::future::ready(()), &mut |_| {}).await;
    // Whichever of the two came first, nothing may run unless it stands.
    match outcome {
        Err(StandingError::Interrupted) => {
            assert_eq!(State::load(&options.folder).unwrap().map_or(0, |s| s.alive()), 0)
        }
        other => assert_eq!(other.unwrap().nodes.len(), 1),
    }
}

#[tokio::test]
async fn what_a_crash_left_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), Some(1));
    let _cleanup = Cleanup(&options);
    let first = start(&options).await.unwrap();
    // As if `up` had died between the start of the process and writing down which it is.
    let mut state = State::load(&options.folder).unwrap().unwrap();
    let command = fs::read(format!("/proc/{}/cmdline", first.nodes[0].pid)).unwrap();
    let words = command.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let words = words.map(|word| String::from_utf8(word.to_vec()).unwrap()).collect();
    state.nodes[0].process = super::state::NodeProcess::Starting { command: words };
    state.save(&options.folder).unwrap();
    assert!(matches!(start(&options).await, Err(StandingError::Running { .. })), "it is found by its command line");
    // A node that died is started again, under its name and in its home.
    ProcessMark::of(first.nodes[0].pid).unwrap().signal(Signal::KILL).unwrap();
    crate::wait::until("its end", std::time::Duration::from_secs(10), || async {
        Ok((State::load(&options.folder).unwrap().unwrap().alive() == 0).then_some(()))
    })
    .await
    .unwrap();
    let again = start(&UpOptions { nodes: None, ..options.clone() }).await.unwrap();
    assert!(again.nodes[0].pid != first.nodes[0].pid && again.nodes[0].home == first.nodes[0].home);
    down(&stop(&options, false)).await.unwrap();
}

#[tokio::test]
async fn folders_with_other_things_and_damaged_states_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), Some(1));
    fs::create_dir(&options.folder).unwrap();
    fs::write(options.folder.join("letter.txt"), "dear").unwrap();
    assert!(matches!(start(&options).await, Err(StandingError::Occupied { .. })));
    fs::write(options.folder.join("testnet.json"), "{").unwrap();
    assert!(matches!(start(&options).await, Err(StandingError::State { .. })));
    assert!(matches!(down(&stop(&options, true)).await, Err(StandingError::State { .. })));
    assert!(options.folder.join("letter.txt").exists());
}

#[tokio::test]
async fn processes_of_an_earlier_boot_are_nobody_s() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), Some(1));
    let _cleanup = Cleanup(&options);
    let report = start(&options).await.unwrap();
    let mark = ProcessMark::of(report.nodes[0].pid).unwrap();
    let mut state = State::load(&options.folder).unwrap().unwrap();
    state.boot = "another".into();
    state.save(&options.folder).unwrap();
    assert_eq!(down(&stop(&options, false)).await.unwrap().nodes[0].pid, None);
    assert!(mark.is_alive());
    mark.signal(Signal::KILL).unwrap();
}

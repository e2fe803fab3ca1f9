//! One running daemon process: its start, what it says on stdout, its end.
//!
//! The daemon runs with `--json` and prints an event a line; the lines are kept in a file and read for who it is, where
//! it listens and that it is ready. Events and fields that are not known here are passed over.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::error::TestnetError;
use crate::log;

/// What a daemon has said of itself so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) peer_id: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) ready: bool,
}

/// A line of the daemon's stdout, as far as it matters here.
#[derive(Debug, Deserialize)]
struct EventLine {
    event: String,
    #[serde(default)]
    peer_id: Option<String>,
    #[serde(default)]
    addresses: Vec<String>,
}

impl Announcement {
    /// Takes in one line; anything but a known event changes nothing.
    pub(crate) fn take_in(&mut self, line: &str) {
        let Ok(line) = serde_json::from_str::<EventLine>(line) else { return };
        if let Some(peer_id) = line.peer_id {
            self.peer_id = peer_id;
        }
        if !line.addresses.is_empty() {
            self.addresses = line.addresses;
        }
        self.ready |= line.event == "ready";
    }
}

/// A daemon process that was started here and has not been waited for.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: String,
    log: PathBuf,
    child: Child,
    said: watch::Receiver<Announcement>,
}

impl Daemon {
    /// Starts the process; `log` takes its stderr, `events` its stdout, both appended to.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path, events: &Path) -> Result<Self, TestnetError> {
        let append =
            |path: &Path| File::options().create(true).append(true).open(path).map_err(TestnetError::file(path));
        let events = append(events)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(append(log)?).kill_on_drop(true);
        let program = PathBuf::from(command.as_std().get_program());
        let mut child = command.spawn().map_err(|source| TestnetError::Start { program, source })?;
        let (say, said) = watch::channel(Announcement::default());
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(read_events(stdout, events, say));
        }
        Ok(Self { name: name.to_owned(), log: log.to_owned(), child, said })
    }

    /// The process id, while it has not been waited for.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it has said that it is ready.
    pub(crate) async fn ready(&mut self, deadline: Duration) -> Result<Announcement, TestnetError> {
        let mut said = self.said.clone();
        let ready =
            async { said.wait_for(|said| said.ready && !said.addresses.is_empty()).await.ok().map(|s| s.clone()) };
        let not_ready = |this: &Self| TestnetError::NotReady {
            node: this.name.clone(),
            deadline,
            log: this.log.clone(),
            tail: log::tail(&this.log),
        };
        match timeout(deadline, ready).await {
            Ok(Some(said)) => Ok(said),
            Ok(None) => match timeout(deadline, self.child.wait()).await {
                Ok(Ok(status)) => Err(TestnetError::Ended {
                    node: self.name.clone(),
                    status,
                    log: self.log.clone(),
                    tail: log::tail(&self.log),
                }),
                _ => Err(not_ready(self)),
            },
            Err(_) => Err(not_ready(self)),
        }
    }

    /// SIGKILL, and waits for the end.
    pub(crate) async fn kill(mut self) -> Result<(), TestnetError> {
        self.child.kill().await.map_err(TestnetError::file(format!("/proc/{:?}", self.pid())))
    }

    /// SIGTERM, and waits for the end no longer than the deadline; kills it when that passes.
    pub(crate) async fn stop(mut self, deadline: Duration) -> Result<ExitStatus, TestnetError> {
        self.signal(Signal::TERM);
        match timeout(deadline, self.child.wait()).await {
            Ok(status) => status.map_err(TestnetError::file(&self.log)),
            Err(_) => {
                let _ = self.child.kill().await;
                Err(TestnetError::Deadline { what: format!("{} to stop on SIGTERM", self.name), deadline })
            }
        }
    }

    /// Sends a signal. The number is this process's own for as long as it has not been waited for.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether it has ended, without waiting.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

/// Reads until the end of the daemon's stdout; dropping `say` tells that it came.
async fn read_events(stdout: ChildStdout, mut events: File, say: watch::Sender<Announcement>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // A line is short and the file is local; a failed write costs a line for people to read.
        let _ = writeln!(events, "{line}");
        say.send_modify(|said| said.take_in(&line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait;

    fn shell(folder: &Path, script: &str) -> Daemon {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Daemon::start("node-7", command, &folder.join("log"), &folder.join("events")).unwrap()
    }

    const LISTENING: &str =
        r#"echo '{"event":"listening","peer_id":"12D3","addresses":["/ip4/127.0.0.1/tcp/9/p2p/12D3"]}'"#;
    const READY: &str = r#"echo 'no json'; echo '{"event":"new","x":1}'; echo '{"event":"ready"}'"#;

    #[tokio::test]
    async fn ready_once_it_listens_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = shell(folder.path(), &format!("{LISTENING}; {READY}; exec sleep 600"));
        let said = daemon.ready(Duration::from_secs(20)).await.unwrap();
        assert_eq!((said.peer_id.as_str(), said.addresses.len()), ("12D3", 1));
        assert!(!daemon.has_ended());
        daemon.kill().await.unwrap();
        assert!(std::fs::read_to_string(folder.path().join("events")).unwrap().contains("listening"));
    }

    #[tokio::test]
    async fn an_early_end_shows_the_node_and_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = shell(folder.path(), "echo the port is taken >&2; exit 1");
        let error = daemon.ready(Duration::from_secs(20)).await.unwrap_err().to_string();
        assert!(error.contains("node-7") && error.contains("the port is taken"), "{error}");
    }

    #[tokio::test]
    async fn a_node_that_never_is_ready_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = shell(folder.path(), &format!("echo waiting for godot >&2; {LISTENING}; exec sleep 600"));
        let log = folder.path().join("log");
        let said = async || Ok(std::fs::read_to_string(&log).unwrap().contains("godot").then_some(()));
        wait::until("what it says", Duration::from_secs(60), said).await.unwrap();
        let error = daemon.ready(Duration::from_millis(300)).await.unwrap_err().to_string();
        assert!(error.contains("node-7 is not ready") && error.contains("godot"), "{error}");
        daemon.kill().await.unwrap();
    }

    #[tokio::test]
    async fn sigterm_is_waited_for_and_overruled() {
        let folder = tempfile::tempdir().unwrap();
        let trap = |does: &str| format!("trap '{does}' TERM; {LISTENING}; {READY}; while :; do sleep 0.05; done");
        let mut daemon = shell(folder.path(), &trap("exit 0"));
        daemon.ready(Duration::from_secs(20)).await.unwrap();
        assert!(daemon.stop(Duration::from_secs(20)).await.unwrap().success());
        let mut deaf = shell(folder.path(), &trap(""));
        deaf.ready(Duration::from_secs(20)).await.unwrap();
        assert!(deaf.stop(Duration::from_millis(200)).await.is_err());
    }
}

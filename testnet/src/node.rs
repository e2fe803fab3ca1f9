//! One node of a cluster: its home, its logs, how it is started, and the process while it runs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;

use crate::command::Shoal;
use crate::daemon::Daemon;
use crate::error::TestnetError;
use crate::links::NodeLink;

/// A node that is started, stopped and started again with the same home.
#[derive(Debug)]
pub struct Node {
    name: String,
    shoal: Shoal,
    log: PathBuf,
    events: PathBuf,
    arguments: Vec<OsString>,
    daemon: Option<Daemon>,
    peer_id: String,
    addresses: Vec<String>,
    /// Whether it is a `shoal`, which answers on a control socket.
    pub(crate) is_real: bool,
    pub(crate) link: Option<NodeLink>,
}

impl Node {
    /// A node that does not run yet. `arguments` follow `daemon --json` on its command line.
    pub(crate) fn new(name: String, shoal: Shoal, logs: &Path, arguments: Vec<OsString>) -> Self {
        let (log, events) = (logs.join(format!("{name}.log")), logs.join(format!("{name}.events")));
        Self {
            name,
            shoal,
            log,
            events,
            arguments,
            daemon: None,
            peer_id: String::new(),
            addresses: Vec::new(),
            is_real: true,
            link: None,
        }
    }

    /// Starts the process, without waiting until it is ready; it joins through these addresses.
    pub(crate) fn start(&mut self, bootstrap: &[String]) -> Result<(), TestnetError> {
        let mut command = self.shoal.command(["--json", "daemon"]);
        command.args(&self.arguments);
        command.args(bootstrap.iter().flat_map(|address| ["--bootstrap", address]));
        let daemon = Daemon::start(&self.name, command, &self.log, &self.events)?;
        if let Some(link) = &self.link {
            link.set_process(daemon.pid());
        }
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Waits until the started process is ready.
    pub(crate) async fn ready(&mut self, deadline: Duration) -> Result<(), TestnetError> {
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        let said = daemon.ready(deadline).await?;
        (self.peer_id, self.addresses) = (said.peer_id, said.addresses);
        Ok(())
    }

    pub(crate) async fn kill(&mut self) -> Result<(), TestnetError> {
        match self.daemon.take() {
            Some(daemon) => daemon.kill().await,
            None => Ok(()),
        }
    }

    pub(crate) async fn stop(&mut self, deadline: Duration) -> Result<Option<ExitStatus>, TestnetError> {
        match self.daemon.take() {
            Some(daemon) => daemon.stop(deadline).await.map(Some),
            None => Ok(None),
        }
    }

    /// Sends a signal to the process, if it runs.
    pub(crate) fn signal(&self, signal: Signal) {
        self.daemon.iter().for_each(|daemon| daemon.signal(signal));
    }

    pub(crate) fn note_addresses(&mut self, addresses: Vec<String>) {
        self.addresses = addresses;
    }

    /// Whether its process, killed from elsewhere, has ended; true when there is none.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.daemon.as_mut().is_none_or(Daemon::has_ended)
    }

    /// Stops the process where it stands (SIGSTOP) until it is resumed.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused process go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// `node-` and its number.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its command line: a copy that outlives changes to the cluster.
    pub fn shoal(&self) -> Shoal {
        self.shoal.clone()
    }

    /// Its home.
    pub fn home(&self) -> &Path {
        self.shoal.home()
    }

    /// What the process says on stderr.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What the process says on stdout.
    pub fn events(&self) -> &Path {
        &self.events
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().and_then(Daemon::pid)
    }

    /// The peer id, known from the first time it was ready.
    pub fn peer_id(&self) -> &str {
        &self.peer_id
    }

    /// Where it listens (or listened last), each address with `/p2p/…`.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }
}

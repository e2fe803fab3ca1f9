//! Starting a network that stays, or what is missing of one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::future::Future;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Child;

use super::StandingError;
use super::state::{Lock, NodeProcess, NodeState, State, is_occupied};
use crate::command::{Shoal, rate_text};
use crate::daemon::Announcement;
use crate::error::TestnetError;
use crate::log;
use crate::process::ProcessMark;
use crate::resources::Usage;
use crate::wait;

/// How many nodes there are unless told otherwise.
const DEFAULT_NODES: usize = 5;
/// How long the first node may take, and how much more each other adds: they start all at once.
const READY_DEADLINE: Duration = Duration::from_secs(60);
const READY_DEADLINE_EACH: Duration = Duration::from_secs(2);

/// How nodes come to know each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topology {
    /// Every node joins through the first.
    #[default]
    Star,
    /// Every node joins through the one before it: the rest they find in the DHT.
    Chain,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct UpOptions {
    /// The `shoal` executable.
    pub program: PathBuf,
    /// Where homes, logs and the state go: an absolute path.
    pub folder: PathBuf,
    /// How many nodes; `None`: as many as the folder holds, or five.
    pub nodes: Option<usize>,
    /// How they come to know each other.
    pub topology: Topology,
    /// Bytes a second for `--limit-up` of each.
    pub limit_up: Option<u64>,
    /// Bytes a second for `--limit-down` of each.
    pub limit_down: Option<u64>,
}

/// What was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpReport {
    /// The folder.
    pub folder: PathBuf,
    /// Every node, those that ran already among them.
    pub nodes: Vec<UpNode>,
    /// Memory that all nodes have resident together, in bytes.
    pub resident_bytes: u64,
}

/// One node that is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpNode {
    /// `node-` and its number.
    pub name: String,
    /// Its home.
    pub home: PathBuf,
    /// Its log.
    pub log: PathBuf,
    /// Its process.
    pub pid: u32,
    /// Its peer id.
    pub peer_id: String,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Memory that it has resident, in bytes.
    pub resident_bytes: u64,
    /// Whether it was started by this command.
    pub started: bool,
}

/// Starts every node that does not run, and returns once all are ready and know a peer. `tell` hears of each step.
/// When it fails, or `interrupted` is ready before that, what it started is stopped again.
///
/// # Errors
/// [`StandingError::Running`] when all run already; what went wrong at which node otherwise.
pub async fn up(
    options: &UpOptions,
    interrupted: impl Future<Output = ()>,
    tell: &mut (dyn FnMut(&str) + Send),
) -> Result<UpReport, StandingError> {
    let folder = &options.folder;
    let new = State::load(folder)?.is_none();
    if new && is_occupied(folder)? {
        return Err(StandingError::Occupied { folder: folder.clone() });
    }
    let logs = folder.join("logs");
    fs::create_dir_all(&logs).map_err(TestnetError::file(&logs))?;
    let _lock = Lock::take(folder)?;
    let mut starting = Starting { options, state: planned(options)?, begun: Vec::new() };
    let started = tokio::select! {
        started = starting.run(tell) => started,
        () = interrupted => Err(StandingError::Interrupted),
    };
    match started {
        Ok(()) => starting.report(),
        Err(error) => {
            starting.undo().await;
            Err(error)
        }
    }
}

/// What there will be: what the folder holds already, or so many new nodes.
fn planned(options: &UpOptions) -> Result<State, StandingError> {
    let folder = options.folder.clone();
    if let Some(state) = State::load(&folder)? {
        let found = state.nodes.len();
        if let Some(wanted) = options.nodes.filter(|wanted| *wanted != found) {
            return Err(StandingError::OtherSize { folder, found, wanted });
        }
        if state.alive() == found {
            return Err(StandingError::Running { folder, nodes: found });
        }
        return Ok(state);
    }
    let mut state = State::new(options.topology)?;
    for index in 0..options.nodes.unwrap_or(DEFAULT_NODES) {
        let name = format!("node-{index}");
        state.nodes.push(NodeState {
            home: folder.join(&name),
            log: folder.join("logs").join(format!("{name}.log")),
            events: folder.join("logs").join(format!("{name}.events")),
            name,
            process: NodeProcess::None,
            peer_id: String::new(),
            addresses: Vec::new(),
        });
    }
    Ok(state)
}

/// A start under way.
struct Starting<'a> {
    options: &'a UpOptions,
    state: State,
    /// Nodes that were started by this call.
    begun: Vec<Begun>,
}

/// A process that was started by this call.
struct Begun {
    node: usize,
    child: Child,
    /// Where in the file of events its own begin.
    events_from: u64,
}

impl Starting<'_> {
    async fn run(&mut self, tell: &mut (dyn FnMut(&str) + Send)) -> Result<(), StandingError> {
        self.state.save(&self.options.folder)?;
        self.learn().await?;
        let missing: Vec<usize> =
            (0..self.state.nodes.len()).filter(|node| self.node(*node).is_some_and(|n| n.mark().is_none())).collect();
        let alive = self.state.nodes.len() - missing.len();
        if alive > 0 {
            tell(&format!("{alive} nodes run already; {} are started again", missing.len()));
        }
        for (place, node) in missing.iter().enumerate() {
            let bootstrap = self.bootstrap_for(*node);
            self.begin(*node, &bootstrap)?;
            // Whoever others join through has to be ready before them: the first, and in a chain everybody.
            if (place == 0 && alive == 0) || self.state.topology == Topology::Chain {
                self.ready(place).await?;
            }
        }
        for place in 0..self.begun.len() {
            self.ready(place).await?;
            let (name, pid) = self.begun.get(place).map_or(("", 0), |begun| {
                (self.state.nodes.get(begun.node).map_or("", |node| &node.name), begun.child.id().unwrap_or(0))
            });
            tell(&format!("{name} is ready: process {pid}"));
        }
        self.connected().await
    }

    /// Asks nodes that run where they listen, if that was not written down: whoever started them died before. Without
    /// it nobody could join through them.
    async fn learn(&mut self) -> Result<(), StandingError> {
        for node in self.state.nodes.iter_mut().filter(|node| node.mark().is_some() && node.addresses.is_empty()) {
            let asked = super::look::Asked::new(&node.home);
            let what = format!("{}, which runs already, to say where it listens", node.name);
            let identity = wait::until(&what, READY_DEADLINE, || async {
                Ok(asked.status().await.map(|status| status.identity).filter(|identity| !identity.addresses.is_empty()))
            });
            let identity = identity.await?;
            (node.peer_id, node.addresses) = (identity.peer_id, identity.addresses);
        }
        self.state.save(&self.options.folder)
    }

    fn node(&self, index: usize) -> Option<&NodeState> {
        self.state.nodes.get(index)
    }

    /// Addresses that a node joins through.
    fn bootstrap_for(&self, node: usize) -> Vec<String> {
        let able = |other: &&NodeState| other.mark().is_some() && !other.addresses.is_empty();
        let before = self.state.nodes.get(..node).unwrap_or_default();
        let from = match self.state.topology {
            Topology::Chain => before.iter().rev().find(able),
            Topology::Star => before.iter().find(able),
        };
        from.or_else(|| self.state.nodes.iter().find(able)).map(|node| node.addresses.clone()).unwrap_or_default()
    }

    /// Starts a process, with what it is written down before and after.
    fn begin(&mut self, index: usize, bootstrap: &[String]) -> Result<(), StandingError> {
        let Some(node) = self.state.nodes.get_mut(index) else { return Ok(()) };
        let append =
            |path: &Path| File::options().create(true).append(true).open(path).map_err(TestnetError::file(path));
        let (log, events) = (append(&node.log)?, append(&node.events)?);
        let events_from = events.metadata().map_err(TestnetError::file(&node.events))?.len();
        let shoal = Shoal::new(&self.options.program, &node.home).on_loopback();
        let mut command = shoal.command(daemon_arguments(self.options, bootstrap));
        // A process group of its own: no Ctrl-C at this terminal reaches it, and no end of this command.
        command.process_group(0).kill_on_drop(false).stdin(Stdio::null()).stdout(events).stderr(log);
        let words = std::iter::once(command.as_std().get_program()).chain(command.as_std().get_args());
        let words = words.map(|word| word.to_string_lossy().into_owned()).collect();
        node.process = NodeProcess::Starting { command: words };
        // Those of its last life: nobody is to join through them.
        node.addresses.clear();
        self.state.save(&self.options.folder)?;
        let program = self.options.program.clone();
        let child = command.spawn().map_err(|source| TestnetError::Start { program, source })?;
        let pid = child.id().unwrap_or(0);
        self.begun.push(Begun { node: index, child, events_from });
        if let Some(node) = self.state.nodes.get_mut(index) {
            // One that has ended already has no mark; that it has is noticed when it is waited for.
            node.process = ProcessMark::of(pid).map_or(NodeProcess::None, NodeProcess::Started);
        }
        self.state.save(&self.options.folder)
    }

    /// Waits until a started process says that it is ready, and writes down what it said.
    async fn ready(&mut self, place: usize) -> Result<(), StandingError> {
        let deadline = READY_DEADLINE + READY_DEADLINE_EACH * u32::try_from(self.state.nodes.len()).unwrap_or(u32::MAX);
        let Some(begun) = self.begun.get_mut(place) else { return Ok(()) };
        let Some(node) = self.state.nodes.get_mut(begun.node) else { return Ok(()) };
        let child = std::sync::Mutex::new(&mut begun.child);
        let (events, from) = (node.events.clone(), begun.events_from);
        let what = format!("{} to be ready", node.name);
        let looked = wait::until(&what, deadline, || async {
            let said = read_events(&events, from).map_err(TestnetError::file(&events))?;
            if said.ready && !said.addresses.is_empty() {
                return Ok(Some(Ok(said)));
            }
            // Only this future looks at it; no other holds the lock.
            let ended = child.lock().ok().and_then(|mut child| child.try_wait().ok().flatten());
            Ok(ended.map(Err))
        });
        match looked.await {
            Ok(Ok(said)) => (node.peer_id, node.addresses) = (said.peer_id, said.addresses),
            Ok(Err(status)) => {
                let tail = log::tail(&node.log);
                return Err(TestnetError::Ended { node: node.name.clone(), status, log: node.log.clone(), tail }.into());
            }
            Err(TestnetError::Deadline { .. }) => {
                let tail = log::tail(&node.log);
                return Err(
                    TestnetError::NotReady { node: node.name.clone(), deadline, log: node.log.clone(), tail }.into()
                );
            }
            Err(error) => return Err(error.into()),
        }
        self.state.save(&self.options.folder)
    }

    /// Waits until every node has a peer in its DHT.
    async fn connected(&self) -> Result<(), StandingError> {
        if self.state.nodes.len() < 2 {
            return Ok(());
        }
        for node in &self.state.nodes {
            let shoal = super::look::Asked::new(&node.home);
            wait::until(&format!("{} to find a peer for its DHT", node.name), READY_DEADLINE, || async {
                Ok(shoal.status().await.filter(|status| status.dht_peers > 0).map(drop))
            })
            .await?;
        }
        Ok(())
    }

    /// Stops what this call started.
    async fn undo(&mut self) {
        for begun in &mut self.begun {
            let _ = begun.child.kill().await;
            if let Some(node) = self.state.nodes.get_mut(begun.node) {
                node.process = NodeProcess::None;
            }
        }
        let _ = self.state.save(&self.options.folder);
    }

    fn report(self) -> Result<UpReport, StandingError> {
        let begun: Vec<usize> = self.begun.iter().map(|begun| begun.node).collect();
        let nodes = self.state.nodes.into_iter().enumerate().map(|(index, node)| {
            let pid = node.mark().map_or(0, |mark| mark.pid);
            UpNode {
                resident_bytes: Usage::of(pid).map_or(0, |usage| usage.resident_bytes),
                started: begun.contains(&index),
                name: node.name,
                home: node.home,
                log: node.log,
                pid,
                peer_id: node.peer_id,
                addresses: node.addresses,
            }
        });
        let nodes: Vec<UpNode> = nodes.collect();
        let resident_bytes = nodes.iter().map(|node| node.resident_bytes).sum();
        Ok(UpReport { folder: self.options.folder.clone(), nodes, resident_bytes })
    }
}

fn daemon_arguments(options: &UpOptions, bootstrap: &[String]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        ["--json", "daemon", "--listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns"].iter().map(OsString::from).collect();
    for address in bootstrap {
        arguments.extend(["--bootstrap".into(), address.into()]);
    }
    for (flag, rate) in [("--limit-up", options.limit_up), ("--limit-down", options.limit_down)] {
        if let Some(rate) = rate {
            arguments.extend([flag.into(), rate_text(rate)]);
        }
    }
    arguments
}

/// What a process has said of itself since its start.
fn read_events(path: &Path, from: u64) -> std::io::Result<Announcement> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut said = Announcement::default();
    for line in BufReader::new(file).lines() {
        said.take_in(&line?);
    }
    Ok(said)
}

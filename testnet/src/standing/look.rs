//! How a network that stays is right now: what its nodes say, and what the system says of their processes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use shoal_node::api::Status;
use shoal_node::control::{Client, Service};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::StandingError;
use super::state::State;
use crate::process::{ProcessMark, ProcessState};
use crate::resources::Usage;

/// How long a node may take to say how it is; one that is paused never does.
const ANSWER_DEADLINE: Duration = Duration::from_millis(1500);

/// Looks at a network again and again; rates come from one look to the next.
#[derive(Debug)]
pub struct Watch {
    folder: PathBuf,
    before: BTreeMap<String, (Instant, u64, u64)>,
}

/// How a network is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkLook {
    /// Its folder.
    pub folder: PathBuf,
    /// Every node.
    pub nodes: Vec<NodeLook>,
}

/// How a node is. Numbers are 0 where it does not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLook {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub health: Health,
    /// Its process.
    pub pid: Option<u32>,
    /// Peers that connections are open with, each once.
    pub peers: usize,
    /// Open connections: two nodes that dialled each other at once have two.
    pub connections: u32,
    /// Peers in its routing table.
    pub dht_peers: u32,
    /// Contents that it holds.
    pub contents: u64,
    /// Bytes of chunks that it holds.
    pub held_bytes: u64,
    /// Chunk bytes that it has sent since its start.
    pub sent_bytes: u64,
    /// Chunk bytes that it has taken in since its start.
    pub received_bytes: u64,
    /// Bytes a second that it sent since the look before; 0 at the first.
    pub up_rate: u64,
    /// Bytes a second that it took in since the look before; 0 at the first.
    pub down_rate: u64,
    /// Fetches under way.
    pub fetches: usize,
    /// Memory that it has resident, in bytes.
    pub resident_bytes: u64,
    /// What is wrong with it, in words: what was done to its process, and what it says itself.
    pub faults: Vec<String>,
}

impl NodeLook {
    /// Of a node that says nothing.
    pub fn silent(name: impl Into<String>, health: Health) -> Self {
        Self {
            name: name.into(),
            health,
            pid: None,
            peers: 0,
            connections: 0,
            dht_peers: 0,
            contents: 0,
            held_bytes: 0,
            sent_bytes: 0,
            received_bytes: 0,
            up_rate: 0,
            down_rate: 0,
            fetches: 0,
            resident_bytes: 0,
            faults: Vec::new(),
        }
    }
}

/// Whether a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It runs and answers.
    Up,
    /// It has no process.
    Down,
    /// Its process stands still.
    Paused,
    /// Its process runs, but does not answer.
    Silent,
}

impl Watch {
    /// A watch on the network in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), before: BTreeMap::new() }
    }

    /// Looks at every node, at all of them at once.
    ///
    /// # Errors
    /// [`StandingError::Nothing`] when there is no network in the folder.
    pub async fn look(&mut self) -> Result<NetworkLook, StandingError> {
        let Some(state) = State::load(&self.folder)? else {
            return Err(StandingError::Nothing { folder: self.folder.clone() });
        };
        let mut looks = JoinSet::new();
        for (index, node) in state.nodes.into_iter().enumerate() {
            looks.spawn(async move { (index, look_at(&node.name, &node.home, node.mark()).await) });
        }
        let mut nodes: Vec<(usize, NodeLook)> = Vec::new();
        while let Some(Ok(look)) = looks.join_next().await {
            nodes.push(look);
        }
        nodes.sort_by_key(|(index, _)| *index);
        let mut nodes: Vec<NodeLook> = nodes.into_iter().map(|(_, look)| look).collect();
        nodes.iter_mut().for_each(|node| self.rate(node));
        Ok(NetworkLook { folder: self.folder.clone(), nodes })
    }

    fn rate(&mut self, node: &mut NodeLook) {
        let now = Instant::now();
        let Health::Up = node.health else { return };
        let before = self.before.insert(node.name.clone(), (now, node.sent_bytes, node.received_bytes));
        let Some((then, sent, received)) = before else { return };
        let millis = now.duration_since(then).as_millis().max(1);
        // A node that was started again counts from 0.
        let rate = |bytes: u64, before: u64| {
            u64::try_from(u128::from(bytes.saturating_sub(before)) * 1_000 / millis).unwrap_or(u64::MAX)
        };
        (node.up_rate, node.down_rate) = (rate(node.sent_bytes, sent), rate(node.received_bytes, received));
    }
}

async fn look_at(name: &str, home: &Path, mark: Option<ProcessMark>) -> NodeLook {
    let state = mark.map_or(ProcessState::Gone, |mark| mark.state());
    let asked = Asked::new(home);
    let status = match state {
        ProcessState::Running => asked.status().await,
        ProcessState::Stopped | ProcessState::Gone => None,
    };
    let peers = if status.is_some() { asked.peers().await } else { 0 };
    let health = match (state, &status) {
        (ProcessState::Gone, _) => Health::Down,
        (ProcessState::Stopped, _) => Health::Paused,
        (ProcessState::Running, Some(_)) => Health::Up,
        (ProcessState::Running, None) => Health::Silent,
    };
    let pid = mark.filter(|_| health != Health::Down).map(|mark| mark.pid);
    let mut faults = Vec::new();
    faults.extend((health == Health::Paused).then(|| "paused".to_owned()));
    faults.extend((health == Health::Silent).then(|| "does not answer".to_owned()));
    faults.extend(pid.filter(|pid| cannot_write(*pid)).map(|_| "disk full".to_owned()));
    let memory = pid.and_then(|pid| Usage::of(pid).ok()).map_or(0, |usage| usage.resident_bytes);
    let mut look = NodeLook { pid, peers, resident_bytes: memory, faults, ..NodeLook::silent(name, health) };
    if let Some(status) = status {
        (look.connections, look.dht_peers) = (status.connections, status.dht_peers);
        (look.contents, look.held_bytes) = (status.contents, status.payload_bytes);
        (look.sent_bytes, look.received_bytes) = (status.sent_bytes, status.received_bytes);
        look.fetches = status.fetches.len();
        look.faults.extend(status.problems);
    }
    look
}

/// Whether the process may not let files grow: what a scenario does for a full disk.
fn cannot_write(pid: u32) -> bool {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max file size"));
    line.and_then(|rest| rest.split_ascii_whitespace().next()) == Some("0")
}

/// A node that can be asked over its control socket, without a process for each question.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    home: PathBuf,
}

impl Asked {
    pub(crate) fn new(home: &Path) -> Self {
        Self { home: home.to_owned() }
    }

    /// How many peers it has connections with; 0 if it does not answer.
    async fn peers(&self) -> usize {
        let asked = async { Client::connect(&self.home).await.ok().flatten()?.peers().await.ok() };
        timeout(ANSWER_DEADLINE, asked).await.ok().flatten().map_or(0, |peers| peers.len())
    }

    /// How the node says it is; `None` if it does not answer.
    pub(crate) async fn status(&self) -> Option<Status> {
        let asked = async { Client::connect(&self.home).await.ok().flatten()?.status().await.ok() };
        timeout(ANSWER_DEADLINE, asked).await.ok().flatten()
    }
}

//! What is written down about a network that stays, and the lock on it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::StandingError;
use super::up::Topology;
use crate::error::TestnetError;
use crate::process::{ProcessMark, boot_id};

const STATE: &str = "testnet.json";
const LOCK: &str = "testnet.lock";
/// What this version writes and reads.
const VERSION: u32 = 1;
const MAX_STATE_BYTES: u64 = 16 << 20;

/// All that is known of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    version: u32,
    /// The boot of the machine in which its processes were started.
    pub(super) boot: String,
    pub(super) topology: Topology,
    pub(super) nodes: Vec<NodeState>,
}

/// One node of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodeState {
    pub(super) name: String,
    pub(super) home: PathBuf,
    pub(super) log: PathBuf,
    pub(super) events: PathBuf,
    pub(super) process: NodeProcess,
    pub(super) peer_id: String,
    pub(super) addresses: Vec<String>,
}

/// What is known of a node's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NodeProcess {
    /// There is none.
    None,
    /// It was about to be started with this command line when this was written.
    Starting {
        /// Every word of it.
        command: Vec<String>,
    },
    /// This is it, unless it has ended.
    Started(ProcessMark),
}

/// The right to change a network; lifted when it is dropped, and by the system when its holder dies.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held open for the lock on it")] File);

impl State {
    pub(super) fn new(topology: Topology) -> Result<Self, StandingError> {
        Ok(Self { version: VERSION, boot: boot()?, topology, nodes: Vec::new() })
    }

    /// Reads what is written in a folder; `None` if nothing is. Processes of an earlier boot are forgotten, and those
    /// that were about to be started are looked for.
    pub(super) fn load(folder: &Path) -> Result<Option<Self>, StandingError> {
        let path = folder.join(STATE);
        let wrong = |reason: String| StandingError::State { path: path.clone(), reason };
        let text = match fs::metadata(&path) {
            Ok(about) if about.len() > MAX_STATE_BYTES => return Err(wrong(format!("{} bytes", about.len()))),
            Ok(_) => fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let mut state: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if state.version != VERSION {
            return Err(wrong(format!("it is of version {}, this program knows {VERSION}", state.version)));
        }
        let boot = boot()?;
        let same_boot = state.boot == boot;
        state.boot = boot;
        for node in &mut state.nodes {
            node.settle(same_boot);
        }
        Ok(Some(state))
    }

    /// Writes it in place of what was there: after a crash there is the one or the other.
    pub(super) fn save(&self, folder: &Path) -> Result<(), StandingError> {
        let path = folder.join(STATE);
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| StandingError::State { path: path.clone(), reason: error.to_string() })?;
        let written = (|| {
            let mut file = tempfile::Builder::new().prefix(".testnet-").tempfile_in(folder)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            File::open(folder)?.sync_all()
        })();
        written.map_err(|source| TestnetError::File { path, source }.into())
    }

    /// How many of its nodes have a process.
    pub(super) fn alive(&self) -> usize {
        self.nodes.iter().filter(|node| node.mark().is_some()).count()
    }
}

impl NodeState {
    /// The node's process, if there is one.
    pub(super) fn mark(&self) -> Option<ProcessMark> {
        match self.process {
            NodeProcess::Started(mark) if mark.is_alive() => Some(mark),
            _ => None,
        }
    }

    /// Finds out what became of its process.
    fn settle(&mut self, same_boot: bool) {
        self.process = match std::mem::replace(&mut self.process, NodeProcess::None) {
            _ if !same_boot => NodeProcess::None,
            NodeProcess::Starting { command } => {
                // Whoever wrote this died before it could write what it had started. The words name this very home.
                let words: Vec<Vec<u8>> = command.into_iter().map(String::into_bytes).collect();
                crate::process::find_by_command_line(&words).map_or(NodeProcess::None, NodeProcess::Started)
            }
            other => other,
        };
    }
}

impl Lock {
    /// Takes it, or says that somebody else has it.
    pub(super) fn take(folder: &Path) -> Result<Self, StandingError> {
        let path = folder.join(LOCK);
        let open = File::options().create(true).truncate(false).write(true).open(&path);
        let file = open.map_err(TestnetError::file(&path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StandingError::Busy { folder: folder.to_owned() }),
            Err(error) => Err(TestnetError::File { path, source: error.into() }.into()),
        }
    }
}

/// Whether a folder is there and holds something besides the lock.
pub(super) fn is_occupied(folder: &Path) -> Result<bool, StandingError> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.flatten().any(|entry| entry.file_name() != LOCK)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(TestnetError::File { path: folder.to_owned(), source: error }.into()),
    }
}

fn boot() -> Result<String, StandingError> {
    Ok(boot_id().map_err(TestnetError::file("/proc/sys/kernel/random/boot_id"))?)
}

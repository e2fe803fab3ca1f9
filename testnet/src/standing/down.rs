//! Stopping a network that stays: exactly the processes that were started for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::StandingError;
use super::state::{Lock, NodeProcess, State};
use crate::error::TestnetError;
use crate::process::ProcessMark;
use crate::wait;

/// How long a node may take to end by itself; then it is killed.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the end of a killed process is waited for.
const REAP_DEADLINE: Duration = Duration::from_secs(10);

/// What to stop.
#[derive(Debug, Clone)]
pub struct DownOptions {
    /// The network's folder.
    pub folder: PathBuf,
    /// Whether the folder goes too, with homes and logs.
    pub remove: bool,
}

/// What was stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownReport {
    /// The folder.
    pub folder: PathBuf,
    /// Every node.
    pub nodes: Vec<Stopped>,
    /// Whether the folder is gone.
    pub removed: bool,
}

/// One node and its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// The node.
    pub name: String,
    /// Its process; `None` if it had none.
    pub pid: Option<u32>,
    /// Whether it had to be killed, because it did not end when asked.
    pub killed: bool,
}

/// Asks every node of the network to end, waits for it, and kills those that do not within half a minute.
///
/// # Errors
/// [`StandingError::Nothing`] when there is no network in the folder. What is stopped by then stays stopped.
pub async fn down(options: &DownOptions) -> Result<DownReport, StandingError> {
    let folder = &options.folder;
    if State::load(folder)?.is_none() {
        return Err(StandingError::Nothing { folder: folder.clone() });
    }
    let lock = Lock::take(folder)?;
    let Some(mut state) = State::load(folder)? else {
        return Err(StandingError::Nothing { folder: folder.clone() });
    };
    let marks: Vec<Option<ProcessMark>> = state.nodes.iter().map(super::state::NodeState::mark).collect();
    for (node, mark) in state.nodes.iter().zip(&marks) {
        let Some(mark) = mark else { continue };
        signal(&node.name, *mark, Signal::TERM)?;
        // A process that stands still hears of it only when it goes on.
        signal(&node.name, *mark, Signal::CONT)?;
    }
    let mut nodes = Vec::new();
    for (node, mark) in state.nodes.iter_mut().zip(marks) {
        let killed = match mark {
            Some(mark) => end(&node.name, mark).await?,
            None => false,
        };
        node.process = NodeProcess::None;
        nodes.push(Stopped { name: node.name.clone(), pid: mark.map(|mark| mark.pid), killed });
    }
    state.save(folder)?;
    if options.remove {
        remove(folder, &state)?;
    }
    drop(lock);
    Ok(DownReport { folder: folder.clone(), nodes, removed: options.remove })
}

/// Waits for the end of a process that was asked; says whether it had to be killed.
async fn end(name: &str, mark: ProcessMark) -> Result<bool, StandingError> {
    let gone = || async { Ok((!mark.is_alive()).then_some(())) };
    match wait::until(&format!("{name} to end"), PATIENCE, gone).await {
        Ok(()) => Ok(false),
        Err(_) => {
            signal(name, mark, Signal::KILL)?;
            wait::until(&format!("{name} to end when it is killed"), REAP_DEADLINE, gone).await?;
            Ok(true)
        }
    }
}

fn signal(name: &str, mark: ProcessMark, signal: Signal) -> Result<(), StandingError> {
    let sent = mark.signal(signal);
    sent.map(drop).map_err(|source| StandingError::Signal { node: name.to_owned(), pid: mark.pid, source })
}

/// Removes what the network has put into its folder, and the folder if nothing else is in it.
fn remove(folder: &Path, state: &State) -> Result<(), StandingError> {
    for node in &state.nodes {
        remove_folder(&node.home)?;
    }
    remove_folder(&folder.join("logs"))?;
    for name in ["testnet.json", "testnet.lock"] {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(TestnetError::file(&path))?;
    }
    // What somebody else has put there stays, and the folder with it.
    let _ = fs::remove_dir(folder);
    Ok(())
}

fn remove_folder(path: &Path) -> Result<(), StandingError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(TestnetError::file(path)(error).into()),
        _ => Ok(()),
    }
}

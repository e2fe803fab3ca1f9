//! What a plan's faults are to real processes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use super::RunError;
use super::stage::{Stage, Wanted};
use crate::scenario::{Action, NodeIndex};

/// What a wiped node keeps: who it is, and how it is set up.
const KEPT: [&str; 2] = ["identity", "config.toml"];

impl Stage {
    /// Does a fault, or undoes it; nothing else of a plan.
    pub(super) fn strike(&mut self, action: &Action) -> Result<(), RunError> {
        match action {
            Action::Publish { .. } | Action::Fetch { .. } => {}
            Action::Kill(node) => self.end(*node, Signal::KILL, Wanted::Down),
            Action::Start(node) => self.condition(*node, |condition| condition.wanted = Wanted::Again),
            Action::Restart(node) => self.end(*node, Signal::TERM, Wanted::Again),
            Action::Wipe(node) => {
                self.end(*node, Signal::KILL, Wanted::Again);
                self.condition(*node, |condition| condition.wipe = true);
            }
            Action::Pause(node) => {
                self.signal(*node, Signal::STOP);
                self.condition(*node, |condition| condition.paused = true);
            }
            Action::Resume(node) => {
                self.signal(*node, Signal::CONT);
                self.condition(*node, |condition| condition.paused = false);
            }
            Action::FillDisk(node) => self.limit_files(*node, true),
            Action::FreeDisk(node) => self.limit_files(*node, false),
            Action::SetLine(node, line) => {
                self.links.iter().for_each(|links| links.set_line(node.0, *line));
            }
            Action::Part(nodes) | Action::Join(nodes) => {
                let part = matches!(action, Action::Part(_));
                let places: Vec<usize> = nodes.iter().map(|node| node.0).collect();
                if let Some(links) = &self.links {
                    if part { links.part(&places) } else { links.join(&places) }
                }
                nodes.iter().for_each(|node| self.condition(*node, |condition| condition.parted = part));
            }
            Action::Corrupt { node, bytes, seed } => self.corrupt(*node, *bytes, *seed)?,
        }
        Ok(())
    }

    /// Starts what is to be started again and has ended, and tells of nodes that ended although nobody asked them to.
    pub(super) fn settle(&mut self) -> Result<Vec<NodeIndex>, RunError> {
        let mut fallen = Vec::new();
        for index in 0..self.conditions.len() {
            let node = NodeIndex(index);
            if !self.cluster.node_mut(index)?.has_ended() {
                continue;
            }
            let Some(condition) = self.conditions.get(index).copied() else { continue };
            match condition.wanted {
                Wanted::Down => {}
                Wanted::Up if condition.fell => {}
                Wanted::Up => {
                    self.condition(node, |condition| condition.fell = true);
                    fallen.push(node);
                }
                Wanted::Again => {
                    if condition.wipe {
                        self.home(node).map_or(Ok(()), empty)?;
                    }
                    self.cluster.start_again(index)?;
                    self.condition(node, |now| (now.wanted, now.wipe, now.paused) = (Wanted::Up, false, false));
                    if condition.full {
                        self.limit_files(node, true);
                    }
                }
            }
        }
        Ok(fallen)
    }

    fn end(&mut self, node: NodeIndex, signal: Signal, wanted: Wanted) {
        self.signal(node, signal);
        // One that stands still hears of it only when it goes on.
        self.signal(node, Signal::CONT);
        self.condition(node, |condition| (condition.wanted, condition.paused) = (wanted, false));
    }

    fn signal(&mut self, node: NodeIndex, signal: Signal) {
        if let Ok(node) = self.cluster.node_mut(node.0) {
            node.signal(signal);
        }
    }

    fn condition(&mut self, node: NodeIndex, change: impl FnOnce(&mut super::stage::Condition)) {
        if let Some(condition) = self.conditions.get_mut(node.0) {
            change(condition);
        }
    }

    /// A full disk without a disk of its own: the system refuses the process every write to a file, until the limit is
    /// lifted again. To the node that is an error of the same family.
    fn limit_files(&mut self, node: NodeIndex, full: bool) {
        let limit = Rlimit { current: full.then_some(0), maximum: None };
        let pid = self.cluster.nodes().get(node.0).and_then(crate::node::Node::pid);
        if let Some(pid) = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            // Fails only for a process that has ended.
            let _ = prlimit(Some(pid), Resource::Fsize, limit);
        }
        self.condition(node, |condition| condition.full = full);
    }

    /// Changes bytes of the segments of a node, at places that the seed names.
    fn corrupt(&self, node: NodeIndex, bytes: u32, seed: u64) -> Result<(), RunError> {
        let Some(folder) = self.home(node).map(|home| home.join("segments")) else { return Ok(()) };
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let files = files_in(&folder).map_err(RunError::file(&folder))?;
        let total: u64 = files.iter().map(|(_, length)| length).sum();
        for _ in 0..bytes {
            let at = u64::try_from((u128::from(random.next_u64()) * u128::from(total)) >> 64).unwrap_or(0);
            let change = (random.next_u32() as u8).max(1);
            if let Some((path, at)) = place(&files, at) {
                turn(path, at, change).map_err(RunError::file(path))?;
            }
        }
        Ok(())
    }
}

/// The files of a folder with their lengths, by name.
fn files_in(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.path(), entry.metadata()?.len()));
    }
    files.sort();
    Ok(files)
}

/// Which file a place of all their bytes is in, and where.
fn place(files: &[(PathBuf, u64)], at: u64) -> Option<(&Path, u64)> {
    let mut before = 0;
    files.iter().find_map(|(path, length)| {
        let within = at.checked_sub(before)?;
        before += length;
        (within < *length).then_some((path.as_path(), within))
    })
}

fn turn(path: &Path, at: u64, change: u8) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    byte.iter_mut().for_each(|byte| *byte ^= change);
    file.write_all_at(&byte, at)
}

/// Removes what a node holds, not who it is.
fn empty(home: &Path) -> Result<(), RunError> {
    let entries = fs::read_dir(home).map_err(RunError::file(home))?;
    for entry in entries.flatten().filter(|entry| !KEPT.iter().any(|kept| entry.file_name() == *kept)) {
        let path = entry.path();
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(RunError::file(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wiped_home_keeps_who_it_is() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("segments")).unwrap();
        for name in ["identity", "index.redb", "segments/000000.redb"] {
            fs::write(home.path().join(name), name).unwrap();
        }
        empty(home.path()).unwrap();
        let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["identity"]);
    }

    #[test]
    fn every_place_is_in_some_file() {
        let files = [("a".into(), 3), ("b".into(), 0), ("c".into(), 2)];
        let found: Vec<_> = (0..6).map(|at| place(&files, at).map(|(p, at)| (p.to_str().unwrap(), at))).collect();
        assert_eq!(found, [Some(("a", 0)), Some(("a", 1)), Some(("a", 2)), Some(("c", 0)), Some(("c", 1)), None]);
    }

    #[test]
    fn a_turned_byte_is_another() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), [7, 7, 7]).unwrap();
        turn(file.path(), 1, 3).unwrap();
        assert_eq!(fs::read(file.path()).unwrap(), [7, 4, 7]);
    }
}

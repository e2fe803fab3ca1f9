//! Where an output is written, and how it gets its final name.
//!
//! What it replaces trades names with it, and is then removed. A mark beside them says which of the two the output is,
//! so that whoever comes after a kill does not take what was replaced for an output to go on in.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags, flock, renameat_with};
use shoal_protocol::hash::ContentHash;

use super::{Leftovers, OutputError};
use crate::real_path::folder_of;

/// Characters of the content hash that stand in the name of an unfinished output.
const HASH_CHARS: usize = 12;
/// Opens no symbolic link.
const NO_FOLLOW: i32 = OFlags::NOFOLLOW.bits().cast_signed();
/// Bytes that a file name may have on the common file systems.
const MAX_NAME_BYTES: usize = 255;
/// Bytes of a mark that are read: it is the number of an inode.
const MARK_BYTES: u64 = 20;

/// An unfinished output and the name it is to get. Dropping it removes the unfinished output.
#[derive(Debug)]
pub(super) struct Place {
    target: PathBuf,
    part: PathBuf,
    /// Where it is said which inode the output has, before names are exchanged.
    mark: PathBuf,
    force: bool,
    leftovers: Leftovers,
    /// Held for its lock, which tells a live writer from a dead one's leftovers.
    lock: File,
}

/// Refuses a target that cannot be written, as far as can be told without writing.
pub(super) fn check(target: &Path, force: bool) -> Result<(), OutputError> {
    let folder = folder_of(target);
    match fs::metadata(folder) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return Err(OutputError::NoFolder { path: folder.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OutputError::NoFolder { path: folder.to_owned() });
        }
        Err(error) => return Err(OutputError::write(folder, error)),
    }
    if let Err(error) = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK) {
        return Err(OutputError::write(folder, error.into()));
    }
    let path = || target.to_owned();
    match fs::symlink_metadata(target).map(|there| there.file_type()) {
        // What was there would be gone for everybody: `/dev/null`, for one.
        Ok(kind) if !(kind.is_file() || kind.is_dir() || kind.is_symlink()) => {
            Err(OutputError::Special { path: path() })
        }
        Ok(_) if !force => Err(OutputError::Exists { path: path() }),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Refuses a target whose replacing would throw away a home.
pub(super) fn keep_home(home: &Path, target: &Path) -> Result<(), OutputError> {
    // Where one of them is not there, nothing is replaced.
    let (Ok(home), Ok(folder), Some(name)) =
        (home.canonicalize(), folder_of(target).canonicalize(), target.file_name())
    else {
        return Ok(());
    };
    match home.starts_with(folder.join(name)) {
        true => Err(OutputError::Home { path: target.to_owned() }),
        false => Ok(()),
    }
}

impl Place {
    pub(super) fn new_file(
        target: &Path,
        hash: &ContentHash,
        force: bool,
        leftovers: Leftovers,
    ) -> Result<(Self, File), OutputError> {
        check(target, force)?;
        let (part, mark) = paths(target, hash, leftovers);
        let failed = |error| OutputError::write(&part, error);
        remove_replaced(&part, &mark).map_err(failed)?;
        // Not truncated before it is locked: it may be another writer's.
        // Nor is a link followed that somebody else has put there: the name can be guessed.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).custom_flags(NO_FOLLOW);
        let file = options.open(&part).map_err(failed)?;
        lock(&file, target)?;
        remove(&mark).map_err(failed)?;
        if leftovers == Leftovers::Remove {
            file.set_len(0).map_err(failed)?;
        }
        let held = file.try_clone().map_err(failed)?;
        Ok((Self { target: target.to_owned(), part, mark, force, leftovers, lock: held }, file))
    }

    pub(super) fn new_folder(
        target: &Path,
        hash: &ContentHash,
        force: bool,
        leftovers: Leftovers,
    ) -> Result<Self, OutputError> {
        check(target, force)?;
        let (part, mark) = paths(target, hash, leftovers);
        let failed = |error| OutputError::write(&part, error);
        remove_replaced(&part, &mark).map_err(failed)?;
        if let Err(error) = fs::create_dir(&part) {
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(failed(error));
            }
            // A dead writer's leftovers have no lock on them; chunks are in the store, so nothing is lost with them.
            let old = File::open(&part).map_err(failed)?;
            lock(&old, target)?;
            match leftovers {
                Leftovers::Remove => {
                    fs::remove_dir_all(&part).map_err(failed)?;
                    fs::create_dir(&part).map_err(failed)?;
                }
                // Nothing may be written through a link, and links are made last.
                Leftovers::Keep => remove_links(&part)?,
            }
        }
        let held = File::open(&part).map_err(failed)?;
        lock(&held, target)?;
        remove(&mark).map_err(failed)?;
        Ok(Self { target: target.to_owned(), part, mark, force, leftovers, lock: held })
    }

    /// The path to write at.
    pub(super) fn part(&self) -> &Path {
        &self.part
    }

    /// Gives the output its final name, durably.
    pub(super) fn settle(mut self) -> Result<(), OutputError> {
        self.rename()?;
        // What stands under the name of the unfinished one now is what was replaced.
        self.leftovers = Leftovers::Remove;
        let folder = folder_of(&self.target);
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| OutputError::write(folder, error))
    }

    fn rename(&mut self) -> Result<(), OutputError> {
        let failed = |error: rustix::io::Errno| OutputError::write(&self.target, error.into());
        match renameat_with(CWD, &self.part, CWD, &self.target, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::EXIST) if !self.force => {
                return Err(OutputError::Exists { path: self.target.clone() });
            }
            Err(rustix::io::Errno::EXIST) => {}
            // A file system without the flag: `check` has looked, the rest is a race that nobody can win there.
            Err(rustix::io::Errno::INVAL) => {
                return fs::rename(&self.part, &self.target).map_err(|error| OutputError::write(&self.target, error));
            }
            Err(error) => return Err(failed(error)),
        }
        self.set_mark().map_err(|error| OutputError::write(&self.mark, error))?;
        // The old one moves to the unfinished name in the same step, and is removed with it.
        renameat_with(CWD, &self.part, CWD, &self.target, RenameFlags::EXCHANGE).map_err(failed)
    }

    /// Says, durably, which inode the output has.
    fn set_mark(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut mark = options.write(true).create_new(true).custom_flags(NO_FOLLOW).open(&self.mark)?;
        mark.write_all(self.lock.metadata()?.ino().to_string().as_bytes())?;
        mark.sync_all()?;
        File::open(folder_of(&self.mark))?.sync_all()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.leftovers == Leftovers::Keep {
            return;
        }
        // Best effort: after a rename nothing is there, and leftovers are recognised by the next writer.
        if let Err(error) = remove(&self.part).and_then(|()| remove(&self.mark)) {
            tracing::warn!(path = %self.part.display(), %error, "what is left of an output could not be removed");
        }
    }
}

/// Removes what has traded names with a finished output, if the mark says that this is what is there.
fn remove_replaced(part: &Path, mark: &Path) -> io::Result<()> {
    let mut text = String::new();
    match OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(mark) {
        Ok(file) => drop(file.take(MARK_BYTES).read_to_string(&mut text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    // One that is not whole was written in vain: names were not exchanged.
    match (text.parse::<u64>(), fs::symlink_metadata(part)) {
        (Ok(output), Ok(there)) if there.ino() != output => remove(part),
        _ => Ok(()),
    }
}

/// Removes what is there, if anything is.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn lock(file: &File, target: &Path) -> Result<(), OutputError> {
    flock(file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        rustix::io::Errno::WOULDBLOCK => OutputError::Busy { path: target.to_owned() },
        error => OutputError::write(target, error.into()),
    })
}

/// Removes every symbolic link below a folder.
fn remove_links(folder: &Path) -> Result<(), OutputError> {
    let failed = |path: &Path, error| OutputError::write(path, error);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(&folder).map_err(|error| failed(&folder, error))? {
            let item = item.map_err(|error| failed(&folder, error))?;
            let (path, kind) = (item.path(), item.file_type());
            match kind.map_err(|error| failed(&path, error))? {
                kind if kind.is_dir() => folders.push(path),
                kind if kind.is_symlink() => fs::remove_file(&path).map_err(|error| failed(&path, error))?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Where an output is written, and the mark that goes with it.
fn paths(target: &Path, hash: &ContentHash, leftovers: Leftovers) -> (PathBuf, PathBuf) {
    let [part, mark] = match leftovers {
        Leftovers::Remove => ["part", "part-mark"],
        Leftovers::Keep => ["keep", "keep-mark"],
    };
    (path_beside(target, hash, part), path_beside(target, hash, mark))
}

fn path_beside(target: &Path, hash: &ContentHash, what: &str) -> PathBuf {
    let hash = hash.to_string();
    let tail = format!(".{}.shoal-{what}", hash.get(..HASH_CHARS).unwrap_or(&hash));
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut room = MAX_NAME_BYTES - tail.len() - 1;
    while !name.is_char_boundary(room.min(name.len())) {
        room -= 1;
    }
    let name = name.get(..room.min(name.len())).unwrap_or_default();
    target.with_file_name(format!(".{name}{tail}"))
}

#[cfg(test)]
mod tests {
    use shoal_protocol::hash::NodeId;

    use super::*;

    fn hash() -> ContentHash {
        ContentHash::from_root(NodeId::of(b"x"))
    }

    /// Ends as a kill does: nothing is removed.
    fn kill(mut place: Place) {
        place.leftovers = Leftovers::Keep;
    }

    fn names(folder: &Path) -> Vec<std::ffi::OsString> {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|item| item.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_was_replaced_is_not_gone_on_in_after_a_kill() {
        for leftovers in [Leftovers::Remove, Leftovers::Keep] {
            let folder = tempfile::tempdir().unwrap();
            let (target, elsewhere) = (folder.path().join("a"), folder.path().join("b"));
            fs::write(&elsewhere, "old").unwrap();
            fs::hard_link(&elsewhere, &target).unwrap();
            let (mut place, mut file) = Place::new_file(&target, &hash(), true, leftovers).unwrap();
            file.write_all(b"new").unwrap();
            place.rename().unwrap();
            drop(file);
            kill(place);
            assert_eq!(names(folder.path()).len(), 4);
            let (place, mut file) = Place::new_file(&target, &hash(), true, leftovers).unwrap();
            assert_eq!(file.metadata().unwrap().len(), 0);
            file.write_all(b"New").unwrap();
            assert_eq!(fs::read(&elsewhere).unwrap(), b"old");
            assert_eq!(fs::read(&target).unwrap(), b"new");
            place.settle().unwrap();
            assert_eq!(fs::read(&target).unwrap(), b"New");
            assert_eq!(names(folder.path()), ["a", "b"]);
        }
    }

    #[test]
    fn of_a_folder_that_was_replaced_nothing_gets_into_the_next_output() {
        for leftovers in [Leftovers::Remove, Leftovers::Keep] {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("a");
            fs::create_dir(&target).unwrap();
            fs::write(target.join("old"), "old").unwrap();
            let mut place = Place::new_folder(&target, &hash(), true, leftovers).unwrap();
            place.rename().unwrap();
            kill(place);
            let place = Place::new_folder(&target, &hash(), true, leftovers).unwrap();
            assert!(names(place.part()).is_empty());
            place.settle().unwrap();
            assert_eq!(names(folder.path()), ["a"]);
        }
    }

    #[test]
    fn an_output_is_gone_on_in_when_the_kill_came_before_the_exchange() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        fs::write(&target, "old").unwrap();
        for mark_is_whole in [true, false] {
            let (place, mut file) = Place::new_file(&target, &hash(), true, Leftovers::Keep).unwrap();
            file.write_all(b"new").unwrap();
            place.set_mark().unwrap();
            if !mark_is_whole {
                fs::write(&place.mark, "").unwrap();
            }
            drop(file);
            kill(place);
            let (place, file) = Place::new_file(&target, &hash(), true, Leftovers::Keep).unwrap();
            assert_eq!(file.metadata().unwrap().len(), 3);
            assert!(!place.mark.exists());
            kill(place);
        }
    }
}

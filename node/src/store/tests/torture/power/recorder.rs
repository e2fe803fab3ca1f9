//! What has happened to a home and is not synced yet, and the images of it that a cut could leave.
//!
//! A recorder stands under every writable database and hears of each folder that is synced. Files are told apart by
//! their inodes, each of which a link outside the home keeps: one that the store has removed or renamed may well be
//! there again after a cut.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex};

use tempfile::TempDir;

use super::super::super::super::backend::FileCall;
use super::super::*;
use super::unsynced::{CUTS, Change, Cut, Unsynced};

/// Of the syncs, images are made at one in so many.
const SYNCS_PER_IMAGES: usize = 4;
/// While an image is opened, of one in so many.
const SYNCS_PER_IMAGES_AGAIN: usize = 8;

/// What is under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Folder,
    File(u64),
}

/// The names in a home, each as a path from there.
type Names = BTreeMap<PathBuf, Item>;

/// What is done with an image: with the cut that made it, what was acknowledged, and a seed.
type Check<T> = dyn Fn(&Path, Cut, &T, u64) + Send + Sync;

/// Whether the power fails for the first time, or while what a first cut left is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    First,
    Again,
}

/// Makes images at some of the syncs, and has them checked against `T`, what was acknowledged by then.
pub(super) struct Recorder<T> {
    home: PathBuf,
    /// A link for each inode.
    links: TempDir,
    depth: Depth,
    check: Box<Check<T>>,
    state: Mutex<State<T>>,
    free: Condvar,
}

struct State<T> {
    rng: ChaCha8Rng,
    files: HashMap<u64, Unsynced>,
    /// Which file was last seen under a path; a handle keeps the path under which it was opened.
    seen: HashMap<PathBuf, u64>,
    /// The names that are durable.
    synced_names: Names,
    acknowledged: T,
    call: Option<Call>,
}

/// What is being done.
enum Call {
    Write {
        file: u64,
        offset: u64,
        bytes: usize,
    },
    Resize {
        file: u64,
    },
    Sync {
        file: u64,
    },
    SyncFolder(PathBuf),
    /// On a file that is not known.
    Other,
}

impl<T> std::fmt::Debug for Recorder<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl<T: Send> Recorder<T> {
    /// One for the home as it is now, which is durable.
    pub(super) fn new(
        home: &Path,
        seed: u64,
        depth: Depth,
        acknowledged: T,
        check: impl Fn(&Path, Cut, &T, u64) + Send + Sync + 'static,
    ) -> Self {
        let state = State {
            rng: random(seed),
            files: HashMap::new(),
            seen: HashMap::new(),
            synced_names: Names::new(),
            acknowledged,
            call: None,
        };
        let this = Self {
            home: home.into(),
            links: scratch(),
            depth,
            check: Box::new(check),
            state: Mutex::new(state),
            free: Condvar::new(),
        };
        let names = this.names();
        this.state.lock().unwrap().synced_names = names;
        this
    }

    /// Changes what is acknowledged.
    pub(super) fn acknowledge(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.state.lock().unwrap().acknowledged);
    }

    fn link(&self, file: u64) -> PathBuf {
        self.links.path().join(file.to_string())
    }

    /// The names that there are, with a link for each file. Begun anew when one goes meanwhile.
    fn names(&self) -> Names {
        for _ in 0..1_000 {
            let mut names = Names::new();
            if self.add_names(&self.home, &mut names).is_ok() {
                return names;
            }
        }
        panic!("the names in {} cannot be listed", self.home.display());
    }

    fn add_names(&self, folder: &Path, names: &mut Names) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let meta = fs::symlink_metadata(&path)?;
            let name = path.strip_prefix(&self.home).unwrap().to_owned();
            if meta.is_dir() {
                names.insert(name, Item::Folder);
                self.add_names(&path, names)?;
            } else if meta.is_file() {
                names.insert(name, Item::File(self.keep(&path)?));
            }
        }
        Ok(())
    }

    /// Sees to it that a file can be read whatever becomes of its name; says which it is.
    fn keep(&self, path: &Path) -> std::io::Result<u64> {
        let file = fs::metadata(path)?.ino();
        match fs::hard_link(path, self.link(file)) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(file),
        }
    }

    /// The file that was opened at `path`. It keeps its stem when it gets its own name, and goes on after it has lost
    /// it.
    fn file(&self, state: &mut State<T>, path: &Path) -> Option<u64> {
        let found = self.keep(path).or_else(|_| self.keep(&path.with_extension("redb"))).ok();
        let file = found.or_else(|| state.seen.get(path).copied())?;
        state.seen.insert(path.to_owned(), file);
        state.files.entry(file).or_insert_with(|| Unsynced::new(fs::read(self.link(file)).unwrap()));
        Some(file)
    }

    fn images(&self, state: &mut State<T>) {
        let (one_in, cuts) = match self.depth {
            Depth::First => (SYNCS_PER_IMAGES, CUTS.to_vec()),
            // One of them, and more moments.
            Depth::Again => (SYNCS_PER_IMAGES_AGAIN, vec![CUTS[below(&mut state.rng, CUTS.len())]]),
        };
        if below(&mut state.rng, one_in) > 0 {
            return;
        }
        for cut in cuts {
            let image = self.image(state, cut);
            let seed = state.rng.next_u64();
            (self.check)(image.path(), cut, &state.acknowledged, seed);
        }
    }

    /// What a cut may leave of the home now.
    fn image(&self, state: &mut State<T>, cut: Cut) -> TempDir {
        let image = scratch();
        let (now, synced) = (self.names(), state.synced_names.clone());
        let all: BTreeSet<_> = now.keys().chain(synced.keys()).collect();
        for name in all {
            let item = match cut {
                Cut::Nothing => synced.get(name),
                Cut::Everything => now.get(name),
                _ if below(&mut state.rng, 2) == 0 => synced.get(name),
                _ => now.get(name),
            };
            let target = image.path().join(name);
            match item {
                // Its folder may not be there.
                Some(Item::Folder) => drop(fs::create_dir(target)),
                Some(Item::File(file)) if target.parent().unwrap().exists() => {
                    self.copy(state, *file, cut, &target);
                }
                _ => {}
            }
        }
        image
    }

    fn copy(&self, state: &mut State<T>, file: u64, cut: Cut, target: &Path) {
        let link = self.link(file);
        let bytes = match state.files.get(&file) {
            Some(unsynced) => unsynced.cut(cut, &mut state.rng),
            None => fs::read(&link).unwrap(),
        };
        fs::write(target, bytes).unwrap();
        let mut permissions = fs::metadata(&link).unwrap().permissions();
        // That a segment takes no more is never synced.
        if cut != Cut::Everything && below(&mut state.rng, 4) == 0 {
            permissions.set_mode(0o600);
        }
        fs::set_permissions(target, permissions).unwrap();
    }

    fn call(&self, state: &mut State<T>, call: FileCall, path: &Path) -> Call {
        if call == FileCall::SyncFolder {
            return Call::SyncFolder(path.strip_prefix(&self.home).unwrap().to_owned());
        }
        let Some(file) = self.file(state, path) else { return Call::Other };
        match call {
            FileCall::Write { offset, bytes } => Call::Write { file, offset, bytes },
            FileCall::Resize => Call::Resize { file },
            FileCall::Sync => Call::Sync { file },
            FileCall::Read | FileCall::SyncFolder => Call::Other,
        }
    }

    fn note(&self, state: &mut State<T>, call: Call) {
        match call {
            Call::Write { file, offset, bytes } => {
                let mut written = vec![0; bytes];
                fs::File::open(self.link(file)).unwrap().read_exact_at(&mut written, offset).unwrap();
                let change = Change::Write { offset: offset.try_into().unwrap(), bytes: written };
                state.files.get_mut(&file).unwrap().changes.push(change);
            }
            Call::Resize { file } => {
                let len = fs::metadata(self.link(file)).unwrap().len();
                state.files.get_mut(&file).unwrap().changes.push(Change::Resize(len.try_into().unwrap()));
            }
            Call::Sync { file } => {
                let synced = fs::read(self.link(file)).unwrap();
                state.files.insert(file, Unsynced::new(synced));
            }
            Call::SyncFolder(folder) => {
                let is_in = |name: &Path| name.parent() == Some(&folder);
                state.synced_names.retain(|name, _| !is_in(name));
                state.synced_names.extend(self.names().into_iter().filter(|(name, _)| is_in(name)));
            }
            Call::Other => {}
        }
    }
}

impl<T: Send> Faults for Recorder<T> {
    fn before(&self, call: FileCall, path: &Path) -> std::io::Result<()> {
        if call == FileCall::Read {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap();
        while state.call.is_some() {
            state = self.free.wait(state).unwrap();
        }
        let state = &mut *state;
        let call = self.call(state, call, path);
        if matches!(call, Call::Sync { .. } | Call::SyncFolder(_)) {
            self.images(state);
        }
        state.call = Some(call);
        Ok(())
    }

    fn after(&self, call: FileCall) {
        if call == FileCall::Read {
            return;
        }
        let mut state = self.state.lock().unwrap();
        if let Some(call) = state.call.take() {
            self.note(&mut state, call);
        }
        self.free.notify_one();
    }
}

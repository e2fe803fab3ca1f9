//! What of that which lies in files of the user is not to be relied on: files that do not look as they did, and those
//! that the output of a fetch is about to replace.
//!
//! A chunk of a file that is to be replaced is held and read as long as it lies there. But whoever has its bytes, and
//! would leave them out because it is held, stores or places them.

use std::collections::HashMap;
use std::collections::hash_map::Entry::Vacant;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shoal_protocol::hash::ChunkId;

use super::super::Store;
use super::super::error::StoreError;
use super::super::holds::Hold;
use super::super::index::Entry;
use super::super::rows::ObjectId;
use super::super::shared::Shared;
use super::read::found_at;
use super::{FileNumber, FilePlace, FileRow, InPlace};
use crate::real_path::real_path;

/// Where something is about to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    /// As it was named.
    named: PathBuf,
    /// With all links above it followed.
    real: PathBuf,
}

impl Target {
    fn at(path: &Path) -> Self {
        Self { named: path.to_owned(), real: real_path(path) }
    }
}

/// The places where something is about to be replaced, each as often as somebody says so.
#[derive(Debug, Clone, Default)]
pub(super) struct Targets {
    places: Vec<Target>,
    /// How often somebody has said so.
    begun: u64,
}

impl Targets {
    /// Whether the file stays where it is, and looks as its row says.
    pub(super) fn spare(&self, row: &FileRow) -> bool {
        let Some(path) = found_at(row) else { return false };
        if self.places.is_empty() {
            return true;
        }
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        !self.places.iter().any(|target| path.starts_with(&target.named) || real.starts_with(&target.real))
    }
}

/// Which files can be relied on: they look as they did, and stay where they are.
#[derive(Debug, Default)]
pub(in crate::store) struct Reliance {
    files: HashMap<FileNumber, bool>,
    /// How often something was about to be replaced by then.
    begun: u64,
}

impl Reliance {
    /// Whether nobody has begun to replace anything since.
    pub(super) fn is_of(&self, now_begun: u64) -> bool {
        self.begun == now_begun
    }

    /// Whether a file can be relied on, if nobody has begun to replace anything since. One that was not looked at
    /// cannot.
    pub(super) fn covers(&self, file: FileNumber, now_begun: u64) -> bool {
        self.is_of(now_begun) && self.files.get(&file).copied().unwrap_or(false)
    }
}

impl InPlace {
    /// Looks at the files in which chunks lie at `places`.
    pub(super) fn reliance(&self, places: impl Iterator<Item = FilePlace>) -> Result<Reliance, StoreError> {
        let targets = self.targets();
        Ok(Reliance { files: self.spared(places, &targets)?, begun: targets.begun })
    }

    /// How often something was about to be replaced.
    pub(super) fn begun(&self) -> u64 {
        self.state().targets.begun
    }

    /// The places where something is about to be replaced now.
    pub(super) fn targets(&self) -> Targets {
        self.state().targets.clone()
    }

    /// Looks at the files in which some of `entries` lie: what lies in one that does not look as it did is not to be
    /// relied on.
    pub(in crate::store) fn doubt(&self, entries: &mut [Entry]) -> Result<(), StoreError> {
        self.doubt_unless(entries, &Targets::default())
    }

    fn doubt_unless(&self, entries: &mut [Entry], targets: &Targets) -> Result<(), StoreError> {
        let held = |entry: &Entry| match entry {
            Entry::InFile(place) if entry.is_held() => Some(*place),
            _ => None,
        };
        let spared = self.spared(entries.iter().filter_map(held), targets)?;
        for entry in entries {
            if let Some(place) = held(entry)
                && spared.get(&place.file) != Some(&true)
            {
                *entry = Entry::InChangedFile(place);
            }
        }
        Ok(())
    }

    /// Looks at the files of these places: whether each stays where it is, and looks as its row says.
    fn spared(
        &self,
        places: impl Iterator<Item = FilePlace>,
        targets: &Targets,
    ) -> Result<HashMap<FileNumber, bool>, StoreError> {
        let mut spared = HashMap::new();
        for FilePlace { file, .. } in places {
            if let Vacant(unknown) = spared.entry(file) {
                unknown.insert(self.file(file)?.is_some_and(|row| targets.spare(&row)));
            }
        }
        Ok(spared)
    }
}

impl Shared {
    /// What the index says of each of `ids`, as [`find`](Self::find) does, for whoever has their bytes: what lies where
    /// something is about to be replaced is not to be relied on either.
    pub(in crate::store) fn find_to_stay<'a>(
        &self,
        ids: impl Iterator<Item = &'a ObjectId> + Clone,
        hold: &Hold,
    ) -> Result<Vec<Entry>, StoreError> {
        // Before the look: what is replaced after it, and not to be replaced any more then, would count as held.
        let targets = self.in_place.targets();
        let mut entries = self.find(ids, hold)?;
        if !targets.places.is_empty() {
            self.in_place.doubt_unless(&mut entries, &targets)?;
        }
        Ok(entries)
    }
}

impl Store {
    /// Says that an output will replace what is at `target` or beneath it. Blocks.
    pub fn replacing(&self, target: &Path) -> Replacing {
        let (shared, target) = (Arc::clone(self.shared()), Target::at(target));
        let mut state = shared.in_place.state();
        state.targets.begun += 1;
        state.targets.places.push(target.clone());
        drop(state);
        Replacing { shared, target }
    }
}

/// Says of a place, as long as it lives, that what is there is about to be replaced.
#[derive(Debug)]
pub struct Replacing {
    shared: Arc<Shared>,
    target: Target,
}

impl Replacing {
    /// Which of the chunks are not held anywhere but in what is about to be replaced. The others are kept by `hold`.
    /// Blocks.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn loses(&self, ids: &[ChunkId], hold: &Hold) -> Result<Vec<bool>, StoreError> {
        if !self.shared.in_place.is_used() {
            return Ok(vec![false; ids.len()]);
        }
        let entries = self.shared.find_to_stay(ids.iter().map(ChunkId::as_bytes), hold)?;
        Ok(entries.iter().map(|entry| !entry.is_held()).collect())
    }
}

impl Drop for Replacing {
    fn drop(&mut self) {
        let targets = &mut self.shared.in_place.state().targets.places;
        if let Some(at) = targets.iter().position(|target| *target == self.target) {
            targets.swap_remove(at);
        }
    }
}

//! What of that which lies in files of the user is not to be relied on: files that do not look as they did, and those
//! that the output of a fetch is about to replace.
//!
//! A chunk of a file that is to be replaced is held and read as long as it lies there. But whoever has its bytes, and
//! would leave them out because it is held, stores or places them.

use std::collections::HashMap;
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
use super::{FileRow, InPlace};
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
pub(super) struct Targets(Vec<Target>);

impl Targets {
    /// Whether the file stays where it is, and looks as its row says.
    pub(super) fn spare(&self, row: &FileRow) -> bool {
        let Some(path) = found_at(row) else { return false };
        if self.0.is_empty() {
            return true;
        }
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        !self.0.iter().any(|target| path.starts_with(&target.named) || real.starts_with(&target.real))
    }
}

impl InPlace {
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
        let mut spared = HashMap::new();
        for entry in entries {
            let Entry::InFile(place) = *entry else { continue };
            if !entry.is_held() {
                continue;
            }
            let is_spared = match spared.get(&place.file) {
                Some(known) => *known,
                None => {
                    let is_spared = self.file(place.file)?.is_some_and(|row| targets.spare(&row));
                    spared.insert(place.file, is_spared);
                    is_spared
                }
            };
            if !is_spared {
                *entry = Entry::InChangedFile(place);
            }
        }
        Ok(())
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
        if !targets.0.is_empty() {
            self.in_place.doubt_unless(&mut entries, &targets)?;
        }
        Ok(entries)
    }
}

impl Store {
    /// Says that an output will replace what is at `target` or beneath it. Blocks.
    pub fn replacing(&self, target: &Path) -> Replacing {
        let (shared, target) = (Arc::clone(self.shared()), Target::at(target));
        shared.in_place.state().targets.0.push(target.clone());
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
        let targets = &mut self.shared.in_place.state().targets.0;
        if let Some(at) = targets.iter().position(|target| *target == self.target) {
            targets.swap_remove(at);
        }
    }
}

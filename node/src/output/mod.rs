//! The file or folder that a fetch writes.
//!
//! It is written under another name beside its final one (`.NAME.HASH.shoal-part`), locked against a second writer,
//! and renamed when every byte is there and flushed. Chunks may come in any order and more than once. Nothing is ever
//! written through a symbolic link: the folder is new, and links are made last. Within a node no two outputs are under
//! way at one target, or one beneath the other's. All functions block on the disk.

mod claims;
mod error;
mod file;
mod flush;
mod folder;
mod keep;
mod place;
mod remains;

use std::path::Path;
use std::sync::Arc;

use shoal_protocol::hash::ContentHash;
use shoal_protocol::manifest::Layout;

use claims::Claim;
pub(crate) use claims::Claims;
pub(crate) use error::OutputError;
use file::FileOutput;
use folder::FolderOutput;
pub(crate) use keep::{Keeper, KeptFile};
use place::Place;
pub(crate) use remains::Remains;

/// An output that is being written. Dropping it removes what was written, unless that is to be kept.
#[derive(Debug)]
pub(crate) struct Output {
    place: Place,
    body: Body,
    keeper: Option<Keeper>,
    /// Given up last.
    _claim: Claim,
}

/// What becomes of an output that is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leftovers {
    /// It is removed: the store has what was written.
    Remove,
    /// It stays, for the store counts on it, and whoever begins it again goes on in it.
    Keep,
}

#[derive(Debug)]
enum Body {
    File(FileOutput),
    Folder(FolderOutput),
}

/// What is to be written.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// A lone file of so many bytes.
    File {
        /// Its size.
        bytes: u64,
    },
    /// A folder with these entries.
    Folder(Arc<Layout>),
}

impl Output {
    /// Refuses at once what [`Output::create`] would refuse: for use before anything is fetched.
    pub(crate) fn check(target: &Path, force: bool) -> Result<(), OutputError> {
        place::check(target, force)
    }

    /// Refuses a target that is the home of this node, or a folder that holds it.
    pub(crate) fn keep_home(home: &Path, target: &Path) -> Result<(), OutputError> {
        place::keep_home(home, target)
    }

    /// Begins an output that will stand at `target`.
    pub(crate) fn create(
        claims: &Claims,
        target: &Path,
        hash: &ContentHash,
        shape: Shape,
        force: bool,
        leftovers: Leftovers,
    ) -> Result<Self, OutputError> {
        let claim = claims.claim(target)?;
        let kept = shape.clone();
        let (place, body) = match shape {
            Shape::File { bytes } => {
                let (place, file) = Place::new_file(target, hash, force, leftovers)?;
                let body = FileOutput::new(place.part(), file, bytes, leftovers)?;
                (place, Body::File(body))
            }
            Shape::Folder(layout) => {
                let place = Place::new_folder(target, hash, force, leftovers)?;
                let body = FolderOutput::new(place.part(), layout, leftovers);
                (place, Body::Folder(body))
            }
        };
        let keeper = (leftovers == Leftovers::Keep).then(|| Keeper::new(place.part(), target, kept));
        Ok(Self { place, body, keeper, _claim: claim })
    }

    /// What there is to know of it if it is kept as a copy of the content.
    pub(crate) fn keeper(&self) -> Option<&Keeper> {
        self.keeper.as_ref()
    }

    /// Writes bytes at an offset of the content's stream.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), OutputError> {
        match &mut self.body {
            Body::File(file) => file.write(offset, bytes),
            Body::Folder(folder) => folder.write(offset, bytes),
        }
    }

    /// Makes the rest (empty files and folders, links), flushes everything and gives it its final name.
    pub(crate) fn finish(self) -> Result<(), OutputError> {
        match self.body {
            Body::File(file) => file.finish()?,
            Body::Folder(folder) => folder.finish()?,
        }
        self.place.settle()
    }
}

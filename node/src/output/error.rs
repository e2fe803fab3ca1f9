//! Why an output could not be written.

use std::io;
use std::path::{Path, PathBuf};

use crate::api::FailureKind;

/// Why an output could not be written. Nothing stands under its final name that did not stand there before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// Something is there already.
    #[error("{} exists already: choose another path with -o, or replace it with --force", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// Something that is no file, folder or link is there: a device, a pipe, a socket.
    #[error("{} is neither a file nor a folder, and not replaced: choose another path with -o", path.display())]
    Special {
        /// The path.
        path: PathBuf,
    },
    /// The node itself lives there.
    #[error("{} is or holds this node's home, and not replaced: choose another path with -o", path.display())]
    Home {
        /// The path.
        path: PathBuf,
    },
    /// The folder that it should go into is not there.
    #[error("there is no folder {} to write into: make it first, or choose another path with -o", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Another fetch is writing there.
    #[error("another fetch is writing {}: wait for it, or choose another path with -o", path.display())]
    Busy {
        /// The path.
        path: PathBuf,
    },
    /// The file system takes two names of the content for one.
    #[error("this file system takes {} for the same as another name in the content: fetch it to one that tells them apart", path.display())]
    NamesMerge {
        /// The second of the two.
        path: PathBuf,
    },
    /// No space.
    #[error("no space left to write {}: make room and run this again, it goes on where it stopped", path.display())]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No permission.
    #[error("no permission to write {}: choose another path with -o", path.display())]
    NotAllowed {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else that the system refuses.
    #[error("cannot write {}: {source}; choose another path with -o, or see what is wrong with this one", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes for a place that the content does not have: a bug, not a peer's doing.
    #[error("a chunk lies outside of the content it belongs to")]
    OutOfBounds,
}

impl OutputError {
    /// The error for a path that the system refused to write.
    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::NoSpace { path, source }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::NotAllowed { path, source },
            _ => Self::Write { path, source },
        }
    }

    /// The family that decides the exit code.
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::NoSpace { .. } | Self::NotAllowed { .. } => FailureKind::Denied,
            _ => FailureKind::Failed,
        }
    }
}

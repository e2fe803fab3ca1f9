//! Why something could not be published.

use std::io;
use std::path::{Path, PathBuf};

use shoal_protocol::manifest::{BuildError, PathError, TargetError};

use crate::api::{Failure, FailureKind};
use crate::network::NetworkError;
use crate::store::StoreError;

/// Why something could not be published. Nothing of it is listed or announced when this is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// No path was given.
    #[error("nothing to publish: no path was given")]
    NothingToPublish,
    /// A path is not there, or may not be read.
    #[error("cannot read {}: {}", path.display(), plain(source))]
    Read {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A path has no last name, as `/` has none.
    #[error("{} has no name to publish it under: give a folder within it", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// A name that is not UTF-8.
    #[error("the name {} is not UTF-8: rename it, manifests carry only UTF-8 names", path.display())]
    NotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// A symbolic link whose text is not UTF-8.
    #[error("the symbolic link {} points to a name that is not UTF-8: manifests carry only UTF-8", path.display())]
    NotUtf8Target {
        /// The link.
        path: PathBuf,
    },
    /// A symbolic link whose text a manifest cannot carry.
    #[error("the symbolic link {} cannot stand in a manifest: {source}", path.display())]
    BadTarget {
        /// The link.
        path: PathBuf,
        /// What is wrong with its text.
        source: TargetError,
    },
    /// A name that a manifest cannot carry.
    #[error("the name {} cannot stand in a manifest: {source}", path.display())]
    BadPath {
        /// The path on disk.
        path: PathBuf,
        /// What is wrong with it.
        source: PathError,
    },
    /// Neither file, folder nor symbolic link.
    #[error("{} is {what}, a special file: only files, folders and symbolic links can be published", path.display())]
    SpecialFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Two arguments with the same last name.
    #[error("two of the given paths are both named {name}: publish the folder that holds them, or rename one")]
    SameName {
        /// The name.
        name: String,
    },
    /// Folders nested beyond what a path can name.
    #[error("{} is nested too deep to be published", path.display())]
    TooDeep {
        /// The folder.
        path: PathBuf,
    },
    /// A file that changed between the scan and the last byte read.
    #[error("{} changed while it was read: publish it again once nothing writes to it", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A stream that broke off before its end.
    #[error("what was sent broke off before its end ({source}): nothing of it is published")]
    Stream {
        /// What broke it off.
        source: io::Error,
    },
    /// The manifest could not be built of what was found.
    #[error("cannot describe this as a manifest: {0}")]
    Manifest(#[from] BuildError),
    /// The store could not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The network could not be told.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A task of this publish ended without a word.
    #[error("publishing broke off inside the node; its log says why")]
    Broken,
}

impl PublishError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    pub(super) fn stream(source: io::Error) -> Self {
        Self::Stream { source }
    }

    /// The family that decides the exit code.
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => FailureKind::Denied,
            Self::NothingToPublish => FailureKind::Usage,
            Self::Store(error) => error.failure_kind(),
            _ => FailureKind::Failed,
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        Self::from_error(error.kind(), &error)
    }
}

/// What the system said, in the words of a person.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

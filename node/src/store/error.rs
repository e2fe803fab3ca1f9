//! What can go wrong with the store, in words that name the file and the way out.
//!
//! [`StoreError`] is the disk's fault or ours; [`ReadError`] adds that one object is not what it should be. Both can
//! be cloned, because one failed commit is news for every ingest that had something in it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shoal_protocol::hash::ContentHash;

use crate::way_out::way_out;

/// Why the store could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has this home open.
    #[error("{} is in use by another node{}", home.display(), process(*pid))]
    Locked {
        /// The home.
        home: PathBuf,
        /// The process that holds it, where it left its number.
        pid: Option<u32>,
    },
    /// No room left where the file lies. What was held before stays readable, and the store works on by itself once
    /// there is room.
    #[error("no space left for {}: free some room and try again (`shoal gc` gives back what nothing needs)", file.display())]
    NoSpace {
        /// The file that could not grow.
        file: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: {source}{}", file.display(), way_out(source))]
    Io {
        /// The file or folder it was about.
        file: PathBuf,
        /// What it said.
        source: Arc<io::Error>,
    },
    /// The file is not what this program wrote.
    #[error("{} is damaged ({detail}): {way_out}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What about it is wrong.
        detail: String,
        /// What to do about it.
        way_out: &'static str,
    },
    /// Written in a format that this program does not know.
    #[error(
        "{} is of store format {found}, this program knows format {known}: use the version of shoal that wrote it",
        file.display()
    )]
    Version {
        /// The file.
        file: PathBuf,
        /// The version it claims.
        found: u32,
        /// The version this program reads and writes.
        known: u32,
    },
    /// Bytes were handed in under an id that is not theirs.
    #[error("{bytes} bytes were handed to the store under an id that is not theirs")]
    WrongBytes {
        /// How many bytes.
        bytes: usize,
    },
    /// Larger than anything the store takes.
    #[error("an object of {bytes} bytes is larger than the store takes ({limit})")]
    TooLarge {
        /// How many bytes it has.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
    /// What is garbage cannot be told, so nothing is collected.
    #[error(
        "nothing is collected, for it cannot be told what {hash} needs: {reason}; fetch it again, or remove it with `shoal rm`"
    )]
    Unsure {
        /// The content.
        hash: ContentHash,
        /// What is wrong with it.
        reason: String,
    },
    /// The collector's work was overtaken by a fault of the index's file.
    #[error("the index was opened anew after a fault while garbage was collected: try again")]
    Overtaken,
    /// The quota is reached, and nothing more can be evicted.
    #[error(
        "the quota of {} MiB is reached: contents of {} MiB are pinned, {} MiB are in use; unpin or remove some \
         (`shoal list` shows them), or raise the quota",
        quota >> 20, pinned_bytes >> 20, in_use_bytes >> 20
    )]
    QuotaReached {
        /// Bytes that the home may take.
        quota: u64,
        /// Bytes of contents that are pinned.
        pinned_bytes: u64,
        /// Bytes that are being published, fetched or read, or were given to others just now.
        in_use_bytes: u64,
    },
    /// More than the quota leaves for contents, so nothing is evicted for it.
    #[error(
        "{} MiB do not fit under the quota of {} MiB, which leaves {} MiB for contents: raise the quota, or use --in-place, \
         which keeps files of 1 MiB and more outside of the home",
        bytes.div_ceil(1 << 20), quota >> 20, room >> 20
    )]
    LargerThanQuota {
        /// Bytes of the content.
        bytes: u64,
        /// Bytes that the home may take.
        quota: u64,
        /// Bytes of it that contents may take at most.
        room: u64,
    },
    /// The quota leaves no room for the databases themselves.
    #[error("a quota of {quota} bytes is too little: the databases need {} MiB to work in, more is for contents", least >> 20)]
    QuotaTooSmall {
        /// Bytes that the home may take.
        quota: u64,
        /// The least that is taken.
        least: u64,
    },
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

/// Why an object that the store should hold could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// What lies on the disk is not the object. The store counts it as not held from now on, so publishing or
    /// fetching it again stores it anew.
    #[error("{what} in {} is damaged ({detail}): publish or fetch the content again to replace it", file.display())]
    Damaged {
        /// The object.
        what: String,
        /// The file it lies in.
        file: PathBuf,
        /// What about it is wrong.
        detail: String,
    },
    /// The store itself failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn process(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// The way out for a database whose contents the store derives from others.
pub(super) const WAY_OUT_INDEX: &str = "stop the node and delete this file; it is rebuilt from the segments";
/// The way out for the table of chunks in place.
pub(super) const WAY_OUT_IN_PLACE: &str =
    "run `shoal verify --repair`, or publish again in place what it named (the files themselves are not touched)";
/// The way out for a segment.
pub(super) const WAY_OUT_SEGMENT: &str =
    "check the disk; publish or fetch what it held again, it will be stored in a new segment";
/// The way out for the catalog.
pub(super) const WAY_OUT_CATALOG: &str =
    "restore it from a backup, or move it away and publish again (chunks already held are not written twice)";

impl StoreError {
    /// An error of the operating system about `file`.
    pub(super) fn io(file: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::NoSpace { file: file.into() }
            }
            io::ErrorKind::UnexpectedEof => Self::damaged(file, "it has been cut short"),
            _ => Self::Io { file: file.into(), source: Arc::new(source) },
        }
    }

    /// `file` is not what this program wrote.
    pub(super) fn damaged(file: &Path, detail: impl Into<String>) -> Self {
        let way_out = match file.file_name().and_then(|name| name.to_str()) {
            Some(super::INDEX_FILE) => WAY_OUT_INDEX,
            Some(super::CATALOG_FILE) => WAY_OUT_CATALOG,
            Some(super::IN_PLACE_FILE) => WAY_OUT_IN_PLACE,
            _ => WAY_OUT_SEGMENT,
        };
        Self::Damaged { file: file.into(), detail: detail.into(), way_out }
    }

    /// Whether the file itself is wrong, rather than the disk, the system or the caller.
    pub(super) const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }

    /// Whether the disk did not take what was to be written, or the system did not let us: what is there may still be
    /// read.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::Io { source, .. } => source.kind() != io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// Whether the system does not let us.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Whether redb closes its handle on such an error, so that the file must be opened again.
    pub(super) const fn closes_handle(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::NoSpace { .. } | Self::Damaged { .. })
    }
}

/// What stops work on a database before it has a file's name to go with it.
#[derive(Debug)]
pub(super) enum Trouble {
    /// redb, or the file under it.
    Redb(Box<redb::Error>),
    /// A row that does not decode or whose check does not match.
    Row(&'static str),
    /// A format version that this program does not know.
    Version(u32),
}

impl Trouble {
    /// The same about `file`.
    pub(super) fn about(self, file: &Path) -> StoreError {
        let error = match self {
            Self::Row(detail) => return StoreError::damaged(file, detail),
            Self::Version(found) => {
                return StoreError::Version { file: file.into(), found, known: super::FORMAT_VERSION };
            }
            Self::Redb(error) => *error,
        };
        match error {
            redb::Error::Io(source) => match source.kind() {
                io::ErrorKind::InvalidData => StoreError::damaged(file, source.to_string()),
                _ => StoreError::io(file, source),
            },
            redb::Error::Corrupted(detail) => StoreError::damaged(file, detail),
            redb::Error::UpgradeRequired(found) => {
                StoreError::Version { file: file.into(), found: found.into(), known: super::FORMAT_VERSION }
            }
            other => StoreError::Io { file: file.into(), source: Arc::new(io::Error::other(other.to_string())) },
        }
    }
}

macro_rules! trouble_from {
    ($($error:ty),*) => {$(
        impl From<$error> for Trouble {
            fn from(error: $error) -> Self {
                Self::Redb(Box::new(error.into()))
            }
        }
    )*};
}

trouble_from!(
    redb::Error,
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError,
    redb::SetDurabilityError
);

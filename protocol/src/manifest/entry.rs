//! Entries: what stands at a path of a published folder.
//!
//! An entry has a path, a kind and, for files, a size. There are no times and no owners, so that the same content has
//! the same hash wherever it was copied to. Folders have no entries of their own unless they are empty.

use super::path::EntryPath;
use crate::chunker::LARGE_FILE_BYTES;

/// Most bytes in the text of a symbolic link.
pub const MAX_TARGET_BYTES: u16 = 4096;

/// One path of a published folder and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: EntryPath,
    /// What.
    pub kind: EntryKind,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Bytes in it.
        size: u64,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A folder with nothing in it.
    EmptyFolder,
    /// A symbolic link, kept as the text it holds: relative, absolute or dangling.
    Symlink(Target),
}

impl EntryKind {
    /// Bytes that the entry takes of the stream; 0 for what is not a file.
    pub const fn size(&self) -> u64 {
        match self {
            Self::File { size, .. } => *size,
            Self::EmptyFolder | Self::Symlink(_) => 0,
        }
    }

    /// Whether this is a file with a chunker run of its own.
    pub const fn is_large(&self) -> bool {
        self.size() >= LARGE_FILE_BYTES
    }
}

/// The text of a symbolic link: not empty, at most [`MAX_TARGET_BYTES`], without NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(Box<str>);

/// Why a text cannot be what a symbolic link holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a symbolic link holds {bytes} bytes of text; it may hold 1 to {MAX_TARGET_BYTES}, none of them NUL")]
pub struct TargetError {
    /// Its length.
    pub bytes: usize,
}

impl Target {
    /// Takes the text of a symbolic link.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, TargetError> {
        let text = text.into();
        if text.is_empty() || text.len() > MAX_TARGET_BYTES.into() || text.contains('\0') {
            return Err(TargetError { bytes: text.len() });
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

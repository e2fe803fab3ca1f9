//! Paths of entries: which texts are paths at all, and which paths may stand in one manifest.
//!
//! A path is UTF-8, byte for byte as it was published: nothing is normalised. [`EntryPath`] can only hold a text that
//! names something below the published folder; [`PathOrder`] sees to it that no two entries claim the same place. What
//! a file system would make of a path (merging case, reserved names) is for whoever writes there.

use std::fmt;

/// Most bytes in a path.
pub const MAX_PATH_BYTES: u16 = 4096;
/// Most bytes in one component of a path.
pub const MAX_COMPONENT_BYTES: usize = 255;

/// A path of an entry: components with `/` between them, relative to the published folder, never leaving it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath(Box<str>);

/// Why a text is not the path of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Nothing in it.
    #[error("a path is empty")]
    Empty,
    /// More than [`MAX_PATH_BYTES`].
    #[error("a path has {bytes} bytes, above the limit of {MAX_PATH_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A component of more than [`MAX_COMPONENT_BYTES`].
    #[error("a name in a path has {bytes} bytes, above the limit of {MAX_COMPONENT_BYTES}")]
    ComponentTooLong {
        /// Its length.
        bytes: usize,
    },
    /// It begins or ends with `/`, or has two in a row.
    #[error("a path has an empty name in it (a leading, trailing or double `/`)")]
    EmptyComponent,
    /// A component `.` or `..`.
    #[error("a path has `.` or `..` as a name in it")]
    Dots,
    /// A NUL byte.
    #[error("a path has a NUL byte in it")]
    Nul,
}

impl EntryPath {
    /// Takes a text that is a path.
    pub fn new(path: impl Into<Box<str>>) -> Result<Self, PathError> {
        let path = path.into();
        check(&path)?;
        Ok(Self(path))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes that order, encoding and limits are about.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The last component: the entry's own name.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }
}

fn check(path: &str) -> Result<(), PathError> {
    match path.len() {
        0 => return Err(PathError::Empty),
        bytes if bytes > MAX_PATH_BYTES.into() => return Err(PathError::TooLong { bytes }),
        _ => {}
    }
    path.split('/').try_for_each(|name| match name {
        "" => Err(PathError::EmptyComponent),
        "." | ".." => Err(PathError::Dots),
        name if name.len() > MAX_COMPONENT_BYTES => Err(PathError::ComponentTooLong { bytes: name.len() }),
        name if name.contains('\0') => Err(PathError::Nul),
        _ => Ok(()),
    })
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for EntryPath {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl TryFrom<&str> for EntryPath {
    type Error = PathError;
    fn try_from(path: &str) -> Result<Self, PathError> {
        Self::new(path)
    }
}

/// Why a path may not follow those before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// Not behind the one before it in the order of bytes.
    #[error("{path:?} comes after {previous:?}, against the order of bytes")]
    Unsorted {
        /// The path before it.
        previous: EntryPath,
        /// The path that is out of place.
        path: EntryPath,
    },
    /// The same path twice.
    #[error("{path:?} stands there twice")]
    Duplicate {
        /// The path.
        path: EntryPath,
    },
    /// It lies below a path that is an entry itself, so that one name would be both a file and a folder.
    #[error("{path:?} lies below an entry that is not a folder")]
    Clash {
        /// The lower path.
        path: EntryPath,
    },
}

/// Watches paths go by and refuses those that cannot stand beside the earlier ones.
///
/// In the order of bytes, all that lies between `a` and `a/b` begins with `a` too. So the earlier paths of which the
/// current one could be a descendant are always prefixes of it, and their lengths are all that has to be kept.
#[derive(Debug, Clone, Default)]
pub struct PathOrder {
    previous: Option<EntryPath>,
    /// Lengths of the earlier paths that are prefixes of `previous`, ascending; the last one is its own.
    prefixes: Vec<u16>,
}

impl PathOrder {
    /// Takes the next path, or says why it may not come here.
    pub fn accept(&mut self, path: &EntryPath) -> Result<(), OrderError> {
        if let Some(previous) = &self.previous {
            match path.as_bytes().cmp(previous.as_bytes()) {
                std::cmp::Ordering::Greater => {}
                std::cmp::Ordering::Equal => return Err(OrderError::Duplicate { path: path.clone() }),
                std::cmp::Ordering::Less => {
                    return Err(OrderError::Unsorted { previous: previous.clone(), path: path.clone() });
                }
            }
            let shared = shared_prefix(previous.as_bytes(), path.as_bytes());
            while self.prefixes.last().is_some_and(|&length| usize::from(length) > shared) {
                self.prefixes.pop();
            }
            // Prefixes shorter than `shared` go on with the same byte as before, so only this one can be new.
            if self.prefixes.last().is_some_and(|&length| usize::from(length) == shared)
                && path.as_bytes().get(shared) == Some(&b'/')
            {
                return Err(OrderError::Clash { path: path.clone() });
            }
        }
        self.prefixes.push(path.as_bytes().len() as u16);
        self.previous = Some(path.clone());
        Ok(())
    }
}

/// How many bytes at their beginning two texts share.
pub(super) fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

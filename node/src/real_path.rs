//! Where a path leads to, whether or not anything is there.

use std::path::{Path, PathBuf};

/// The path with all links above its last name followed; as it is where that cannot be told. So two names of one place
/// are the same, and a link that stands there is not followed: what replaces it takes its place.
pub(crate) fn real_path(path: &Path) -> PathBuf {
    let folder = folder_of(path).canonicalize().ok();
    folder.zip(path.file_name()).map_or_else(|| path.to_owned(), |(folder, name)| folder.join(name))
}

/// The folder that a path is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

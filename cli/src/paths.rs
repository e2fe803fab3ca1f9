//! Paths of this machine, as the node needs them: absolute and in UTF-8.

use std::path::{Component, Path, PathBuf};

use shoal_node::api::FailureKind;

use crate::stop::{Outcome, Stop};

/// Makes a path absolute without following links, so that a node with another current folder means the same.
pub(crate) fn absolute(path: &Path) -> Outcome<PathBuf> {
    if path.to_str().is_none() {
        return Err(Stop::usage(format!("{} is not UTF-8; rename it first", path.display())));
    }
    let failed = |error| Stop::new(FailureKind::Failed, format!("cannot make {} absolute: {error}", path.display()));
    let absolute = std::path::absolute(path).map_err(failed)?;
    match absolute.components().next_back() {
        // `x/..` has no name of its own; only the file system knows which folder it is.
        Some(Component::ParentDir) => absolute.canonicalize().map_err(failed),
        // Without a closing slash.
        _ => Ok(absolute.components().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_and_keep_their_name() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute(Path::new(".")).unwrap(), here);
        assert_eq!(absolute(Path::new("a/b/")).unwrap(), here.join("a/b"));
        assert_eq!(absolute(Path::new("..")).unwrap(), here.parent().unwrap().canonicalize().unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"a\xff"));
        assert_eq!(absolute(path).unwrap_err().exit_code(), 2);
    }
}

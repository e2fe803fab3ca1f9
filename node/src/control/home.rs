//! The folder that a node lives in, as far as other users of the machine are concerned.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use super::ControlError;

const PRIVATE: u32 = 0o700;
const STICKY: u32 = 0o1000;
/// Names that stand only in a home, so that nobody's other folder is closed to others by mistake.
const MARKS: [&str; 5] = ["lock", "index.redb", "identity", "config.toml", "segments"];

/// Makes the home if it is not there, readable by nobody else (mode 0700).
///
/// One that exists is closed to others too if it is empty or holds what a home holds; any other folder is left as
/// it is.
///
/// # Errors
/// [`ControlError::Home`] if there is no such folder and none can be made.
pub fn prepare_home(home: &Path) -> Result<(), ControlError> {
    make_or_close(home).map_err(|error| ControlError::Home { path: home.to_owned(), error })
}

fn make_or_close(home: &Path) -> io::Result<()> {
    if home.symlink_metadata().is_ok() && !home.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no folder"));
    }
    DirBuilder::new().recursive(true).mode(PRIVATE).create(home)?;
    let mode = fs::metadata(home)?.permissions().mode();
    if mode & 0o077 == 0 || mode & STICKY != 0 {
        return Ok(());
    }
    let empty = fs::read_dir(home)?.next().is_none();
    if empty || MARKS.iter().any(|mark| home.join(mark).exists()) {
        match fs::set_permissions(home, Permissions::from_mode(PRIVATE)) {
            // It can be read, and nothing can be put there by others either.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
            closed => closed?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_new_home_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("a/b");
        prepare_home(&home).unwrap();
        assert_eq!(mode(&home), PRIVATE);
    }

    #[test]
    fn an_open_home_is_closed_and_another_folder_is_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("letters.txt"), b"").unwrap();
        prepare_home(dir.path()).unwrap();
        assert_eq!(mode(dir.path()), 0o755);
        fs::write(dir.path().join("config.toml"), b"").unwrap();
        prepare_home(dir.path()).unwrap();
        assert_eq!(mode(dir.path()), PRIVATE);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = prepare_home(file.path()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("{} as a home: it is no folder;", file.path().display())), "{text}");
    }
}

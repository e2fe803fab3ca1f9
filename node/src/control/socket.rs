//! Where the control socket lies, and how to bind and reach it even when its path is long.
//!
//! A socket's path has room for 107 bytes. For a longer one the folder is opened and the socket is addressed as
//! `/proc/self/fd/N/control.sock`, which the kernel resolves to the same place; the socket always lies in the home.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::ControlError;

/// Bytes in the path of a Unix socket, without the ending NUL, on the narrowest system (macOS has 103, Linux 107).
const MAX_SOCKET_PATH_BYTES: usize = 103;
const SOCKET_NAME: &str = "control.sock";

/// Where the control socket of a home lies.
pub fn socket_path(home: &Path) -> PathBuf {
    home.join(SOCKET_NAME)
}

/// A path for `name` in `folder` that fits into a socket's address for as long as it lives.
struct ShortPath {
    path: PathBuf,
    /// Keeps the descriptor in the path open.
    _folder: Option<File>,
}

impl ShortPath {
    fn new(folder: &Path, name: &str) -> Result<Self, ShortPathError> {
        let path = folder.join(name);
        if path.as_os_str().len() <= MAX_SOCKET_PATH_BYTES {
            return Ok(Self { path, _folder: None });
        }
        if !cfg!(target_os = "linux") {
            return Err(ShortPathError::TooLong);
        }
        let folder = File::open(folder)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }
}

enum ShortPathError {
    TooLong,
    Io(io::Error),
}

impl From<io::Error> for ShortPathError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Binds the control socket of a home, in place of one that is there already.
///
/// Whoever calls this holds the store's lock, so a socket that is there belongs to nobody. The socket is made in a
/// private folder and moved into place once its mode is right: at no time can another user connect.
pub(super) fn bind(home: &Path) -> Result<UnixListener, ControlError> {
    let path = socket_path(home);
    bind_and_move(home, &path).map_err(|error| match error {
        ShortPathError::TooLong => ControlError::PathTooLong { path, limit: MAX_SOCKET_PATH_BYTES },
        ShortPathError::Io(error) => ControlError::Bind { path, error },
    })
}

fn bind_and_move(home: &Path, path: &Path) -> Result<UnixListener, ShortPathError> {
    let folder = home.join(format!(".control-{}", std::process::id()));
    let made = folder.join(SOCKET_NAME);
    // Left over from a process that had the same id and died right here.
    match fs::remove_file(&made) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    let short = ShortPath::new(&folder, SOCKET_NAME)?;
    let listener = UnixListener::bind(&short.path)?;
    fs::set_permissions(&made, Permissions::from_mode(0o600))?;
    fs::rename(&made, path)?;
    fs::remove_dir(&folder)?;
    Ok(listener)
}

/// Connects to the control socket of a home; `None` when nobody listens there.
pub(super) async fn connect(home: &Path) -> Result<Option<UnixStream>, ControlError> {
    let path = socket_path(home);
    let short = match ShortPath::new(home, SOCKET_NAME) {
        Ok(short) => short,
        Err(ShortPathError::TooLong) => {
            return Err(ControlError::PathTooLong { path, limit: MAX_SOCKET_PATH_BYTES });
        }
        Err(ShortPathError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(ShortPathError::Io(error)) => return Err(ControlError::Connect { path, error }),
    };
    match UnixStream::connect(&short.path).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            // Refused: the socket of a node that is gone. Not a folder: whoever opens the home says it better.
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => Ok(None),
            _ => Err(ControlError::Connect { path, error }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check_home(home: &Path) {
        assert!(connect(home).await.unwrap().is_none());
        fs::create_dir_all(home).unwrap();
        assert!(connect(home).await.unwrap().is_none());
        let first = bind(home).unwrap();
        assert!(connect(home).await.unwrap().is_some());
        assert_eq!(fs::metadata(socket_path(home)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(home).unwrap().count(), 1, "nothing but the socket is left");
        drop(first);
        assert!(connect(home).await.unwrap().is_none(), "a stale socket is nobody");
        let _second = bind(home).unwrap();
        assert!(connect(home).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn binds_connects_and_replaces_a_stale_socket() {
        let dir = tempfile::tempdir().unwrap();
        check_home(&dir.path().join("home")).await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_long_path_works_too() {
        let dir = tempfile::tempdir().unwrap();
        check_home(&dir.path().join("d".repeat(120)).join("e".repeat(200))).await;
    }
}

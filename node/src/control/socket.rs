//! Where the control socket lies, and how to bind and reach it even when its path is long.
//!
//! A socket's path has room for 107 bytes. For a longer one the folder is opened and the socket is addressed as
//! `/proc/self/fd/N/control.sock`, which the kernel resolves to the same place. The socket lies in the home; where that
//! takes no new name (the disk is full or read-only) it lies in a private folder of the user, named after the home.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
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
    let bound = bind_and_move(home, &path).or_else(|error| match error {
        ShortPathError::Io(error) if takes_no_name(&error) => bind_elsewhere(home).map_err(|other| {
            tracing::warn!(error = %other, "nor can the control socket lie elsewhere");
            ShortPathError::Io(error)
        }),
        other => Err(other),
    });
    bound.map_err(|error| match error {
        ShortPathError::TooLong => ControlError::PathTooLong { path, limit: MAX_SOCKET_PATH_BYTES },
        ShortPathError::Io(error) => ControlError::Bind { path, error },
    })
}

fn takes_no_name(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull)
}

fn bind_elsewhere(home: &Path) -> io::Result<UnixListener> {
    let folder = elsewhere(home)?;
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if !is_private(&folder) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "a folder of that name belongs to others"));
    }
    tracing::warn!(folder = %folder.display(), "the home takes no control socket: it lies elsewhere");
    bind_and_move(&folder, &socket_path(&folder)).map_err(|error| match error {
        ShortPathError::TooLong => io::ErrorKind::InvalidFilename.into(),
        ShortPathError::Io(error) => error,
    })
}

/// The folder for the socket of a home that takes none: in the user's runtime folder, or where temporary files lie.
fn elsewhere(home: &Path) -> io::Result<PathBuf> {
    let home = home.canonicalize()?;
    let name = blake3::hash(home.as_os_str().as_bytes()).to_hex();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let base = runtime.unwrap_or_else(std::env::temp_dir);
    Ok(base.join(format!("shoal-{}-{:.16}", rustix::process::geteuid().as_raw(), name.as_str())))
}

/// Whether a folder is this user's, and nobody else can do anything in it.
fn is_private(folder: &Path) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|meta| {
        meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o077 == 0
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
    if let Some(stream) = connect_in(home).await? {
        return Ok(Some(stream));
    }
    match elsewhere(home) {
        Ok(folder) if is_private(&folder) => connect_in(&folder).await,
        _ => Ok(None),
    }
}

async fn connect_in(home: &Path) -> Result<Option<UnixStream>, ControlError> {
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

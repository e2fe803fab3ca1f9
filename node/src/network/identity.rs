//! Who a node is: an Ed25519 key pair, kept in a file that only its owner may read.
//!
//! The file holds the key pair in libp2p's protobuf encoding. It is written under another name and renamed, so a
//! crash leaves either the whole key or none. A damaged file is an error and is never replaced: the peer id that
//! others know would be lost without anybody having said so.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use libp2p::identity::{KeyType, Keypair};

use super::PeerId;
use crate::real_path::folder_of;
use crate::way_out::way_out;

/// More bytes than an encoded Ed25519 key pair has; a longer file is something else.
const MAX_FILE_BYTES: u64 = 1024;

/// A node's key pair. Cloning it shares the same key.
#[derive(Clone)]
pub struct Identity {
    keypair: Keypair,
}

impl Identity {
    /// Makes a new identity that is kept nowhere.
    pub fn generate() -> Self {
        Self { keypair: Keypair::generate_ed25519() }
    }

    /// Reads the identity in the file at `path`, or makes one there if there is no such file. Blocks on the disk.
    ///
    /// # Errors
    /// When the file cannot be read or written, is not an identity, or others may read it.
    pub fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        match File::open(path) {
            Ok(file) => Self::read(path, file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Self::create(path),
            Err(source) => Err(IdentityError::Read { path: path.to_owned(), source }),
        }
    }

    /// The public name that follows from the key.
    pub fn peer_id(&self) -> PeerId {
        PeerId::from_libp2p(self.keypair.public().to_peer_id())
    }

    pub(super) fn keypair(&self) -> &Keypair {
        &self.keypair
    }

    fn read(path: &Path, file: File) -> Result<Self, IdentityError> {
        let fail = |source| IdentityError::Read { path: path.to_owned(), source };
        let mode = file.metadata().map_err(fail)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(IdentityError::Exposed { path: path.to_owned(), mode: mode & 0o777 });
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
        let damaged = |reason: String| IdentityError::Damaged { path: path.to_owned(), reason };
        let keypair = match bytes.len() as u64 {
            0 => Err(damaged("it is empty".to_owned())),
            1..=MAX_FILE_BYTES => Keypair::from_protobuf_encoding(&bytes).map_err(|e| damaged(e.to_string())),
            _ => Err(damaged("it is too long".to_owned())),
        }?;
        match keypair.key_type() {
            KeyType::Ed25519 => Ok(Self { keypair }),
            other => Err(damaged(format!("it holds an {other:?} key, not an Ed25519 key"))),
        }
    }

    fn create(path: &Path) -> Result<Self, IdentityError> {
        let fail = |source| IdentityError::Write { path: path.to_owned(), source };
        let identity = Self::generate();
        let bytes = identity.keypair.to_protobuf_encoding().map_err(|e| fail(io::Error::other(e)))?;
        let mut temporary = tempfile::Builder::new()
            .prefix(".identity-")
            .make_in(folder_of(path), |path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path))
            .map_err(fail)?;
        temporary.write_all(&bytes).map_err(fail)?;
        temporary.as_file().sync_all().map_err(fail)?;
        match temporary.persist_noclobber(path) {
            Ok(_) => {}
            // Somebody else was quicker: theirs is the identity now.
            Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => {
                let file = File::open(path).map_err(fail)?;
                return Self::read(path, file);
            }
            Err(e) => return Err(fail(e.error)),
        }
        File::open(folder_of(path)).and_then(|folder| folder.sync_all()).map_err(fail)?;
        Ok(identity)
    }
}

/// Shows the public name only.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.peer_id()).finish()
    }
}

/// Why there is no identity to work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file is there and cannot be read.
    #[error("cannot read the identity in {}{}", path.display(), way_out(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file does not hold an Ed25519 key pair.
    #[error("the identity in {} is damaged ({reason}); restore it from a copy, or move it away to become a new peer", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Other users of the machine may read or write the file.
    #[error("the identity in {} is open to others (mode {mode:o}); make it 600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A new identity could not be written.
    #[error("cannot write a new identity to {}{}", path.display(), way_out(source))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_time_it_is_the_same_peer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        let first = Identity::load_or_create(&path).unwrap();
        let second = Identity::load_or_create(&path).unwrap();
        assert_eq!(first.peer_id(), second.peer_id());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["identity"], "nothing temporary is left");
    }

    #[test]
    fn damage_is_told_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        Identity::load_or_create(&path).unwrap();
        let good = std::fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[20] ^= 1;
        for bad in [&b""[..], &good[..good.len() - 1], &flipped, &[0xff; 2000]] {
            std::fs::write(&path, bad).unwrap();
            let error = Identity::load_or_create(&path).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains("identity"), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), bad);
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        Identity::load_or_create(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Identity::load_or_create(&path), Err(IdentityError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn a_folder_that_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Identity::load_or_create(&folder.path().join("none/identity")).unwrap_err();
        assert!(matches!(error, IdentityError::Write { .. }), "{error}");
    }

    #[test]
    fn the_debug_text_has_no_key() {
        let identity = Identity::generate();
        assert_eq!(format!("{identity:?}"), format!("Identity({:?})", identity.peer_id()));
    }
}

//! A folder that goes with its owner, however that ends.
//!
//! A [`TempDir`] is gone when it is dropped, which does not happen in a process that is killed. So a shell waits for
//! the end of its standard input, whose only other end this process holds, and removes the folder then, if it is still
//! there.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Removes the folder on the end of input. Processes that die at the same moment may still write to it: so again, for
/// some seconds.
const SWEEPER: &str = "while read -r _; do :; done; n=0; \
    while [ -e \"$0\" ] && [ $n -lt 50 ]; do rm -rf -- \"$0\" 2>/dev/null; n=$((n+1)); [ -e \"$0\" ] && sleep 0.2; done";

/// A folder that is gone when this is, or when this process is.
#[derive(Debug)]
pub(crate) struct Temporary {
    folder: Option<TempDir>,
    sweeper: Child,
}

impl Temporary {
    /// Makes one in the system's folder for such.
    pub(crate) fn new() -> io::Result<Self> {
        // A control socket's path has room for some 100 bytes: keep it short.
        let folder = tempfile::Builder::new().prefix("shoal-").tempdir()?;
        let sweeper = Command::new("/bin/sh")
            .args(["-c", SWEEPER])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // No Ctrl-C at the terminal reaches it.
            .process_group(0)
            .spawn()?;
        Ok(Self { folder: Some(folder), sweeper })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new(""), TempDir::path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(self.folder.take());
        drop(self.sweeper.stdin.take());
        // It has next to nothing to do.
        let _ = self.sweeper.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn it_goes_when_it_is_dropped() {
        let temporary = Temporary::new().unwrap();
        let path = temporary.path().to_owned();
        fs::write(path.join("file"), "words").unwrap();
        drop(temporary);
        assert!(!path.exists());
    }

    #[test]
    fn it_goes_when_its_owner_is_killed() {
        let mut temporary = Temporary::new().unwrap();
        let path = temporary.path().to_owned();
        fs::create_dir(path.join("folder")).unwrap();
        // What the kernel does for a killed owner: its end of the pipe closes, nothing else.
        drop(temporary.sweeper.stdin.take());
        temporary.sweeper.wait().unwrap();
        assert!(!path.exists());
    }
}

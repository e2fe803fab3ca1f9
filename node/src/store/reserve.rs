//! A little of the disk that the home keeps for the worst case.
//!
//! Whatever gives room back takes some first: a commit of the catalog, or of the index. On a disk that is full to the
//! last byte nothing could be removed. So the home holds a file of zeros from its first group on, which is given up for
//! such a commit, and made again afterwards. Best effort: there may have been no room for it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Its name in a home.
const RESERVE_FILE: &str = "reserve";
/// Its size: some commits of the catalog and the index, and the beginning of a segment.
pub(super) const RESERVE_BYTES: u64 = 512 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Nobody has looked.
    #[default]
    Unknown,
    /// It is there, as far as there was room for it.
    Kept,
    /// It was given up, and whoever did so is still at work.
    GivenUp,
}

/// The reserve of a home.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    // A std mutex: now and then half a MiB of zeros is written under it.
    state: Mutex<State>,
}

impl Reserve {
    /// The reserve of `home`; makes nothing yet.
    pub(super) fn of(home: &Path) -> Self {
        Self { path: home.join(RESERVE_FILE), state: Mutex::default() }
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it where it is not, unless somebody works with the room that it has given up.
    pub(super) fn keep(&self) {
        let mut state = self.state();
        if *state == State::Unknown {
            self.make(&mut state);
        }
    }

    /// Gives its room up; `false` if there was none.
    pub(super) fn give_up(&self) -> bool {
        let mut state = self.state();
        let given_up = std::fs::remove_file(&self.path).is_ok();
        if given_up {
            tracing::info!("the disk is full: working with what the home has in reserve");
            *state = State::GivenUp;
        }
        given_up
    }

    /// Makes it again after it was given up.
    pub(super) fn take_back(&self) {
        let mut state = self.state();
        if *state == State::GivenUp {
            self.make(&mut state);
        }
    }

    fn make(&self, state: &mut State) {
        *state = State::Kept;
        if std::fs::metadata(&self.path).is_ok_and(|about| about.len() >= RESERVE_BYTES) {
            return;
        }
        let made =
            File::create(&self.path).and_then(|mut file| io::copy(&mut io::repeat(0).take(RESERVE_BYTES), &mut file));
        if let Err(error) = made {
            // What there was room for is better than nothing.
            tracing::debug!(%error, "no room for the reserve");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_given_up_once_and_taken_back() {
        let home = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(home.path());
        let bytes = || std::fs::metadata(reserve.path()).map(|about| about.len()).ok();
        assert!(!reserve.give_up(), "there was none yet");
        reserve.keep();
        assert_eq!(bytes(), Some(RESERVE_BYTES));
        assert!(reserve.give_up());
        reserve.keep();
        assert_eq!(bytes(), None, "somebody needs its room");
        assert!(!reserve.give_up());
        reserve.take_back();
        assert_eq!(bytes(), Some(RESERVE_BYTES));
        // One that came out too short is made good by the next start.
        std::fs::write(reserve.path(), [0]).unwrap();
        reserve.take_back();
        assert_eq!(bytes(), Some(1));
        Reserve::of(home.path()).keep();
        assert_eq!(bytes(), Some(RESERVE_BYTES));
    }
}

//! How long the store has been quiet, while there is something to make durable that nobody waits for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After this long without a group the index is made durable; from then on an idle store touches no disk.
const INDEX_IDLE: Duration = Duration::from_secs(1);

/// Since when no group has come, while there is something to make durable: the keeper is told once and not of each.
#[derive(Debug, Default)]
pub(super) struct Quiet(Mutex<Option<Instant>>);

impl Quiet {
    // Each section is one move.
    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A group has come. `true`: the keeper does not know that there is something to make durable.
    pub(super) fn begin(&self) -> bool {
        self.since().replace(Instant::now()).is_none()
    }

    /// How much longer it has to last, if it is waited for.
    pub(super) fn left(&self) -> Option<Duration> {
        self.since().map(|since| INDEX_IDLE.saturating_sub(since.elapsed()))
    }

    /// Whether it has lasted long enough; if so, it is over.
    pub(super) fn end(&self) -> bool {
        self.since().take_if(|since| since.elapsed() >= INDEX_IDLE).is_some()
    }
}

//! The time of day, for what people read.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds of Unix time; 0 on a machine whose clock stands before 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

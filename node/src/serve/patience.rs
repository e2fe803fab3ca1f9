//! How long a requester is waited for that takes what it asked for slowly, or asks for nothing. Pure.
//!
//! A session that waits for its requester keeps its place from others. While there are places enough, only one that
//! takes nothing for long loses it. From half of them on, so does one that is slower than any line still in use, and
//! one that asks for nothing a while: else a few peers that read a byte now and then, or nothing, would have all
//! places.

use std::time::Duration;

use crate::config::{FRAME_DEADLINE, IDLE_SESSION, MAX_SERVING_SESSIONS};

/// From so many sessions on, those that are slow or idle give way.
const CROWDED_SESSIONS: usize = MAX_SERVING_SESSIONS / 2;
/// How long a requester may be slow then, …
const CROWDED_PATIENCE: Duration = Duration::from_secs(5);
/// … and what is not slow, in bytes a second.
const CROWDED_RATE: u64 = 8 * 1024;
/// How long a session may lie idle then: nothing is asked, and there is nothing to tell.
const CROWDED_IDLE: Duration = Duration::from_secs(60);

/// Whether a requester is fast enough to be served on: of one write it took so many bytes in that `time`, the last of
/// them `idle` ago.
pub(super) fn is_fast_enough(sessions: usize, written: usize, time: Duration, idle: Duration) -> bool {
    let is_slow = (written as u64) < CROWDED_RATE.saturating_mul(time.as_secs());
    idle < FRAME_DEADLINE && !(sessions >= CROWDED_SESSIONS && time >= CROWDED_PATIENCE && is_slow)
}

/// For how long a session may lie idle while so many are open.
pub(super) const fn idle_time(sessions: usize) -> Duration {
    if sessions >= CROWDED_SESSIONS { CROWDED_IDLE } else { IDLE_SESSION }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_places_are_scarce_the_slow_give_way() {
        const FEW: usize = CROWDED_SESSIONS - 1;
        const MANY: usize = CROWDED_SESSIONS;
        assert_eq!((idle_time(FEW), idle_time(MANY)), (IDLE_SESSION, CROWDED_IDLE));
        for (sessions, written, time, idle, is_enough) in [
            (FEW, 0, 29, 29, true),
            (FEW, 0, 30, 30, false),
            (FEW, 1, 3_000, 29, true),
            (MANY, 0, 4, 4, true),
            (MANY, 0, 5, 5, false),
            (MANY, 5 * 8_192, 5, 0, true),
            (MANY, 5 * 8_192 - 1, 5, 0, false),
            (MANY, 500_000, 29, 20, true),
            (MANY, 1 << 30, 30, 30, false),
        ] {
            let secs = Duration::from_secs;
            let enough = is_fast_enough(sessions, written, secs(time), secs(idle));
            assert_eq!(enough, is_enough, "{sessions} sessions, {written} bytes in {time} s, idle for {idle} s");
        }
    }
}

//! A line every few seconds, for logs.

use std::time::{Duration, Instant};

use shoal_node::api::{Phase, Progress};

use super::{ProgressSink, describe, show_phase};
use crate::output::Output;

const PAUSE: Duration = Duration::from_secs(3);

/// Writes a line when the phase changes, and every few seconds in between.
#[derive(Default)]
pub(crate) struct Lines {
    last: Option<(Phase, Instant)>,
}

impl Lines {
    /// Whether a line is due at this moment; takes it as written if so.
    fn due(&mut self, phase: Phase, now: Instant) -> bool {
        let due = self.last.is_none_or(|(before, at)| before != phase || now.duration_since(at) >= PAUSE);
        if due {
            self.last = Some((phase, now));
        }
        due
    }
}

impl ProgressSink for Lines {
    fn update(&mut self, progress: &Progress, output: &mut Output) {
        if self.due(progress.phase, Instant::now()) {
            output.note(format!("{} {}", show_phase(progress.phase), describe(progress)).trim_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_with_a_new_phase_and_every_few_seconds() {
        let mut lines = Lines::default();
        let start = Instant::now();
        for (phase, millis, due) in [
            (Phase::Searching, 0, true),
            (Phase::Searching, 2_999, false),
            (Phase::Fetching, 2_999, true),
            (Phase::Fetching, 5_998, false),
            (Phase::Fetching, 5_999, true),
        ] {
            assert_eq!(lines.due(phase, start + Duration::from_millis(millis)), due, "{phase:?} {millis}");
        }
    }
}

//! A bar that is drawn over on the terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use shoal_node::api::Progress;

use super::{ProgressSink, describe, show_phase};
use crate::output::Output;

const TICK: Duration = Duration::from_millis(120);

/// Draws a bar while the total is known and a spinner before.
pub(crate) struct Bar {
    bar: ProgressBar,
    styles: Styles,
    measured: bool,
}

struct Styles {
    spinner: ProgressStyle,
    bar: ProgressStyle,
}

impl Bar {
    /// A bar on stderr; it shows once there is something to show.
    pub(crate) fn new(color: bool) -> Self {
        let style =
            |template: &str| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = if color {
            "{prefix} {bar:24.cyan/blue} {percent:>3}% {msg}"
        } else {
            "{prefix} {bar:24} {percent:>3}% {msg}"
        };
        let styles = Styles { spinner: style("{spinner} {prefix} {msg}"), bar: style(bar).progress_chars("━━─") };
        Self { bar: ProgressBar::hidden(), styles, measured: false }
    }

    fn show(&mut self, measured: bool) {
        if self.bar.is_hidden() {
            self.bar = ProgressBar::new_spinner().with_style(self.styles.spinner.clone());
            self.bar.enable_steady_tick(TICK);
            self.measured = false;
        }
        if self.measured != measured {
            let style = if measured { &self.styles.bar } else { &self.styles.spinner };
            self.bar.set_style(style.clone());
            self.measured = measured;
        }
    }
}

impl ProgressSink for Bar {
    fn update(&mut self, progress: &Progress, _output: &mut Output) {
        self.show(progress.total_bytes.is_some());
        if let Some(total) = progress.total_bytes {
            self.bar.set_length(total);
            self.bar.set_position(progress.done_bytes.min(total));
        }
        self.bar.set_prefix(show_phase(progress.phase));
        self.bar.set_message(describe(progress));
    }

    fn note(&mut self, message: &str, output: &mut Output) {
        self.bar.suspend(|| output.note(message));
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.finish();
    }
}

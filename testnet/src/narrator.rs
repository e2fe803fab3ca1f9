//! Tells what happens: lines with the time before them, and a line that is drawn over where there is a terminal.

use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How often progress is told where lines cannot be drawn over.
const PLAIN_INTERVAL: Duration = Duration::from_secs(1);

/// What is told could not be written out.
#[derive(Debug, thiserror::Error)]
#[error("cannot write what happens: {0}")]
pub struct NarrationError(#[source] pub io::Error);

/// Where the story goes.
pub(crate) struct Narrator<'a> {
    out: &'a mut (dyn Write + Send),
    live: bool,
    started: Instant,
    last_progress: Option<Instant>,
    /// Whether the cursor stands behind a line that is to be drawn over.
    unfinished: bool,
}

impl<'a> Narrator<'a> {
    /// `live`: the writer is a terminal on which a line may be drawn over.
    pub(crate) fn new(out: &'a mut (dyn Write + Send), live: bool) -> Self {
        Self { out, live, started: Instant::now(), last_progress: None, unfinished: false }
    }

    /// Since the story began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether lines are drawn over.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// One line, with the time before it.
    pub(crate) fn say(&mut self, text: &str) -> Result<(), NarrationError> {
        let at = self.elapsed().as_secs_f64();
        self.line(&format!("{at:5.1} s  {text}"))
    }

    /// How far it is: drawn over on a terminal, else a line now and then.
    pub(crate) fn progress(&mut self, text: impl FnOnce() -> String) -> Result<(), NarrationError> {
        if !self.live && self.last_progress.is_some_and(|last| last.elapsed() < PLAIN_INTERVAL) {
            return Ok(());
        }
        self.last_progress = Some(Instant::now());
        if self.live {
            self.unfinished = true;
            let drawn = write!(self.out, "\r\x1b[K         {}", text()).and_then(|()| self.out.flush());
            drawn.map_err(NarrationError)
        } else {
            self.say(&text())
        }
    }

    /// One line as it is.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), NarrationError> {
        let over = if std::mem::take(&mut self.unfinished) { "\r\x1b[K" } else { "" };
        let written: io::Result<()> = writeln!(self.out, "{over}{}", text.trim_end()).and_then(|()| self.out.flush());
        written.map_err(NarrationError)
    }
}

//! Tells the demo's story: lines with the time before them, a line that is drawn over where there is a terminal, and
//! the table at the end.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::{DemoError, DemoReport};

/// How often progress is told where lines cannot be drawn over.
const PLAIN_INTERVAL: Duration = Duration::from_secs(1);
const BAR_CELLS: u64 = 16;

/// Where the story goes.
pub(super) struct Narrator<'a> {
    out: &'a mut (dyn Write + Send),
    live: bool,
    started: Instant,
    last_progress: Option<Instant>,
    /// Whether the cursor stands behind a line that is to be drawn over.
    unfinished: bool,
}

/// How far one fetch is.
pub(super) struct Step<'a> {
    pub(super) node: &'a str,
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) rate: u64,
    pub(super) peers: u32,
}

impl<'a> Narrator<'a> {
    pub(super) fn new(out: &'a mut (dyn Write + Send), live: bool) -> Self {
        Self { out, live, started: Instant::now(), last_progress: None, unfinished: false }
    }

    /// Since the story began.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// One line, with the time before it.
    pub(super) fn say(&mut self, text: &str) -> Result<(), DemoError> {
        let at = self.elapsed().as_secs_f64();
        self.line(&format!("{at:5.1} s  {text}"))
    }

    /// How far some fetches are: drawn over on a terminal, else a line now and then.
    pub(super) fn progress(&mut self, steps: &[Step<'_>]) -> Result<(), DemoError> {
        if !self.live && self.last_progress.is_some_and(|last| last.elapsed() < PLAIN_INTERVAL) {
            return Ok(());
        }
        self.last_progress = Some(Instant::now());
        let text: Vec<String> = steps.iter().map(|step| step.text(self.live)).collect();
        let text = text.join("   ");
        if self.live {
            self.unfinished = true;
            let drawn = write!(self.out, "\r\x1b[K         {text}").and_then(|()| self.out.flush());
            drawn.map_err(DemoError::Narration)
        } else {
            self.say(&text)
        }
    }

    /// Who received how much from whom, and the last words.
    pub(super) fn outcome(&mut self, report: &DemoReport) -> Result<(), DemoError> {
        self.line("")?;
        self.line("received from each peer (MiB):")?;
        let cells = |name: &str, row: &mut dyn Iterator<Item = String>| {
            row.fold(format!("  {name:<10}"), |line, cell| line + &format!("{cell:>9}"))
        };
        self.line(&cells("", &mut report.nodes.iter().cloned().chain(["total".to_owned()])))?;
        for (node, row) in report.received() {
            let mut values = report.nodes.iter().map(|from| row.get(from.as_str()).copied().unwrap_or(0));
            let sum: u64 = values.clone().sum();
            let mut texts = values.by_ref().chain([sum]).map(mib);
            self.line(&cells(node, &mut texts))?;
        }
        let wasted: u64 = report.fetches.iter().map(|fetch| fetch.wasted_bytes).sum();
        self.line("")?;
        self.line(&format!(
            "{} was killed in the middle of a fetch; all {} fetches completed, {} MiB came in vain.",
            report.killed,
            report.fetches.len(),
            mib(wasted),
        ))?;
        self.line(&format!(
            "{} items and {} MiB compared with the originals: every byte is right. {:.1} s; nothing is left behind.",
            report.checked_items,
            mib(report.checked_bytes),
            report.seconds,
        ))
    }

    fn line(&mut self, text: &str) -> Result<(), DemoError> {
        let over = if std::mem::take(&mut self.unfinished) { "\r\x1b[K" } else { "" };
        let written: io::Result<()> = writeln!(self.out, "{over}{}", text.trim_end()).and_then(|()| self.out.flush());
        written.map_err(DemoError::Narration)
    }
}

impl Step<'_> {
    fn text(&self, bar: bool) -> String {
        let percent = self.done.saturating_mul(100) / self.total.max(1);
        let bar = if bar {
            let full = self.done.saturating_mul(BAR_CELLS) / self.total.max(1);
            (0..BAR_CELLS).map(|cell| if cell < full { '█' } else { '░' }).chain([' ']).collect()
        } else {
            String::new()
        };
        let peers = if self.peers == 1 { "1 peer".to_owned() } else { format!("{} peers", self.peers) };
        format!("{} {bar}{percent:>3} %, {} MiB/s from {peers}", self.node, mib(self.rate))
    }
}

/// MiB with one decimal; `-` for nothing.
pub(super) fn mib(bytes: u64) -> String {
    if bytes == 0 { "0".to_owned() } else { format!("{:.1}", bytes as f64 / f64::from(1 << 20)) }
}

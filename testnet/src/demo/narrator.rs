//! How the demo's story is shown: progress of fetches, and the table at the end.

use super::{DemoError, DemoReport};
use crate::narrator::Narrator;

const BAR_CELLS: u64 = 16;

/// How far one fetch is.
pub(super) struct Step<'a> {
    pub(super) node: &'a str,
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) rate: u64,
    pub(super) peers: u32,
}

impl Narrator<'_> {
    /// How far some fetches are.
    pub(super) fn steps(&mut self, steps: &[Step<'_>]) -> Result<(), DemoError> {
        let bars = self.is_live();
        let text = || steps.iter().map(|step| step.text(bars)).collect::<Vec<_>>().join("   ");
        Ok(self.progress(text)?)
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
        Ok(self.line(&format!(
            "{} items and {} MiB compared with the originals: every byte is right. {:.1} s; nothing is left behind.",
            report.checked_items,
            mib(report.checked_bytes),
            report.seconds,
        ))?)
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

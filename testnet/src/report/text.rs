//! A report as a table for people.

use super::judge::{name, percent};
use super::{FetchOutcome, Report, RunKind};
use crate::size::{show_rate, show_size};

/// Fetches that have a line each; more are told by their quantiles.
const MAX_LINES: usize = 40;
/// Nodes that have a column each in the table of who got how much from whom.
const MAX_COLUMNS: usize = 8;

impl Report {
    /// The report for people: fetches, figures, checks. Many lines, each ended by a line feed.
    pub fn text(&self) -> String {
        let kind = match self.kind {
            RunKind::Cluster => "real nodes",
            RunKind::Simulation => "simulated nodes",
        };
        let mut out = format!("{}: {} {kind}, seed {}\n\n", self.scenario, self.nodes.len(), self.seed);
        if self.fetches.len() <= MAX_LINES {
            out += &aligned(&self.fetch_rows());
            out.push('\n');
        }
        out += &self.received();
        out += &aligned(&self.figure_rows());
        out.push('\n');
        for check in &self.checks {
            let word = if check.passed { "ok  " } else { "FAIL" };
            out += &format!("{word}  {}: {}\n", check.what, check.found);
        }
        out
    }

    fn fetch_rows(&self) -> Vec<[String; 8]> {
        let heads = ["NODE", "CONTENT", "BEGAN", "TOOK", "RATE", "FETCHED", "IN VAIN", "OUTCOME"];
        let mut rows = vec![heads.map(str::to_owned)];
        for fetch in &self.fetches {
            let took = fetch.ended_us.zip(fetch.started_us).map(|(end, start)| end.saturating_sub(start));
            let per_second = |took: u64| u128::from(fetch.fetched_bytes) * 1_000_000 / u128::from(took.max(1));
            let rate = took.map(|took| show_rate(u64::try_from(per_second(took)).unwrap_or(u64::MAX)));
            let again = if fetch.attempts > 1 { format!(" (asked {} times)", fetch.attempts) } else { String::new() };
            let outcome = match &fetch.outcome {
                FetchOutcome::Done => "done".to_owned(),
                FetchOutcome::Excused(why) => format!("not done: {why}"),
                FetchOutcome::Failed(why) => format!("FAILED: {why}"),
                FetchOutcome::Wrong(why) => format!("WRONG: {why}"),
            };
            rows.push([
                name(self, fetch.node).to_owned(),
                self.contents.get(fetch.content).map_or("?", |content| &content.name).to_owned(),
                fetch.started_us.map_or("-".to_owned(), seconds),
                took.map_or("-".to_owned(), seconds),
                rate.unwrap_or_else(|| "-".to_owned()),
                show_size(fetch.fetched_bytes),
                show_size(fetch.wasted_bytes),
                outcome + &again,
            ]);
        }
        rows
    }

    /// Who received how much from whom, where there is room for it: a row for whoever received, a column for whoever
    /// sent.
    fn received(&self) -> String {
        let sent = |from: usize, to: usize| {
            let pairs = self.transfers.iter().filter(|transfer| (transfer.from, transfer.to) == (from, to));
            pairs.map(|transfer| transfer.bytes).sum::<u64>()
        };
        let all = || 0..self.nodes.len();
        let senders: Vec<usize> = all().filter(|from| all().any(|to| sent(*from, to) > 0)).collect();
        if senders.is_empty() || senders.len() > MAX_COLUMNS || self.fetches.len() > MAX_LINES {
            return String::new();
        }
        let heads = senders.iter().map(|from| name(self, *from).to_owned());
        let mut rows = vec![["RECEIVED FROM".to_owned()].into_iter().chain(heads).collect::<Vec<_>>()];
        for to in all().filter(|to| senders.iter().any(|from| sent(*from, *to) > 0)) {
            let cells = senders.iter().map(|from| match sent(*from, to) {
                0 => "-".to_owned(),
                bytes => show_size(bytes),
            });
            rows.push([name(self, to).to_owned()].into_iter().chain(cells).collect());
        }
        aligned(&rows) + "\n"
    }

    fn figure_rows(&self) -> Vec<[String; 2]> {
        let mut rows = Vec::new();
        let mut put = |name: &str, value: String| rows.push([name.to_owned(), value]);
        if let Some(bound) = self.lower_bound_us {
            put("lower bound", seconds(bound));
        }
        // Of few fetches the quantiles say nothing that the table does not.
        let done = self.durations_us().len();
        let times = [
            ("half of the fetches done in", 50, 2),
            ("90 % in", 90, 10),
            ("99 % in", 99, 100),
            ("the last in", 100, 1),
        ];
        for (words, share, least) in times {
            if let Some(time) = self.percentile_us(share).filter(|_| done >= least) {
                put(words, seconds(time));
            }
        }
        let wasted: u64 = self.fetches.iter().map(|fetch| fetch.wasted_bytes).sum();
        let kept: u64 = self.fetches.iter().map(|fetch| fetch.fetched_bytes).sum();
        put("bytes kept", show_size(kept));
        put("bytes in vain", format!("{} ({})", show_size(wasted), percent(wasted, kept)));
        for content in &self.contents {
            let sent = self.sent_by_publishers(content);
            put(&format!("sent by publishers of {}", content.name), show_size(sent));
        }
        if let Some(most) = self.nodes.iter().filter_map(|node| node.peak_memory_bytes).max() {
            put("most memory of a node", show_size(most));
        }
        put("length of the run", seconds(self.length_us));
        for figure in &self.figures {
            put(&figure.name, figure.value.clone());
        }
        rows
    }
}

pub(crate) fn seconds(micros: u64) -> String {
    format!("{}.{:02} s", micros / 1_000_000, micros % 1_000_000 / 10_000)
}

/// Rows with their columns aligned to the left, two spaces apart.
fn aligned<Row: AsRef<[String]>>(rows: &[Row]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.as_ref().len()), 0);
        for (width, cell) in widths.iter_mut().zip(row.as_ref()) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in rows {
        let cells = row.as_ref().iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out += cells.collect::<Vec<_>>().join("  ").trim_end();
        out.push('\n');
    }
    out
}

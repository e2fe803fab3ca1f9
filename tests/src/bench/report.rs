//! The table.

use std::fmt::Write;

use serde::Serialize;

use super::Options;
use super::measure::{MAX_FLOOR_SPREAD, Runs};

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether it was only a look (`--quick`): then no figure is judged.
    pub quick: bool,
    /// Runs of each figure.
    pub runs: usize,
    /// Cores of this machine.
    pub cores: usize,
    /// The figures.
    pub rows: Vec<Row>,
}

/// One figure.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What it is.
    pub what: String,
    /// The judged value: a median.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it should be.
    pub bar: Bar,
    /// Whether it is.
    pub verdict: Verdict,
    /// What a person wants to know besides, such as times and rates.
    pub detail: String,
    /// Every run.
    pub runs: Runs,
    /// Every run of the floor.
    pub floor_runs: Runs,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bar {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// Anything: the figure is told and not judged.
    None,
}

/// How a figure stands to its bar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Met,
    /// Not as it should be.
    Missed,
    /// The floor spread too much: measure again on a quieter machine.
    Noisy,
    /// Not judged: there is no bar, or this was `--quick`.
    Unjudged,
    /// Not measured, and why.
    Skipped(String),
}

impl Row {
    /// A figure that is judged by itself.
    pub(super) fn plain(what: impl Into<String>, runs: Runs, unit: &'static str, bar: Bar) -> Self {
        let value = runs.median();
        let what = what.into();
        let verdict = match bar {
            Bar::None => Verdict::Unjudged,
            bar if bar.is_met(value) => Verdict::Met,
            _ => Verdict::Missed,
        };
        Self { what, value, unit, bar, verdict, detail: String::new(), runs, floor_runs: Runs::default() }
    }

    /// A figure that is judged against a floor: `value` is what relates the two medians.
    pub(super) fn against(
        what: impl Into<String>,
        runs: Runs,
        floor_runs: Runs,
        relate: impl Fn(f64, f64) -> f64,
        bar: Bar,
    ) -> Self {
        let value = relate(runs.median(), floor_runs.median());
        let verdict = match bar.is_met(value) {
            _ if floor_runs.spread() > MAX_FLOOR_SPREAD => Verdict::Noisy,
            true => Verdict::Met,
            false => Verdict::Missed,
        };
        Self { what: what.into(), value, unit: "x", bar, verdict, detail: String::new(), runs, floor_runs }
    }

    /// A figure that cannot be measured here.
    pub(super) fn skipped(what: impl Into<String>, bar: Bar, why: impl Into<String>) -> Self {
        let verdict = Verdict::Skipped(why.into());
        Self { verdict, value: f64::NAN, ..Self::plain(what, Runs::default(), "", bar) }
    }

    pub(super) fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    pub(super) fn unjudged(self) -> Self {
        match self.verdict {
            Verdict::Skipped(_) => self,
            _ => Self { verdict: Verdict::Unjudged, ..self },
        }
    }

    /// All of it in a line.
    pub(super) fn line(&self) -> String {
        let [what, value, bar, verdict, detail] = self.cells();
        format!("{what}: {value} (bar {bar}): {verdict}; {detail}")
    }

    fn cells(&self) -> [String; 5] {
        let value = if self.value.is_nan() { "-".to_owned() } else { format!("{:.2} {}", self.value, self.unit) };
        let bar = match self.bar {
            Bar::AtLeast(bar) => format!("≥ {bar}"),
            Bar::AtMost(bar) => format!("≤ {bar}"),
            Bar::None => "-".to_owned(),
        };
        let verdict = match &self.verdict {
            Verdict::Met => "met".to_owned(),
            Verdict::Missed => "MISSED".to_owned(),
            Verdict::Noisy => "noisy floor".to_owned(),
            Verdict::Unjudged => "not judged".to_owned(),
            Verdict::Skipped(why) => format!("skipped: {why}"),
        };
        [self.what.clone(), value, bar, verdict, self.detail.clone()]
    }
}

impl Bar {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bar) => value >= bar,
            Self::AtMost(bar) => value <= bar,
            Self::None => true,
        }
    }
}

impl Report {
    pub(super) fn new(options: &Options) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        Self { quick: options.quick, runs: options.effective_runs(), cores, rows: Vec::new() }
    }

    /// Whether no figure missed its bar.
    pub fn all_met(&self) -> bool {
        !self.rows.iter().any(|row| row.verdict == Verdict::Missed)
    }

    /// As a Markdown table.
    pub fn table(&self) -> String {
        let head = ["what", "figure", "bar", "", "more"].map(str::to_owned);
        let rows: Vec<[String; 5]> = std::iter::once(head).chain(self.rows.iter().map(Row::cells)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 5] = std::array::from_fn(width);
        let mut text = format!(
            "Medians of {}, both ends on this machine ({} cores) over loopback, floors in the same runs{}.\n\n",
            self.runs,
            self.cores,
            if self.quick { "; a quick look, not a measurement" } else { "" },
        );
        for (index, row) in rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(widths) {
                let _ = write!(text, "| {cell:<width$} ");
            }
            text.push_str("|\n");
            if index == 0 {
                for width in widths {
                    let _ = write!(text, "|{:-<1$}", "", width + 2);
                }
                text.push_str("|\n");
            }
        }
        text
    }

    /// As one JSON document.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(values: &[f64]) -> Runs {
        let mut runs = Runs::default();
        values.iter().for_each(|value| runs.push(*value));
        runs
    }

    /// The verdict on seconds of ours and of the floor, where half its rate is enough.
    fn check(ours: &[f64], floor: &[f64], expected: Verdict) {
        let row = Row::against("x", runs(ours), runs(floor), |ours, floor| floor / ours, Bar::AtLeast(0.5));
        assert_eq!(row.verdict, expected, "{}", row.line());
    }

    #[test]
    fn verdicts() {
        check(&[2.0, 1.9, 9.0], &[1.0, 1.1, 1.0], Verdict::Met);
        check(&[2.5, 2.5, 0.1], &[1.0, 1.1, 1.0], Verdict::Missed);
        check(&[1.0, 1.0, 1.0], &[1.0, 1.4, 1.0], Verdict::Noisy);
    }

    #[test]
    fn a_table_with_aligned_columns() {
        let mut report = Report { quick: false, runs: 5, cores: 2, rows: Vec::new() };
        report.rows.push(Row::plain("short", runs(&[1.0]), "s", Bar::AtMost(2.0)));
        report.rows.push(Row::skipped("a longer one", Bar::AtLeast(1.0), "nginx is not installed"));
        let table = report.table();
        let widths: Vec<usize> = table.lines().skip(2).map(|line| line.chars().count()).collect();
        assert_eq!(widths.len(), 4);
        assert!(widths.iter().all(|width| *width == widths[0]), "{table}");
        assert!(report.all_met());
    }
}

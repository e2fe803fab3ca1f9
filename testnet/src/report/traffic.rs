//! Bytes over time: what publishers and everybody else had sent.

use super::Report;
use super::svg::{COLORS, Chart};
use crate::size::show_size;

pub(super) fn draw(report: &Report) -> String {
    let all = |sample: &super::Sample| sample.sent.publishers.saturating_add(sample.sent.others);
    let top = report.samples.iter().map(all).max().unwrap_or(0);
    let title = format!("{}, seed {}: chunk bytes sent", report.scenario, report.seed);
    let mut chart = Chart::new(&title, report, top, show_size);
    let start = [(0, 0)];
    let of = |pick: fn(&super::Sample) -> u64| {
        start.into_iter().chain(report.samples.iter().map(move |sample| (sample.at_us, pick(sample))))
    };
    chart.curve(of(all), COLORS[7], "2");
    chart.curve(of(|sample| sample.sent.publishers), COLORS[1], "2");
    chart.curve(of(|sample| sample.sent.others), COLORS[2], "2");
    chart.legend(0, COLORS[7], "all together");
    chart.legend(1, COLORS[1], "nodes that published");
    chart.legend(2, COLORS[2], "nodes that fetch");
    chart.finish()
}

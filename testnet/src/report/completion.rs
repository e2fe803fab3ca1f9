//! How the fetches came on: a curve for each, and how many were done by when.

use super::svg::{COLORS, Chart};
use super::{FetchOutcome, Report};

/// Fetches that have a curve each.
const MAX_CURVES: usize = 64;
/// The upward axis, in thousandths of a whole.
const WHOLE: u64 = 1_000;

pub(super) fn draw(report: &Report) -> String {
    let title = format!("{}, seed {}: how far the fetches were", report.scenario, report.seed);
    let mut chart = Chart::new(&title, report, WHOLE, |value| format!("{} %", value / 10));
    if report.fetches.len() <= MAX_CURVES {
        for (place, fetch) in report.fetches.iter().enumerate() {
            let whole = report.contents.get(fetch.content).map_or(1, |content| content.bytes.max(1));
            let seen = report.samples.iter().filter(|sample| fetch.started_us.is_some_and(|at| at <= sample.at_us));
            let points = seen.filter_map(|sample| {
                let done = *sample.done_bytes.get(place)?;
                Some((sample.at_us, u64::try_from(u128::from(done) * u128::from(WHOLE) / u128::from(whole)).ok()?))
            });
            let points = fetch.started_us.map(|at| (at, 0)).into_iter().chain(points);
            let color = COLORS.get(1 + fetch.content % (COLORS.len() - 2)).copied().unwrap_or("#000000");
            chart.curve(points, color, "1");
        }
        for (place, content) in report.contents.iter().enumerate() {
            let color = COLORS.get(1 + place % (COLORS.len() - 2)).copied().unwrap_or("#000000");
            chart.legend(1 + place, color, &format!("one fetch of {} each", content.name));
        }
    }
    chart.curve(done_by(report).into_iter(), COLORS[0], "2.5");
    chart.legend(0, COLORS[0], "share of fetches that are done");
    let first = report.fetches.iter().filter_map(|fetch| fetch.started_us).min();
    if let (Some(bound), Some(first)) = (report.lower_bound_us, first) {
        chart.mark(first.saturating_add(bound), "lower bound");
    }
    chart.finish()
}

/// Steps: by when which share was done.
fn done_by(report: &Report) -> Vec<(u64, u64)> {
    let done = report.fetches.iter().filter(|fetch| fetch.outcome == FetchOutcome::Done);
    let mut ends: Vec<u64> = done.filter_map(|fetch| fetch.ended_us).collect();
    ends.sort_unstable();
    let all = report.fetches.len().max(1) as u64;
    let mut steps = vec![(0, 0)];
    for (before, end) in ends.iter().enumerate() {
        let before = before as u64;
        steps.extend([(*end, before * WHOLE / all), (*end, (before + 1) * WHOLE / all)]);
    }
    steps.push((report.length_us, ends.len() as u64 * WHOLE / all));
    steps
}

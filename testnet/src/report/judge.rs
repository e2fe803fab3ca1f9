//! What the scenario demands, against what was found.

use super::{Check, FetchOutcome, Report};
use crate::scenario::{ContentIndex, Scenario, Share, lower_bound, lower_bound_of};
use crate::size::show_size;

/// Adds the lower bound and every check of the scenario to a report.
pub fn judge(scenario: &Scenario, report: &mut Report) {
    report.lower_bound_us = lower_bound(scenario).map(|bound| micros(bound.as_micros()));
    let mut checks = vec![right(report)];
    if scenario.checks.complete {
        checks.push(complete(report));
    }
    if let Some(most) = scenario.checks.within {
        checks.push(within(scenario, report, most.thousandths()));
    }
    if let Some(most) = scenario.checks.wasted {
        checks.push(wasted(report, most));
    }
    if let Some(most) = scenario.checks.seeder_copies {
        checks.push(copies(report, most.thousandths()));
    }
    if let Some(most) = scenario.checks.fetched {
        checks.push(fetched(report, most));
    }
    report.checks = checks;
}

/// Always demanded: nothing that ended is wrong.
fn right(report: &Report) -> Check {
    let wrong = report.fetches.iter().filter_map(|fetch| match &fetch.outcome {
        FetchOutcome::Wrong(why) => Some(format!("{}: {why}", name(report, fetch.node))),
        _ => None,
    });
    let wrong: Vec<String> = wrong.collect();
    let found = if wrong.is_empty() { "all equal".to_owned() } else { wrong.join("; ") };
    Check { what: "every fetch that ended is equal to the original".to_owned(), passed: wrong.is_empty(), found }
}

fn complete(report: &Report) -> Check {
    let (mut done, mut excused, mut failed) = (0, 0, Vec::new());
    for fetch in &report.fetches {
        match &fetch.outcome {
            FetchOutcome::Done => done += 1,
            FetchOutcome::Excused(_) => excused += 1,
            FetchOutcome::Failed(why) | FetchOutcome::Wrong(why) => {
                failed.push(format!("{}: {why}", name(report, fetch.node)));
            }
        }
    }
    let mut found = format!("{done} of {}", report.fetches.len());
    if excused > 0 {
        found += &format!(", {excused} at nodes that could not");
    }
    if !failed.is_empty() {
        failed.truncate(3);
        found += &format!("; {}", failed.join("; "));
    }
    // A run in which everybody is excused shows nothing.
    let passed = failed.is_empty() && done > 0;
    Check { what: "every fetch completes".to_owned(), found, passed }
}

fn within(scenario: &Scenario, report: &Report, most: u32) -> Check {
    let all_done = report.fetches.iter().all(|fetch| fetch.outcome == FetchOutcome::Done);
    let ratios = (0..report.contents.len()).filter_map(|content| {
        let bound = lower_bound_of(scenario, ContentIndex(content))?.as_micros().max(1);
        Some(micros(u128::from(report.span_us(content)?) * 1_000 / bound))
    });
    let worst = ratios.max().filter(|_| all_done);
    Check {
        what: format!("the last fetch ends within {} x the lower bound", thousandths(u64::from(most))),
        found: worst.map_or("not all ended".to_owned(), |worst| format!("{} x", thousandths(worst))),
        passed: worst.is_some_and(|worst| worst <= u64::from(most)),
    }
}

fn wasted(report: &Report, most: Share) -> Check {
    let wasted: u64 = report.fetches.iter().map(|fetch| fetch.wasted_bytes).sum();
    let kept: u64 = report.fetches.iter().map(|fetch| fetch.fetched_bytes).sum();
    Check {
        what: format!("at most {most} of the bytes come in vain"),
        found: format!("{} ({})", percent(wasted, kept), show_size(wasted)),
        passed: wasted <= most.of(kept),
    }
}

fn copies(report: &Report, most: u32) -> Check {
    let each = report.contents.iter().enumerate().filter(|(_, content)| content.bytes > 0);
    let worst = each.map(|(_, content)| {
        let sent = report.sent_by_publishers(content);
        // A node that publishes several contents sends them all; what is of which is not told apart.
        let bytes: u64 = report
            .contents
            .iter()
            .filter(|other| other.publishers == content.publishers)
            .map(|other| other.bytes)
            .sum();
        micros(u128::from(sent) * 1_000 / u128::from(bytes.max(1)))
    });
    let worst = worst.max().unwrap_or(0);
    Check {
        what: format!("publishers send at most {} copies", thousandths(u64::from(most))),
        found: thousandths(worst),
        passed: worst <= u64::from(most),
    }
}

fn fetched(report: &Report, most: Share) -> Check {
    let newest = report.contents.len().saturating_sub(1);
    let of_newest = || report.fetches.iter().filter(move |fetch| fetch.content == newest);
    let bytes = report.contents.last().map_or(0, |content| content.bytes);
    let worst = of_newest().map(|fetch| fetch.fetched_bytes).max().unwrap_or(0);
    let name = report.contents.last().map_or("", |content| &content.name);
    Check {
        what: format!("at most {most} of {name} come over the network, the rest was held"),
        found: percent(worst, bytes),
        passed: worst <= most.of(bytes),
    }
}

pub(super) fn name(report: &Report, node: usize) -> &str {
    report.nodes.get(node).map_or("?", |node| &node.name)
}

fn micros(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// A part of a whole in percent with two decimals.
pub(super) fn percent(part: u64, whole: u64) -> String {
    let hundredths = u128::from(part) * 10_000 / u128::from(whole.max(1));
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

/// A number of thousandths with two decimals.
pub(super) fn thousandths(number: u64) -> String {
    format!("{}.{:02}", number / 1_000, number % 1_000 / 10)
}

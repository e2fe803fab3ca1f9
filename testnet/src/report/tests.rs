//! A small report, shown and judged.

use super::*;
use crate::scenario::Scenario;

const SCENARIO: &str = r#"
name = "small"
purpose = "a test"
[[nodes]]
name = "seeder"
limit_up = "10MB/s"
[[nodes]]
name = "leecher"
count = 2
limit_up = "10MB/s"
[[content]]
name = "image"
size = "100MB"
[[publish]]
content = "image"
nodes = "seeder"
[[fetch]]
content = "image"
nodes = "leecher"
[checks]
within = 1.25
wasted = "1%"
seeder_copies = 1.2
fetched = "100%"
"#;

fn node(name: &str, group: &str) -> NodeReport {
    NodeReport {
        name: name.into(),
        group: group.into(),
        sent_bytes: 1,
        received_bytes: 2,
        peak_memory_bytes: Some(1 << 25),
    }
}

fn fetch(node: usize, end: u64) -> FetchReport {
    FetchReport {
        node,
        content: 0,
        started_us: Some(1_000_000),
        ended_us: Some(end),
        outcome: FetchOutcome::Done,
        attempts: 1,
        fetched_bytes: 100_000_000,
        reused_bytes: 0,
        wasted_bytes: 1_000_000,
    }
}

fn sample(at_us: u64, done: u64) -> Sample {
    Sample { at_us, done_bytes: vec![done, done / 2], sent: SentBy { publishers: done, others: done / 2 } }
}

fn report() -> Report {
    let mut report = Report {
        kind: RunKind::Cluster,
        scenario: "small".into(),
        seed: 7,
        nodes: vec![node("seeder", "seeder"), node("leecher-1", "leecher"), node("leecher-2", "leecher")],
        contents: vec![ContentReport { name: "image".into(), hash: None, bytes: 100_000_000, publishers: vec![0] }],
        fetches: vec![fetch(1, 11_500_000), fetch(2, 13_000_000)],
        transfers: vec![
            Transfer { from: 0, to: 1, bytes: 60_000_000 },
            Transfer { from: 0, to: 2, bytes: 55_000_000 },
            Transfer { from: 1, to: 2, bytes: 45_000_000 },
        ],
        events: vec![Happened { at_us: 3_000_000, what: "leecher-1 <is> killed".into(), fault: true }],
        samples: vec![sample(5_000_000, 40_000_000), sample(13_000_000, 100_000_000)],
        lower_bound_us: None,
        length_us: 13_500_000,
        figures: vec![Figure { name: "fairness".into(), value: "0.98".into() }],
        checks: Vec::new(),
    };
    assert!(!report.passed(), "not judged yet");
    judge(&Scenario::parse(SCENARIO).unwrap(), &mut report);
    report
}

/// Judges the report after a change; the check that has this word must fail and show these words.
fn fails(change: impl Fn(&mut Report), word: &str, found: &str) {
    let mut report = report();
    change(&mut report);
    judge(&Scenario::parse(SCENARIO).unwrap(), &mut report);
    let failed: Vec<&Check> = report.checks.iter().filter(|check| !check.passed).collect();
    assert!(!report.passed() && report.text().contains("FAIL"));
    let check = failed.iter().find(|check| check.what.contains(word)).unwrap_or_else(|| panic!("{:?}", report.checks));
    assert!(check.found.contains(found), "{check:?}");
}

#[test]
fn what_holds_passes() {
    let report = report();
    assert!(report.passed(), "{:?}", report.checks);
    assert_eq!(report.lower_bound_us, Some(10_000_000));
    assert_eq!((report.percentile_us(50), report.percentile_us(100)), (Some(10_500_000), Some(12_000_000)));
}

#[test]
fn what_does_not_hold_fails() {
    fails(|r| r.fetches[1].ended_us = Some(13_600_000), "within", "1.26 x");
    fails(|r| r.fetches[0].wasted_bytes = 1_000_001, "in vain", "1.00 %");
    fails(|r| r.transfers[0].bytes = 66_000_000, "copies", "1.21");
    fails(|r| r.fetches[0].outcome = FetchOutcome::Wrong("byte 7".into()), "equal", "leecher-1: byte 7");
    fails(|r| r.fetches[0].outcome = FetchOutcome::Failed("stuck".into()), "completes", "leecher-1: stuck");
    fails(|r| r.fetches[0].outcome = FetchOutcome::Excused("dead".into()), "within", "not all");
    fails(|r| r.fetches[1].fetched_bytes = 100_000_001, "over the network", "100.00 %");
    let excuse = |r: &mut Report| r.fetches.iter_mut().for_each(|f| f.outcome = FetchOutcome::Excused("dead".into()));
    fails(excuse, "completes", "0 of 2");
}

#[test]
fn the_longest_standstill_is_found() {
    let mut report = report();
    let at = |at_us, first, second| Sample { at_us, done_bytes: vec![first, second], sent: SentBy::default() };
    report.samples = vec![
        at(1_500_000, 10, 5),
        at(2_000_000, 20, 5),
        at(4_000_000, 20, 5),
        at(4_500_000, 20, 9),
        // The first is over at 11.5 s: what comes later is no standstill of it.
        at(12_000_000, 20, 9),
        at(12_500_000, 20, 10),
    ];
    assert_eq!(report.longest_standstill(|_| true, 0), Some((1, 7_500_000, 4_500_000)));
    assert_eq!(report.longest_standstill(|node| node == 1, 0), Some((0, 2_500_000, 2_000_000)));
    assert_eq!(report.longest_standstill(|_| false, 0), None);
    // What was before that moment does not count.
    assert_eq!(report.longest_standstill(|node| node == 1, 3_000_000), Some((0, 1_500_000, 3_000_000)));
    assert_eq!(report.longest_standstill(|node| node == 1, 11_500_000), None);
}

#[test]
fn the_text_has_every_node_and_check() {
    let text = report().text();
    for words in ["small: 3 real nodes, seed 7", "leecher-2", "12.00 s", "lower bound", "fairness", "ok    every fetch"]
    {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn who_received_from_whom_has_a_table_where_there_is_room() {
    let text = report().text();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split("  ").filter(|s| !s.is_empty()).collect()).collect();
    assert!(rows.contains(&vec!["RECEIVED FROM", "seeder", "leecher-1"]), "{text}");
    assert!(rows.contains(&vec!["leecher-1", "57.2 MiB", " -"]) || rows.contains(&vec!["leecher-1", "57.2 MiB", "-"]));
    assert!(rows.contains(&vec!["leecher-2", "52.5 MiB", "42.9 MiB"]), "{text}");
}

#[test]
fn a_report_in_one_row() {
    let mut report = report();
    report.figures.push(Figure { name: format!("{STANDSTILL} of a fetch"), value: "1.24 s, from 3.00 s on".into() });
    assert_eq!(report.summary().cells(), ["2 of 2", "12.00 s", "1.20 x", "1.00 %", "1.24 s", "all hold"]);
    report.fetches[0].wasted_bytes = 4_000_000;
    judge(&Scenario::parse(SCENARIO).unwrap(), &mut report);
    let cells = report.summary().cells();
    assert!(cells[5].starts_with("FAIL: ") && cells[5].contains("in vain: 2.50 %"), "{cells:?}");
}

#[test]
fn many_fetches_are_told_by_quantiles_and_groups() {
    let mut report = report();
    report.nodes = (0..100).map(|n| node(&format!("leecher-{n}"), "leecher")).collect();
    report.fetches = (0..100).map(|n| fetch(n, 2_000_000 + n as u64 * 100_000)).collect();
    let text = report.text();
    assert!(!text.contains("leecher-7") && text.contains("90 % in"), "{text}");
    let matrix = report.pictures().into_iter().find(|picture| picture.name == "matrix").unwrap().svg;
    assert_eq!(matrix.matches("<rect").count(), 2, "a background and one cell");
}

#[test]
fn pictures_are_whole_and_safe() {
    for picture in report().pictures() {
        assert!(picture.svg.starts_with("<svg ") && picture.svg.ends_with("</svg>\n"), "{}", picture.name);
        assert!(
            !picture.svg.contains("<is>")
                && picture.svg.matches("<text").count() == picture.svg.matches("</text>").count()
        );
        assert!(picture.svg.matches("<title").count() == picture.svg.matches("</title>").count());
    }
    let completion = &report().pictures()[0].svg;
    assert!(completion.contains("lower bound") && completion.contains("polyline"));
}

#[test]
fn the_same_report_is_the_same_bytes_and_comes_back_from_json() {
    let folder = tempfile::tempdir().unwrap();
    let report = report();
    let written = report.write_to(&folder.path().join("a/b")).unwrap();
    assert_eq!(written.len(), 5);
    let again = report.write_to(&folder.path().join("c")).unwrap();
    for (one, other) in written.iter().zip(&again) {
        assert_eq!(std::fs::read(one).unwrap(), std::fs::read(other).unwrap());
    }
    let read: Report = serde_json::from_slice(&std::fs::read(&written[0]).unwrap()).unwrap();
    assert_eq!(read, report);
}

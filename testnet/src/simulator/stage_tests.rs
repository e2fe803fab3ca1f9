//! Scenarios with virtual peers: all that ship, and what each fault does.

use super::*;
use crate::report::{FetchOutcome, Report};
use crate::scenario::{Scenario, shipped, shipped_scenarios};

/// One gives 20 MB, 2 MB each second; who wants it stands behind it.
const SMALL: &str = r#"
name = "small"
purpose = "a test"

[[nodes]]
name = "seeder"
up = "2MB/s"

[[nodes]]
name = "reader"
count = 3
up = "2MB/s"

[[content]]
name = "image"
size = "20MB"

[[publish]]
content = "image"
nodes = "seeder"
"#;

const ALL: &str = "[[fetch]]\ncontent = \"image\"\nnodes = \"reader\"\n";
const FIRST: &str = "[[fetch]]\ncontent = \"image\"\nnodes = \"reader-1\"\n";

fn play_with(more: &str) -> Report {
    play(&Scenario::parse(&format!("{SMALL}{more}")).unwrap(), 1).unwrap()
}

/// What must hold of every run that is not meant to fail.
fn passes(more: &str) -> Report {
    let report = play_with(more);
    assert!(report.passed(), "{}", report.text());
    report
}

fn fault(what: &str) -> String {
    format!("[[fault]]\n{what}\n")
}

/// Milliseconds that a fetch took.
fn took(report: &Report, fetch: usize) -> u64 {
    let fetch = &report.fetches[fetch];
    (fetch.ended_us.unwrap() - fetch.started_us.unwrap()) / 1000
}

#[test]
fn whatever_ships_passes_but_for_what_has_two_contents() {
    for shipped in shipped_scenarios() {
        let scenario = shipped.scenario().unwrap();
        if shipped.name == "update" {
            let error = play(&scenario, 1).unwrap_err().to_string();
            assert!(error.contains("version-2") && error.contains("shoal testnet run"), "{error}");
            continue;
        }
        for seed in 1..=5 {
            let report = play(&scenario, seed).unwrap();
            assert!(report.passed(), "{}", report.text());
            let faults = report.events.iter().filter(|event| event.fault).count();
            assert_eq!(faults > 0, !scenario.faults.is_empty(), "{}", report.text());
        }
    }
}

#[test]
fn the_same_scenario_and_seed_give_the_same_bytes() {
    let scenario = shipped("churn").unwrap().scenario().unwrap();
    let run = |seed| serde_json::to_string(&play(&scenario, seed).unwrap()).unwrap();
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn each_chunk_leaves_a_seeder_with_a_short_line_about_once() {
    for seed in 1..=5 {
        let text = format!("{SMALL}{ALL}[checks]\nwithin = 1.1\nseeder_copies = 1.1\n");
        let report = play(&Scenario::parse(&text).unwrap(), seed).unwrap();
        assert!(report.passed(), "{}", report.text());
    }
}

#[test]
fn a_folder_is_refused() {
    let text = format!("{}{ALL}", SMALL.replace("size = \"20MB\"", "size = \"20MB\"\nfiles = 10"));
    let error = play(&Scenario::parse(&text).unwrap(), 1).unwrap_err().to_string();
    assert!(error.contains("image") && error.contains("files"), "{error}");
}

#[test]
fn a_fetch_waits_for_the_first_who_publishes_and_names_are_those_of_the_file() {
    let late = SMALL.replace("nodes = \"seeder\"", "nodes = \"seeder\"\nat = \"3s\"");
    let report = play(&Scenario::parse(&format!("{late}{FIRST}")).unwrap(), 1).unwrap();
    assert!(report.passed(), "{}", report.text());
    assert_eq!(report.fetches[0].started_us, Some(0));
    assert!((13_000..14_500).contains(&took(&report, 0)), "{}", report.text());
    let names: Vec<&str> = report.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["seeder", "reader-1", "reader-2", "reader-3"]);
    assert_eq!((report.contents[0].name.as_str(), &report.contents[0].publishers), ("image", &vec![0]));
}

#[test]
fn what_waits_for_a_share_or_for_the_publication_comes_then() {
    let second = "[[fetch]]\ncontent = \"image\"\nnodes = \"reader-2\"\nat = \"50%\"\n";
    let report = passes(&format!("{FIRST}{second}{}", fault("what = \"pause\"\nnodes = \"reader-3\"\nat = \"25%\"")));
    // Half of all is what the first one wants: it takes ten seconds, and half of that five.
    let began = report.fetches[1].started_us.unwrap();
    assert!((9_500_000..11_000_000).contains(&began), "{began}");
    assert!((4_700_000..6_000_000).contains(&report.events[0].at_us), "{:?}", report.events);
    assert_eq!(report.events[0].what, "reader-3 is paused");
    let published = passes(&FIRST.replace("reader-1\"", "reader-1\"\nat = \"image published\""));
    assert_eq!(published.fetches[0].started_us, Some(0));
}

#[test]
fn a_full_disk_ends_a_fetch_for_as_long_as_it_is_full() {
    let without = took(&passes(FIRST), 0);
    let disk = fault("what = \"disk-full\"\nnodes = \"reader-1\"\nat = \"4s\"\nfor = \"5s\"");
    let report = passes(&format!("{FIRST}{disk}"));
    let more = took(&report, 0) - without;
    assert!((4_500..7_000).contains(&more), "{more} ms more");
    assert_eq!(report.events[0].what, "the disk of reader-1 is full");
    let forever = play_with(&format!("{FIRST}{}", fault("what = \"disk-full\"\nnodes = \"reader-1\"\nat = \"4s\"")));
    assert_eq!(forever.fetches[0].outcome, FetchOutcome::Excused("its disk is full".to_owned()));
    assert!(!forever.passed(), "a run in which everybody is excused shows nothing");
    assert!(forever.length_us < 5_000_000, "nothing more can come");
}

#[test]
fn who_is_killed_for_good_is_excused_and_the_run_ends_with_the_others() {
    let report = passes(&format!("{ALL}{}", fault("what = \"kill\"\nnodes = \"reader-2\"\nat = \"3s\"")));
    assert_eq!(report.fetches[1].outcome, FetchOutcome::Excused("it is down".to_owned()));
    assert!(report.length_us < 30_000_000 && report.fetches[0].outcome == FetchOutcome::Done);
}

#[test]
fn what_a_kill_loses_a_restart_keeps_and_a_wipe_loses_all() {
    let fetched = |what: &str, more: &str| {
        let strike = fault(&format!("what = \"{what}\"\nnodes = \"reader-1\"\nat = \"50%\"\n{more}"));
        passes(&format!("{FIRST}{strike}")).fetches[0].fetched_bytes
    };
    assert_eq!(fetched("restart", ""), 20_000_000);
    let killed = fetched("kill", "for = \"1s\"");
    assert!((20_000_000..21_000_000).contains(&killed), "{killed}");
    let wiped = fetched("wipe", "");
    assert!((29_500_000..31_000_000).contains(&wiped), "{wiped}");
}

#[test]
fn what_changes_on_a_disk_is_fetched_from_others_or_again() {
    // Ten bytes hit about ten of some 300 chunks.
    let strike =
        |node: &str, at: &str| fault(&format!("what = \"corrupt\"\nnodes = \"{node}\"\nbytes = 10\nat = \"{at}\""));
    let own = passes(&format!("{FIRST}{}", strike("reader-1", "50%"))).fetches[0].fetched_bytes;
    assert!((20_300_000..21_500_000).contains(&own), "{own}");
    // The others have what the seeder has no more, if they were first.
    let second = "[[fetch]]\ncontent = \"image\"\nnodes = \"reader-2\"\nat = \"12s\"\n";
    let report = passes(&format!("{FIRST}{second}{}", strike("seeder", "11s")));
    assert_eq!(report.fetches[1].fetched_bytes, 20_000_000);
    let nobody = play_with(&format!("{FIRST}{}", strike("seeder", "10%")));
    assert!(matches!(nobody.fetches[0].outcome, FetchOutcome::Failed(_)), "{}", nobody.text());
}

#[test]
fn partitions_of_one_moment_are_apart_from_each_other() {
    let part = |node: &str| fault(&format!("what = \"partition\"\nnodes = \"{node}\"\nat = \"0s\"\nfor = \"60s\""));
    let later = "[[fetch]]\ncontent = \"image\"\nnodes = \"reader-1\"\nat = \"1s\"\n";
    let apart = passes(&format!("{later}{}{}", part("seeder"), part("reader-1")));
    assert!(took(&apart, 0) > 59_000, "{}", apart.text());
    let together =
        passes(&format!("{later}{}", part("[\"seeder\", \"reader-1\"]").replace("\"[", "[").replace("]\"", "]")));
    assert!(took(&together, 0) < 15_000, "{}", together.text());
}

#[test]
fn every_way_to_lie_is_survived() {
    for lie in crate::scenario::Lie::ALL {
        let liar = format!("[[nodes]]\nname = \"bad\"\ncount = 3\nliar = \"{lie}\"\nup = \"2MB/s\"\n");
        let text = format!("{}{liar}{ALL}", SMALL.replace("nodes = \"seeder\"", "nodes = [\"seeder\", \"bad\"]"));
        let report = play(&Scenario::parse(&text).unwrap(), 1).unwrap();
        assert!(report.passed(), "{lie}: {}", report.text());
        let gave: u64 =
            report.transfers.iter().filter(|transfer| transfer.from >= 4).map(|transfer| transfer.bytes).sum();
        // Who lies about the manifest alone has the right chunks.
        assert!(gave == 0 || lie == crate::scenario::Lie::WrongNodes, "{lie} gave {gave} bytes");
    }
}

#[test]
fn checks_that_do_not_hold_fail_however_many_there_are() {
    let failed = |report: &Report| report.checks.iter().filter(|check| !check.passed).count();
    assert_eq!(failed(&play_with(&format!("{ALL}[checks]\nwithin = 0.9\nseeder_copies = 0.9"))), 2);
    // Of so many it is not told who sent to whom, and the check holds them to what they sent all the same.
    let many = SMALL.replace("count = 3", "count = 70");
    let check = |copies: &str| {
        let text = format!("{many}{ALL}[checks]\nseeder_copies = {copies}");
        play(&Scenario::parse(&text).unwrap(), 1).unwrap()
    };
    assert_eq!((failed(&check("0.9")), failed(&check("3.0"))), (1, 0));
    assert!(check("3.0").transfers.is_empty());
}

#[test]
fn a_fetch_that_is_due_while_its_node_stands_still_begins_afterwards() {
    let pause = fault("what = \"pause\"\nnodes = \"reader-1\"\nat = \"1s\"\nfor = \"3s\"");
    let later = FIRST.replace("reader-1\"", "reader-1\"\nat = \"2s\"");
    assert!((11_500..14_000).contains(&took(&passes(&format!("{later}{pause}")), 0)));
    // And one whose disk gets room meanwhile, or that waits for the first who publishes.
    let full = fault("what = \"disk-full\"\nnodes = \"reader-1\"\nat = \"500ms\"\nfor = \"2s\"");
    passes(&format!("{FIRST}{full}{pause}"));
    let late = SMALL.replace("nodes = \"seeder\"", "nodes = \"seeder\"\nat = \"2s\"");
    let report = play(&Scenario::parse(&format!("{late}{FIRST}{pause}")).unwrap(), 1).unwrap();
    assert!(report.passed(), "{}", report.text());
}

#[test]
fn who_is_killed_while_it_is_started_stays_dead() {
    let restart = fault("what = \"restart\"\nnodes = \"reader-1\"\nat = \"1s\"");
    let kill = fault("what = \"kill\"\nnodes = \"reader-1\"\nat = \"1200ms\"");
    let report = play_with(&format!("{FIRST}{restart}{kill}"));
    assert_eq!(report.fetches[0].outcome, FetchOutcome::Excused("it is down".to_owned()));
    let told: Vec<&str> = report.events.iter().map(|event| event.what.as_str()).collect();
    assert_eq!(told, ["reader-1 is restarted", "reader-1 is killed"]);
}

#[test]
fn shares_are_of_what_each_fetch_has_had_at_most() {
    let at = |more: &str, what: &str| {
        let report = passes(&format!("{FIRST}{more}{}", fault(what)));
        report.events.iter().find(|event| event.what == "reader-3 is paused").map(|event| event.at_us / 1000)
    };
    let pause = |at: &str| format!("what = \"pause\"\nnodes = \"reader-3\"\nat = \"{at}\"");
    // What is fetched a second time counts once.
    let wipe = fault("what = \"wipe\"\nnodes = \"reader-1\"\nat = \"50%\"");
    assert!(at(&wipe, &pause("80%")).is_some_and(|at| at > 13_000));
    assert_eq!(at("", &pause("0%")), Some(0));
    // Who has published it has it.
    let own = "[[fetch]]\ncontent = \"image\"\nnodes = \"seeder\"\n";
    assert!(at(own, &pause("50%")).is_some_and(|at| at < 100));
}

#[test]
fn who_publishes_what_it_fetches_has_it() {
    let second = "[[publish]]\ncontent = \"image\"\nnodes = \"reader-1\"\nat = \"3s\"\n";
    let report = passes(&format!("{second}{FIRST}"));
    assert!((3_000..4_500).contains(&took(&report, 0)), "{}", report.text());
}

#[test]
fn what_the_deadline_cuts_off_is_not_called_stuck() {
    let report = play_with(&format!("{FIRST}[checks]\ncomplete = false"));
    assert!(report.passed());
    let short = format!("deadline = \"3s\"\n{SMALL}{FIRST}[checks]\ncomplete = false");
    let report = play(&Scenario::parse(&short).unwrap(), 1).unwrap();
    assert!(report.passed() && report.fetches[0].ended_us.is_none(), "{}", report.text());
}

//! Files that are read, files that are refused, and plans that come out the same.

use super::*;

const SMALL: &str = r#"
name = "small"
purpose = "a test"

[[nodes]]
name = "seeder"
up = "10MB/s"

[[nodes]]
name = "leecher"
count = 4
up = "10MB/s"
down = "20MB/s"

[[content]]
name = "image"
size = "100MB"

[[publish]]
content = "image"
nodes = "seeder"

[[fetch]]
content = "image"
nodes = ["leecher-4", "leecher"]
at = "1s"
apart = "100ms"
"#;

fn small_with(more: &str) -> Result<Scenario, ScenarioError> {
    Scenario::parse(&format!("{SMALL}\n{more}"))
}

/// What is refused, in which line and with which words.
fn refused(text: &str, line: usize, words: &[&str]) {
    let error = Scenario::parse(text).unwrap_err();
    assert_eq!(error.line, Some(line), "{error}");
    for word in words {
        assert!(error.reason.contains(word), "{error} does not say {word:?}");
    }
    assert!(!error.reason.contains('\n'), "{error}");
}

/// [`refused`] of the small scenario with one line replaced.
fn refused_with(old: &str, new: &str, words: &[&str]) {
    assert!(SMALL.contains(old));
    let line = SMALL.lines().position(|line| line == old).unwrap() + 1;
    refused(&SMALL.replacen(old, new, 1), line, words);
}

#[test]
fn a_small_one_is_read() {
    let scenario = small_with("").unwrap();
    assert_eq!((scenario.node_count(), scenario.seed, scenario.deadline.as_secs()), (5, 1, 120));
    let names: Vec<String> = scenario.nodes().map(|(_, name, _)| name).collect();
    assert_eq!(names, ["seeder", "leecher-1", "leecher-2", "leecher-3", "leecher-4"]);
    assert_eq!(scenario.node_name(NodeIndex(4)), "leecher-4");
    assert_eq!(scenario.fetches[0].nodes, [4, 1, 2, 3].map(NodeIndex), "each once, as they are named");
    assert!(scenario.shapes_lines() && !scenario.has_liars());
    // 4 x 100 MB over 50 MB/s are 8 s, but the seeder needs 10 s to send it once.
    assert_eq!(lower_bound(&scenario), Some(Duration::from_secs(10)));
}

#[test]
fn the_lower_bound_is_the_greatest_of_three() {
    let bound = |from: &str, to: &str| {
        let text = SMALL.replacen("up = \"10MB/s\"", from, 1).replacen("up = \"10MB/s\"\ndown = \"20MB/s\"", to, 1);
        lower_bound(&Scenario::parse(&text).unwrap())
    };
    assert_eq!(bound("up = \"100MB/s\"", "up = \"1MB/s\""), Some(Duration::from_micros(3_846_153)));
    assert_eq!(bound("up = \"100MB/s\"", "up = \"90MB/s\"\ndown = \"5MB/s\""), Some(Duration::from_secs(20)));
    assert_eq!(bound("delay = \"1ms\"", "delay = \"1ms\""), None);
}

#[test]
fn unknown_keys_impossible_numbers_and_missing_nodes_are_refused_with_their_line() {
    refused_with("count = 4", "cuont = 4", &["unknown field", "cuont"]);
    refused_with("count = 4", "count = 0", &["0 is not from 1 to"]);
    refused_with("count = 4", "count = -3", &["-3"]);
    refused_with("count = 4", "count = 4.5", &["whole number"]);
    refused_with("count = 4", "count = 1000000", &["100000"]);
    refused_with("down = \"20MB/s\"", "down = \"0\"", &["moves nothing"]);
    refused_with("down = \"20MB/s\"", "down = \"fast\"", &["not a rate"]);
    refused_with("down = \"20MB/s\"", "loss = \"60%\"", &["at most 50 %"]);
    refused_with("down = \"20MB/s\"", "delay = \"11s\"", &["more than 10 s"]);
    refused_with("down = \"20MB/s\"", "liar = \"sometimes\"", &["no way to lie", "wrong-chunks"]);
    refused_with("size = \"100MB\"", "size = \"0\"", &["1 B"]);
    refused_with("size = \"100MB\"", "size = \"100M\"", &["powers of"]);
    refused_with("nodes = \"seeder\"", "nodes = \"sedeer\"", &["sedeer", "leecher, seeder"]);
    refused_with("nodes = \"seeder\"", "nodes = \"leecher-5\"", &["leecher-5"]);
    refused_with("nodes = \"seeder\"", "nodes = []", &["no node"]);
    refused_with("nodes = \"seeder\"", "nodes = 7", &["a name or a list of names"]);
    refused_with("at = \"1s\"", "at = \"121s\"", &["deadline"]);
    refused(&format!("deadline = \"0s\"\n{SMALL}"), 1, &["no time"]);
    refused_with("at = \"1s\"", "at = \"3s..2s\"", &["ends before"]);
    refused_with("at = \"1s\"", "at = \"101%\"", &["share"]);
    refused_with("at = \"1s\"", "at = \"imgae done\"", &["imgae"]);
    refused_with("at = \"1s\"", "at = \"image done\"", &["never done"]);
    refused_with("at = \"1s\"", "at = \"imgae published\"", &["imgae"]);
    refused_with("name = \"small\"", "name = \"Small one\"", &["no name"]);
    refused_with("name = \"leecher\"", "name = \"leecher-2\"", &["something else"]);
    refused_with("name = \"leecher\"", "name = \"seeder\"", &["already"]);
    refused_with("content = \"image\"", "content = \"imgae\"", &["imgae", "image"]);
}

#[test]
fn nobody_joins_through_a_liar() {
    refused(&SMALL.replacen("name = \"seeder\"", "name = \"seeder\"\nliar = \"silent\"", 1), 7, &["must be honest"]);
}

#[test]
fn faults_that_make_no_sense_are_refused() {
    let check = |fault: &str, words: &[&str]| {
        let text = format!("{SMALL}[[fault]]\n{fault}");
        let error = Scenario::parse(&text).unwrap_err();
        assert!(error.line.is_some_and(|line| line > SMALL.lines().count()), "{error}");
        for word in words {
            assert!(error.reason.contains(word), "{error} does not say {word:?}");
        }
    };
    let kill = "what = \"kill\"\nnodes = \"leecher\"\nat = \"2s\"\n";
    check("what = \"explode\"\nnodes = \"all\"\nat = \"1s\"", &["explode", "pause"]);
    check(&format!("{kill}pick = 5"), &["5 is not from 1 to 4"]);
    check(&format!("{kill}times = 3"), &["every"]);
    check(&format!("{kill}pick = 1\none_by_one = \"1s\""), &["leave `pick`"]);
    check(&format!("{kill}bytes = 3"), &["corrupt"]);
    check(&format!("{kill}delay = \"3ms\""), &["line"]);
    check("what = \"wipe\"\nnodes = \"leecher\"\nat = \"2s\"\nfor = \"1s\"", &["over at once"]);
    check("what = \"partition\"\nnodes = \"all\"\nat = \"2s\"", &["one side"]);
    check("what = \"kill\"\nnodes = \"leecher\"", &["missing field `at`"]);
    check(&format!("{kill}for = \"0s\""), &["no time"]);
    check("what = \"line\"\nnodes = \"leecher\"\nat = \"2s\"\nfor = \"1s\"", &["to what"]);
    check("what = \"corrupt\"\nnodes = \"leecher\"\nat = \"2s\"", &["`bytes` has to say"]);
}

#[test]
fn what_is_missing_as_a_whole_has_words_too() {
    let whole = |text: &str, word: &str| {
        let error = Scenario::parse(text).unwrap_err();
        assert!(error.reason.contains(word), "{error}");
    };
    refused("name = \"x\"\npurpose = \"y\"", 2, &["no nodes"]);
    refused("name = \"x\"\npurpose = \"y\"\n[[nodes]]\nname = \"a\"\n\n", 4, &["nobody fetches"]);
    whole("name = \"x\"", "purpose");
    refused("name = \"x\"\nname = \"y\"", 2, &["duplicate"]);
    let nobody = SMALL.replacen("[[publish]]\ncontent = \"image\"\nnodes = \"seeder\"", "", 1);
    whole(&nobody, "no honest node publishes");
    whole(
        &format!("{SMALL}[[publish]]\ncontent = \"image\"\nnodes = \"seeder\"\nat = \"9s\""),
        "publishes this content already",
    );
    let unbound = SMALL.replace("up = \"10MB/s\"\n", "").replace("down = \"20MB/s\"\n", "");
    whole(&format!("{unbound}[checks]\nwithin = 1.2"), "lower bound");
    whole(&format!("{SMALL}[checks]\nwithin = -1.0"), "factor");
}

#[test]
fn the_same_seed_gives_the_same_plan_and_another_does_not() {
    let fault = "[[fault]]\nwhat = \"kill\"\nnodes = \"leecher\"\npick = 1\nat = \"2s..4s\"\n\
                 times = 5\nevery = \"1s\"\nfor = \"2s\"\n";
    let scenario = small_with(fault).unwrap();
    let plan = Plan::draw(&scenario, 7);
    assert_eq!(plan, Plan::draw(&scenario, 7));
    assert_ne!(plan.events, Plan::draw(&scenario, 8).events);
    assert_eq!(plan.faults().count(), 10);
    // Whoever is down is not killed again.
    let mut down = std::collections::BTreeSet::new();
    for event in plan.faults() {
        match event.action {
            Action::Kill(node) => assert!(down.insert(node), "{plan:?}"),
            Action::Start(node) => assert!(down.remove(&node), "{plan:?}"),
            _ => {}
        }
    }
}

/// The plan of a seed never changes: whoever quotes a seed in a report must be able to run it again.
#[test]
fn a_plan_is_for_ever() {
    let fault = "[[fault]]\nwhat = \"pause\"\nnodes = \"leecher\"\npick = 2\nat = \"10%..50%\"\nfor = \"2s\"\n\
                 [[fault]]\nwhat = \"corrupt\"\nnodes = \"seeder\"\nat = \"3s..9s\"\nbytes = 5\n";
    let lines = Plan::draw(&small_with(fault).unwrap(), 42).lines(&small_with(fault).unwrap());
    let words: Vec<&str> = lines.iter().map(|line| line.trim_start()).collect();
    assert_eq!(words, PLAN_OF_42);
}

const PLAN_OF_42: [&str; 10] = [
    "0.000 s  seeder publishes image",
    "1.000 s  leecher-4 fetches image",
    "1.100 s  leecher-1 fetches image",
    "1.200 s  leecher-2 fetches image",
    "1.300 s  leecher-3 fetches image",
    "6.764 s  5 bytes on the disk of seeder change",
    "37.3 %  leecher-3 is paused",
    "37.3 %  leecher-4 is paused",
    "37.3 % + 2.000 s  leecher-3 goes on",
    "37.3 % + 2.000 s  leecher-4 goes on",
];

#[test]
fn whoever_waits_for_a_content_waits_for_what_stands_above() {
    let text = SMALL.replacen("at = \"1s\"", "at = \"image published\"", 1);
    let scenario = Scenario::parse(&text).unwrap();
    assert_eq!(scenario.fetches[0].when, Moment::Published(ContentIndex(0)));
    assert!(Plan::draw(&scenario, 1).lines(&scenario)[1].contains("image published  leecher-4 fetches image"));
    // Another one who publishes it, and only then: each would wait for the other.
    let later = format!("{text}[[publish]]\ncontent = \"image\"\nnodes = \"leecher-2\"\n");
    refused(&later, line_of(&text, "at = \"image published\""), &["never published", "further up"]);
    let more = "[[fetch]]\ncontent = \"image\"\nnodes = \"seeder\"\nat = \"image done\"\n";
    let text = format!("{SMALL}{more}");
    refused(&text, line_of(&text, "at = \"image done\""), &["never done", "further up"]);
}

fn line_of(text: &str, line: &str) -> usize {
    text.lines().position(|found| found == line).unwrap() + 1
}

#[test]
fn rolling_restarts_go_one_by_one() {
    let fault = "[[fault]]\nwhat = \"restart\"\nnodes = \"leecher\"\nat = \"10%\"\none_by_one = \"2s\"\n";
    let plan = Plan::draw(&small_with(fault).unwrap(), 1);
    let restarts: Vec<_> = plan.faults().map(|event| (event.when.after.as_secs(), event.action.clone())).collect();
    let expected = [1, 2, 3, 4].map(|n| (2 * (n - 1), Action::Restart(NodeIndex(n as usize))));
    assert_eq!(restarts, expected);
}

#[test]
fn every_shipped_scenario_is_read_and_says_what_it_is_for() {
    for shipped in shipped_scenarios() {
        let scenario = shipped.scenario().unwrap_or_else(|error| panic!("{}: {error}", shipped.name));
        assert_eq!(scenario.name, shipped.name);
        assert!(scenario.purpose.len() > 40 && scenario.node_count() <= Scenario::MAX_CLUSTER_NODES);
        Plan::draw(&scenario, scenario.seed);
    }
}

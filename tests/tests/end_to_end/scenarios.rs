//! `shoal testnet run`: scenarios with real nodes, small ones; what is checked are bytes and events, never times.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use shoal_testnet::command::{Finished, Shoal};
use shoal_testnet::report::{FetchOutcome, Report, RunKind};
use shoal_testnet::scenario::shipped_scenarios;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::{DEADLINE, PROGRAM, folder, refused, run_within};

const LONG: Duration = Duration::from_secs(400);

/// The command line with a temporary folder of its own, to see what is left there.
fn shoal(temporary: &Path) -> Shoal {
    Shoal::new(PROGRAM, temporary.join("unused")).with_environment("TMPDIR", temporary).with_deadline(LONG)
}

/// A shipped scenario with less to move, without demands on time.
fn small(temporary: &Path, name: &str) -> PathBuf {
    let shipped = shipped_scenarios().iter().find(|shipped| shipped.name == name).unwrap();
    let smaller = |line: &str| match line.split_once(" = ") {
        Some(("size", _)) => "size = \"12MB\"".to_owned(),
        Some(("limit_up" | "up", _)) => line.replace("20MB/s", "4MB/s").replace("10MB/s", "3MB/s"),
        Some(("within" | "seeder_copies" | "wasted", _)) => String::new(),
        _ => line.to_owned(),
    };
    let text = shipped.text.lines().map(smaller).collect::<Vec<_>>().join("\n");
    let path = temporary.join(format!("{name}.toml"));
    fs::write(&path, format!("deadline = \"300s\"\n{text}")).unwrap();
    path
}

fn nothing_left(temporary: &Path) {
    let left: Vec<_> = fs::read_dir(temporary).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("shoal-")), "{left:?}");
    let needle = temporary.to_str().unwrap();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        assert!(!command.contains(needle), "a process is left: {command}");
    }
}

async fn play(temporary: &Path, scenario: &Path) -> (Finished, Report) {
    let finished = shoal(temporary).run(["--json", "testnet", "run", scenario.to_str().unwrap()]).await.unwrap();
    let report = finished.json().unwrap_or_else(|error| panic!("{error}: {}", finished.stderr));
    (finished, report)
}

/// Plays a small form of a shipped scenario; it must pass, with these words among what happened.
fn passes(name: &str, words: &[&str]) -> Report {
    let mut played = None;
    run_within(LONG, async {
        let temporary = folder();
        let (finished, report) = play(temporary.path(), &small(temporary.path(), name)).await;
        assert!(finished.code == Some(0) && report.passed(), "{}\n{}", finished.stderr, report.text());
        assert!(report.fetches.iter().all(|fetch| fetch.outcome == FetchOutcome::Done), "{}", report.text());
        for word in words {
            assert!(report.events.iter().any(|event| event.what.contains(word)), "{word}: {:?}", report.events);
        }
        nothing_left(temporary.path());
        played = Some(report);
    });
    played.unwrap()
}

#[test]
fn flash_crowd() {
    let report = passes("flash-crowd", &["seeder publishes image"]);
    let from_others = report.transfers.iter().filter(|transfer| transfer.from != 0).map(|transfer| transfer.bytes);
    assert!(from_others.sum::<u64>() > 0, "nobody but the seeder gave anything");
}

#[test]
fn churn() {
    passes("churn", &["is killed", "is started again"]);
}

#[test]
fn rolling_restart() {
    passes("rolling-restart", &["provider-1 is restarted"]);
}

#[test]
fn partition() {
    passes("partition", &["cut off from all others: there-1, there-2, there-3"]);
}

#[test]
fn bad_lines() {
    passes("bad-lines", &["the line of seeder: 488.3 KiB/s up", "lost"]);
}

#[test]
fn damage() {
    passes("damage", &["200 bytes on the disk of provider-1 change", "loses all it holds"]);
}

#[test]
fn disk_full() {
    passes("disk-full", &["is full", "has room again"]);
}

#[test]
fn slow_providers() {
    passes("slow-providers", &["stalling-1 is paused"]);
}

#[test]
fn liars() {
    let report = passes("liars", &[]);
    let liars = 1..8;
    let kept: u64 = report.transfers.iter().filter(|t| liars.contains(&t.from)).map(|t| t.bytes).sum();
    // Of those who send wrong manifests, chunks are right, and count if nobody asked them for nodes.
    let wrong_nodes: u64 = report.transfers.iter().filter(|t| t.from == 3).map(|t| t.bytes).sum();
    assert_eq!(kept, wrong_nodes, "something of a liar was kept");
}

#[test]
fn update() {
    let report = passes("update", &["publisher has published version-2"]);
    for fetch in report.fetches.iter().filter(|fetch| fetch.content == 1) {
        assert!(fetch.reused_bytes > fetch.fetched_bytes, "{fetch:?}");
    }
}

#[test]
fn many_seeds_have_a_line_each_and_one_verdict() {
    run_within(LONG, async {
        let temporary = folder();
        let scenario = temporary.path().join("tiny.toml");
        let text = "name = \"tiny\"\npurpose = \"Two nodes.\"\n[[nodes]]\nname = \"node\"\ncount = 2\n\
                    [[content]]\nname = \"image\"\nsize = \"1MB\"\n[[publish]]\ncontent = \"image\"\nnodes = \"node-1\"\n\
                    [[fetch]]\ncontent = \"image\"\nnodes = \"node-2\"\n[checks]\n";
        fs::write(&scenario, text).unwrap();
        let out = temporary.path().join("out");
        let run = async || {
            let arguments = ["testnet", "run", scenario.to_str().unwrap(), "--seeds", "4..5", "--report"];
            let arguments = arguments.into_iter().chain([out.to_str().unwrap()]);
            let finished = shoal(temporary.path()).run(arguments).await.unwrap();
            (String::from_utf8(finished.stdout.clone()).unwrap(), finished)
        };
        let (shown, finished) = run().await;
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines.len() == 3 && lines[1].starts_with("tiny           4  1 of 1"), "{shown}");
        assert!(out.join("tiny-5/report.json").exists());
        // What nobody can hold fails, each run by itself, and the verdict names them.
        fs::write(&scenario, text.replace("[checks]", "[checks]\nfetched = \"1%\"")).unwrap();
        let (shown, finished) = run().await;
        refused(&finished, 1, &["2 of 2 runs", "tiny with seed 4, tiny with seed 5"]);
        assert_eq!(shown.matches("FAIL").count(), 2, "{shown}");
        nothing_left(temporary.path());
    });
}

#[test]
fn what_a_node_refuses_to_publish_ends_the_run_with_its_words() {
    run_within(LONG, async {
        let (temporary, own) = (folder(), folder());
        crate::support::sample(own.path(), "big", 2 << 20, 1);
        let pipe = own.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let finished = shoal(temporary.path()).run(["testnet", "demo", own.path().to_str().unwrap()]).await.unwrap();
        refused(&finished, 1, &["seeder cannot publish folder", "pipe"]);
        nothing_left(temporary.path());
    });
}

#[test]
fn a_killed_network_fails_with_words_and_a_report() {
    run_within(LONG, async {
        let temporary = folder();
        let scenario = temporary.path().join("doomed.toml");
        let text = "name = \"doomed\"\npurpose = \"The only seeder dies.\"\ndeadline = \"25s\"\n\
                    [[nodes]]\nname = \"seeder\"\nlimit_up = \"200KB/s\"\n[[nodes]]\nname = \"reader\"\n\
                    [[content]]\nname = \"image\"\nsize = \"9MB\"\n[[publish]]\ncontent = \"image\"\nnodes = \"seeder\"\n\
                    [[fetch]]\ncontent = \"image\"\nnodes = \"reader\"\n\
                    [[fault]]\nwhat = \"kill\"\nnodes = \"seeder\"\nat = \"3%\"\n";
        fs::write(&scenario, text).unwrap();
        let folder = temporary.path().join("out");
        let arguments = ["testnet", "run", scenario.to_str().unwrap(), "--report", folder.to_str().unwrap()];
        let finished = shoal(temporary.path()).run(arguments).await.unwrap();
        assert_eq!(finished.code, Some(1), "{}", finished.stderr);
        assert!(finished.stderr.contains("every fetch completes"), "{}", finished.stderr);
        let shown = String::from_utf8(finished.stdout).unwrap();
        assert!(shown.contains("seeder is killed") && shown.contains("FAIL"), "{shown}");
        for file in ["report.json", "report.txt", "completion.svg", "matrix.svg", "traffic.svg"] {
            assert!(fs::metadata(folder.join(file)).unwrap().len() > 100, "{file}");
        }
        nothing_left(temporary.path());
    });
}

#[test]
fn a_bad_file_is_refused_with_line_and_reason_before_anything_starts() {
    run_within(DEADLINE, async {
        let temporary = folder();
        let file = temporary.path().join("bad.toml");
        let good = shipped_scenarios()[0].text;
        let check = async |old: &str, new: &str, words: &[&str]| {
            let line = good.lines().position(|line| line == old).unwrap() + 1;
            fs::write(&file, good.replacen(old, new, 1)).unwrap();
            let finished = shoal(temporary.path()).run(["testnet", "run", file.to_str().unwrap()]).await.unwrap();
            refused(&finished, 2, &[&[format!("bad.toml: line {line}:").as_str()], words].concat());
            assert!(finished.stdout.is_empty());
        };
        check("count = 4", "cuont = 4", &["unknown field", "cuont"]).await;
        check("count = 4", "count = 0", &["0 is not from 1"]).await;
        check("nodes = \"reader\"", "nodes = \"raeder\"", &["raeder", "reader"]).await;
        let nowhere = shoal(temporary.path()).run(["testnet", "run", "no-such-scenario"]).await.unwrap();
        refused(&nowhere, 2, &["no-such-scenario", "flash-crowd"]);
        nothing_left(temporary.path());
    });
}

#[test]
fn a_plan_is_shown_without_running_it_and_the_list_names_all() {
    run_within(DEADLINE, async {
        let temporary = folder();
        let text = async |arguments: &[&str]| {
            let finished = shoal(temporary.path()).run(arguments).await.unwrap().succeeded().unwrap();
            String::from_utf8(finished.stdout).unwrap()
        };
        let plan = text(&["testnet", "run", "churn", "--seed", "3", "--plan"]).await;
        assert!(plan.contains("is killed") && plan.contains("is started again"), "{plan}");
        assert_eq!(plan, text(&["testnet", "run", "churn", "--seed", "3", "--plan"]).await);
        assert_ne!(plan, text(&["testnet", "run", "churn", "--seed", "4", "--plan"]).await);
        let list = text(&["testnet", "run", "--list"]).await;
        assert!(shipped_scenarios().iter().all(|shipped| list.contains(shipped.name)), "{list}");
        nothing_left(temporary.path());
    });
}

#[test]
fn virtual_peers_play_the_same_files_and_say_the_same_each_time() {
    run_within(DEADLINE, async {
        let temporary = folder();
        let simulate = async |more: &[&str]| {
            let arguments = [&["--json", "testnet", "simulate", "run"], more].concat();
            shoal(temporary.path()).run(arguments).await.unwrap()
        };
        let file = small(temporary.path(), "churn");
        let first = simulate(&[file.to_str().unwrap(), "--seed", "3"]).await.succeeded().unwrap();
        let report: Report = first.json().unwrap();
        assert!(report.passed() && report.kind == RunKind::Simulation && report.seed == 3, "{}", report.text());
        assert!(report.events.iter().any(|event| event.what.ends_with("is killed")), "{:?}", report.events);
        assert_eq!(simulate(&[file.to_str().unwrap(), "--seed", "3"]).await.stdout, first.stdout);
        let several = simulate(&["liars", "steady-fetch", "--seeds", "1..3"]).await.succeeded().unwrap();
        assert_eq!(String::from_utf8(several.stdout).unwrap().lines().count(), 6);
        refused(
            &simulate(&["steady-fetch", "update", "--seeds", "1..3"]).await,
            2,
            &["version-2", "shoal testnet run"],
        );
        fs::write(temporary.path().join("file"), "").unwrap();
        let nowhere = temporary.path().join("file/report");
        refused(
            &simulate(&["churn", "--report", nowhere.to_str().unwrap()]).await,
            1,
            &["cannot write", "file/report"],
        );
        fs::write(&file, b"name = \"a\"\n\xff\xfe").unwrap();
        refused(&simulate(&[file.to_str().unwrap()]).await, 2, &["line 2", "no text"]);
        nothing_left(temporary.path());
    });
}

#[test]
fn ctrl_c_in_the_middle_leaves_nothing() {
    run_within(DEADLINE, async {
        let temporary = folder();
        let scenario = small(temporary.path(), "churn");
        let mut command = shoal(temporary.path()).command(["testnet", "run", scenario.to_str().unwrap()]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        loop {
            let line = lines.next_line().await.unwrap().expect("it ended without a fetch");
            if line.contains("fetches image") {
                break;
            }
        }
        kill_process(Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap(), Signal::INT).unwrap();
        while let Ok(Some(_)) = lines.next_line().await {}
        assert_eq!(child.wait().await.unwrap().code(), Some(130));
        nothing_left(temporary.path());
    });
}

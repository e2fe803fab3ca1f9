//! Commands against a pretended node: what lands on which stream, and with which exit code.

use clap::Parser;
use shoal_node::api::Failure;

use super::fake::{Daemon, endless, good, missing};
use super::run;
use crate::args::Arguments;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::stop::{Outcome, Stop};
use crate::testing::{Gone, Shared, streams};

struct Ended {
    outcome: Outcome,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn code(&self) -> u8 {
        self.outcome.as_ref().err().map_or(0, Stop::exit_code)
    }

    fn failure(&self) -> &Failure {
        match &self.outcome {
            Err(Stop::Failure(failure)) => failure,
            other => panic!("no failure: {other:?}"),
        }
    }
}

async fn shoal_until(daemon: &Daemon, line: &str, interrupt: &Interrupt) -> Ended {
    let home = daemon.home.path().to_str().unwrap();
    let arguments = Arguments::try_parse_from(["shoal", "--home", home].into_iter().chain(line.split(' '))).unwrap();
    let (out, err) = (Shared::default(), Shared::default());
    let (stdout, stderr) = streams(&out, &err, false);
    let mut output = Output::new(stdout, stderr, arguments.global.manner());
    let outcome = run(arguments, &mut output, interrupt, &|_| None).await;
    output.flush().unwrap();
    Ended { outcome, stdout: out.text(), stderr: err.text() }
}

async fn shoal(daemon: &Daemon, line: &str) -> Ended {
    shoal_until(daemon, line, &Interrupt::default()).await
}

#[tokio::test]
async fn publish_prints_the_link_alone() {
    let daemon = Daemon::start();
    let ended = shoal(&daemon, "publish Cargo.toml --name x").await;
    assert_eq!((ended.code(), ended.stdout), (0, format!("shoal:{}?name=x\n", good())));
    assert!(ended.stderr.contains("2 other nodes"), "{}", ended.stderr);
    let asked = daemon.fake.publish.lock().unwrap().clone().unwrap();
    assert_eq!(asked.paths, [std::env::current_dir().unwrap().join("Cargo.toml")]);
    let json = shoal(&daemon, "--json publish Cargo.toml").await.stdout;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["new_bytes"], 0);
    assert_eq!(shoal(&daemon, "publish - Cargo.toml").await.code(), 2);
}

#[tokio::test]
async fn fetch_prints_the_path_alone() {
    let daemon = Daemon::start();
    let peer = "/ip4/1.2.3.4/tcp/5";
    let line = format!("fetch shoal:{}?name=a%2Fb&peer={peer}&net=lab --limit-down 1KB/s --timeout 2s", good());
    let ended = shoal(&daemon, &line).await;
    let path = std::env::current_dir().unwrap().join("b");
    assert_eq!((ended.code(), ended.stdout), (0, format!("{}\n", path.display())));
    assert!(ended.stderr.starts_with("a provider is slow\n2.0 KiB in 1.0 s"), "{}", ended.stderr);
    let asked = daemon.fake.fetch.lock().unwrap().clone().unwrap();
    assert_eq!((asked.output, asked.limit_down, asked.timeout_ms), (Some(path), Some(1_000), 2_000));
    assert_eq!((asked.peers, asked.name.as_deref()), (vec![peer.to_owned()], Some("b")));
    let quiet = shoal(&daemon, &format!("-q --json fetch {}", good())).await;
    assert_eq!(quiet.stderr, "");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&quiet.stdout).unwrap()["fetched_bytes"], 2048);
}

#[tokio::test]
async fn a_list_that_has_not_begun_shows_what_it_waits_for() {
    let daemon = Daemon::start();
    let ended = shoal(&daemon, &format!("-v ls {}", endless())).await;
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, "searching waits for a first provider\n"));
    assert!(ended.stdout.contains("a\\n"), "{}", ended.stdout);
}

#[tokio::test]
async fn a_failure_leaves_stdout_empty() {
    let daemon = Daemon::start();
    for line in ["fetch", "--json fetch", "-v fetch"] {
        let ended = shoal(&daemon, &format!("{line} {}", missing())).await;
        assert_eq!((ended.code(), ended.stdout.as_str()), (3, ""), "{line}");
    }
    let other = shoal(&daemon, &format!("fetch shoal:{}?net=else", good())).await;
    assert_eq!(other.code(), 2);
    assert!(other.failure().message.contains("\"else\"") && other.failure().message.contains("\"lab\""));
}

#[tokio::test]
async fn ctrl_c_cancels_at_the_node_and_says_how_to_go_on() {
    let daemon = Daemon::start();
    let interrupt = Interrupt::default();
    let line = format!("-v fetch {}", endless());
    let press = async {
        daemon.fake.begun.notified().await;
        interrupt.press();
    };
    let (ended, ()) = tokio::join!(shoal_until(&daemon, &line, &interrupt), press);
    assert_eq!(ended.code(), 130);
    assert!(ended.failure().message.contains("to go on"), "{:?}", ended.outcome);
    daemon.fake.dropped.cancelled().await;
}

#[tokio::test]
async fn streams_reach_stdout_before_what_ends_them() {
    let daemon = Daemon::start();
    let ended = shoal(&daemon, &format!("cat {}", good())).await;
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "bytes"));
    let ended = shoal(&daemon, &format!("cat {}/x", missing())).await;
    assert_eq!((ended.code(), ended.stdout.as_str()), (3, "bytes"));
    let ended = shoal(&daemon, &format!("ls {}", good())).await;
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "       1 B  a\\n\n"));
    let ended = shoal(&daemon, &format!("ls --json {}", missing())).await;
    assert_eq!((ended.code(), ended.stdout.as_str()), (3, "{\"path\":\"a\\n\",\"type\":\"file\",\"bytes\":1}\n"));
    assert_eq!(shoal(&daemon, &format!("cat --json {}", good())).await.code(), 2);
}

#[tokio::test]
async fn a_reader_that_goes_is_no_failure() {
    let daemon = Daemon::start();
    let home = daemon.home.path().to_str().unwrap();
    for line in [format!("cat {}", good()), format!("ls {}", good()), "id".to_owned()] {
        let arguments =
            Arguments::try_parse_from(["shoal", "--home", home].into_iter().chain(line.split(' '))).unwrap();
        let (_, stderr) = streams(&Shared::default(), &Shared::default(), false);
        let stdout = crate::output::Stream { writer: Box::new(Gone), terminal: false };
        let mut output = Output::new(stdout, stderr, arguments.global.manner());
        let outcome = run(arguments, &mut output, &Interrupt::default(), &|_| None).await;
        assert_eq!(outcome.and_then(|()| output.flush()), Err(Stop::ReaderGone), "{line}");
    }
}

#[tokio::test]
async fn questions_are_answered_for_people_and_for_programs() {
    let daemon = Daemon::start();
    assert_eq!(shoal(&daemon, "id").await.stdout, "fake\n/ip4/127.0.0.1/tcp/1/p2p/fake\n");
    let json = r#"{"peer_id":"fake","addresses":["/ip4/127.0.0.1/tcp/1/p2p/fake"]}"#;
    assert_eq!(shoal(&daemon, "id --json").await.stdout.trim(), json);
    let status = shoal(&daemon, "status").await.stdout;
    assert!(status.contains("running for 1 min 1 s") && status.contains("disk \\u{1b}nearly full"), "{status}");
    for line in ["peers", "list"] {
        let (people, json) = (shoal(&daemon, line).await, shoal(&daemon, &format!("{line} --json")).await);
        assert_eq!((people.code(), people.stdout.as_str(), json.stdout.as_str()), (0, "", "[]\n"), "{line}");
    }
}

#[tokio::test]
async fn flags_in_vain_are_told() {
    let daemon = Daemon::start();
    let ended = shoal(&daemon, &format!("cat {} --no-mdns --network x", good())).await;
    assert_eq!(ended.code(), 0);
    assert!(ended.stderr.starts_with("warning: --network, --no-mdns: in vain"), "{}", ended.stderr);
}

#[tokio::test]
async fn what_is_kept_and_given_back_is_told() {
    let daemon = Daemon::start();
    for (command, note) in
        [("pin", "1.0 KiB fetched"), ("unpin", "not pinned"), ("rm", "2.0 KiB of the disk came back")]
    {
        let ended = shoal(&daemon, &format!("{command} {}", good())).await;
        assert_eq!((ended.code(), ended.stdout.as_str()), (0, ""), "{command}");
        assert!(ended.stderr.contains(note), "{command}: {}", ended.stderr);
        let json = shoal(&daemon, &format!("{command} {} --json", good())).await.stdout;
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["hash"], good().to_string(), "{command}");
        assert_eq!(shoal(&daemon, &format!("{command} {}", missing())).await.code(), 3, "{command}");
        assert_eq!(shoal(&daemon, &format!("{command} {}/a", good())).await.code(), 2, "{command}");
    }
    let ended = shoal(&daemon, "gc").await;
    assert!(ended.stdout.starts_with("2.0 KiB of the disk came back"), "{}", ended.stdout);
    assert_eq!(ended.code(), 5);
    assert!(
        ended.failure().message.starts_with("3.0 MiB of garbage stay, for there is no room"),
        "{:?}",
        ended.failure()
    );
    let json = shoal(&daemon, "gc --dry-run --json").await.stdout;
    let json = serde_json::from_str::<serde_json::Value>(&json).unwrap();
    assert_eq!((&json["dry_run"], &json["reclaimed_bytes"]), (&true.into(), &2048.into()));
}

#[tokio::test]
async fn a_second_daemon_is_refused() {
    let ended = shoal(&Daemon::start(), "--json daemon").await;
    assert_eq!((ended.code(), ended.stdout.as_str()), (1, ""));
    assert!(ended.failure().message.contains("running in"), "{:?}", ended.outcome);
}

#[tokio::test]
async fn settings_are_shown_with_their_origin() {
    let daemon = Daemon::start();
    std::fs::write(daemon.home.path().join("config.toml"), "limit_up = '1KB/s'").unwrap();
    let people = shoal(&daemon, "config show").await.stdout;
    assert!(people.contains("limit_up              1000 B/s") && people.contains("config.toml"), "{people}");
    let json = shoal(&daemon, "config show --json").await.stdout;
    let json = serde_json::from_str::<serde_json::Value>(&json).unwrap();
    assert_eq!(json["limit_up"], serde_json::json!({ "value": 1000, "origin": "config.toml" }));
    assert_eq!(json["mdns"], serde_json::json!({ "value": true, "origin": "default" }));
    let path = shoal(&daemon, "config path").await.stdout;
    assert_eq!(path.trim(), daemon.home.path().join("config.toml").to_str().unwrap());
    std::fs::write(daemon.home.path().join("config.toml"), "limit_pu = 1").unwrap();
    assert_eq!(shoal(&daemon, "list").await.code(), 2);
}

#[tokio::test]
async fn verify_says_what_is_damaged_and_exits_with_4_while_it_is() {
    let daemon = Daemon::start();
    let ended = shoal(&daemon, "verify").await;
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "3 checked (2.0 KiB), 0 damaged, 0 repaired\n"));
    let line = format!("verify {}", good());
    let ended = shoal(&daemon, &line).await;
    assert_eq!(ended.code(), 4);
    let line_of_file = "3 chunks or manifest nodes in /f\\u{1b}, such as a chunk: it is gone\n3 checked";
    assert!(ended.stdout.starts_with(line_of_file), "{}", ended.stdout);
    assert!(ended.failure().message.contains("verify --repair"), "{:?}", ended.failure());
    let ended = shoal(&daemon, &format!("--json {line} --repair --limit 1MB/s")).await;
    assert_eq!(ended.code(), 0);
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&json["checked"], &json["damaged"], &json["repaired"]), (&3.into(), &1.into(), &1.into()));
    assert_eq!(shoal(&daemon, &format!("{line}/path")).await.code(), 2);
}

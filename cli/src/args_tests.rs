//! The command line is consistent, and wrong usage names its flag.

use std::ffi::OsString;

use clap::CommandFactory;

use super::*;
use shoal_protocol::hash::{ContentHash, NodeId};

fn words(line: &str) -> Vec<OsString> {
    let hash = ContentHash::from_root(NodeId::of(b"args")).to_string();
    line.replace("HASH", &hash).split_whitespace().map(OsString::from).collect()
}

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(words(line))
}

fn check_wrong(line: &str, parts: &[&str]) {
    let text = crate::usage::one_line(&parse(line).unwrap_err(), &words(line));
    for word in parts {
        assert!(text.contains(word), "{line}: {text} lacks {word}");
    }
    assert!(!text.contains('\n'), "{text}");
}

#[test]
fn definitions_hold_together() {
    Arguments::command().debug_assert();
}

#[test]
fn what_the_contract_shows_is_taken() {
    for line in [
        "shoal publish a b --name x --no-serve",
        "shoal publish - --wait --name x",
        "shoal publish a --wait=30s",
        "shoal publish a --listen /ip4/127.0.0.1/tcp/0 --bootstrap /ip4/1.2.3.4/tcp/5 --network lab --no-mdns",
        "shoal fetch HASH -o out --peer /ip4/1.2.3.4/tcp/5 --limit-down 20MB/s --timeout 5s --force",
        "shoal fetch HASH --base HASH --base shoal:HASH",
        "shoal fetch shoal:HASH?name=x&net=lab",
        "shoal cat HASH/a/b --range 5-9",
        "shoal ls shoal:HASH --json",
        "shoal pin HASH --peer /ip4/1.2.3.4/tcp/5 --timeout 5s",
        "shoal unpin shoal:HASH?name=x",
        "shoal rm HASH --json",
        "shoal gc",
        "shoal gc --dry-run --json",
        "shoal list --home /tmp/x -v --color never",
        "shoal --json daemon --listen /ip4/127.0.0.1/tcp/0 --no-mdns --limit-up 1.5MiB --limit-down 0 --quota 10GB",
        "shoal -q id",
        "shoal status -vv",
        "shoal peers",
        "shoal explain HASH --json",
        "shoal testnet demo --size 64MiB",
        "shoal testnet demo photos",
        "shoal testnet run churn ./mine.toml --seeds 1..10 --report /tmp/x",
        "shoal testnet up --nodes 50 --dir /tmp/x --topology chain --limit-up 20MB/s",
        "shoal testnet status --dir /tmp/x --once --json",
        "shoal testnet down --dir /tmp/x --remove",
        "shoal testnet run churn --seed 7 --report /tmp/x",
        "shoal testnet run ./mine.toml --plan",
        "shoal testnet run --list",
        "shoal config show",
        "shoal config path",
        "shoal completions zsh",
        "shoal man",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn wrong_usage_names_the_flag_and_the_reason() {
    check_wrong(
        "shoal fetch HASH --limit-down fast",
        &["--limit-down", "fast", "not a rate", "see `shoal fetch --help`"],
    );
    check_wrong("shoal fetch HASH --limit-down 99999999PiB", &["--limit-down", "64 bits"]);
    check_wrong("shoal fetch HASH --timeout 5", &["--timeout", "duration"]);
    check_wrong("shoal fetch abc", &["HASH|LINK", "56 characters", "this has 3"]);
    check_wrong("shoal fetch HASH --peer localhost", &["--peer", "/ip4/"]);
    check_wrong("shoal fetch", &["HASH|LINK", "shoal fetch --help"]);
    check_wrong("shoal cat HASH --range 9-5", &["--range", "ends before"]);
    check_wrong("shoal cat HASH --range -5", &["--range"]);
    check_wrong("shoal fetch HASH --in-plaice", &["--in-plaice"]);
    check_wrong("shoal fecth HASH", &["fecth", "'fetch'"]);
    check_wrong("shoal daemon --network Main", &["--network", "'M'", "a-z", "see `shoal daemon --help`"]);
    check_wrong("shoal daemon --listen /ip4/1.2.3/tcp/4", &["--listen", "/ip4/1.2.3/tcp/4"]);
    check_wrong("shoal testnet run churn --seeds 5", &["--seeds", "1..10"]);
    check_wrong("shoal testnet run churn --seeds 5..1", &["--seeds", "ends before"]);
    check_wrong("shoal testnet run churn --seeds 1..99999999", &["--seeds", "more than"]);
    check_wrong("shoal publish a --wait=5", &["--wait", "duration"]);
    check_wrong("shoal publish a --wait --no-serve", &["--wait", "--no-serve"]);
    check_wrong("shoal list -q -v", &["--quiet", "--verbose"]);
}

#[test]
fn what_is_not_there_yet_is_absent() {
    assert!(parse("shoal mount HASH").is_err());
}

#[test]
fn ranges_include_both_ends() {
    assert_eq!(parse_range("0-0"), Ok(ByteRange { start: 0, end: Some(0) }));
    assert_eq!(parse_range("7-"), Ok(ByteRange { start: 7, end: None }));
    for wrong in ["", "-", "7", "a-b", "1-2-3", "0-99999999999999999999"] {
        assert!(parse_range(wrong).is_err(), "{wrong}");
    }
}

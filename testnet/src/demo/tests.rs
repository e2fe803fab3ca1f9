//! The demo with a stand-in for `shoal` that copies files where a node would fetch.

use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Publishing links the path under a hash, fetching copies it. `node-3` and `node-4` are a third through the file for
/// as long as `node-0` lives, and say so in their status. `BREAK` turns a byte of what `node-2` fetches.
const FAKE: &str = r#"#!/bin/sh
home="$2"; all="$home/.."; name="${home##*/}"; shift 2
case "$*" in
  *daemon*)
    mkdir -p "$home"; echo $$ > "$home/pid"; echo $$ >> "LEDGER"
    echo "{\"event\":\"listening\",\"peer_id\":\"peer-of-$name\",\"addresses\":[\"/ip4/127.0.0.1/tcp/$$\"]}"
    echo '{"event":"ready"}'
    trap 'exit 0' TERM
    while :; do sleep 0.02; done;;
  *status*)
    fetches=""
    [ -e "$home/watched" ] && fetches='{"hash":"HASH-FILE","name":null,"progress":{"phase":"fetching","done_bytes":400000,"total_bytes":1000000,"rate":9,"peers":2,"seeders":2},"waits_for":null}'
    echo '{"version":"0","identity":{"peer_id":"p","addresses":[]},"network":"n","home":"/","uptime_seconds":1,"connections":1,"dht_peers":1,"dht_mode":"server","announced_keys":0,"foreign_records":0,"contents":0,"chunks":0,"payload_bytes":0,"disk_bytes":0,"received_bytes":0,"sent_bytes":0,"serving_sessions":0,"fetches":['"$fetches"'],"problems":[],"counters":{}}';;
  *publish*)
    path="$3"; case "$path" in *folder) hash="HASH-FOLDER";; *) hash="HASH-FILE";; esac
    ln -s "$path" "$all/$hash"
    echo "{\"hash\":\"$hash\",\"link\":\"shoal:$hash\",\"bytes\":1000000,\"chunks\":7,\"new_bytes\":1,\"entries\":1,\"announced_to\":1}";;
  *fetch*)
    hash="${3#shoal:}"; to="$5"
    case "$name$hash" in node-[34]HASH-FILE)
      touch "$home/watched"
      while kill -0 "$(cat "$all/node-0/pid")" 2>/dev/null; do sleep 0.02; done
      rm "$home/watched";;
    esac
    cp -r "$all/$hash/." "$to" 2>/dev/null || cp "$all/$hash" "$to"
    [ -n "BREAK" ] && [ "$name" = node-2 ] && [ -f "$to" ] && printf x | dd of="$to" conv=notrunc 2>/dev/null
    echo "{\"hash\":\"$hash\",\"path\":\"$to\",\"bytes\":1000000,\"fetched_bytes\":1000000,\"reused_bytes\":0,\"wasted_bytes\":0,\"manifest_bytes\":1,\"seconds\":0.1,\"peers\":[{\"peer\":\"peer-of-node-1\",\"address\":\"a\",\"bytes\":1000000,\"chunks\":7,\"wasted_bytes\":0,\"ended\":null}]}";;
esac
"#;

fn options(folder: &Path, breaks: &str) -> DemoOptions {
    let hash = |text: &[u8]| {
        use shoal_protocol::hash::{ContentHash, NodeId};
        ContentHash::from_root(NodeId::of(text)).to_string()
    };
    let script = FAKE
        .replace("HASH-FILE", &hash(b"file"))
        .replace("HASH-FOLDER", &hash(b"folder"))
        .replace("LEDGER", &folder.join("ledger").to_string_lossy())
        .replace("BREAK", breaks);
    let program = folder.join("fake-shoal");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    DemoOptions { file_bytes: 1_000_000, ..DemoOptions::new(program) }
}

fn nothing_runs(folder: &Path) {
    let ledger = fs::read_to_string(folder.join("ledger")).unwrap();
    assert_eq!(ledger.lines().count(), 5);
    for pid in ledger.lines() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat} still runs");
    }
}

#[tokio::test]
async fn the_story_from_start_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut out = Vec::new();
    let report = run(options(folder.path(), ""), &mut out).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!((report.killed.as_str(), report.killed_at_bytes), ("node-0", 400_000));
    assert_eq!(report.fetches.len(), 8);
    assert_eq!(report.received()["node-4"]["node-1"], 2_000_000);
    for words in ["killed (SIGKILL) at 40 %", "every byte is right", "received from each peer"] {
        assert!(text.contains(words), "{text}");
    }
    // Whichever of the two began first is told of; the next line is a second later.
    assert!(text.contains("node-3  40 %") || text.contains("node-4  40 %"), "{text}");
    assert!(!text.contains('\x1b') && !text.contains('\r'));
    nothing_runs(folder.path());
}

#[tokio::test]
async fn a_wrong_byte_is_not_overlooked() {
    let folder = tempfile::tempdir().unwrap();
    let error = run(options(folder.path(), "yes"), &mut Vec::new()).await.unwrap_err();
    assert!(matches!(&error, DemoError::Differs { node, .. } if node == "node-2"), "{error}");
    nothing_runs(folder.path());
}

#[tokio::test]
async fn giving_up_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody gets as far as the kill, as it never is a quarter through.
    let mut options = options(folder.path(), "");
    let script = fs::read_to_string(&options.program).unwrap().replace("400000", "1");
    fs::write(&options.program, script).unwrap();
    options.deadline = Duration::from_secs(3);
    let mut out = Vec::new();
    assert!(matches!(run(options, &mut out).await, Err(DemoError::TooLong(_))));
    assert!(String::from_utf8(out).unwrap().contains("are gone"));
    nothing_runs(folder.path());
}

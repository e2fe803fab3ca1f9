//! Power cuts while a fetch keeps its output as the store's copy: what was written to it and not synced is lost.
//!
//! What the home's databases survive is shown where they live. Here the process runs under `strace`, is killed, and
//! what it had written to its output since the last sync of it began is taken away again, in sectors at random. The
//! home stays as it is: all of its writes have reached the disk before those that they speak of.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use shoal_node::api::Verified;
use shoal_testnet::command::{FetchOptions, fetch_arguments};
use shoal_testnet::content::write_file;
use shoal_testnet::wait;

use super::{DEADLINE, amount, chance};
use crate::support::{MIB, PROGRAM, cluster, fetch_and_compare, run_within};

const SECTOR: u64 = 512;
/// How long a tracer may take to write the end of its log.
const LOG_DEADLINE: Duration = Duration::from_secs(60);

/// A call as `strace -f -y -s 0` writes it down.
struct Call {
    name: String,
    /// The path of the file that it is about.
    path: PathBuf,
    /// Where it wrote.
    written: Option<Range<u64>>,
}

/// Reads `pwrite64(12</path>, ""..., 4096, 8192)`, whatever comes after it.
fn parse(text: &str) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (_, rest) = rest.split_once('<')?;
    let (path, rest) = rest.split_once('>')?;
    let mut numbers = rest.split(|byte: char| !byte.is_ascii_digit()).filter_map(|number| number.parse::<u64>().ok());
    let written = match (name, numbers.next(), numbers.next()) {
        ("pwrite64", Some(bytes), Some(offset)) => Some(offset..offset + bytes),
        _ => None,
    };
    Some(Call { name: name.to_owned(), path: path.into(), written })
}

/// What was written below `folder` and not synced after that, by the log: each file with its parts.
fn unsynced(log: &str, folder: &Path) -> HashMap<PathBuf, Vec<Range<u64>>> {
    let mut writes: Vec<(PathBuf, Range<u64>)> = Vec::new();
    // Of a sync under way: how many writes had been made when it began.
    let mut syncing: HashMap<&str, (Call, usize)> = HashMap::new();
    for line in log.lines() {
        let Some((thread, text)) = line.trim_start().split_once(' ') else { continue };
        let text = text.trim_start();
        let done = if text.starts_with("<...") {
            text.ends_with("= 0").then(|| syncing.remove(thread)).flatten()
        } else {
            let Some(call) = parse(text) else { continue };
            if !call.path.starts_with(folder) {
                continue;
            }
            if let Some(part) = call.written.clone() {
                writes.push((call.path, part));
                continue;
            }
            let before = writes.len();
            if text.ends_with("= 0") {
                Some((call, before))
            } else {
                syncing.insert(thread, (call, before));
                None
            }
        };
        if let Some((call, before)) = done {
            let mut at = 0;
            writes.retain(|(path, _)| {
                at += 1;
                at > before || (call.name != "syncfs" && *path != call.path)
            });
            // Syncs that had begun before this one stand for fewer writes now.
            let gone = before - writes.len().min(before);
            syncing.values_mut().for_each(|(_, before)| *before = before.saturating_sub(gone));
        }
    }
    let mut files = HashMap::<_, Vec<_>>::new();
    for (path, part) in writes {
        files.entry(path).or_default().push(part);
    }
    files
}

#[test]
fn what_a_trace_says_is_not_synced() {
    let log = r#"
10 pwrite64(5</out/a>, ""..., 100, 0) = 100
11 pwrite64(6</home/x>, ""..., 100, 0) = 100
11 fdatasync(5</out/a> <unfinished ...>
10 pwrite64(5</out/a>, ""..., 50, 1000 <unfinished ...>
10 <... pwrite64 resumed>) = 50
11 <... fdatasync resumed>) = 0
10 pwrite64(5</out/b>, ""..., 10, 20) = 10
12 fdatasync(5</out/b> <unfinished ...>
+++ killed by SIGKILL +++
"#;
    let left = unsynced(log, Path::new("/out"));
    let (first, second) = (1_000..1_050, 20..30);
    assert_eq!(left[Path::new("/out/a")].iter().collect::<Vec<_>>(), [&first]);
    assert_eq!(left[Path::new("/out/b")].iter().collect::<Vec<_>>(), [&second]);
    let log = log.replace("12 fdatasync(5</out/b> <unf", "12 syncfs(7</out>) = 0\n12 fdatasync(5</out/b> <unf");
    assert!(unsynced(&log, Path::new("/out")).is_empty());
}

/// Takes away what no sync stands for; says how many bytes.
fn cut(files: &HashMap<PathBuf, Vec<Range<u64>>>, seed: u64) -> u64 {
    let mut lost = 0;
    for (path, parts) in files {
        let file = fs::File::options().write(true).open(path).unwrap();
        for part in parts {
            let mut at = part.start;
            while at < part.end {
                let end = part.end.min((at / SECTOR + 1) * SECTOR);
                if chance(seed ^ at, 2) == 0 {
                    file.write_all_at(&vec![0; (end - at) as usize], at).unwrap();
                    lost += end - at;
                }
                at = end;
            }
        }
    }
    lost
}

/// Bytes that have been written to the files below a folder. How long they are says nothing: chunks come in any order.
fn written(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.map(|path| if path.is_dir() { written(&path) } else { blocks(&path) * 512 }).sum()
}

fn blocks(file: &Path) -> u64 {
    // One that is gone again has got another name.
    fs::metadata(file).map_or(0, |meta| meta.blocks())
}

#[test]
fn power_cuts_while_an_output_is_kept() {
    if !Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: strace is not installed");
        return;
    }
    run_within(DEADLINE, async {
        let cluster = cluster(1).await;
        let (mut lost, mut held) = (0, 0);
        for round in 0..amount(3, 40) {
            // A lone file and a folder are made durable in different ways.
            let original = cluster.folder().join(format!("content {round}"));
            if round % 2 == 0 {
                write_file(&original, 48 * MIB, round).unwrap();
            } else {
                fs::create_dir(&original).unwrap();
                write_file(&original.join("one"), 30 * MIB, round).unwrap();
                write_file(&original.join("two"), 18 * MIB, round + 1_000).unwrap();
            }
            let published = cluster.node(0).shoal().publish(&original).await.unwrap();
            let link = format!("shoal:{}?peer={}", published.hash, cluster.node(0).addresses()[0]);
            let shoal = cluster.without_daemon(&format!("home {round}"));
            let folder = cluster.folder().join(format!("outputs {round}"));
            fs::create_dir(&folder).unwrap();
            let output = folder.join("out");
            let log = cluster.folder().join(format!("log {round}"));
            let options =
                FetchOptions { limit_down: Some(amount(8, 40) * MIB), in_place: true, ..FetchOptions::default() };
            let mut command = Command::new("strace");
            // The tracer is the grandchild, and the process a child of ours.
            command.args(["-D", "-f", "-qq", "-y", "-s", "0", "-e", "trace=pwrite64,fdatasync,fsync,syncfs", "-o"]);
            command.arg(&log).arg(PROGRAM).arg("--home").arg(shoal.home());
            command.args(fetch_arguments(&link, &output, &options));
            command.env("SHOAL_LISTEN", "/ip4/127.0.0.1/tcp/0").env("SHOAL_MDNS", "false");
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            // In the first round so late that something is held by then.
            let at = if round == 0 { 36 * MIB } else { chance(round, 40 * MIB) };
            let reached = async || Ok((written(&folder) > at).then_some(()));
            wait::until("so much of the output", DEADLINE, reached).await.unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            let ended = async || {
                let text = fs::read_to_string(&log).unwrap_or_default();
                Ok(text.contains("+++ killed by SIGKILL +++").then_some(text))
            };
            let text = wait::until("the end of the log", LOG_DEADLINE, ended).await.unwrap();
            lost += cut(&unsynced(&text, &folder), round);
            let verified: Verified = shoal.json(["verify"]).await.unwrap();
            assert_eq!(verified.damaged, 0, "round {round}: {verified:?}");
            held += verified.checked_bytes;
            let rest = FetchOptions { in_place: true, ..FetchOptions::default() };
            fetch_and_compare(&shoal, &link, &output, rest, &original).await;
            println!("round {round}: {} of {} bytes were held", verified.checked_bytes, published.bytes);
            fs::remove_dir_all(&folder).unwrap();
        }
        println!("{lost} bytes were taken away, {held} were held");
        assert!(lost > 0 && held > 0, "nothing was cut");
    });
}

//! Real processes tortured: killed at any moment, on a full disk, with syncs that fail.
//!
//! Each has a short form, for every run of the tests, and a long one: `SHOAL_TORTURE=long cargo test --release -p
//! shoal-node -p shoal-tests torture -- --nocapture`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use shoal_node::api::{ContentState, Published, Verified};
use shoal_testnet::cluster::Cluster;
use shoal_testnet::command::{FetchOptions, fetch_arguments};
use shoal_testnet::content::write_file;

use crate::support::{MIB, cluster, fetch_and_compare, folder, home, import, run_within, sample, still_readable};

/// Far beyond what the long forms take.
const DEADLINE: Duration = Duration::from_secs(4 * 3600);

fn is_long() -> bool {
    std::env::var_os("SHOAL_TORTURE").is_some_and(|form| form == "long")
}

fn amount(short: u64, long: u64) -> u64 {
    if is_long() { long } else { short }
}

/// A number that looks random and is the same in each run.
fn chance(seed: u64, limit: u64) -> u64 {
    let hash = blake3::hash(&seed.to_le_bytes());
    u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap()) % limit
}

#[test]
fn killed_while_fetching() {
    run_within(DEADLINE, async {
        let size = amount(48, 256) * MIB;
        let mut cluster = cluster(2).await;
        let mut worst = 0.0_f64;
        for round in 0..amount(4, 100) {
            let file = sample(cluster.folder(), &format!("file {round}"), size, round);
            let published = cluster.node(0).shoal().publish(&file).await.unwrap();
            let again = fetch_through_a_kill(&mut cluster, &published, &file, round).await;
            worst = worst.max(again as f64 / size as f64);
            println!("round {round}: {again} bytes were fetched again");
            std::fs::remove_file(&file).unwrap();
        }
        println!("at most {:.1} % of a content was fetched again", worst * 100.0);
    });
}

/// Fetches, with a kill at a moment that depends on the round; says how many bytes came again after it.
async fn fetch_through_a_kill(cluster: &mut Cluster, published: &Published, file: &Path, round: u64) -> u64 {
    let output = cluster.folder().join(format!("out {round}"));
    let rate = 40 * MIB;
    let options = FetchOptions { limit_down: Some(rate), in_place: round % 2 == 1, ..FetchOptions::default() };
    let hash = published.hash.to_string();
    let mut child = cluster.node(1).shoal().start(fetch_arguments(&hash, &output, &options)).unwrap();
    let at = chance(round, published.bytes * 9 / 10);
    let so_far = crate::support::fetched_so_far(&cluster.node(1).shoal(), published, at).await.progress.done_bytes;
    cluster.kill(1).await.unwrap();
    let _ = child.wait().await;
    cluster.restart(1).await.unwrap();
    let link = format!("shoal:{}?peer={}", published.hash, cluster.node(0).addresses()[0]);
    let rest = FetchOptions { in_place: options.in_place, ..FetchOptions::default() };
    let fetched = fetch_and_compare(&cluster.node(1).shoal(), &link, &output, rest, file).await;
    let again = (fetched.fetched_bytes + so_far).saturating_sub(published.bytes);
    // What the queues and two groups hold at most, however large the content.
    assert!(again <= 24 * MIB, "{again} bytes came again");
    still_readable(&cluster.node(1).shoal(), published, file).await;
    let verified: Verified = cluster.node(1).shoal().json(["verify", &hash]).await.unwrap();
    assert_eq!(verified.damaged, 0);
    std::fs::remove_file(&output).unwrap();
    again
}

#[test]
fn killed_while_publishing() {
    run_within(DEADLINE, async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let file = folder.path().join("file");
        let kept = sample(folder.path(), "kept", MIB, 99);
        let held = import(&shoal, &kept).await;
        for round in 0..amount(6, 100) {
            write_file(&file, 40 * MIB, 1_000 + round).unwrap();
            let in_place: &[&str] = if round % 2 == 1 { &["--in-place"] } else { &[] };
            let words = ["publish", "--no-serve", file.to_str().unwrap()];
            let mut child = shoal.start(words.iter().chain(in_place)).unwrap();
            // A moment, not a wait: what is there at any of them is what this is about.
            tokio::time::sleep(Duration::from_millis(chance(round, 600))).await;
            let _ = child.start_kill();
            let _ = child.wait().await;
            still_readable(&shoal, &held, &kept).await;
            let again = import(&shoal, &file).await;
            still_readable(&shoal, &again, &file).await;
            let listed = shoal.list().await.unwrap();
            assert!(listed.iter().all(|content| content.state == ContentState::Complete));
            shoal.run(["rm", &again.hash.to_string()]).await.unwrap();
            shoal.run(["gc"]).await.unwrap();
        }
        let verified: Verified = shoal.json(["verify", &held.hash.to_string()]).await.unwrap();
        assert_eq!(verified.damaged, 0);
    });
}

/// Whether a small file system can be made here; if not, says why.
fn small_disk(at: &Path, bytes: u64) -> Option<Mounted> {
    std::fs::create_dir_all(at).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(at).status();
    match mounted {
        Ok(status) if status.success() => Some(Mounted(at.to_owned())),
        other => {
            println!("SKIPPED: a small tmpfs cannot be mounted here ({other:?}); it takes being root");
            None
        }
    }
}

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
}

#[test]
fn a_disk_that_is_full_at_any_point() {
    run_within(DEADLINE, async {
        let folder = folder();
        let file = sample(folder.path(), "file", 12 * MIB, 5);
        let kept = sample(folder.path(), "kept", MIB, 6);
        for round in 0..amount(4, 100) {
            let disk = folder.path().join(format!("disk {round}"));
            let Some(_mounted) = small_disk(&disk, 20 * MIB) else { return };
            let shoal = home(&folder, &format!("disk {round}/home"));
            let held = import(&shoal, &kept).await;
            let free = rustix::fs::statvfs(&disk).unwrap();
            let room = free.f_bavail * free.f_frsize;
            let ballast = disk.join("ballast");
            std::fs::write(&ballast, vec![7; (room - chance(round, 11 * MIB)) as usize]).unwrap();
            let refused = shoal.run(["publish", "--no-serve", file.to_str().unwrap()]).await.unwrap();
            assert_eq!(refused.code, Some(5), "round {round}: {}", refused.stderr);
            assert!(refused.stderr.contains("no space left"), "{}", refused.stderr);
            // Not a byte is left now.
            fill(&disk.join("rest"));
            still_readable(&shoal, &held, &kept).await;
            let listed = shoal.list().await.unwrap();
            assert!(listed.iter().any(|content| content.hash == held.hash), "round {round}: {listed:?}");
            std::fs::remove_file(disk.join("rest")).unwrap();
            std::fs::remove_file(&ballast).unwrap();
            let published = import(&shoal, &file).await;
            still_readable(&shoal, &published, &file).await;
            still_readable(&shoal, &held, &kept).await;
        }
    });
}

#[test]
fn a_disk_that_is_read_only_after_a_kill() {
    run_within(DEADLINE, async {
        let folder = folder();
        let kept = sample(folder.path(), "kept", 3 * MIB, 6);
        let disk = folder.path().join("disk");
        let Some(_mounted) = small_disk(&disk, 40 * MIB) else { return };
        let shoal = home(&folder, "disk/home");
        let held = import(&shoal, &kept).await;
        let file = sample(folder.path(), "file", 12 * MIB, 5);
        let mut child = shoal.start(["publish", file.to_str().unwrap()]).unwrap();
        // Its link is out: all of it is held, and nothing is closed.
        let mut line = String::new();
        let mut output = tokio::io::BufReader::new(child.stdout.take().unwrap());
        tokio::io::AsyncBufReadExt::read_line(&mut output, &mut line).await.unwrap();
        child.start_kill().unwrap();
        let _ = child.wait().await;
        let remount = |how| {
            let status = Command::new("mount").args(["-o", how]).arg(&disk).status().unwrap();
            assert!(status.success());
        };
        remount("remount,ro");
        let run = |words: &[&str]| {
            let mut command = Command::new(crate::support::PROGRAM);
            command.arg("--home").arg(disk.join("home")).args(words);
            command.env("SHOAL_LISTEN", "/ip4/127.0.0.1/tcp/0").env("SHOAL_MDNS", "false");
            // Where the control socket lies while the home takes none.
            command.env("XDG_RUNTIME_DIR", folder.path()).output().unwrap()
        };
        for (hash, original) in [(held.hash.to_string(), &kept), (line.trim().to_owned(), &file)] {
            let read = run(&["cat", &hash]);
            assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
            assert_eq!(read.stdout, std::fs::read(original).unwrap());
        }
        let listed = run(&["list"]);
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let other = sample(folder.path(), "other", MIB, 77);
        let refused = run(&["publish", "--no-serve", other.to_str().unwrap()]);
        assert_eq!(refused.status.code(), Some(5), "{}", String::from_utf8_lossy(&refused.stderr));
        remount("remount,rw");
        import(&shoal, &other).await;
        still_readable(&shoal, &held, &kept).await;
    });
}

#[test]
fn a_log_that_cannot_be_written() {
    run_within(DEADLINE, async {
        let folder = folder();
        let file = sample(folder.path(), "file", 3 * MIB, 5);
        let shoal = home(&folder, "home");
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(crate::support::PROGRAM);
        command.arg("--home").arg(folder.path().join("home")).args(["--json", "publish", "--no-serve"]).arg(&file);
        command.env("SHOAL_LISTEN", "/ip4/127.0.0.1/tcp/0").env("SHOAL_MDNS", "false").env("SHOAL_LOG", "trace");
        let ended = command.stderr(full).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        let published: Published = serde_json::from_slice(&ended.stdout).unwrap();
        still_readable(&shoal, &published, &file).await;
    });
}

#[test]
fn syncs_that_fail() {
    run_within(DEADLINE, async {
        if !Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
            println!("SKIPPED: strace is not installed");
            return;
        }
        let folder = folder();
        let file = sample(folder.path(), "file", 24 * MIB, 7);
        let kept = sample(folder.path(), "kept", MIB, 8);
        for at in 1..=amount(5, 50) {
            let name = format!("home {at}");
            let shoal = home(&folder, &name);
            let held = import(&shoal, &kept).await;
            let inject = format!("inject=fdatasync,fsync:error=EIO:when={at}");
            let mut command = Command::new("strace");
            command.args(["-f", "-qq", "-e", "trace=fdatasync,fsync", "-e", &inject, "-o", "/dev/null"]);
            command.arg(crate::support::PROGRAM).arg("--home").arg(folder.path().join(&name));
            command.args(["publish", "--no-serve"]).arg(&file);
            command.env("SHOAL_LISTEN", "/ip4/127.0.0.1/tcp/0").env("SHOAL_MDNS", "false");
            let ended = command.output().unwrap();
            let words = String::from_utf8_lossy(&ended.stderr);
            assert!(!words.contains("panicked"), "sync {at}: {words}");
            still_readable(&shoal, &held, &kept).await;
            let published = import(&shoal, &file).await;
            still_readable(&shoal, &published, &file).await;
            std::fs::remove_dir_all(folder.path().join(&name)).unwrap();
        }
    });
}

//! A disk that is full.
//!
//! The disk is a few MiB of memory, mounted in a mount namespace that only these processes see: it takes being root,
//! and goes by itself when they end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use shoal_testnet::command::Shoal;
use shoal_testnet::process_group::ProcessGroup;

use crate::support::{MIB, PROGRAM, folder, home, import, refused, run, sample, still_readable};

/// A small disk and a program that sees it.
struct SmallDisk {
    /// Where it is mounted, for the program; an empty folder for everybody else.
    path: PathBuf,
    program: PathBuf,
    /// Where it is seen from outside.
    seen: PathBuf,
    holder: Child,
    group: ProcessGroup,
}

impl SmallDisk {
    /// `None`, with a printed reason, where mounting is not allowed.
    fn mount(folder: &Path, bytes: u64) -> Option<Self> {
        let path = folder.join("disk");
        fs::create_dir(&path).unwrap();
        let group = ProcessGroup::start().unwrap();
        let script = "mount -t tmpfs -o size=$1 tmpfs \"$2\" && echo mounted && exec sleep 3600";
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh", &bytes.to_string()])
            .arg(&path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(group.number())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.trim() != "mounted" {
            println!("skipped: mounting a small disk is not allowed here (it takes root and CAP_SYS_ADMIN)");
            let _ = holder.wait();
            return None;
        }
        let program = folder.join("shoal-with-small-disk");
        let pid = holder.id();
        let script = format!("#!/bin/sh\nexec nsenter --mount=/proc/{pid}/ns/mnt '{PROGRAM}' \"$@\"\n");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let seen = PathBuf::from(format!("/proc/{pid}/root")).join(path.strip_prefix("/").unwrap());
        Some(Self { path, program, seen, holder, group })
    }

    /// Writes to a file of its own until not a byte is left.
    fn fill(&self, name: &str) {
        use std::io::Write;
        let mut file = fs::File::create(self.seen.join(name)).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.group.kill();
        let _ = self.holder.wait();
    }
}

#[test]
fn a_publish_that_does_not_fit() {
    run(async {
        let folder = folder();
        let Some(disk) = SmallDisk::mount(folder.path(), 64 * MIB) else { return };
        let shoal = Shoal::new(&disk.program, disk.path.join("home")).on_loopback();
        let (small, large) = (sample(folder.path(), "small", MIB, 1), sample(folder.path(), "large", 128 * MIB, 2));
        let held = import(&shoal, &small).await;
        let finished = shoal.run(["publish", "--no-serve", large.to_str().unwrap()]).await.unwrap();
        refused(&finished, 5, &["space"]);
        assert!(finished.stdout.is_empty());
        assert_eq!(shoal.list().await.unwrap().len(), 1);
        still_readable(&shoal, &held, &small).await;
    });
}

#[test]
fn an_output_that_does_not_fit() {
    run(async {
        let folder = folder();
        let Some(disk) = SmallDisk::mount(folder.path(), 8 * MIB) else { return };
        let shoal = Shoal::new(&disk.program, folder.path().join("home")).on_loopback();
        let file = sample(folder.path(), "file", 20 * MIB, 3);
        let published = import(&home(&folder, "home"), &file).await;
        let output = disk.path.join("out");
        let hash = published.hash.to_string();
        let finished = shoal.run(["fetch", &hash, "-o", output.to_str().unwrap()]).await.unwrap();
        refused(&finished, 5, &["space"]);
        let left: Vec<_> = fs::read_dir(&disk.seen).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name != "out"), "half an output under its final name");
        still_readable(&shoal, &published, &file).await;
    });
}

#[test]
fn a_fetch_whose_store_is_full_and_the_node_goes_on() {
    run(async {
        let folder = folder();
        let Some(disk) = SmallDisk::mount(folder.path(), 48 * MIB) else { return };
        let cluster = crate::support::cluster(1).await;
        let large = sample(cluster.folder(), "large", 96 * MIB, 4);
        let small = sample(cluster.folder(), "small", MIB, 5);
        let (large, small_link) = (
            cluster.node(0).shoal().publish(&large).await.unwrap(),
            cluster.node(0).shoal().publish(&small).await.unwrap(),
        );
        let shoal = Shoal::new(&disk.program, disk.path.join("home")).on_loopback();
        let first = folder.path().join("first");
        shoal.fetch(&small_link.link, &first, &Default::default()).await.unwrap();
        let output = folder.path().join("out");
        let finished = shoal.run(["fetch", &large.link, "-o", output.to_str().unwrap()]).await.unwrap();
        refused(&finished, 5, &["space"]);
        crate::support::nothing_at(&output);
        still_readable(&shoal, &small_link, &small).await;
    });
}

#[test]
fn room_comes_back_on_a_disk_that_is_full_to_the_last_byte() {
    run(async {
        let folder = folder();
        let Some(disk) = SmallDisk::mount(folder.path(), 64 * MIB) else { return };
        let shoal = Shoal::new(&disk.program, disk.path.join("home")).on_loopback();
        let (small, large) = (sample(folder.path(), "small", MIB, 1), sample(folder.path(), "large", 128 * MIB, 2));
        let held = import(&shoal, &small).await;
        for round in 0..2 {
            let finished = shoal.run(["publish", "--no-serve", large.to_str().unwrap()]).await.unwrap();
            refused(&finished, 5, &["space"]);
            disk.fill("ballast");
            let collected: Value = shoal.json(["gc"]).await.unwrap();
            let back = collected["reclaimed_bytes"].as_u64().unwrap();
            assert!(back > 40 * MIB && collected["blocked_bytes"] == 0, "round {round}: {collected}");
            still_readable(&shoal, &held, &small).await;
            // What came back can be used, and to remove that takes not a byte either.
            fs::remove_file(disk.seen.join("ballast")).unwrap();
            let medium = sample(folder.path(), "medium", 32 * MIB, 3);
            let hash = import(&shoal, &medium).await.hash.to_string();
            disk.fill("ballast");
            let removed: Value = shoal.json(["rm", &hash]).await.unwrap();
            assert!(removed["reclaimed_bytes"].as_u64().unwrap() > 20 * MIB, "round {round}: {removed}");
            assert_eq!(shoal.list().await.unwrap().len(), 1);
            fs::remove_file(disk.seen.join("ballast")).unwrap();
            still_readable(&shoal, &held, &small).await;
        }
    });
}

//! A disk that is full, read-only or another's, and syncs that fail.

use std::path::Path;
use std::process::Command;

use shoal_node::api::Published;

use super::{DEADLINE, amount, chance};
use crate::support::{MIB, folder, home, import, run_within, sample, still_readable};

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
        let listed = run(&["list", "-v"]);
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let words = String::from_utf8_lossy(&listed.stderr);
        assert!(!words.contains("it stays"), "nothing was left to be removed: {words}");
        let other = sample(folder.path(), "other", MIB, 77);
        let refused = run(&["publish", "--no-serve", other.to_str().unwrap()]);
        let words = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(5), "{words}");
        assert!(words.contains("read-only: mount it writable"), "{words}");
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

/// Changes the mode of everything below a folder, and of itself: folders and files.
fn set_modes(at: &Path, folders: u32, files: u32, owner: Option<u32>) {
    use std::os::unix::fs::{PermissionsExt, chown};
    let meta = std::fs::symlink_metadata(at).unwrap();
    if meta.is_dir() {
        for entry in std::fs::read_dir(at).unwrap() {
            set_modes(&entry.unwrap().path(), folders, files, owner);
        }
    }
    let mode = if meta.is_dir() { folders } else { files };
    std::fs::set_permissions(at, std::fs::Permissions::from_mode(mode)).unwrap();
    if let Some(owner) = owner {
        chown(at, Some(owner), Some(owner)).unwrap();
    }
}

#[test]
fn a_home_that_may_not_be_written() {
    run_within(DEADLINE, async {
        const NOBODY: u32 = 65_534;
        let folder = folder();
        // Root may write everywhere, and is somebody else here.
        let user = rustix::process::geteuid().is_root().then_some(NOBODY);
        let (file, other) = (sample(folder.path(), "file", 3 * MIB, 5), sample(folder.path(), "other", MIB, 6));
        let run_at = folder.path().join("run");
        std::fs::create_dir(&run_at).unwrap();
        set_modes(folder.path(), 0o755, 0o644, user);
        set_modes(&run_at, 0o700, 0o600, user);
        let shoal = home(&folder, "home").with_environment("XDG_RUNTIME_DIR", &run_at);
        let shoal = user.map_or(shoal.clone(), |user| shoal.as_user(user));
        if std::fs::metadata(crate::support::PROGRAM).is_err() || shoal.run(["--version"]).await.is_err() {
            println!("SKIPPED: another user may not run the program here");
            return;
        }
        let held = import(&shoal, &file).await;
        set_modes(shoal.home(), 0o500, 0o400, user);
        still_readable(&shoal, &held, &file).await;
        let listed = shoal.list().await.unwrap();
        assert_eq!(listed.iter().map(|content| content.hash).collect::<Vec<_>>(), [held.hash]);
        let refused = shoal.run(["publish", "--no-serve", other.to_str().unwrap()]).await.unwrap();
        assert_eq!(refused.code, Some(5), "{}", refused.stderr);
        let names_it = refused.stderr.contains(shoal.home().to_str().unwrap());
        assert!(names_it && refused.stderr.contains("Permission denied"), "{}", refused.stderr);
        assert!(refused.stderr.contains("as the user who owns it"), "no way out: {}", refused.stderr);
        assert!(!refused.stderr.contains("panicked"), "{}", refused.stderr);
        set_modes(shoal.home(), 0o700, 0o600, user);
        import(&shoal, &other).await;
        still_readable(&shoal, &held, &file).await;
        // A segment that may not be read is named, and left as it is.
        let segment = std::fs::read_dir(shoal.home().join("segments")).unwrap().next().unwrap().unwrap().path();
        let mode =
            |mode| std::fs::set_permissions(&segment, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        mode(0o000);
        let refused = shoal.run(["cat", &held.hash.to_string()]).await.unwrap();
        let name = segment.file_name().unwrap().to_str().unwrap();
        assert!(refused.code != Some(0) && refused.stderr.contains(name), "{}", refused.stderr);
        let left = std::os::unix::fs::PermissionsExt::mode(&segment.metadata().unwrap().permissions());
        assert_eq!(left & 0o777, 0, "its mode was changed");
        mode(0o600);
        // And one that may not even be read.
        set_modes(shoal.home(), 0o000, 0o000, Some(0).filter(|_| user.is_some()));
        let refused = shoal.run(["list"]).await.unwrap();
        assert!(refused.code.is_some_and(|code| code != 0), "{}", refused.stderr);
        let words = &refused.stderr;
        assert!(words.contains("home") && words.to_lowercase().contains("permission denied"), "{words}");
        set_modes(shoal.home(), 0o700, 0o600, user);
        still_readable(&shoal, &held, &file).await;
    });
}

//! Publishing what is not there, cannot be read, is no file, or changes under the reader's eyes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::geteuid;
use shoal_testnet::command::Finished;

use super::reading;
use crate::support::{folder, home, import, refused, run, sample, still_readable};

/// Publishes what `make` makes (and names) in a home that holds something, which must not suffer.
fn check(code: i32, words: &'static [&'static str], make: impl Fn(&Path) -> PathBuf) {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let before = sample(folder.path(), "before", 100_000, 1);
        let held = import(&shoal, &before).await;
        let path = make(folder.path());
        let finished = shoal.run([OsStr::new("publish"), OsStr::new("--no-serve"), path.as_os_str()]).await.unwrap();
        refused(&finished, code, words);
        assert!(finished.stdout.is_empty(), "a link for what was not published");
        assert_eq!(shoal.list().await.unwrap().len(), 1);
        still_readable(&shoal, &held, &before).await;
    });
}

#[test]
fn a_path_that_is_not_there() {
    check(1, &["nowhere", "no such file"], |folder| folder.join("nowhere"));
}

#[test]
fn a_file_that_may_not_be_read() {
    check(5, &["permission denied"], |folder| {
        // Root may read everything but what the kernel made for writing only.
        let for_writing_only = PathBuf::from("/sys/bus/cpu/drivers_probe");
        if geteuid().is_root() && for_writing_only.exists() {
            return for_writing_only;
        }
        let path = folder.join("secret");
        fs::write(&path, "words").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        path
    });
}

#[test]
fn a_fifo() {
    check(1, &["pipe", "special"], |folder| {
        let path = folder.join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    });
}

#[test]
fn a_socket_within_a_folder() {
    check(1, &["a-socket", "special"], |folder| {
        let source = folder.join("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("file"), "words").unwrap();
        drop(UnixListener::bind(source.join("a-socket")).unwrap());
        source
    });
}

#[test]
fn a_device() {
    check(1, &["/dev/zero", "special"], |_| PathBuf::from("/dev/zero"));
}

#[test]
fn a_name_that_is_not_utf8() {
    check(1, &["utf-8"], |folder| {
        let source = folder.join("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join(OsStr::from_bytes(b"caf\xe9")), "words").unwrap();
        source
    });
}

#[test]
fn a_link_target_that_is_not_utf8() {
    check(1, &["utf-8"], |folder| {
        let source = folder.join("source");
        fs::create_dir(&source).unwrap();
        std::os::unix::fs::symlink(OsStr::from_bytes(b"caf\xe9"), source.join("link")).unwrap();
        source
    });
}

/// Publishes a folder of two large files; once the first is being read, `meddle` is let loose on the second.
fn check_while_reading(words: &'static [&'static str], meddle: impl Fn(&Path)) {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let before = sample(folder.path(), "before", 100_000, 1);
        let held = import(&shoal, &before).await;
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        // Zeros without blocks: quick to make, and a while to read and hash.
        let (first, second) = (source.join("1"), source.join("2"));
        File::create(&first).unwrap().set_len(2 << 30).unwrap();
        fs::write(&second, vec![7; 4 << 20]).unwrap();
        let child = shoal.start(["publish", "--no-serve", source.to_str().unwrap()]).unwrap();
        reading(child.id().unwrap(), &first).await;
        meddle(&second);
        let output = child.wait_with_output().await.unwrap();
        let finished = Finished {
            command: "shoal publish".to_owned(),
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        refused(&finished, 1, words);
        still_readable(&shoal, &held, &before).await;
    });
}

#[test]
fn a_file_that_vanishes_while_others_are_read() {
    check_while_reading(&["source/2"], |second| fs::remove_file(second).unwrap());
}

#[test]
fn a_file_that_grows_while_others_are_read() {
    check_while_reading(&["source/2", "changed"], |second| {
        File::options().append(true).open(second).unwrap().write_all(b"more").unwrap();
    });
}

#[test]
fn a_file_that_shrinks_while_others_are_read() {
    check_while_reading(&["source/2", "changed"], |second| {
        File::options().write(true).open(second).unwrap().set_len(3 << 20).unwrap();
    });
}

#[test]
fn a_file_that_is_written_to_while_it_is_read() {
    check_while_reading(&["source/1", "changed"], |second| {
        let first = second.with_file_name("1");
        File::options().write(true).open(first).unwrap().write_all(b"other words").unwrap();
    });
}

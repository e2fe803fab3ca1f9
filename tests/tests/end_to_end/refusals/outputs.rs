//! Outputs that exist already, or that cannot be written.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::PathBuf;

use rustix::process::geteuid;
use shoal_testnet::command::FetchOptions;

use crate::support::{fetch_and_compare, folder, home, import, nothing_at, refused, run, sample, still_readable};

#[test]
fn an_output_that_exists_stays_as_it_is() {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let file = sample(folder.path(), "file", 2 << 20, 1);
        let hash = import(&shoal, &file).await.hash.to_string();
        let output = folder.path().join("out");
        fs::write(&output, "dear diary").unwrap();
        let finished = shoal.run(["fetch", &hash, "-o", output.to_str().unwrap()]).await.unwrap();
        refused(&finished, 1, &["exists", "--force"]);
        assert_eq!(fs::read_to_string(&output).unwrap(), "dear diary");
        let force = FetchOptions { force: true, ..FetchOptions::default() };
        fetch_and_compare(&shoal, &hash, &output, force, &file).await;
    });
}

#[test]
fn a_folder_that_exists_stays_as_it_is() {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        sample(&source, "new", 1000, 2);
        let hash = import(&shoal, &source).await.hash.to_string();
        let output = folder.path().join("out");
        fs::create_dir(&output).unwrap();
        fs::write(output.join("old"), "words").unwrap();
        let finished = shoal.run(["fetch", &hash, "-o", output.to_str().unwrap()]).await.unwrap();
        refused(&finished, 1, &["exists", "--force"]);
        assert_eq!(fs::read_dir(&output).unwrap().count(), 1);
    });
}

#[test]
fn replacing_a_link_does_not_write_through_it() {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let file = sample(folder.path(), "file", 1000, 3);
        let hash = import(&shoal, &file).await.hash.to_string();
        let (target, output) = (folder.path().join("target"), folder.path().join("out"));
        fs::write(&target, "dear diary").unwrap();
        symlink(&target, &output).unwrap();
        let finished = shoal.run(["fetch", &hash, "-o", output.to_str().unwrap()]).await.unwrap();
        refused(&finished, 1, &["exists"]);
        let force = FetchOptions { force: true, ..FetchOptions::default() };
        fetch_and_compare(&shoal, &hash, &output, force, &file).await;
        assert_eq!(fs::read_to_string(&target).unwrap(), "dear diary");
    });
}

#[test]
fn what_is_no_file_or_folder_and_the_home_are_never_replaced() {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let file = sample(folder.path(), "file", 1000, 5);
        let hash = import(&shoal, &file).await.hash.to_string();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let refusals = [
            (socket.clone(), "neither a file nor a folder"),
            (folder.path().to_owned(), "home"),
            (shoal.home().to_owned(), "home"),
        ];
        for (output, word) in refusals {
            let finished = shoal.run(["fetch", &hash, "--force", "-o", output.to_str().unwrap()]).await.unwrap();
            refused(&finished, 1, &[output.to_str().unwrap(), word, "-o"]);
        }
        assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_socket());
        still_readable(&shoal, &import(&shoal, &file).await, &file).await;
    });
}

/// A folder that not even root can write into, or one that others cannot.
fn unwritable(folder: &tempfile::TempDir) -> PathBuf {
    if geteuid().is_root() {
        return PathBuf::from("/sys/kernel");
    }
    let path = folder.path().join("locked");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).unwrap();
    path
}

#[test]
fn an_output_folder_that_cannot_be_written() {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let file = sample(folder.path(), "file", 1000, 4);
        let hash = import(&shoal, &file).await.hash.to_string();
        let output = unwritable(&folder).join("out");
        let finished = shoal.run(["fetch", &hash, "-o", output.to_str().unwrap()]).await.unwrap();
        refused(&finished, 5, &[output.parent().unwrap().to_str().unwrap()]);
        nothing_at(&output);
    });
}

#[test]
fn an_output_in_a_folder_that_is_not_there() {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let file = sample(folder.path(), "file", 1000, 5);
        let hash = import(&shoal, &file).await.hash.to_string();
        let output = folder.path().join("missing/out");
        let finished = shoal.run(["fetch", &hash, "-o", output.to_str().unwrap()]).await.unwrap();
        refused(&finished, 1, &["missing"]);
        nothing_at(&output);
    });
}

#[test]
fn a_home_that_is_a_file() {
    run(async {
        let folder = folder();
        let file = sample(folder.path(), "home", 10, 6);
        let finished = home(&folder, "home").run(["list"]).await.unwrap();
        assert!(matches!(finished.code, Some(1 | 5)), "{finished:?}");
        refused(&finished, finished.code.unwrap(), &[file.to_str().unwrap()]);
    });
}

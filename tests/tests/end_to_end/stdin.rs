//! What comes on stdin is published like a file with the same bytes, whole or not at all.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use shoal_node::api::Published;
use shoal_testnet::command::Shoal;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::{MIB, cluster, folder, home, import, run, sample};

fn publish_stdin(shoal: &Shoal, more: &[&str]) -> Command {
    let mut command = shoal.command(["--json", "publish", "-"]);
    command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn published(shoal: &Shoal, from: &Path, more: &[&str]) -> Published {
    let output = publish_stdin(shoal, more).stdin(File::open(from).unwrap()).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn stdin_has_the_hash_of_a_file_with_the_same_bytes() {
    run(async {
        let folder = folder();
        let (by_path, by_stdin) = (home(&folder, "by-path"), home(&folder, "by-stdin"));
        for (seed, bytes) in [0, 1, MIB - 1, 5 * MIB + 3].into_iter().enumerate() {
            let file = sample(folder.path(), "file", bytes, seed as u64);
            let expected = import(&by_path, &file).await;
            let found = published(&by_stdin, &file, &["--no-serve", "--name", "a name"]).await;
            assert_eq!((found.hash, found.bytes, found.chunks), (expected.hash, expected.bytes, expected.chunks));
            assert!(found.link.contains("name=a%20name"), "{}", found.link);
            let read = by_stdin.run(["cat", &found.hash.to_string()]).await.unwrap().succeeded().unwrap();
            assert!(read.stdout == std::fs::read(&file).unwrap());
        }
    });
}

#[test]
fn what_a_daemon_gets_over_stdin_is_announced_and_found() {
    run(async {
        let cluster = cluster(2).await;
        let file = sample(cluster.folder(), "file", 3 * MIB, 7);
        let found = published(&cluster.node(0).shoal(), &file, &[]).await;
        assert!(found.announced_to.is_some_and(|nodes| nodes > 0), "{found:?}");
        let read = cluster.node(1).shoal().run(["cat", &found.hash.to_string()]).await.unwrap().succeeded().unwrap();
        assert!(read.stdout == std::fs::read(&file).unwrap());
    });
}

#[test]
fn a_publisher_that_is_killed_before_the_end_has_published_nothing() {
    run(async {
        let mut cluster = cluster(1).await;
        let shoal = cluster.node(0).shoal();
        let mut child = publish_stdin(&shoal, &[]).stdin(Stdio::piped()).spawn().unwrap();
        let file = sample(cluster.folder(), "file", 8 * MIB, 1);
        child.stdin.as_mut().unwrap().write_all(&std::fs::read(&file).unwrap()).await.unwrap();
        child.kill().await.unwrap();
        // What the node had of it is over when the node is.
        cluster.stop(0).await.unwrap();
        assert_eq!(shoal.list().await.unwrap(), []);
    });
}

#[test]
fn stdin_goes_alone_and_cannot_lie_in_place() {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let file = sample(folder.path(), "file", 1, 1);
        for arguments in [&["publish", "-", file.to_str().unwrap()][..], &["publish", "--in-place", "-"]] {
            let finished = shoal.run(arguments).await.unwrap();
            assert_eq!(finished.code, Some(2), "{}", finished.stderr);
            assert!(finished.stderr.contains("./-"), "{}", finished.stderr);
        }
    });
}

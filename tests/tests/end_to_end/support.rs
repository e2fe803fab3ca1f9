//! What every end-to-end test needs: a deadline, a cluster, a sample, and ways to say what is expected.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shoal_node::api::{Fetched, Published, TransferInfo};
use shoal_testnet::cluster::{Cluster, ClusterOptions, NodeOptions};
use shoal_testnet::command::{FetchOptions, Finished, Shoal};
use shoal_testnet::content;
use shoal_testnet::tree::Tree;
use shoal_testnet::wait;
use tempfile::TempDir;

/// The binary that was built together with these tests.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_shoal-under-test");
/// Longest time for an ordinary test. Far beyond what it takes, as many run side by side in a debug build.
pub(crate) const DEADLINE: Duration = Duration::from_secs(240);
pub(crate) const MIB: u64 = 1 << 20;

/// Runs a test to its end, or fails it when the deadline passes; what it started is dropped either way.
#[track_caller]
pub(crate) fn run(test: impl Future<Output = ()>) {
    run_within(DEADLINE, test);
}

/// [`run`] with a deadline of its own.
#[track_caller]
pub(crate) fn run_within(deadline: Duration, test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ended = runtime.block_on(async { tokio::time::timeout(deadline, test).await });
    assert!(ended.is_ok(), "not done after {deadline:?}");
}

/// So many nodes that know each other.
pub(crate) async fn cluster(nodes: usize) -> Cluster {
    Cluster::start(ClusterOptions::new(PROGRAM, nodes)).await.unwrap_or_else(|error| panic!("{error}"))
}

/// So many nodes, each started in this way.
pub(crate) async fn cluster_with(nodes: usize, node: NodeOptions) -> Cluster {
    let options = ClusterOptions { node, ..ClusterOptions::new(PROGRAM, nodes) };
    Cluster::start(options).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A folder for a test's files and homes without daemons. Short, as a control socket's path has little room.
pub(crate) fn folder() -> TempDir {
    tempfile::Builder::new().prefix("shoal-test-").tempdir().unwrap()
}

/// A home that nothing runs on.
pub(crate) fn home(folder: &TempDir, name: &str) -> Shoal {
    Shoal::new(PROGRAM, folder.path().join(name)).on_loopback()
}

/// Writes a sample file.
pub(crate) fn sample(folder: &Path, name: &str, bytes: u64, seed: u64) -> PathBuf {
    let path = folder.join(name);
    content::write_file(&path, bytes, seed).unwrap();
    path
}

/// Publishes without announcing and without serving.
pub(crate) async fn import(shoal: &Shoal, path: &Path) -> Published {
    let path = path.to_str().unwrap();
    shoal.json(["publish", "--no-serve", path]).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Fetches and checks every byte against the original.
pub(crate) async fn fetch_and_compare(
    shoal: &Shoal,
    what: &str,
    output: &Path,
    options: FetchOptions,
    original: &Path,
) -> Fetched {
    let fetched = shoal.fetch(what, output, &options).await.unwrap_or_else(|error| panic!("{error}"));
    same(original, output);
    fetched
}

/// Fails when two paths do not hold the same.
#[track_caller]
pub(crate) fn same(original: &Path, copy: &Path) {
    let differences = Tree::read(original).unwrap().differences(&Tree::read(copy).unwrap());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Waits until the node's fetch of a content has so many bytes, and says how it was then.
pub(crate) async fn fetched_so_far(shoal: &Shoal, published: &Published, bytes: u64) -> TransferInfo {
    wait::until(&format!("{bytes} bytes of the fetch"), DEADLINE, || async {
        let fetches = shoal.status().await?.fetches;
        Ok(fetches.into_iter().find(|fetch| fetch.hash == published.hash && fetch.progress.done_bytes >= bytes))
    })
    .await
    .unwrap_or_else(|error| panic!("{error}"))
}

/// Waits until a node holds so many bytes of a content durably.
pub(crate) async fn held_so_far(shoal: &Shoal, published: &Published, bytes: u64) {
    wait::until(&format!("{bytes} bytes held"), DEADLINE, || async {
        let contents = shoal.list().await?;
        let held =
            contents.iter().find(|content| content.hash == published.hash).map_or(0, |content| content.held_bytes);
        Ok((held >= bytes).then_some(()))
    })
    .await
    .unwrap_or_else(|error| panic!("{error}"));
}

/// Fails unless the command ended with this code and said so in one line that has all these words (in any case).
#[track_caller]
pub(crate) fn refused(finished: &Finished, code: i32, words: &[&str]) {
    let Finished { command, stderr, .. } = finished;
    assert_eq!(finished.code, Some(code), "`{command}` said: {stderr}");
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    // Notes and warnings on the way are lines of their own.
    let errors: Vec<&&str> = lines.iter().filter(|line| line.starts_with("shoal:")).collect();
    assert!(errors.len() == 1 && lines.len() <= 3, "`{command}` takes one line to say what happened: {stderr}");
    let error = errors[0].to_lowercase();
    for word in words {
        assert!(error.contains(&word.to_lowercase()), "`{command}` does not say {word:?}: {error}");
    }
    assert!(!stderr.contains("panicked") && !stderr.contains("Os {"), "`{command}` talks to programmers: {stderr}");
}

/// Fails when something is where only a finished output may be, or beside it under a name that is not hidden.
#[track_caller]
pub(crate) fn nothing_at(output: &Path) {
    assert!(fs::symlink_metadata(output).is_err(), "{} exists", output.display());
}

/// Fails unless this node still gives every byte of a content.
pub(crate) async fn still_readable(shoal: &Shoal, published: &Published, original: &Path) {
    let read = shoal.run(["cat", &published.hash.to_string()]).await.unwrap().succeeded();
    let read = read.unwrap_or_else(|error| panic!("what was held before is lost: {error}"));
    assert_eq!(read.stdout, fs::read(original).unwrap(), "what was held before has changed");
}

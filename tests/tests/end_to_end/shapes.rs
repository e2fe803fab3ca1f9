//! Contents of every shape: nothing at all, very many small files, one very large file.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use rustix::fs::statvfs;
use shoal_testnet::command::{COMMAND_DEADLINE, FetchOptions};
use shoal_testnet::content::{self, Stream};

use crate::support::{MIB, cluster, fetch_and_compare, run, run_within};

const GIB: u64 = 1 << 30;

/// Publishes what `make` makes on one node and fetches it on another by the hash alone.
async fn check(make: impl Fn(&Path), entries: u64, bytes: u64) {
    let cluster = cluster(2).await;
    let source = cluster.folder().join("source");
    make(&source);
    let published = cluster.node(0).shoal().publish(&source).await.unwrap();
    assert_eq!((published.bytes, published.entries), (bytes, entries));
    let output = cluster.folder().join("out");
    let hash = published.hash.to_string();
    let fetched = fetch_and_compare(&cluster.node(1).shoal(), &hash, &output, FetchOptions::default(), &source).await;
    assert_eq!((fetched.bytes, fetched.wasted_bytes), (bytes, 0));
    let listed = cluster.node(1).shoal().run(["ls", &hash]).await.unwrap();
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    assert_eq!(listed.stdout.iter().filter(|byte| **byte == b'\n').count() as u64, entries);
    if source.is_file() && bytes < MIB {
        let read = cluster.node(1).shoal().run(["-v", "cat", &hash]).await.unwrap();
        assert_eq!((read.code, read.stdout), (Some(0), fs::read(&source).unwrap()), "{}", read.stderr);
    }
}

#[test]
fn an_empty_file() {
    run(check(|path| fs::write(path, "").unwrap(), 1, 0));
}

#[test]
fn an_empty_folder() {
    run(check(|path| fs::create_dir(path).unwrap(), 0, 0));
}

#[test]
fn a_file_of_one_byte() {
    run(check(|path| fs::write(path, "x").unwrap(), 1, 1));
}

#[test]
fn a_file_of_nothing_but_zeros() {
    run(check(|path| File::create(path).unwrap().set_len(40 * MIB).unwrap(), 1, 40 * MIB));
}

#[test]
fn ten_thousand_small_files() {
    let make = |path: &Path| content::write_small_files(path, 10_000, 10 << 10, 1).unwrap();
    run(check(make, 10_000, 10_000 * (10 << 10)));
}

#[test]
fn a_folder_a_hundred_levels_deep() {
    let make = |path: &Path| {
        let deep = (0..100).fold(path.to_owned(), |path, level| path.join(format!("level-{level}")));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), "deep down").unwrap();
    };
    run(check(make, 1, 9));
}

/// Half a GiB at either end that is there once, and one of 64 MiB many times between: every offset is past 32 bits
/// somewhere, and neither disk nor debug build has 3 GiB to hash, store and send.
fn write_three_gib(path: &Path) {
    let mut file = File::create(path).unwrap();
    let mut ends = Stream::new(1);
    ends.write(&mut file, GIB / 2).unwrap();
    for _ in 0..32 {
        Stream::new(2).write(&mut file, 64 * MIB).unwrap();
    }
    ends.write(&mut file, GIB / 2).unwrap();
}

#[test]
fn a_file_of_three_gib() {
    let about = statvfs(std::env::temp_dir()).unwrap();
    let free = about.f_bavail * about.f_frsize;
    if free < 12 * GIB {
        println!("skipped: {} has {} GiB free and this takes 12", std::env::temp_dir().display(), free / GIB);
        return;
    }
    run_within(Duration::from_secs(900), async {
        let cluster = cluster(2).await;
        let source = cluster.folder().join("source");
        write_three_gib(&source);
        let deadline = COMMAND_DEADLINE * 3;
        let published = cluster.node(0).shoal().with_deadline(deadline).publish(&source).await.unwrap();
        assert_eq!(published.bytes, 3 * GIB);
        // The block in the middle is stored once, but for where its repetitions meet other bytes.
        assert!(published.new_bytes < GIB + 80 * MIB, "{} bytes were new", published.new_bytes);
        let output = cluster.folder().join("out");
        let hash = published.hash.to_string();
        let shoal = cluster.node(1).shoal().with_deadline(deadline);
        let fetched = fetch_and_compare(&shoal, &hash, &output, FetchOptions::default(), &source).await;
        assert_eq!(fetched.fetched_bytes + fetched.reused_bytes, 3 * GIB);
        let at = 3 * GIB - 100;
        let read = shoal.run(["cat", &hash, "--range", &format!("{at}-{}", at + 99)]).await.unwrap();
        assert_eq!(read.succeeded().unwrap().stdout.len(), 100);
    });
}

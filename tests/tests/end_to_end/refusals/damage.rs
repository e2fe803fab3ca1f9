//! Bytes on disk that have changed by themselves are noticed, never given out, and replaced where somebody has them.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use shoal_node::api::Published;
use shoal_testnet::command::{FetchOptions, Shoal};

use crate::support::{
    MIB, cluster, fetch_and_compare, folder, home, import, nothing_at, refused, run, sample, still_readable,
};

/// Flips a bit of what a home's store keeps of a file, at some offset of the file or shortly after it: the store cuts
/// its stream into values, and what is looked for may lie across a cut.
fn damage(home: &Path, file: &Path, at: usize) {
    let bytes = fs::read(file).unwrap();
    let segments: Vec<_> = fs::read_dir(home.join("segments")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let stored: Vec<_> = segments.iter().map(|path| fs::read(path).unwrap()).collect();
    for at in (at..at + 1000).step_by(100) {
        let needle = &bytes[at..at + 64];
        for (path, stored) in segments.iter().zip(&stored) {
            if let Some(found) = stored.windows(needle.len()).position(|window| window == needle) {
                let place = found + 32;
                let segment = fs::File::options().write(true).open(path).unwrap();
                return segment.write_all_at(&[stored[place] ^ 1], place as u64).unwrap();
            }
        }
    }
    panic!("the store of {} does not hold byte {at} of {} in one piece", home.display(), file.display());
}

async fn two_files(folder: &Path, shoal: &Shoal) -> [(std::path::PathBuf, Published); 2] {
    let (damaged, sound) = (sample(folder, "damaged", 6 * MIB, 1), sample(folder, "sound", 2 * MIB, 2));
    let (first, second) = (import(shoal, &damaged).await, import(shoal, &sound).await);
    [(damaged, first), (sound, second)]
}

#[test]
fn damage_that_nobody_can_mend_is_told() {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let [(file, published), (sound, held)] = two_files(folder.path(), &shoal).await;
        damage(shoal.home(), &file, 3_000_000);
        let output = folder.path().join("out");
        let hash = published.hash.to_string();
        let read = shoal.run(["cat", &hash]).await.unwrap();
        assert_eq!(read.code, Some(4), "{}", read.stderr);
        assert!(fs::read(&file).unwrap().starts_with(&read.stdout), "wrong bytes were given out");
        let finished = shoal.run(["fetch", &hash, "--timeout", "2s", "-o", output.to_str().unwrap()]).await.unwrap();
        refused(&finished, 4, &["damaged"]);
        nothing_at(&output);
        still_readable(&shoal, &held, &sound).await;
    });
}

#[test]
fn damage_is_mended_by_those_who_have_it() {
    run(async {
        let mut cluster = cluster(2).await;
        let file = sample(cluster.folder(), "file", 6 * MIB, 3);
        let published = cluster.node(0).shoal().publish(&file).await.unwrap();
        let hash = published.hash.to_string();
        let shoal = cluster.node(1).shoal();
        let (first, second) = (cluster.folder().join("first"), cluster.folder().join("second"));
        fetch_and_compare(&shoal, &hash, &first, FetchOptions::default(), &file).await;
        cluster.stop(1).await.unwrap();
        damage(shoal.home(), &file, 2_000_000);
        cluster.restart(1).await.unwrap();
        let fetched = fetch_and_compare(&shoal, &hash, &second, FetchOptions::default(), &file).await;
        assert!(fetched.fetched_bytes > 0 && fetched.fetched_bytes < MIB, "{} fetched", fetched.fetched_bytes);
    });
}

#[test]
fn a_damaged_provider_gives_what_is_sound() {
    run(async {
        let mut cluster = cluster(3).await;
        let file = sample(cluster.folder(), "file", 6 * MIB, 4);
        let published = cluster.node(0).shoal().publish(&file).await.unwrap();
        let hash = published.hash.to_string();
        let (first, second) = (cluster.folder().join("first"), cluster.folder().join("second"));
        fetch_and_compare(&cluster.node(1).shoal(), &hash, &first, FetchOptions::default(), &file).await;
        cluster.stop(0).await.unwrap();
        damage(cluster.node(0).home(), &file, 4_000_000);
        cluster.restart(0).await.unwrap();
        let options = FetchOptions { peers: cluster.node(0).addresses().to_vec(), ..FetchOptions::default() };
        let fetched = fetch_and_compare(&cluster.node(2).shoal(), &hash, &second, options, &file).await;
        // A wrong chunk that travels ends its sender's session with these words. (Bytes may be wasted: two peers can be
        // asked for the same chunk at the end.)
        let caught = |ended: &String| ended.contains("does not match its hash");
        assert!(!fetched.peers.iter().any(|share| share.ended.as_ref().is_some_and(caught)), "wrong bytes travelled");
    });
}

#[test]
fn a_lost_index_is_rebuilt_from_the_segments() {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let file = sample(folder.path(), "file", 6 * MIB, 5);
        import(&shoal, &file).await;
        fs::remove_file(shoal.home().join("index.redb")).unwrap();
        let again = import(&shoal, &file).await;
        assert_eq!(again.new_bytes, 0, "what the segments hold was forgotten");
        still_readable(&shoal, &again, &file).await;
    });
}

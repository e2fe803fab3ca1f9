//! What a node keeps and gives back: `pin`, `unpin`, `rm`, `gc`.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use serde_json::Value;
use shoal_node::api::Published;
use shoal_testnet::cluster::{Cluster, NodeOptions};
use shoal_testnet::command::{FetchOptions, Shoal};
use shoal_testnet::resources::disk_bytes;

use crate::support::{
    MIB, cluster, cluster_with, fetch_and_compare, folder, home, import, refused, run, sample, still_readable,
};

async fn ok(shoal: &Shoal, line: &[&str]) -> (String, String) {
    let ended = shoal.run(line).await.unwrap().succeeded().unwrap_or_else(|error| panic!("{error}"));
    (String::from_utf8(ended.stdout).unwrap(), ended.stderr)
}

#[test]
fn what_is_removed_gives_its_room_back_and_the_rest_stays() {
    run(async {
        let folder = folder();
        let (keep, drop) = (sample(folder.path(), "keep", 3 * MIB, 1), sample(folder.path(), "drop", 12 * MIB, 2));
        let shoal = home(&folder, "home");
        let (keep_it, drop_it) = (import(&shoal, &keep).await, import(&shoal, &drop).await);
        let hash = drop_it.hash.to_string();
        let before = disk_bytes(shoal.home()).unwrap();
        let would: Value = shoal.json(["gc", "--dry-run"]).await.unwrap();
        assert_eq!((&would["dry_run"], &would["reclaimed_bytes"]), (&true.into(), &0.into()));
        let (stdout, stderr) = ok(&shoal, &["rm", &hash]).await;
        assert!(stdout.is_empty() && stderr.contains("came back"), "{stdout}{stderr}");
        let (stdout, _) = ok(&shoal, &["gc"]).await;
        assert!(stdout.contains("came back"), "{stdout}");
        let after = disk_bytes(shoal.home()).unwrap();
        assert!(before - after > 11 * MIB, "{before} bytes before, {after} after");
        still_readable(&shoal, &keep_it, &keep).await;
        refused(&shoal.run(["rm", &hash]).await.unwrap(), 3, &["does not hold", &hash]);
        assert_eq!(shoal.list().await.unwrap().len(), 1);
        // And it can come again.
        assert!(import(&shoal, &drop).await.new_bytes > 11 * MIB);
    });
}

#[test]
fn what_is_pinned_is_fetched_kept_and_only_dropped_once_it_is_not() {
    run(async {
        let cluster = cluster(2).await;
        let file = sample(cluster.folder(), "file", 4 * MIB, 3);
        let published = cluster.node(0).shoal().publish(&file).await.unwrap();
        let (hash, node) = (published.hash.to_string(), cluster.node(1).shoal());
        let pinned: Value = node.json(["pin", &hash]).await.unwrap();
        assert_eq!((&pinned["hash"], &pinned["fetched_bytes"]), (&hash.clone().into(), &published.bytes.into()));
        let (stdout, stderr) = ok(&node, &["pin", &hash]).await;
        assert!(stdout.is_empty() && stderr.contains("all of it was held"), "{stderr}");
        assert!(node.list().await.unwrap()[0].pinned);
        refused(&node.run(["rm", &hash]).await.unwrap(), 1, &["is pinned", "shoal unpin"]);
        // A fetch, a publish and a restart leave the pin alone.
        let output = cluster.folder().join("out");
        fetch_and_compare(&node, &hash, &output, FetchOptions::default(), &file).await;
        node.publish(&file).await.unwrap();
        assert!(node.list().await.unwrap()[0].pinned);
        ok(&node, &["unpin", &hash]).await;
        let removed: Value = node.json(["rm", &hash]).await.unwrap();
        assert!(removed["reclaimed_bytes"].as_u64().unwrap() > 3 * MIB, "{removed}");
        assert!(node.list().await.unwrap().is_empty());
        refused(&node.run(["unpin", &hash]).await.unwrap(), 3, &["does not hold"]);
    });
}

#[test]
fn a_pin_survives_a_crash_and_what_nobody_has_is_not_pinned() {
    run(async {
        let mut cluster = cluster(1).await;
        let file = sample(cluster.folder(), "file", MIB, 4);
        let published = cluster.node(0).shoal().publish(&file).await.unwrap();
        ok(&cluster.node(0).shoal(), &["pin", &published.hash.to_string()]).await;
        cluster.kill(0).await.unwrap();
        cluster.restart(0).await.unwrap();
        let shoal = cluster.node(0).shoal();
        assert!(shoal.list().await.unwrap()[0].pinned);
        let folder = folder();
        let other = import(&home(&folder, "elsewhere"), &sample(folder.path(), "other", MIB, 5)).await;
        let ended = shoal.run(["pin", &other.hash.to_string(), "--timeout", "1s"]).await.unwrap();
        refused(&ended, 3, &[]);
        assert_eq!(shoal.list().await.unwrap().len(), 1);
    });
}

#[test]
fn garbage_goes_while_a_fetch_runs() {
    run(async {
        let cluster = cluster(2).await;
        let (garbage, file) = (sample(cluster.folder(), "g", 24 * MIB, 6), sample(cluster.folder(), "f", 24 * MIB, 7));
        let published = cluster.node(0).shoal().publish(&file).await.unwrap();
        let node = cluster.node(1).shoal();
        let gone = node.publish(&garbage).await.unwrap();
        let output = cluster.folder().join("out");
        let options = FetchOptions { limit_down: Some(3 * MIB), ..FetchOptions::default() };
        let link = published.link.clone();
        let fetch = fetch_and_compare(&node, &link, &output, options, &file);
        let collect = async {
            crate::support::fetched_so_far(&node, &published, MIB).await;
            refused(&node.run(["rm", &published.hash.to_string()]).await.unwrap(), 1, &["being fetched"]);
            let removed: Value = node.json(["rm", &gone.hash.to_string()]).await.unwrap();
            let collected: Value = node.json(["gc"]).await.unwrap();
            let back = |value: &Value| value["reclaimed_bytes"].as_u64().unwrap();
            assert!(back(&removed) + back(&collected) > 20 * MIB, "{removed} {collected}");
        };
        tokio::join!(fetch, collect);
        still_readable(&node, &published, &file).await;
    });
}

/// Publishes a sample of 20 MiB at a node.
async fn publish(cluster: &Cluster, seed: u64) -> Published {
    let file = sample(cluster.folder(), &format!("file-{seed}"), 20 * MIB, seed);
    cluster.node(0).shoal().publish(&file).await.unwrap()
}

#[test]
fn a_quota_is_kept_by_dropping_what_nobody_pinned() {
    run(async {
        let quota = 64 * MIB;
        let arguments = vec!["--quota".into(), "64MiB".into()];
        let cluster = cluster_with(1, NodeOptions { arguments, ..NodeOptions::default() }).await;
        let shoal = cluster.node(0).shoal();
        let mut published = Vec::new();
        for seed in 1..=6 {
            published.push(publish(&cluster, seed).await);
            if seed == 1 {
                ok(&shoal, &["pin", &published[0].hash.to_string()]).await;
            }
            let used = disk_bytes(shoal.home()).unwrap();
            assert!(used <= quota, "{used} bytes after file {seed}");
        }
        let held: Vec<_> = shoal.list().await.unwrap().into_iter().map(|content| content.hash).collect();
        assert!(held.contains(&published[0].hash) && held.contains(&published[5].hash), "{held:?}");
        assert!(!held.contains(&published[1].hash), "{held:?}");
        still_readable(&shoal, &published[0], &cluster.folder().join("file-1")).await;
        still_readable(&shoal, &published[5], &cluster.folder().join("file-6")).await;
        // Nothing goes for what can never fit.
        let larger = sample(cluster.folder(), "larger", 64 * MIB, 10);
        let ended = shoal.run(["publish", larger.to_str().unwrap()]).await.unwrap();
        refused(&ended, 5, &["64 mib do not fit", "raise the quota", "--in-place"]);
        assert_eq!(shoal.list().await.unwrap().len(), held.len());
        for hash in &held {
            ok(&shoal, &["pin", &hash.to_string()]).await;
        }
        let large = sample(cluster.folder(), "large", 50 * MIB, 9);
        let ended = shoal.run(["publish", large.to_str().unwrap()]).await.unwrap();
        refused(&ended, 5, &["quota", "64 mib", "pinned", "unpin"]);
        assert!(disk_bytes(shoal.home()).unwrap() <= quota);
        still_readable(&shoal, &published[5], &cluster.folder().join("file-6")).await;
    });
}

#[test]
fn a_quota_may_be_lowered_and_must_leave_room_to_work_in() {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "home");
        for seed in 1..=5 {
            let file = sample(folder.path(), &format!("file-{seed}"), 20 * MIB, seed);
            import(&shoal, &file).await;
        }
        let before = disk_bytes(shoal.home()).unwrap();
        assert!(before > 64 * MIB);
        let lower = shoal.with_environment("SHOAL_QUOTA", "64MiB");
        let would: Value = lower.json(["gc", "--dry-run"]).await.unwrap();
        assert_eq!((&would["dry_run"], lower.list().await.unwrap().len()), (&true.into(), 5), "{would}");
        assert!(disk_bytes(lower.home()).unwrap() > 64 * MIB, "a dry run changes nothing");
        let last = sample(folder.path(), "last", MIB, 6);
        let published = import(&lower, &last).await;
        assert!(disk_bytes(lower.home()).unwrap() <= 64 * MIB);
        still_readable(&lower, &published, &last).await;
        assert!(lower.list().await.unwrap().len() < 5);
        let too_low = lower.run(["daemon", "--quota", "1MiB"]).await.unwrap();
        refused(&too_low, 2, &["--quota", "64.0 mib"]);
    });
}

/// Looks at how much of the disk a home takes, again and again while somebody wants to know; says the most it saw.
async fn most_used(home: PathBuf, watched: Weak<()>) -> u64 {
    let watched = tokio::task::spawn_blocking(move || {
        let mut most = 0;
        while watched.strong_count() > 0 {
            // Files that go while it looks are none of its business.
            most = most.max(disk_bytes(&home).unwrap_or(0));
            std::thread::yield_now();
        }
        most
    });
    watched.await.unwrap()
}

/// Fetches contents at once at the node under a quota; each is whole afterwards or was refused for want of room.
async fn fetch_at_once(cluster: &Cluster, contents: &[(Published, PathBuf)], round: usize) -> usize {
    let node = cluster.node(1).shoal();
    let fetches = contents.iter().enumerate().map(|(at, (published, original))| {
        let (node, output) = (&node, cluster.folder().join(format!("out-{round}-{at}")));
        async move {
            let line = ["fetch", &published.link, "-o", output.to_str().unwrap()];
            let ended = node.run(line).await.unwrap();
            if ended.code == Some(0) {
                crate::support::same(original, &output);
                return true;
            }
            refused(&ended, 5, &["quota", "in use", "raise"]);
            crate::support::nothing_at(&output);
            false
        }
    });
    futures::future::join_all(fetches).await.into_iter().filter(|is_whole| *is_whole).count()
}

#[test]
fn fetches_at_once_never_exceed_the_quota_and_what_fits_is_fetched() {
    run(async {
        let quota = 96 * MIB;
        let mut cluster = cluster(1).await;
        let mut contents = Vec::new();
        for seed in 1..=9 {
            let file = sample(cluster.folder(), &format!("file-{seed}"), if seed <= 6 { 14 } else { 40 } * MIB, seed);
            contents.push((cluster.node(0).shoal().publish(&file).await.unwrap(), file));
        }
        let arguments = vec!["--quota".into(), "96MiB".into()];
        cluster.add(NodeOptions { arguments, ..NodeOptions::default() }).await.unwrap();
        let node = cluster.node(1).shoal();
        let watched = Arc::new(());
        let watching = tokio::spawn(most_used(node.home().to_owned(), Arc::downgrade(&watched)));
        // Four that fit together; two more for which others have to go; three of which no two fit together with what
        // the collector needs.
        assert_eq!(fetch_at_once(&cluster, &contents[..4], 1).await, 4);
        assert_eq!(fetch_at_once(&cluster, &contents[4..6], 2).await, 2);
        fetch_at_once(&cluster, &contents[6..], 3).await;
        // Whatever became of them: each can be had by itself.
        for (at, (published, original)) in contents.iter().enumerate() {
            let output = cluster.folder().join(format!("alone-{at}"));
            fetch_and_compare(&node, &published.link, &output, FetchOptions::default(), original).await;
        }
        let larger = sample(cluster.folder(), "larger", 96 * MIB, 10);
        let (published, held) = (cluster.node(0).shoal().publish(&larger).await.unwrap(), node.list().await.unwrap());
        refused(&node.run(["fetch", &published.link, "-o", "/nowhere"]).await.unwrap(), 5, &["do not fit", "quota"]);
        assert_eq!(node.list().await.unwrap().len(), held.len());
        drop(watched);
        let most = watching.await.unwrap();
        assert!(most > quota / 2 && most <= quota, "{most} bytes at a time, {quota} are allowed");
    });
}

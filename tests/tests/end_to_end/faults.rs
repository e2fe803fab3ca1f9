//! Processes die, and what was fetched stays fetched.

use rustix::process::{Pid, Signal, kill_process};
use shoal_testnet::cluster::NodeOptions;
use shoal_testnet::command::{FetchOptions, fetch_arguments};
use shoal_testnet::wait;

use crate::support::{
    DEADLINE, MIB, cluster, cluster_with, fetch_and_compare, fetched_so_far, held_so_far, nothing_at, run, same, sample,
};

/// Bytes a second for fetches that something happens to: they take seconds, whatever the machine.
const WATCHED_RATE: u64 = 6 * MIB;

#[test]
fn a_provider_is_killed_in_the_middle_of_a_fetch() {
    run(async {
        let mut cluster = cluster(4).await;
        let file = sample(cluster.folder(), "file", 48 * MIB, 1);
        let published = cluster.node(1).shoal().publish(&file).await.unwrap();
        let hash = published.hash.to_string();
        let (first, second) = (cluster.folder().join("first"), cluster.folder().join("second"));
        fetch_and_compare(&cluster.node(2).shoal(), &hash, &first, FetchOptions::default(), &file).await;
        let shoal = cluster.node(3).shoal();
        let options = FetchOptions { limit_down: Some(WATCHED_RATE), ..FetchOptions::default() };
        let fetch = {
            let (shoal, hash, second) = (shoal.clone(), hash.clone(), second.clone());
            tokio::spawn(async move { shoal.fetch(&hash, &second, &options).await })
        };
        let seen = fetched_so_far(&shoal, &published, 12 * MIB).await;
        assert!(seen.progress.done_bytes < published.bytes);
        cluster.kill(1).await.unwrap();
        let fetched = fetch.await.unwrap().unwrap();
        same(&file, &second);
        let share = |node: usize| {
            let id = cluster.node(node).peer_id();
            fetched.peers.iter().find(|share| share.peer == id).map_or(0, |share| share.bytes)
        };
        assert!(share(2) > 0, "the provider that lived gave nothing");
        assert!(share(1) < published.bytes);
    });
}

#[test]
fn a_fetch_killed_by_force_goes_on_from_what_was_committed() {
    run(async {
        let mut cluster = cluster(2).await;
        let file = sample(cluster.folder(), "file", 64 * MIB, 2);
        let published = cluster.node(0).shoal().publish(&file).await.unwrap();
        let hash = published.hash.to_string();
        let output = cluster.folder().join("out");
        let shoal = cluster.node(1).shoal();
        let options = FetchOptions { limit_down: Some(WATCHED_RATE), ..FetchOptions::default() };
        let fetch = {
            let (shoal, hash, output) = (shoal.clone(), hash.clone(), output.clone());
            tokio::spawn(async move { shoal.run(fetch_arguments(&hash, &output, &options)).await })
        };
        held_so_far(&shoal, &published, 8 * MIB).await;
        cluster.kill(1).await.unwrap();
        let cut_off = fetch.await.unwrap().unwrap();
        assert_ne!(cut_off.code, Some(0));
        nothing_at(&output);
        cluster.restart(1).await.unwrap();
        let held = shoal.list().await.unwrap().first().map_or(0, |content| content.held_bytes);
        assert!(held >= 8 * MIB, "only {held} bytes survived");
        let fetched = fetch_and_compare(&shoal, &hash, &output, FetchOptions::default(), &file).await;
        assert!(
            fetched.fetched_bytes <= published.bytes - held,
            "{} bytes fetched though {held} of {} were held",
            fetched.fetched_bytes,
            published.bytes
        );
    });
}

#[test]
fn a_fetch_interrupted_from_the_keyboard_says_how_to_go_on() {
    run(async {
        let cluster = cluster(1).await;
        let file = sample(cluster.folder(), "file", 64 * MIB, 3);
        let published = cluster.node(0).shoal().publish(&file).await.unwrap();
        let output = cluster.folder().join("out");
        let alone = cluster.without_daemon("alone");
        let options = FetchOptions { limit_down: Some(WATCHED_RATE), ..FetchOptions::default() };
        let child = alone.start(fetch_arguments(&published.link, &output, &options)).unwrap();
        // Whoever fetches in the foreground listens on the home's socket: status answers from within it.
        let seen = wait::until("the fetch to move", DEADLINE, || async {
            let Ok(status) = alone.status().await else { return Ok(None) };
            Ok(status.fetches.into_iter().find(|fetch| fetch.progress.done_bytes >= 8 * MIB))
        });
        seen.await.unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let ended = child.wait_with_output().await.unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(130), "{stderr}");
        assert!(stderr.contains("fetch"), "it does not say how to go on: {stderr}");
        nothing_at(&output);
        let names = std::fs::read_dir(cluster.folder()).unwrap().map(|item| item.unwrap().file_name());
        assert_eq!(names.filter(|name| name.to_string_lossy().contains(".shoal-")).count(), 0);
        let fetched = fetch_and_compare(&alone, &published.link, &output, FetchOptions::default(), &file).await;
        assert!(fetched.fetched_bytes < published.bytes - 4 * MIB, "it began anew");
    });
}

#[test]
fn a_paused_provider_does_not_hold_up_a_fetch() {
    run(async {
        // So slow that the fetch is still under way when one of the two stops answering.
        let slow = NodeOptions { limit_up: Some(3 * MIB), ..NodeOptions::default() };
        let cluster = cluster_with(4, slow).await;
        let file = sample(cluster.folder(), "file", 48 * MIB, 4);
        let hash = {
            let published = cluster.node(1).shoal().publish(&file).await.unwrap();
            crate::support::import(&cluster.node(2).shoal(), &file).await;
            cluster.node(2).shoal().publish(&file).await.unwrap();
            published
        };
        let output = cluster.folder().join("out");
        let shoal = cluster.node(3).shoal();
        let fetch = {
            let (shoal, text, output) = (shoal.clone(), hash.hash.to_string(), output.clone());
            tokio::spawn(async move { shoal.fetch(&text, &output, &FetchOptions::default()).await })
        };
        fetched_so_far(&shoal, &hash, 12 * MIB).await;
        cluster.node(1).pause();
        let fetched = fetch.await.unwrap().unwrap();
        same(&file, &output);
        let id = cluster.node(2).peer_id();
        assert!(fetched.peers.iter().any(|share| share.peer == id && share.bytes > 0));
    });
}

#[test]
fn a_node_killed_while_it_publishes_keeps_what_it_held() {
    run(async {
        let mut cluster = cluster(1).await;
        let small = sample(cluster.folder(), "small", 3 * MIB, 5);
        let large = sample(cluster.folder(), "large", 512 * MIB, 6);
        let shoal = cluster.node(0).shoal();
        let published = shoal.publish(&small).await.unwrap();
        let running = {
            let (shoal, large) = (shoal.clone(), large.clone());
            tokio::spawn(async move { shoal.publish(&large).await })
        };
        let pid = cluster.node(0).pid().unwrap();
        crate::refusals::reading(pid, &large).await;
        cluster.kill(0).await.unwrap();
        assert!(running.await.unwrap().is_err());
        cluster.restart(0).await.unwrap();
        crate::support::still_readable(&shoal, &published, &small).await;
        assert!(shoal.list().await.unwrap().iter().all(|content| content.hash == published.hash));
        let again = shoal.publish(&large).await.unwrap();
        assert_eq!(again.bytes, 512 * MIB);
    });
}

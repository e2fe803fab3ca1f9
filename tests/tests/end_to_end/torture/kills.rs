//! Processes that are killed with signal 9 at moments that a seed chooses, while they publish, fetch or collect.

use std::path::Path;
use std::time::{Duration, Instant};

use shoal_node::api::{Collected, ContentState, Published, Verified};
use shoal_testnet::cluster::Cluster;
use shoal_testnet::command::{FetchOptions, Shoal, fetch_arguments};
use shoal_testnet::content::write_file;

use super::{DEADLINE, amount, chance, is_long};
use crate::support::{
    MIB, cluster, fetch_and_compare, fetched_so_far, folder, home, import, run_within, sample, still_readable,
};

/// What a fetch may have on its way when it is killed: what the sockets and queues hold, and two groups of each copy.
const MOST_AGAIN: u64 = 24 * MIB;

/// Kills a command after so long, wherever it is then.
async fn kill_after(shoal: &Shoal, words: &[&str], moment: Duration) {
    let mut child = shoal.start(words).unwrap();
    // A moment, not a wait: what is there at any of them is what this is about.
    tokio::time::sleep(moment).await;
    let _ = child.start_kill();
    let _ = child.wait().await;
}

async fn assert_sound(shoal: &Shoal) {
    let verified: Verified = shoal.json(["verify"]).await.unwrap();
    assert!(verified.damaged == 0 && verified.checked > 0, "{verified:?}");
}

#[test]
fn killed_while_fetching() {
    run_within(DEADLINE, async {
        let size = amount(24, 512) * MIB;
        let mut cluster = cluster(2).await;
        let mut again = Vec::new();
        for round in 0..amount(3, 70) {
            let file = sample(cluster.folder(), &format!("file {round}"), size, round);
            let published = cluster.node(0).shoal().publish(&file).await.unwrap();
            again.push(fetch_through_a_kill(&mut cluster, &published, &file, round).await as f64 / size as f64 * 100.0);
            println!("round {round}: {:.2} % was sent again", again[again.len() - 1]);
            std::fs::remove_file(&file).unwrap();
            for node in cluster.nodes() {
                node.shoal().run(["rm", &published.hash.to_string()]).await.unwrap();
                node.shoal().run(["gc"]).await.unwrap();
            }
        }
        again.sort_unstable_by(f64::total_cmp);
        let (median, worst) = (again[again.len() / 2], again[again.len() - 1]);
        println!("of {} kills: {median:.2} % of a content was sent again, {worst:.2} % at most", again.len());
        assert!(!is_long() || worst <= 2.0, "{again:?}");
    });
}

/// Fetches, with a kill at a moment that depends on the round; says how many bytes the provider sent more than once.
async fn fetch_through_a_kill(cluster: &mut Cluster, published: &Published, file: &Path, round: u64) -> u64 {
    let sent_before = cluster.node(0).shoal().status().await.unwrap().sent_bytes;
    let output = cluster.folder().join(format!("out {round}"));
    let in_place = round % 2 == 1;
    let options = FetchOptions { limit_down: Some(amount(3, 40) * MIB), in_place, ..FetchOptions::default() };
    let hash = published.hash.to_string();
    let mut child = cluster.node(1).shoal().start(fetch_arguments(&hash, &output, &options)).unwrap();
    let at = chance(round, published.bytes * 9 / 10);
    fetched_so_far(&cluster.node(1).shoal(), published, at).await;
    cluster.kill(1).await.unwrap();
    let _ = child.wait().await;
    cluster.restart(1).await.unwrap();
    let link = format!("shoal:{}?peer={}", published.hash, cluster.node(0).addresses()[0]);
    let rest = FetchOptions { in_place, ..FetchOptions::default() };
    fetch_and_compare(&cluster.node(1).shoal(), &link, &output, rest, file).await;
    let again = cluster.node(0).shoal().status().await.unwrap().sent_bytes - sent_before - published.bytes;
    assert!(again <= MOST_AGAIN, "{again} bytes were sent again");
    still_readable(&cluster.node(1).shoal(), published, file).await;
    assert_sound(&cluster.node(1).shoal()).await;
    std::fs::remove_file(&output).unwrap();
    again
}

#[test]
fn killed_while_publishing() {
    run_within(DEADLINE, async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let file = folder.path().join("file");
        let kept = sample(folder.path(), "kept", MIB, 99);
        let held = import(&shoal, &kept).await;
        for round in 0..amount(4, 70) {
            write_file(&file, 40 * MIB, 1_000 + round).unwrap();
            let in_place: &[&str] = if round % 2 == 1 { &["--in-place"] } else { &[] };
            let words = [&["publish", "--no-serve", file.to_str().unwrap()], in_place].concat();
            kill_after(&shoal, &words, Duration::from_millis(chance(round, 600))).await;
            still_readable(&shoal, &held, &kept).await;
            let again = import(&shoal, &file).await;
            still_readable(&shoal, &again, &file).await;
            let listed = shoal.list().await.unwrap();
            assert!(listed.iter().all(|content| content.state == ContentState::Complete));
            shoal.run(["rm", &again.hash.to_string()]).await.unwrap();
            shoal.run(["gc"]).await.unwrap();
        }
        assert_sound(&shoal).await;
    });
}

#[test]
fn killed_while_collecting() {
    run_within(DEADLINE, async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let mut kept = Vec::new();
        let mut takes = Duration::ZERO;
        let mut cut_short = 0;
        for round in 0..amount(3, 70) {
            // Neighbours on the disk: what stays has to be copied out of the segments of what goes.
            let name = |what| format!("{what} {round}");
            let stays = sample(folder.path(), &name("stays"), amount(3, 12) * MIB, 2 * round);
            let goes = sample(folder.path(), &name("goes"), amount(12, 32) * MIB, 2 * round + 1);
            kept.push((import(&shoal, &stays).await, stays));
            let published = import(&shoal, &goes).await;
            shoal.run(["rm", &published.hash.to_string()]).await.unwrap().succeeded().unwrap();
            if round == 0 {
                let began = Instant::now();
                shoal.run(["gc"]).await.unwrap().succeeded().unwrap();
                takes = began.elapsed();
                std::fs::remove_file(&goes).unwrap();
                continue;
            }
            // The end of a command is the node's, not the collector's.
            kill_after(&shoal, &["gc"], takes.mul_f64(chance(round, 1_000) as f64 / 1_500.0)).await;
            for (published, original) in &kept {
                still_readable(&shoal, published, original).await;
            }
            let collected: Collected = shoal.json(["gc"]).await.unwrap();
            cut_short += u64::from(collected.reclaimed_bytes > 0);
            assert!(collected.garbage_bytes * 8 <= collected.live_bytes, "{collected:?}");
            assert_sound(&shoal).await;
            std::fs::remove_file(&goes).unwrap();
            if kept.len() > 4 {
                let (published, original) = kept.remove(0);
                shoal.run(["rm", &published.hash.to_string()]).await.unwrap().succeeded().unwrap();
                std::fs::remove_file(original).unwrap();
            }
        }
        println!("{cut_short} collections were killed before they were done");
        assert!(!is_long() || cut_short > 10, "hardly a collection was killed before it was done");
    });
}

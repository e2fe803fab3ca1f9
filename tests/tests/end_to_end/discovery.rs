//! Who has it: found through the DHT by the hash alone, over a link, or not at all.

use std::time::{Duration, Instant};

use shoal_node::api::Published;
use shoal_testnet::cluster::NodeOptions;
use shoal_testnet::command::FetchOptions;

use crate::support::{MIB, cluster, cluster_with, fetch_and_compare, folder, home, nothing_at, refused, run, sample};

#[test]
fn by_the_hash_alone_through_the_dht() {
    run(async {
        let cluster = cluster(4).await;
        let file = sample(cluster.folder(), "file", 20 * MIB, 1);
        // Neither of the two is the one that everybody bootstraps from.
        let published = cluster.node(1).shoal().publish(&file).await.unwrap();
        assert!(published.announced_to.unwrap_or(0) > 0, "nobody took the record");
        let output = cluster.folder().join("out");
        let hash = published.hash.to_string();
        let fetched = fetch_and_compare(&cluster.node(3).shoal(), &hash, &output, FetchOptions::default(), &file).await;
        assert_eq!(fetched.peers.len(), 1);
        assert_eq!(fetched.peers[0].peer, cluster.node(1).peer_id());
    });
}

#[test]
fn a_leecher_becomes_a_provider() {
    run(async {
        let mut cluster = cluster(4).await;
        let file = sample(cluster.folder(), "file", 8 * MIB, 2);
        let published = cluster.node(1).shoal().publish(&file).await.unwrap();
        let hash = published.hash.to_string();
        let (first, second) = (cluster.folder().join("first"), cluster.folder().join("second"));
        fetch_and_compare(&cluster.node(2).shoal(), &hash, &first, FetchOptions::default(), &file).await;
        cluster.stop(1).await.unwrap();
        let fetched = fetch_and_compare(&cluster.node(3).shoal(), &hash, &second, FetchOptions::default(), &file).await;
        let giver = fetched.peers.iter().find(|share| share.bytes > 0).unwrap();
        assert_eq!(giver.peer, cluster.node(2).peer_id());
    });
}

#[test]
fn over_a_link_without_any_dht() {
    run(async {
        let options = NodeOptions { alone: true, ..NodeOptions::default() };
        let mut cluster = cluster_with(0, NodeOptions::default()).await;
        let (a, b) = (cluster.add(options.clone()).await.unwrap(), cluster.add(options).await.unwrap());
        let file = sample(cluster.folder(), "file", 3 * MIB, 3);
        let published = cluster.node(a).shoal().publish(&file).await.unwrap();
        assert!(published.link.contains("peer="), "{}", published.link);
        let output = cluster.folder().join("out");
        fetch_and_compare(&cluster.node(b).shoal(), &published.link, &output, FetchOptions::default(), &file).await;
    });
}

#[test]
fn from_three_providers_that_each_hold_a_third() {
    run(async {
        let mut cluster = cluster(5).await;
        let third = 16 * MIB;
        let file = sample(cluster.folder(), "file", 3 * third, 4);
        let published = cluster.node(0).shoal().publish(&file).await.unwrap();
        let hash = published.hash.to_string();
        for (node, part) in [(1, 0), (2, 1), (3, 2)] {
            // Whoever reads a range keeps its chunks and serves them.
            let range = format!("{}-{}", part * third, (part + 1) * third - 1);
            let shoal = cluster.node(node).shoal();
            shoal.run(["cat", &hash, "--range", &range]).await.unwrap().succeeded().unwrap();
            let held = shoal.list().await.unwrap()[0].held_bytes;
            assert!(held >= third && held < 2 * third, "node-{node} holds {held} bytes");
        }
        // Nobody is left that has it all.
        cluster.stop(0).await.unwrap();
        let output = cluster.folder().join("out");
        let peers = [1, 2, 3].map(|node| cluster.node(node).addresses()[0].clone()).to_vec();
        let options = FetchOptions { peers, ..FetchOptions::default() };
        let fetched = fetch_and_compare(&cluster.node(4).shoal(), &hash, &output, options, &file).await;
        for node in [1, 2, 3] {
            let id = cluster.node(node).peer_id();
            let share = fetched.peers.iter().find(|share| share.peer == id).map_or(0, |share| share.bytes);
            assert!(share >= third / 2, "node-{node} gave {share} bytes");
        }
    });
}

#[test]
fn a_hash_that_nobody_has_ends_in_time() {
    run(async {
        let cluster = cluster(3).await;
        let elsewhere = folder();
        let file = sample(elsewhere.path(), "file", 1000, 5);
        let stranger = crate::support::import(&home(&elsewhere, "home"), &file).await;
        let output = cluster.folder().join("out");
        let hash = stranger.hash.to_string();
        let arguments = ["fetch", &hash, "--timeout", "3s", "-o", output.to_str().unwrap()];
        let started = Instant::now();
        let finished = cluster.node(2).shoal().run(arguments).await.unwrap();
        // The stated time, and room for a busy machine to start a process.
        assert!(started.elapsed() < Duration::from_secs(3 + 11), "took {:?}", started.elapsed());
        refused(&finished, 3, &["no provider"]);
        nothing_at(&output);
    });
}

#[test]
fn who_waits_hears_that_others_find_it_or_that_nobody_does() {
    run(async {
        let mut cluster = cluster(4).await;
        let file = sample(cluster.folder(), "file", MIB, 7);
        let path = file.to_str().unwrap();
        let found: Published = cluster.node(2).shoal().json(["publish", "--wait", path]).await.unwrap();
        assert!(found.found_through.unwrap_or(0) >= 2, "{found:?}");

        let alone = cluster.add(NodeOptions { alone: true, ..NodeOptions::default() }).await.unwrap();
        let finished = cluster.node(alone).shoal().run(["publish", "--wait=1s", path]).await.unwrap();
        refused(&finished, 1, &[&found.hash.to_string(), "0 of 0 nodes", "shoal peers"]);
    });
}

//! Several providers at once: what each gives, and how little comes twice.

use shoal_node::api::PeerShare;
use shoal_testnet::cluster::NodeOptions;
use shoal_testnet::command::FetchOptions;

use crate::support::{MIB, cluster, cluster_with, fetch_and_compare, run, sample};

#[test]
fn small_contents_from_several_peers_come_once() {
    run(async {
        let cluster = cluster(4).await;
        for (seed, bytes) in [1, 2, 3, 4, 6, 8, 10].map(|mb| (mb, mb * 1_000_000 + mb * 31_337)) {
            let file = sample(cluster.folder(), &format!("file-{seed}"), bytes, seed);
            let providers = if seed % 2 == 0 { 2 } else { 3 };
            let mut hash = String::new();
            for provider in 0..providers {
                hash = cluster.node(provider).shoal().publish(&file).await.unwrap().hash.to_string();
            }
            let peers = (0..providers).map(|provider| cluster.node(provider).addresses()[0].clone()).collect();
            let options = FetchOptions { peers, ..FetchOptions::default() };
            let output = cluster.folder().join(format!("out-{seed}"));
            let fetched = fetch_and_compare(&cluster.node(3).shoal(), &hash, &output, options, &file).await;
            // What a peer that stood still for long had been asked for comes from others, too.
            let late = |share: &&PeerShare| share.work.deadlines_missed > 0 || share.work.taken_over_chunks > 0;
            let late = fetched.peers.iter().filter(late).count() as u64;
            let allowed = (bytes / 100).max(256 * 1024) + late * 2 * MIB;
            assert!(fetched.wasted_bytes <= allowed, "{} of {bytes} bytes came twice", fetched.wasted_bytes);
        }
    });
}

#[test]
fn two_fetches_of_one_content_share_what_comes() {
    run(async {
        let slow = NodeOptions { limit_up: Some(8 * MIB), ..NodeOptions::default() };
        let cluster = cluster_with(2, slow).await;
        let file = sample(cluster.folder(), "file", 40 * MIB, 1);
        let hash = cluster.node(0).shoal().publish(&file).await.unwrap().hash.to_string();
        let shoal = cluster.node(1).shoal();
        let (first, second) = (cluster.folder().join("first"), cluster.folder().join("second"));
        let (first, second) = tokio::join!(
            fetch_and_compare(&shoal, &hash, &first, FetchOptions::default(), &file),
            fetch_and_compare(&shoal, &hash, &second, FetchOptions::default(), &file),
        );
        // What both have in flight when it comes, and what is not durable yet, may come twice.
        let came = first.fetched_bytes + second.fetched_bytes;
        assert!(came <= first.bytes + first.bytes / 2, "{came} bytes came of {}", first.bytes);
    });
}

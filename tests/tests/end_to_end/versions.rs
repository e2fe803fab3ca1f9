//! The next version of a thing moves only what changed.

use std::fs;

use shoal_testnet::cluster::NodeOptions;
use shoal_testnet::command::FetchOptions;
use shoal_testnet::content;

use crate::support::{MIB, cluster, cluster_with, fetch_and_compare, run, sample};

#[test]
fn a_file_with_an_insertion_in_the_middle() {
    run(async {
        let cluster = cluster(2).await;
        let bytes = 64 * MIB;
        let one = sample(cluster.folder(), "one", bytes, 1);
        let two = cluster.folder().join("two");
        content::write_file_with_insertion(&two, bytes, 1, bytes / 3, 1_000).unwrap();
        let (publisher, reader) = (cluster.node(0).shoal(), cluster.node(1).shoal());
        let published = publisher.publish(&one).await.unwrap();
        let output = cluster.folder().join("out-1");
        let hash = published.hash.to_string();
        fetch_and_compare(&reader, &hash, &output, FetchOptions::default(), &one).await;
        let second = publisher.publish(&two).await.unwrap();
        assert_ne!(second.hash, published.hash);
        // Chunks are at most some 100 KiB: the insertion touches one or two, and a few more until cuts meet again.
        assert!(second.new_bytes < 2 * MIB, "{} bytes were new", second.new_bytes);
        let output = cluster.folder().join("out-2");
        let hash = second.hash.to_string();
        let fetched = fetch_and_compare(&reader, &hash, &output, FetchOptions::default(), &two).await;
        assert_eq!(fetched.fetched_bytes, second.new_bytes, "more moved than had changed");
        assert_eq!(fetched.reused_bytes, second.bytes - second.new_bytes);
        // So does its description: a few nodes, not the whole tree.
        assert!(fetched.manifest_bytes < 256 << 10, "{} bytes of manifest moved", fetched.manifest_bytes);
    });
}

#[test]
fn a_folder_with_one_file_more() {
    run(async {
        let cluster = cluster(2).await;
        let source = cluster.folder().join("source");
        content::write_small_files(&source, 2_000, 8 << 10, 2).unwrap();
        let (publisher, reader) = (cluster.node(0).shoal(), cluster.node(1).shoal());
        let first = publisher.publish(&source).await.unwrap().hash.to_string();
        let output = cluster.folder().join("out-1");
        fetch_and_compare(&reader, &first, &output, FetchOptions::default(), &source).await;
        fs::write(source.join("folder-000/file-00050x"), "between two others").unwrap();
        let second = publisher.publish(&source).await.unwrap().hash.to_string();
        let output = cluster.folder().join("out-2");
        let fetched = fetch_and_compare(&reader, &second, &output, FetchOptions::default(), &source).await;
        assert!(fetched.fetched_bytes < 2 * MIB, "{} bytes moved", fetched.fetched_bytes);
    });
}

#[test]
fn holders_of_the_version_before_give_what_both_share() {
    run(async {
        // The new version is at one node, and that is slow.
        let slow = NodeOptions { limit_up: Some(2 * MIB), ..NodeOptions::default() };
        let mut cluster = cluster_with(1, slow).await;
        let mut add = async || cluster.add(NodeOptions::default()).await.unwrap();
        let (old, reader) = (add().await, add().await);
        let bytes = 48 * MIB;
        let one = sample(cluster.folder(), "one", bytes, 1);
        let two = cluster.folder().join("two");
        content::write_file_with_insertion(&two, bytes, 1, bytes / 3, 1_000).unwrap();
        let first = cluster.node(old).shoal().publish(&one).await.unwrap();
        let second = cluster.node(0).shoal().publish(&two).await.unwrap();
        let output = cluster.folder().join("out");
        let options = FetchOptions { bases: vec![first.hash.to_string()], ..FetchOptions::default() };
        let shoal = cluster.node(reader).shoal();
        let fetched = fetch_and_compare(&shoal, &second.hash.to_string(), &output, options, &two).await;
        assert_eq!(fetched.fetched_bytes, fetched.bytes);
        assert!(fetched.wasted_bytes <= bytes / 50, "{} bytes in vain", fetched.wasted_bytes);
        let id = cluster.node(old).peer_id();
        let share = fetched.peers.iter().find(|share| share.peer == id).unwrap();
        assert!(share.bytes > bytes / 2, "the holder of the version before gave {} bytes", share.bytes);
        // The base itself was not fetched.
        assert!(shoal.list().await.unwrap().iter().all(|content| content.hash == second.hash));
    });
}

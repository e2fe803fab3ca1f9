//! Many leechers of one seeder at the same moment: what leaves the seeder, and that nobody is forgotten.

use shoal_testnet::cluster::NodeOptions;
use shoal_testnet::command::FetchOptions;
use tokio::task::JoinSet;

use crate::support::{MIB, cluster_with, run, same, sample};

const LEECHERS: usize = 8;
const BYTES: u64 = 24 * MIB;

#[test]
fn a_crowd_that_begins_at_once_exchanges_among_itself_what_the_seeder_sends_once() {
    run(async {
        let slow = NodeOptions { limit_up: Some(2 * MIB), ..NodeOptions::default() };
        let mut cluster = cluster_with(1, slow).await;
        for _ in 0..LEECHERS {
            cluster.add(NodeOptions::default()).await.unwrap();
        }
        let file = sample(cluster.folder(), "file", BYTES, 1);
        let published = cluster.node(0).shoal().publish(&file).await.unwrap();
        let link = format!("shoal:{}?peer={}", published.hash, cluster.node(0).addresses()[0]);
        let mut fetches = JoinSet::new();
        for leecher in 1..=LEECHERS {
            let (shoal, link) = (cluster.node(leecher).shoal(), link.clone());
            let output = cluster.folder().join(format!("out-{leecher}"));
            fetches.spawn(async move { shoal.fetch(&link, &output, &FetchOptions::default()).await });
        }
        for fetched in fetches.join_all().await {
            fetched.unwrap_or_else(|error| panic!("{error}"));
        }
        for leecher in 1..=LEECHERS {
            same(&file, &cluster.folder().join(format!("out-{leecher}")));
        }
        let status = cluster.node(0).shoal().status().await.unwrap();
        let sent = status.sent_bytes;
        // More than once while others wait for their disks; without an exchange it would be eight times.
        assert!((BYTES..BYTES * 2).contains(&sent), "the seeder sent {sent} of {BYTES} bytes: {status:#?}");
        assert_eq!(status.counters["serving_first_copies"], published.chunks);
    });
}

//! One honest node among many that are not, and one that comes back.

use std::fs;

use shoal_node::api::{Explained, Fetched};
use shoal_testnet::cluster::NodeOptions;
use shoal_testnet::command::FetchOptions;
use shoal_tests::hostile::{Behaviour, LyingPeer, Security, Served};

use crate::support::{MIB, cluster_with, fetch_and_compare, fetched_so_far, run, same, sample, still_readable};

/// Fetches from an honest node among peers that behave so.
async fn among(behaviours: &[Behaviour], bytes: u64) -> (Fetched, Vec<LyingPeer>) {
    let slow = NodeOptions { limit_up: Some(16 * MIB), ..NodeOptions::default() };
    let mut cluster = cluster_with(1, slow).await;
    let reader = cluster.add(NodeOptions::default()).await.unwrap();
    let file = sample(cluster.folder(), "file", bytes, 1);
    let published = cluster.node(0).shoal().publish(&file).await.unwrap();
    let served = Served::file(&fs::read(&file).unwrap()).unwrap();
    let mut crowd = Vec::new();
    for behaviour in behaviours {
        crowd.push(LyingPeer::start(served.clone(), *behaviour, Security::Tls).await.unwrap());
    }
    let honest = cluster.node(0).addresses()[0].clone();
    let peers = crowd.iter().map(LyingPeer::address).chain([honest]).collect();
    let options = FetchOptions { peers, ..FetchOptions::default() };
    let output = cluster.folder().join("out");
    let shoal = cluster.node(reader).shoal();
    let fetched = fetch_and_compare(&shoal, &published.hash.to_string(), &output, options, &file).await;
    still_readable(&shoal, &published, &file).await;
    (fetched, crowd)
}

#[test]
fn seven_kinds_of_liars_cost_a_window_each() {
    use Behaviour::{Endless, Noise, Replays, ShortChunks, WrongChunks, WrongIndex, WrongNodes};
    run(async {
        let kinds = [WrongChunks, ShortChunks, WrongIndex, Replays, Endless, Noise, WrongNodes];
        let (fetched, crowd) = among(&kinds, 32 * MIB).await;
        assert_eq!(fetched.fetched_bytes, fetched.bytes);
        for (kind, liar) in kinds.iter().zip(&crowd) {
            let Some(share) = fetched.peers.iter().find(|share| share.peer == liar.id()) else {
                continue;
            };
            // What was on its way when it was found out, and what a session bears that is of no use.
            assert!(share.wasted_bytes <= 2 * MIB + MIB / 4, "{kind:?}: {share:?}");
            if matches!(kind, WrongChunks | ShortChunks | Noise | Endless) {
                assert_eq!(share.bytes, 0, "{kind:?}: {share:?}");
            }
        }
    });
}

#[test]
fn those_that_never_serve_are_asked_for_little() {
    run(async {
        let kinds = [Behaviour::Silent, Behaviour::Drips].repeat(5);
        let (fetched, crowd) = among(&kinds, 64 * MIB).await;
        assert!(fetched.wasted_bytes <= fetched.bytes / 50, "{} bytes in vain", fetched.wasted_bytes);
        let chunk = fetched.bytes / fetched.peers.iter().map(|share| share.chunks).sum::<u64>();
        for peer in &crowd {
            let share = fetched.peers.iter().find(|share| share.peer == peer.id());
            let asked = share.map_or(0, |share| share.work.asked_chunks);
            // The first window, and a probe or two after that.
            assert!(asked * chunk <= 2 * MIB, "{share:?}");
        }
    });
}

#[test]
fn a_provider_that_comes_back_is_used_again() {
    run(async {
        let slow = NodeOptions { limit_up: Some(4 * MIB), ..NodeOptions::default() };
        let mut cluster = cluster_with(4, slow).await;
        let file = sample(cluster.folder(), "file", 80 * MIB, 1);
        let published = cluster.node(1).shoal().publish(&file).await.unwrap();
        cluster.node(2).shoal().publish(&file).await.unwrap();
        let (shoal, hash) = (cluster.node(3).shoal(), published.hash.to_string());
        let output = cluster.folder().join("out");
        let peers = vec![cluster.node(1).addresses()[0].clone(), cluster.node(2).addresses()[0].clone()];
        let fetch = {
            let (shoal, hash, output) = (shoal.clone(), hash.clone(), output.clone());
            let options = FetchOptions { peers, ..FetchOptions::default() };
            tokio::spawn(async move { shoal.fetch(&hash, &output, &options).await })
        };
        fetched_so_far(&shoal, &published, 8 * MIB).await;
        cluster.kill(1).await.unwrap();
        let id = cluster.node(1).peer_id().to_owned();
        let explained: Explained = shoal.json(["explain", &hash]).await.unwrap();
        let before = explained.fetches[0].peers.iter().find(|share| share.peer == id).map_or(0, |share| share.bytes);
        cluster.restart(1).await.unwrap();
        let fetched = fetch.await.unwrap().unwrap();
        same(&file, &output);
        let share = fetched.peers.iter().find(|share| share.peer == id).unwrap();
        assert!(share.work.sessions > 1 && share.bytes > before + 2 * MIB, "{before} before, then {share:?}");
    });
}

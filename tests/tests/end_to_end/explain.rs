//! What a fetch says of itself while it runs and when it is over.

use shoal_node::api::{Explained, FetchState, PeerShare};
use shoal_testnet::cluster::NodeOptions;
use shoal_testnet::command::FetchOptions;

use crate::support::{MIB, cluster_with, fetched_so_far, refused, run, same, sample};

#[test]
fn a_fetch_is_explained_while_it_runs_and_afterwards() {
    run(async {
        let slow = NodeOptions { limit_up: Some(3 * MIB), ..NodeOptions::default() };
        let cluster = cluster_with(3, slow).await;
        let file = sample(cluster.folder(), "file", 32 * MIB, 1);
        let published = cluster.node(1).shoal().publish(&file).await.unwrap();
        let (shoal, hash) = (cluster.node(2).shoal(), published.hash.to_string());
        refused(&shoal.run(["explain", &hash]).await.unwrap(), 3, &["no fetch", &hash]);
        let output = cluster.folder().join("out");
        let fetch = {
            let (shoal, hash, output) = (shoal.clone(), hash.clone(), output.clone());
            tokio::spawn(async move { shoal.fetch(&hash, &output, &FetchOptions::default()).await })
        };
        fetched_so_far(&shoal, &published, 8 * MIB).await;
        let explained: Explained = shoal.json(["explain", &hash]).await.unwrap();
        let [running] = explained.fetches.as_slice() else { panic!("{explained:?}") };
        assert_eq!((running.state, running.purpose.as_str()), (FetchState::Running, "fetch"));
        assert!(running.fetched_bytes >= 4 * MIB && running.candidates.contains_key("dht"), "{running:?}");
        let giver = running.peers.iter().find(|peer| peer.peer == cluster.node(1).peer_id()).unwrap();
        assert!(giver.work.now.is_some() && giver.work.waited.contains_key("receiving"), "{giver:?}");
        let text = shoal.run(["explain", &hash]).await.unwrap().succeeded().unwrap();
        let text = String::from_utf8(text.stdout).unwrap();
        assert!(text.starts_with("fetch") && text.contains(&giver.peer) && text.contains("receiving"), "{text}");

        let fetched = fetch.await.unwrap().unwrap();
        same(&file, &output);
        let explained: Explained = shoal.json(["explain", &hash]).await.unwrap();
        let done = &explained.fetches[0];
        assert_eq!((done.state, done.fetched_bytes), (FetchState::Done, fetched.fetched_bytes));
        // The same as the fetch itself has said.
        let asked = |peers: &[PeerShare]| -> u64 {
            peers.iter().map(|peer| peer.work.asked_chunks - peer.work.withdrawn_chunks).sum()
        };
        assert_eq!(asked(&fetched.peers), published.chunks, "{:?}", fetched.peers);
        assert_eq!(asked(&done.peers), published.chunks);
    });
}

//! Announcing and finding.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_announces_another_finds_through_a_third() {
    let middle = start(config(&[])).await;
    let provider = joined(&[&middle]).await;
    let seeker = joined(&[&middle]).await;

    let announced = within(provider.network.announce(key(1))).await.unwrap();
    assert!(announced.told >= 1, "{announced:?}");
    let found = seeker.finds(key(1)).await;
    assert_eq!(found.peer, provider.peer());
    assert!(found.addresses.contains(&provider.address()), "{found:?} has no {}", provider.address());

    // The addresses that came with it are enough for a stream.
    let mut provider = provider;
    let mut stream = within(seeker.network.open_stream(&found.peer, &found.addresses)).await.unwrap();
    assert_eq!(stream.peer(), provider.peer());
    // The other end hears of it with the first that is sent on it.
    stream.flush().await.unwrap();
    assert_eq!(within(provider.inbound.recv()).await.unwrap().peer(), seeker.peer());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_nodes_through_one_find_each_other() {
    let first = start(config(&[])).await;
    let mut nodes = vec![first];
    for _ in 0..7 {
        let node = joined(&[&nodes[0]]).await;
        nodes.push(node);
    }
    for (n, node) in (0u8..).zip(&nodes) {
        within(node.network.announce(key(n))).await.unwrap();
    }
    for (n, provider) in (0u8..).zip(&nodes) {
        let seeker = &nodes[(usize::from(n) + 3) % nodes.len()];
        assert_eq!(seeker.finds(key(n)).await.peer, provider.peer());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_announced_before_it_knew_anybody_is_found() {
    let lonely = start(config(&[])).await;
    let announced = within(lonely.network.announce(key(1))).await.unwrap();
    assert_eq!(announced.told, 0);
    assert_eq!(lonely.network.status().await.unwrap().own_records, 1);

    // Others come to it; two of them, so that what is found does not come from the provider itself.
    let keeper = joined(&[&lonely]).await;
    within(async {
        while keeper.network.status().await.unwrap().foreign_records == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let seeker = joined(&[&keeper]).await;
    assert_eq!(seeker.finds(key(1)).await.peer, lonely.peer());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_an_announcement_hears_when_it_is_called_off() {
    // Takes connections and never says a word, so that the node goes on hoping to join.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(&[]);
    let address = format!("/ip4/127.0.0.1/tcp/{}", silent.local_addr().unwrap().port());
    config.bootstrap = vec![address.parse().unwrap()];
    let node = start(config).await;
    // In this order: the first has sent its question before the second is polled.
    let (announced, stopped) =
        within(async { tokio::join!(biased; node.network.announce(key(1)), node.network.stop_announcing(key(1))) })
            .await;
    assert_eq!((announced.unwrap().told, stopped.is_ok()), (0, true));
    assert_eq!(node.network.status().await.unwrap().own_records, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_before_joining_waits_for_it() {
    let middle = start(config(&[])).await;
    let provider = joined(&[&middle]).await;
    within(provider.network.announce(key(1))).await.unwrap();
    within(async {
        while middle.network.status().await.unwrap().foreign_records == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Asked at once after the start, with the connection to the bootstrap node still to come.
    let seeker = start(config(&[&middle])).await;
    let mut found = seeker.network.find_providers(key(1)).await.unwrap();
    assert_eq!(within(found.recv()).await.unwrap().peer, provider.peer());
    assert_eq!(within(found.recv()).await, None, "each provider once, and then the end");
    let newcomer = start(config(&[&middle])).await;
    assert!(within(newcomer.network.announce(key(2))).await.unwrap().told >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_another_node_leaves_here_is_heard_of() {
    let middle = start(config(&[])).await;
    let mut records = middle.network.records();
    let provider = joined(&[&middle]).await;
    within(provider.network.announce(key(1))).await.unwrap();
    let heard = within(records.recv()).await.unwrap();
    assert_eq!((heard.key, heard.provider.peer), (key(1), provider.peer()));
    assert_eq!(heard.provider.addresses, [provider.address()], "where it can be reached comes with it");
    let mut found = middle.network.find_providers(key(1)).await.unwrap();
    assert_eq!(within(found.recv()).await.unwrap().peer, provider.peer());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootstrap_address_needs_no_peer_id() {
    let first = start(config(&[])).await;
    let mut second = config(&[]);
    second.bootstrap = vec![first.address().without_peer()];
    let second = start(second).await;
    second.knows(1).await;
    let states = second.network.status().await.unwrap().bootstrap;
    assert_eq!(states, [(first.address().without_peer(), BootstrapState::Joined(first.peer()))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootstrap_address_that_does_not_answer_is_told_and_holds_nothing_up() {
    let mut lonely = config(&[]);
    let gone: Address = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
    lonely.bootstrap = vec![gone.clone()];
    let lonely = start(lonely).await;
    let mut found = lonely.network.find_providers(key(1)).await.unwrap();
    assert_eq!(within(found.recv()).await, None);
    let states = lonely.network.status().await.unwrap().bootstrap;
    let [(address, BootstrapState::Failed { reason, .. })] = &states[..] else { panic!("{states:?}") };
    assert_eq!(*address, gone);
    assert!(reason.contains("refused"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_networks_are_not_mixed_in() {
    let first = start(config(&[])).await;
    let mut stranger = config(&[&first]);
    stranger.network = "elsewhere".parse().unwrap();
    let stranger = start(stranger).await;
    // It connects, and both learn that they have nothing in common.
    within(async {
        loop {
            let peers = stranger.network.peers().await.unwrap();
            if peers.iter().any(|peer| peer.same_network == Some(false)) {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(stranger.network.status().await.unwrap().dht_peers, 0);
    assert_eq!(first.network.status().await.unwrap().dht_peers, 0);
    let mut stream = within(stranger.network.open_stream(&first.peer(), &[first.address()])).await.unwrap();
    let error = within(stream.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported, "{error}");
    let error = stranger.network.unsupported(&first.peer()).await;
    let OpenError::UnsupportedProtocol { protocol, speaks, .. } = &error else { panic!("{error}") };
    assert_eq!(protocol, "/shoal/elsewhere/transfer/1");
    assert_eq!(speaks, &["/shoal/main/transfer/1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_nobody_has_ends_with_nothing() {
    let first = start(config(&[])).await;
    let second = joined(&[&first]).await;
    let mut found = second.network.find_providers(key(9)).await.unwrap();
    assert_eq!(within(found.recv()).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_not_find_itself() {
    let first = start(config(&[])).await;
    let second = joined(&[&first]).await;
    within(second.network.announce(key(1))).await.unwrap();
    let mut found = second.network.find_providers(key(1)).await.unwrap();
    assert_eq!(within(found.recv()).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quota_of_own_announcements_is_told() {
    let mut small = config(&[]);
    small.limits.own_records = 2;
    let node = start(small).await;
    node.network.keep_announced(vec![key(1), key(2)]).await.unwrap();
    let error = within(node.network.announce(key(3))).await.unwrap_err();
    assert!(matches!(error, NetworkError::TooManyAnnouncements { limit: 2 }), "{error}");
    node.network.stop_announcing(key(1)).await.unwrap();
    within(node.network.announce(key(3))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_counts_the_others_that_name_a_provider() {
    let middle = start(config(&[])).await;
    let provider = joined(&[&middle]).await;
    let others = [joined(&[&middle, &provider]).await, joined(&[&middle, &provider]).await];
    provider.knows(3).await;
    let not_announced = within(provider.network.look_up_as_stranger(key(1))).await.unwrap();
    assert_eq!(not_announced.keepers, 0);
    within(provider.network.announce(key(1))).await.unwrap();
    // Records are not acknowledged: the first strangers may come before them.
    let sighting = within(async {
        loop {
            let sighting = provider.network.look_up_as_stranger(key(1)).await.unwrap();
            if sighting.keepers == 3 {
                return sighting;
            }
        }
    })
    .await;
    assert_eq!(sighting.asked, 3, "all but the provider, who has the record too and is not asked");
    let elsewhere = within(others[0].network.look_up_as_stranger(key(1))).await.unwrap();
    assert_eq!(elsewhere.keepers, 0, "the record is another's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_else_is_a_stranger_finds_nothing_at_once() {
    let lonely = start(config(&[])).await;
    within(lonely.network.announce(key(1))).await.unwrap();
    let sighting = within(lonely.network.look_up_as_stranger(key(1))).await.unwrap();
    assert_eq!(sighting, Sighting::default());
}

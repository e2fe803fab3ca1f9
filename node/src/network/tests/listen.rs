//! Listening, and what goes wrong with it.

use super::*;

async fn refused(address: &str) -> NetworkError {
    let mut config = config(&[]);
    config.listen = vec![address.parse().unwrap()];
    within(Network::start(config)).await.map(|_| ()).unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_named() {
    let first = start(config(&[])).await;
    let taken = first.address().without_peer();
    let error = refused(&taken.to_string()).await;
    assert!(matches!(&error, NetworkError::PortInUse { address } if *address == taken), "{error}");
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {taken}: the port is in use by another program; choose another, or 0 for any")
    );

    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = format!("/ip4/127.0.0.1/udp/{}/quic-v1", socket.local_addr().unwrap().port());
    assert!(matches!(refused(&taken).await, NetworkError::PortInUse { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_cannot_be_listened_on_are_named() {
    let peer = Identity::generate().peer_id();
    for bad in [
        "/ip4/192.0.2.1/tcp/4001".to_owned(),
        "/ip4/127.0.0.1".to_owned(),
        "/dns/localhost/tcp/0".to_owned(),
        "/ip4/127.0.0.1/udp/0".to_owned(),
        "/ip4/127.0.0.1/tcp/0/ws".to_owned(),
        format!("/ip4/127.0.0.1/tcp/0/p2p/{peer}"),
    ] {
        let error = refused(&bad).await;
        assert!(matches!(&error, NetworkError::BadListenAddress { .. }), "{bad}: {error}");
        assert!(error.to_string().contains(&bad), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_is_free_after_a_shutdown() {
    // An address of its own, so that the system gives the port to no other meanwhile.
    let at = |address: &Address| NetworkConfig { listen: vec![address.clone()], ..config(&[]) };
    let first = start(at(&"/ip4/127.0.0.2/tcp/0".parse().unwrap())).await;
    let address = first.address().without_peer();
    within(first.network.shutdown()).await;
    let again = start(at(&address)).await;
    assert_eq!(again.address().without_peer(), address);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_defaults_listen_somewhere() {
    let mut defaults = config(&[]);
    defaults.listen.clear();
    let node = start(defaults).await;
    let addresses = node.network.addresses();
    for kind in [TransportKind::Tcp, TransportKind::Quic] {
        assert!(addresses.iter().any(|address| address.transport() == kind), "no {kind} in {addresses:?}");
    }
    assert!(addresses.iter().all(|address| address.peer() == Some(node.peer())));
    assert!(addresses.iter().all(|address| address.port() != Some(0)));
}

//! Streams between nodes.

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Sends back what comes, on each stream.
fn echo(mut node: Node) -> (Network, tokio::task::JoinHandle<()>) {
    let network = node.network.clone();
    let serving = tokio::spawn(async move {
        while let Some(stream) = node.inbound.recv().await {
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    (network, serving)
}

async fn check_echo(from: &Network, to: &Network, addresses: &[Address]) -> Path {
    let stream = within(from.open_stream(&to.local_peer(), addresses)).await.unwrap();
    assert_eq!(stream.peer(), to.local_peer());
    let path = stream.path().clone();
    let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n * 31 % 251) as u8).collect();
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let (_, got) = within(async { tokio::join!(writing, read.read_to_end(&mut back)) }).await;
    got.unwrap();
    assert!(back == sent, "other bytes came back");
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_go_both_ways_over_tcp() {
    let (server, _serving) = echo(start(config(&[])).await);
    let client = start(config(&[])).await.network;
    let path = check_echo(&client, &server, &server.addresses()).await;
    assert_eq!((path.transport, path.relayed, path.inbound), (TransportKind::Tcp, false, false));
    // The second stream needs no address: the connection stands.
    check_echo(&client, &server, &[]).await;
    assert_eq!(client.peers().await.unwrap().len(), 1);
    // And the other side may open streams on it as well; this one takes none, so it is reset.
    let mut back = within(server.open_stream(&client.local_peer(), &[])).await.unwrap();
    assert!(back.path().inbound);
    assert!(within(back.read_u8()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_is_for_where_tcp_cannot() {
    let mut both = config(&[]);
    both.listen.push("/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap());
    let (server, _serving) = echo(start(both.clone()).await);
    let quic_only: Vec<Address> =
        server.addresses().into_iter().filter(|address| address.transport() == TransportKind::Quic).collect();
    assert_eq!(quic_only.len(), 1);

    let client = start(config(&[])).await.network;
    assert_eq!(check_echo(&client, &server, &server.addresses()).await.transport, TransportKind::Tcp);
    let client = start(config(&[])).await.network;
    assert_eq!(check_echo(&client, &server, &quic_only).await.transport, TransportKind::Quic);
    // Once TCP is known, the next stream is on TCP.
    assert_eq!(check_echo(&client, &server, &server.addresses()).await.transport, TransportKind::Tcp);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_peer_is_told_with_each_address() {
    let client = start(config(&[])).await.network;
    let peer = Identity::generate().peer_id();
    let error = within(client.open_stream(&peer, &[])).await.unwrap_err();
    assert_eq!(error, OpenError::Unreachable { peer, attempts: Vec::new() });

    let closed: Address = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
    let error = within(client.open_stream(&peer, std::slice::from_ref(&closed))).await.unwrap_err();
    let OpenError::Unreachable { attempts, .. } = &error else { panic!("{error}") };
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].address.as_ref(), Some(&closed));
    assert!(attempts[0].reason.contains("refused"), "{error}");

    let other = start(config(&[])).await;
    let error = within(client.open_stream(&peer, &[other.address().without_peer()])).await.unwrap_err();
    assert!(error.to_string().contains("another peer answers there"), "{error}");
    assert!(error.to_string().contains(&other.peer().to_string()), "{error}");

    let error = within(client.open_stream(&client.local_peer(), &[])).await.unwrap_err();
    assert!(matches!(error, OpenError::ThisNode { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_streams_refuses_in_words() {
    let mut busy = config(&[]);
    busy.limits.inbound_streams = 2;
    busy.refusal = Bytes::from_static(b"busy");
    let server = start(busy).await;
    let client = start(config(&[])).await.network;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut stream = within(client.open_stream(&server.peer(), &[server.address()])).await.unwrap();
        // The server hears of a stream with the first that is sent on it.
        stream.flush().await.unwrap();
        waiting.push(stream);
    }
    // Streams are taken in the order in which they come, on one connection.
    let mut refused = within(client.open_stream(&server.peer(), &[])).await.unwrap();
    let mut words = Vec::new();
    within(refused.read_to_end(&mut words)).await.unwrap();
    assert_eq!(words, b"busy");
    assert_eq!(server.network.status().await.unwrap().refused_streams, 1);

    // Those that wait are served all the same.
    let Node { mut inbound, .. } = server;
    let mut taken = within(inbound.recv()).await.unwrap();
    taken.write_all(b"hello").await.unwrap();
    taken.flush().await.unwrap();
    let mut hello = [0; 5];
    within(waiting[0].read_exact(&mut hello)).await.unwrap();
    assert_eq!(&hello, b"hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_at_once_share_one_connection() {
    let (server, _serving) = echo(start(config(&[])).await);
    let client = start(config(&[])).await.network;
    let addresses = server.addresses();
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (client, server, addresses) = (client.clone(), server.local_peer(), addresses.clone());
        opening.spawn(async move { within(client.open_stream(&server, &addresses)).await.unwrap() });
    }
    let streams = opening.join_all().await;
    assert_eq!(streams.len(), 20);
    let peers = client.peers().await.unwrap();
    assert_eq!((peers.len(), peers[0].connections), (1, 1), "dials for the same addresses are joined");

    // One that begins only when another is done.
    let peer = server.local_peer().libp2p();
    let addresses: Vec<_> = addresses.iter().map(|address| address.clone().into_libp2p()).collect();
    let late = client.ask(|reply| Command::Dial { peer, rank: 0, addresses, reply });
    within(late).await.unwrap().unwrap();
    assert_eq!(client.peers().await.unwrap()[0].connections, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_ends_what_stands_and_what_comes() {
    let mut server = start(config(&[])).await;
    let client = start(config(&[])).await.network;
    let mut stream = within(client.open_stream(&server.peer(), &[server.address()])).await.unwrap();
    stream.flush().await.unwrap();
    let taken = within(server.inbound.recv()).await.unwrap();
    assert_eq!(taken.peer(), client.local_peer());
    within(server.network.shutdown()).await;
    let mut rest = Vec::new();
    let _ = within(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
    assert!(matches!(server.network.status().await, Err(NetworkError::Stopped)));
    assert!(matches!(server.network.announce(key(1)).await, Err(NetworkError::Stopped)));
    let error = within(server.network.open_stream(&client.local_peer(), &[])).await.unwrap_err();
    assert_eq!(error, OpenError::Stopped);
    within(server.network.shutdown()).await;
    let Node { mut inbound, .. } = server;
    assert!(within(inbound.recv()).await.is_none(), "no more come");
}

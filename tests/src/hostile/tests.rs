//! The two hand-made ends against each other.

use shoal_protocol::availability::{ChunkIndex, ChunkRange};
use shoal_protocol::hash::ContentHash;
use shoal_protocol::wire::{CloseCode, RequesterMessage, ServerMessage};

use super::*;

async fn session(behaviour: Behaviour, security: Security) -> (LyingPeer, Served, Requester) {
    let served = Served::file(&[5; 700_000]).unwrap();
    let peer = LyingPeer::start(served.clone(), behaviour, security).await.unwrap();
    let requester = Requester::connect(&peer.address(), security).await.unwrap();
    (peer, served, requester)
}

/// The first chunk that a peer of this kind sends, against the true one.
async fn check(behaviour: Behaviour, security: Security, is_right: bool) {
    let (peer, served, mut requester) = session(behaviour, security).await;
    requester.open_honestly(&served.hash).await.unwrap();
    requester.send(&RequesterMessage::Want(vec![ChunkRange::one(ChunkIndex(0))])).await.unwrap();
    loop {
        match requester.receive().await.unwrap() {
            Some(ServerMessage::Chunk { bytes, .. }) => {
                assert_eq!(bytes == served.chunks[0], is_right);
                break;
            }
            Some(ServerMessage::Accept { .. } | ServerMessage::Availability(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(peer.chunks_sent(), 1);
}

#[tokio::test]
async fn chunks_right_and_wrong() {
    check(Behaviour::Honest, Security::Tls, true).await;
    check(Behaviour::Honest, Security::Noise, true).await;
    check(Behaviour::Chatty, Security::Tls, true).await;
    check(Behaviour::WrongChunks, Security::Tls, false).await;
    check(Behaviour::ShortChunks, Security::Tls, false).await;
}

#[tokio::test]
async fn refusals() {
    let (_peer, served, mut requester) = session(Behaviour::OtherVersion, Security::Tls).await;
    requester.open_honestly(&served.hash).await.unwrap();
    assert!(matches!(requester.receive().await, Ok(Some(ServerMessage::Close { code: CloseCode::Version, .. }))));
    assert!(matches!(requester.receive().await, Ok(None)));
    let (_peer, _, mut requester) = session(Behaviour::Honest, Security::Tls).await;
    requester.open_honestly(&ContentHash::from_bytes([9; 32])).await.unwrap();
    assert!(matches!(requester.receive().await, Ok(Some(ServerMessage::Close { code: CloseCode::NotFound, .. }))));
}

#[tokio::test]
async fn what_is_no_frame_is_an_error() {
    for behaviour in [Behaviour::Endless, Behaviour::Noise] {
        let (_peer, served, mut requester) = session(behaviour, Security::Tls).await;
        requester.open_honestly(&served.hash).await.unwrap();
        assert!(requester.receive().await.is_err());
    }
}

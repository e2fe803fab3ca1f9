use std::path::Path;

use futures::StreamExt;
use shoal_protocol::hash::ChunkId;
use shoal_protocol::manifest::{ContentKind, ManifestBuilder};
use shoal_protocol::wire::{CloseCode, Open, SessionProof, WIRE_VERSION};

use super::*;
use crate::api::{Event, PublishRequest};
use crate::config::NetworkOptions;
use crate::control::Service;
use crate::network::{Identity, PeerId};
use crate::serve::admit::admit;
use crate::store::{Removal, StoreConfig};
use crate::{Config, Node};

/// A content of one chunk like no other, as if it were held.
fn content(number: u32) -> (Served, Beginning) {
    let chunk = number.to_le_bytes();
    let mut manifest = ManifestBuilder::new(ContentKind::File);
    manifest.push_chunk(ChunkId::of(&chunk), 4).unwrap();
    let finished = manifest.finish().unwrap();
    let served = Served { hash: finished.hash, root: finished.root, availability: Availability::all(1), news: None };
    let beginning = Beginning { bytes: Bytes::from(vec![7; 3000]), chunk_bytes: 4, is_kept_whole: true };
    (served, beginning)
}

fn is_kept(beginnings: &Beginnings, losses: u64, number: u32) -> bool {
    let key = content(number).0.hash.discovery_key();
    beginnings.kept().as_of(losses).is_some_and(|kept| kept.contents.contains_key(&key))
}

#[test]
fn what_is_kept_is_bounded_and_the_first_goes_first() {
    let beginnings = Beginnings::default();
    let most = u32::try_from(MOST_KEPT_BYTES / (ENTRY_BYTES + 3000)).unwrap();
    for number in 0..3 * most {
        let (served, beginning) = content(number);
        beginnings.keep(&served, &beginning, 0);
        // Kept twice, it counts once.
        beginnings.keep(&served, &beginning, 0);
        let kept = beginnings.kept();
        assert!(kept.bytes <= MOST_KEPT_BYTES, "{}", kept.bytes);
        assert_eq!(kept.bytes, kept.contents.len() * (ENTRY_BYTES + 3000));
        assert_eq!(kept.order.len(), kept.contents.len());
    }
    for number in 0..3 * most {
        assert_eq!(is_kept(&beginnings, 0, number), number >= 2 * most, "{number}");
    }
}

#[test]
fn what_was_read_before_a_loss_is_not_used_after_it() {
    let beginnings = Beginnings::default();
    let keep = |number, losses| {
        let (served, beginning) = content(number);
        beginnings.keep(&served, &beginning, losses);
    };
    keep(1, 0);
    assert!(is_kept(&beginnings, 0, 1));
    keep(2, 1);
    assert!(!is_kept(&beginnings, 1, 1) && is_kept(&beginnings, 1, 2));
    // Read while something went.
    keep(3, 0);
    assert!(!is_kept(&beginnings, 1, 3) && is_kept(&beginnings, 1, 2));
    assert!(!is_kept(&beginnings, 2, 2));
    assert_eq!(beginnings.kept().bytes, 0);
}

#[test]
fn what_is_not_whole_in_copies_of_the_store_is_not_kept() {
    let beginnings = Beginnings::default();
    let (served, whole) = content(1);
    beginnings.keep(&served, &Beginning { is_kept_whole: false, ..whole.clone() }, 0);
    assert!(!is_kept(&beginnings, 0, 1));
    let contents = Contents::default();
    let _fetch = contents.register(served.hash, served.root.clone(), Availability::all(1));
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path(), StoreConfig::default()).unwrap();
    let known = Known::look_up(&contents, &store, &served.hash.discovery_key()).unwrap().unwrap();
    let live = Served::open(&store, known).unwrap().unwrap();
    beginnings.keep(&live, &whole, 0);
    assert!(!is_kept(&beginnings, 0, 1), "it is being fetched");
}

async fn start(home: &Path) -> Node {
    let network = NetworkOptions { offline: true, ..NetworkOptions::default() };
    Node::start(Config { network, ..Config::new(home) }).await.unwrap()
}

async fn publish(node: &Node, folder: &Path, bytes: &[u8]) -> ContentHash {
    let path = folder.join("file");
    std::fs::write(&path, bytes).unwrap();
    let request = PublishRequest { paths: vec![path], name: None, import_only: true, in_place: false, wait_ms: None };
    let mut events = node.publish(request);
    while let Some(event) = events.next().await {
        match event {
            Event::Done(published) => return published.hash,
            Event::Error(failure) => panic!("{failure}"),
            Event::Progress(_) | Event::Note { .. } => {}
        }
    }
    panic!("it ended without a word");
}

/// What a requester is told that knows `known` and opens `hash`: the bytes that come with the ACCEPT, or why not.
async fn ask(node: &Node, hash: &ContentHash, known: &ContentHash, begins: bool) -> Result<(Bytes, u64), CloseCode> {
    let (serving, peer): (_, PeerId) = (&node.inner.serving, Identity::generate().peer_id());
    let open = Open {
        version: WIRE_VERSION,
        key: hash.discovery_key(),
        proof: SessionProof::open(known, &peer.to_bytes(), &serving.network.local_peer().to_bytes()),
        serves: false,
        in_order: false,
        begins,
        capability: Bytes::new(),
    };
    match admit(serving, peer, &open).await.unwrap() {
        Ok((served, beginning)) => {
            assert!(served.hash == *hash && served.availability.is_complete());
            Ok((beginning.bytes, beginning.chunk_bytes))
        }
        Err((code, _)) => Err(code),
    }
}

#[tokio::test]
async fn what_is_kept_is_given_to_who_proves_to_know_it_and_to_nobody_else() {
    let home = tempfile::tempdir().unwrap();
    let node = start(home.path()).await;
    let serving = &node.inner.serving;
    let (served, beginning) = content(1);
    let (hash, losses) = (served.hash, serving.store.losses());
    assert_eq!(ask(&node, &hash, &hash, true).await, Err(CloseCode::NotFound));
    // The store knows nothing of it: what is answered comes from memory.
    serving.beginnings.keep(&served, &beginning, losses);
    assert_eq!(ask(&node, &hash, &hash, true).await, Ok((beginning.bytes, 4)));
    assert_eq!(ask(&node, &hash, &hash, false).await, Ok((Bytes::new(), 0)));
    assert_eq!(ask(&node, &hash, &content(2).0.hash, true).await, Err(CloseCode::BadProof));
    serving.store.remove_manifest(content(3).0.hash).await.unwrap();
    assert_eq!(ask(&node, &hash, &hash, true).await, Err(CloseCode::NotFound));
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_small_content_is_at_hand_from_its_publish_until_it_is_removed() {
    let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = start(home.path()).await;
    let serving = &node.inner.serving;
    let is_at_hand = |hash: &ContentHash| serving.small(&hash.discovery_key()).is_some();
    let large = publish(&node, folder.path(), &[1; 5000]).await;
    assert!(!is_at_hand(&large), "it does not fit");
    let (bytes, chunk_bytes) = ask(&node, &large, &large, true).await.unwrap();
    assert!(!bytes.is_empty() && chunk_bytes == 0 && !is_at_hand(&large));

    let hash = publish(&node, folder.path(), &[2; 1000]).await;
    assert!(is_at_hand(&hash));
    let from_memory = ask(&node, &hash, &hash, true).await.unwrap();
    assert_eq!(from_memory.1, 1000);
    // While it is fetched again, what there is of it is looked at anew.
    let (root, held) = (serving.small(&hash.discovery_key()).unwrap().root.clone(), Availability::all(1));
    let fetch = serving.contents.register(hash, root, held);
    assert!(!is_at_hand(&hash));
    drop(fetch);
    assert!(is_at_hand(&hash));

    // Another loss costs a look at the store, which gives the same.
    assert_eq!(serving.store.remove_content(large).await.unwrap(), Removal::Removed);
    assert!(!is_at_hand(&hash));
    assert_eq!(ask(&node, &hash, &hash, true).await.unwrap(), from_memory);
    assert!(is_at_hand(&hash));

    assert_eq!(serving.store.remove_content(hash).await.unwrap(), Removal::Removed);
    assert!(!is_at_hand(&hash));
    assert_eq!(ask(&node, &hash, &hash, true).await, Err(CloseCode::NotFound));
    serving.have_at_hand(&hash, 1000).await;
    assert!(!is_at_hand(&hash), "its chunks may still lie there, but it is not a content of this node");
    node.shutdown().await.unwrap();
}

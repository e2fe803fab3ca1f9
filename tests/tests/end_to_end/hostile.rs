//! Peers that lie, and peers that are honest but built from stock libp2p.

use std::fs;
use std::path::Path;

use shoal_node::api::Fetched;
use shoal_protocol::availability::{ChunkIndex, ChunkRange};
use shoal_protocol::hash::{ChunkId, ContentHash, NodeId};
use shoal_protocol::wire::{CloseCode, RequesterMessage, ServerMessage, WIRE_VERSION};
use shoal_testnet::cluster::{Cluster, NodeOptions};
use shoal_testnet::command::FetchOptions;
use shoal_tests::hostile::{
    Behaviour, LyingPeer, Requester, Security, Served, entry_row, forge_folder, forge_totals, forge_version,
};

use crate::support::{MIB, cluster, cluster_with, fetch_and_compare, folder, home, nothing_at, refused, run, sample};

async fn liar(served: Served, behaviour: Behaviour) -> LyingPeer {
    LyingPeer::start(served, behaviour, Security::Tls).await.unwrap()
}

fn served(file: &Path) -> Served {
    Served::file(&fs::read(file).unwrap()).unwrap()
}

/// Fetches from an honest node that is slow and a peer that behaves so and is not; every byte must be right.
async fn beside_an_honest_node(behaviour: Behaviour) -> (Cluster, Fetched, LyingPeer) {
    let slow = NodeOptions { limit_up: Some(8 * MIB), ..NodeOptions::default() };
    let mut cluster = cluster_with(1, slow).await;
    let reader = cluster.add(NodeOptions::default()).await.unwrap();
    let file = sample(cluster.folder(), "file", 24 * MIB, 1);
    let published = cluster.node(0).shoal().publish(&file).await.unwrap();
    let liar = liar(served(&file), behaviour).await;
    let output = cluster.folder().join("out");
    let peers = vec![liar.address(), cluster.node(0).addresses()[0].clone()];
    let options = FetchOptions { peers, ..FetchOptions::default() };
    let shoal = cluster.node(reader).shoal();
    let hash = published.hash.to_string();
    let fetched = fetch_and_compare(&shoal, &hash, &output, options, &file).await;
    crate::support::still_readable(&shoal, &published, &file).await;
    (cluster, fetched, liar)
}

#[test]
fn wrong_bytes_are_thrown_away_and_their_sender_is_dropped() {
    run(async {
        let (cluster, fetched, liar) = beside_an_honest_node(Behaviour::WrongChunks).await;
        assert!(liar.chunks_sent() > 0, "it was never asked, so nothing is proven");
        let share = fetched.peers.iter().find(|share| share.peer == liar.id()).unwrap();
        assert_eq!(share.bytes, 0, "a wrong chunk was kept");
        assert!(share.wasted_bytes > 0 && share.ended.is_some(), "{share:?}");
        let honest = fetched.peers.iter().find(|share| share.peer == cluster.node(0).peer_id()).unwrap();
        assert_eq!(honest.bytes, fetched.bytes);
    });
}

#[test]
fn every_kind_of_liar_beside_an_honest_node_costs_time_and_nothing_else() {
    use Behaviour::{Endless, HangsUp, NoProof, Noise, OtherVersion, ShortChunks, Silent, WrongNodes};
    run(async {
        for behaviour in [ShortChunks, WrongNodes, Silent, Endless, Noise, NoProof, OtherVersion, HangsUp] {
            let (_cluster, fetched, liar) = beside_an_honest_node(behaviour).await;
            let share = fetched.peers.iter().find(|share| share.peer == liar.id());
            // Its chunks are right, and count, where nobody asked it for nodes.
            if behaviour != WrongNodes {
                assert_eq!(share.map_or(0, |share| share.bytes), 0, "{behaviour:?} gave bytes that were kept");
            }
        }
    });
}

/// Fetches from one peer alone; the fetch must fail with this code and these words, and leave nothing.
fn check_alone(served: Served, behaviour: Behaviour, code: i32, words: &'static [&'static str]) {
    run(async move {
        let folder = folder();
        let hash = served.hash.to_string();
        let liar = liar(served, behaviour).await;
        let shoal = home(&folder, "home");
        let output = folder.path().join("sub/out");
        fs::create_dir(folder.path().join("sub")).unwrap();
        // Where nothing is found to be wrong, the search for somebody else goes on for so long.
        let timeout = if code == 3 { "6s" } else { "30s" };
        let output_path = output.to_str().unwrap();
        let arguments = ["fetch", &hash, "--peer", &liar.address(), "--timeout", timeout, "-o", output_path];
        refused(&shoal.run(arguments).await.unwrap(), code, words);
        nothing_at(&output);
        let held: u64 = shoal.list().await.unwrap().iter().map(|content| content.held_bytes).sum();
        assert_eq!(held, 0, "something of it was kept");
        // Beside the output's folder is only what was there before: no path has left it.
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["home", "sub"]);
    });
}

fn some_bytes() -> Served {
    Served::file(&shoal_testnet::content::Stream::new(1).bytes(2_000_000)).unwrap()
}

#[test]
fn wrong_bytes_and_nobody_else() {
    check_alone(some_bytes(), Behaviour::WrongChunks, 4, &["wrong"]);
}

#[test]
fn a_wrong_beginning_and_nobody_else() {
    check_alone(Served::file(&[7; 1000]).unwrap(), Behaviour::WrongBeginning, 4, &["wrong"]);
}

/// What comes with the ACCEPT counts like an answer: this peer gives no other.
#[test]
fn a_small_content_is_whole_with_the_first_answer() {
    run(async {
        let folder = folder();
        let file = folder.path().join("file");
        fs::write(&file, shoal_testnet::content::Stream::new(4).bytes(1000)).unwrap();
        let served = served(&file);
        let hash = served.hash.to_string();
        let peer = liar(served, Behaviour::Forthcoming).await;
        let options = FetchOptions { peers: vec![peer.address()], ..FetchOptions::default() };
        let shoal = home(&folder, "home");
        let fetched = fetch_and_compare(&shoal, &hash, &folder.path().join("out"), options, &file).await;
        assert_eq!((fetched.fetched_bytes, fetched.wasted_bytes), (1000, 0));
        assert!(fetched.manifest_bytes > 0, "nodes count, however they come");
    });
}

#[test]
fn a_peer_of_another_version_and_nobody_else() {
    check_alone(some_bytes(), Behaviour::OtherVersion, 3, &["version"]);
}

#[test]
fn a_peer_that_hangs_up_and_nobody_else() {
    check_alone(some_bytes(), Behaviour::HangsUp, 3, &["no provider"]);
}

#[test]
fn a_manifest_of_another_version() {
    check_alone(forge_version(b"abc", 9).unwrap(), Behaviour::Honest, 4, &["version", "9"]);
}

#[test]
fn a_manifest_that_claims_too_much() {
    let bytes = [7; 1000];
    for (claimed_bytes, claimed_chunks) in [(1 << 62, 1 << 45), (u64::MAX, 1 << 45), (1 << 40, 1), (1001, 1), (1000, 2)]
    {
        let served = forge_totals(&bytes, claimed_bytes, claimed_chunks).unwrap();
        check_alone(served, Behaviour::Honest, 4, &["manifest"]);
    }
}

/// A folder whose entries are these rows.
fn check_entries(rows: &[Vec<u8>], bytes: &[u8]) {
    check_alone(forge_folder(rows, bytes).unwrap(), Behaviour::Honest, 4, &["manifest"]);
}

#[test]
fn paths_that_would_leave_the_output_folder() {
    for path in ["../up", "sub/../../up", "/tmp/shoal-absolute", ".", "..", "sub//file", "sub/", "nul\0byte", ""] {
        check_entries(&[entry_row(0, path, 3, None)], b"abc");
    }
    assert!(!Path::new("/tmp/shoal-absolute").exists());
}

#[test]
fn a_path_through_a_symbolic_link() {
    check_entries(&[entry_row(0, "link", 0, Some("..")), entry_row(4, "/up", 3, None)], b"abc");
}

#[test]
fn entries_that_clash_or_are_out_of_order() {
    let file = |path: &str| entry_row(0, path, 3, None);
    check_entries(&[file("a"), file("a")], b"abcabc");
    check_entries(&[file("b"), file("a")], b"abcabc");
    check_entries(&[file("a"), entry_row(1, "/b", 3, None)], b"abcabc");
}

/// Any libp2p peer can serve: nothing but stock TLS or Noise, and frames that the node does not know in between.
#[test]
fn an_honest_peer_of_stock_parts() {
    run(async {
        let folder = folder();
        let file = sample(folder.path(), "file", 10 * MIB, 2);
        let cases = [
            (Behaviour::Honest, Security::Tls),
            (Behaviour::Chatty, Security::Tls),
            (Behaviour::Honest, Security::Noise),
        ];
        for (number, (behaviour, security)) in cases.into_iter().enumerate() {
            let served = served(&file);
            let hash = served.hash.to_string();
            let peer = LyingPeer::start(served, behaviour, security).await.unwrap();
            let options = FetchOptions { peers: vec![peer.address()], ..FetchOptions::default() };
            let output = folder.path().join(format!("out-{number}"));
            let shoal = home(&folder, &format!("home-{number}"));
            let fetched = fetch_and_compare(&shoal, &hash, &output, options, &file).await;
            assert_eq!(fetched.fetched_bytes, fetched.bytes);
        }
    });
}

/// A node that holds a file, and a session with it that has said nothing yet.
async fn session_with_a_node(security: Security) -> (Cluster, ContentHash, Served, Requester) {
    let cluster = cluster(1).await;
    let file = sample(cluster.folder(), "file", 3 * MIB, 3);
    let published = cluster.node(0).shoal().publish(&file).await.unwrap();
    let served = served(&file);
    assert_eq!(served.hash, published.hash, "the format is not what a node makes of it");
    let requester = Requester::connect(&cluster.node(0).addresses()[0], security).await.unwrap();
    (cluster, published.hash, served, requester)
}

#[test]
fn a_stock_peer_is_served_nodes_and_chunks() {
    run(async {
        for security in [Security::Tls, Security::Noise] {
            let (_cluster, hash, served, mut requester) = session_with_a_node(security).await;
            requester.open_honestly(&hash).await.unwrap();
            requester.send(&RequesterMessage::WantNodes(vec![hash.root()])).await.unwrap();
            requester.send(&RequesterMessage::Want(vec![ChunkRange::one(ChunkIndex(1))])).await.unwrap();
            let (mut node, mut chunk) = (false, false);
            while !(node && chunk) {
                match requester.receive().await.unwrap().expect("the node ended the session") {
                    ServerMessage::Node { id, bytes } => {
                        assert_eq!((id, NodeId::of(&bytes)), (hash.root(), hash.root()));
                        node = true;
                    }
                    ServerMessage::Chunk { index, codec: 0, bytes } => {
                        assert_eq!((index, ChunkId::of(&bytes)), (ChunkIndex(1), ChunkId::of(&served.chunks[1])));
                        chunk = true;
                    }
                    _ => {}
                }
            }
        }
    });
}

/// What comes between ACCEPT and AVAILABILITY to who begins: nodes and bytes of chunks.
async fn beginning(node: &str, hash: &ContentHash) -> (Vec<NodeId>, usize) {
    let mut requester = Requester::connect(node, Security::Tls).await.unwrap();
    requester.open_to_begin(hash).await.unwrap();
    let (mut nodes, mut chunk_bytes) = (Vec::new(), 0);
    loop {
        match requester.receive().await.unwrap().expect("the node ended the session") {
            ServerMessage::Accept { .. } => {}
            ServerMessage::Node { id, bytes } => {
                assert_eq!(NodeId::of(&bytes), id);
                nodes.push(id);
            }
            ServerMessage::Chunk { bytes, .. } => chunk_bytes += bytes.len(),
            ServerMessage::Availability(_) => return (nodes, chunk_bytes),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn who_begins_is_sent_the_beginning_if_that_is_small() {
    run(async {
        let cluster = cluster(1).await;
        let node = &cluster.node(0).addresses()[0];
        for (bytes, chunk_bytes) in [(1, 1), (3000, 3000), (5000, 0), (MIB, 0)] {
            let file = sample(cluster.folder(), &format!("file-{bytes}"), bytes, 5);
            let hash = cluster.node(0).shoal().publish(&file).await.unwrap().hash;
            let root = served(&file).root;
            let nodes = vec![hash.root(), root.chunk_root.unwrap()];
            assert_eq!(beginning(node, &hash).await, (nodes, chunk_bytes), "{bytes} bytes");
        }
        // A node that does not fit has to be asked for: a leaf of the chunk list with more than a hundred rows.
        for mib in [8, 9, 10, 11, 32] {
            let file = sample(cluster.folder(), &format!("large-{mib}"), mib * MIB, 5);
            let hash = cluster.node(0).shoal().publish(&file).await.unwrap().hash;
            let served = served(&file);
            let mut nodes = vec![hash.root(), served.root.chunk_root.unwrap()];
            let frames: usize = nodes.iter().map(|id| 5 + 32 + served.nodes[id].len()).sum();
            if frames > 4096 {
                nodes.pop();
            }
            assert_eq!(beginning(node, &hash).await, (nodes, 0), "{mib} MiB, {frames} bytes of frames");
        }
    });
}

/// Opens a session in a way that must be refused; returns with what code it was.
async fn refusal(requester: &mut Requester) -> Option<CloseCode> {
    while let Some(message) = requester.receive().await.unwrap() {
        match message {
            ServerMessage::Close { code, .. } => return Some(code),
            ServerMessage::Accept { .. } => panic!("the session was taken"),
            ServerMessage::Node { .. } | ServerMessage::Chunk { .. } => panic!("something was given away"),
            _ => {}
        }
    }
    None
}

#[test]
fn a_requester_that_does_not_know_the_hash_gets_nothing() {
    run(async {
        let (_cluster, hash, _, mut requester) = session_with_a_node(Security::Tls).await;
        let guess = ContentHash::from_bytes([0; 32]);
        requester.open(&hash, &guess, WIRE_VERSION).await.unwrap();
        assert_eq!(refusal(&mut requester).await, Some(CloseCode::BadProof));
    });
}

#[test]
fn a_requester_of_another_version_is_told() {
    run(async {
        let (_cluster, hash, _, mut requester) = session_with_a_node(Security::Tls).await;
        requester.open(&hash, &hash, 99).await.unwrap();
        assert_eq!(refusal(&mut requester).await, Some(CloseCode::Version));
    });
}

#[test]
fn a_requester_that_talks_nonsense_ends_its_session_and_nothing_else() {
    run(async {
        let nonsense: [&[u8]; 4] = [
            b"GET / HTTP/1.1\r\n\r\n",
            &[0x01, 0xff, 0xff, 0xff, 0xff],
            &[0x01, 1, 0, 0, 0, 7],
            // WANT before OPEN.
            &[0x03, 2, 0, 0, 0, 0, 0],
        ];
        for bytes in nonsense {
            let (cluster, hash, _, mut requester) = session_with_a_node(Security::Tls).await;
            // The node may hang up before all of it is sent.
            let _ = requester.send_raw(bytes).await;
            assert!(matches!(refusal(&mut requester).await, None | Some(CloseCode::ProtocolError)));
            let mut next = Requester::connect(&cluster.node(0).addresses()[0], Security::Tls).await.unwrap();
            next.open_honestly(&hash).await.unwrap();
            let answer = next.receive().await.unwrap();
            assert!(matches!(answer, Some(ServerMessage::Accept { .. })), "{answer:?}");
        }
    });
}

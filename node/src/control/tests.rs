//! Server and client with a made-up service between real sockets.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::fake::{Fake, failure, hash, published};
use super::{Client, Server, Service, socket, socket_path};
use crate::api::{
    BytesRequest, EntriesRequest, Event, Failure, FailureKind, FetchRequest, PublishRequest, PublishStreamRequest,
    Published,
};

const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    home: tempfile::TempDir,
    client: Client,
    service: Arc<Fake>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
    connections: watch::Receiver<usize>,
}

async fn world(fake: Fake) -> World {
    let home = tempfile::tempdir().unwrap();
    let service = Arc::new(fake);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::bind(home.path()).unwrap();
    let connections = server.connections();
    let server = tokio::spawn(server.run(service.clone(), async {
        let _ = stopped.await;
    }));
    let client = Client::connect(home.path()).await.unwrap().unwrap();
    World { home, client, service, stop, server, connections }
}

fn fetch_request() -> FetchRequest {
    FetchRequest {
        hash: hash(),
        output: Some(PathBuf::from("/tmp/out")),
        peers: vec!["/ip4/1.2.3.4/tcp/5".into()],
        name: None,
        limit_down: Some(9),
        timeout_ms: 100,
        force: true,
        in_place: true,
        bases: vec![hash()],
        background: true,
    }
}

fn bytes_request() -> BytesRequest {
    BytesRequest {
        hash: hash(),
        path: "a b/ü?&".into(),
        start: Some(3),
        end: None,
        peers: vec!["/ip4/1.2.3.4/tcp/5".into(), "/ip6/::1/tcp/6".into()],
        timeout_ms: 100,
    }
}

fn entries_request() -> EntriesRequest {
    EntriesRequest { hash: hash(), path: "x/y".into(), peers: Vec::new(), timeout_ms: 5 }
}

async fn raw(world: &World, request: &str) -> String {
    let mut stream = socket::connect(world.home.path()).await.unwrap().unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn values_and_failures_arrive_as_they_were() {
    let world = world(Fake::default()).await;
    assert_eq!(world.client.identity().await, world.service.identity().await);
    assert_eq!(world.client.status().await, Err(failure()));
    assert_eq!(world.client.peers().await, Ok(Vec::new()));
}

#[tokio::test]
async fn events_arrive_in_order_and_requests_whole() {
    let world = world(Fake::default()).await;
    let request = PublishRequest {
        paths: vec!["/a b".into(), "/ü".into()],
        name: None,
        import_only: true,
        in_place: true,
        wait_ms: Some(7),
    };
    let events = world.client.publish(request.clone()).collect::<Vec<_>>().await;
    let [Event::Progress(_), Event::Note { message }, Event::Done(done)] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!((message.as_str(), done), ("one\ntwo", &published()));
    assert_eq!(*world.service.asked.lock().unwrap(), [format!("{request:?}")]);
}

async fn upload(world: &World, pieces: Vec<Result<bytes::Bytes, Failure>>) -> Vec<Event<Published>> {
    let request = PublishStreamRequest { name: Some("a b&c".into()), import_only: true, wait_ms: Some(7) };
    let events = world.client.publish_stream(request.clone(), futures::stream::iter(pieces).boxed());
    let events = timeout(PATIENCE, events.collect::<Vec<_>>()).await.unwrap();
    assert_eq!(*world.service.asked.lock().unwrap(), [format!("{request:?}")]);
    events
}

fn pieces(count: usize) -> Vec<Result<bytes::Bytes, Failure>> {
    vec![Ok(bytes::Bytes::from(vec![7; 100_000])); count]
}

#[tokio::test]
async fn content_of_any_length_comes_along_with_a_request() {
    let world = world(Fake::default()).await;
    let done = Published { bytes: 10_000_000, ..published() };
    assert_eq!(upload(&world, pieces(100)).await, [Event::Done(done)]);
}

#[tokio::test]
async fn content_that_breaks_off_is_an_error_which_says_why() {
    let world = world(Fake::default()).await;
    let mut broken = pieces(100);
    broken.push(Err(failure()));
    assert_eq!(upload(&world, broken).await, [Event::Error(failure())]);
}

#[tokio::test]
async fn whoever_sends_on_hears_that_it_was_refused() {
    let world = world(Fake { fails: true, ..Fake::default() }).await;
    assert_eq!(upload(&world, pieces(100)).await, [Event::Error(failure())]);
}

#[tokio::test]
async fn a_failure_ends_the_events_whether_first_or_later() {
    let world = world(Fake { fails: true, ..Fake::default() }).await;
    let request = PublishRequest { paths: Vec::new(), name: None, import_only: false, in_place: false, wait_ms: None };
    assert_eq!(world.client.publish(request).collect::<Vec<_>>().await, [Event::Error(failure())]);
    let events = world.client.fetch(fetch_request()).collect::<Vec<_>>().await;
    assert_eq!(events.last(), Some(&Event::Error(failure())));
    assert_eq!(*world.service.asked.lock().unwrap().last().unwrap(), format!("{:?}", fetch_request()));
}

#[tokio::test]
async fn dropping_a_stream_cancels_the_operation() {
    let (bell, mut rung) = mpsc::channel(1);
    let world = world(Fake { bell: Some(bell), ..Fake::default() }).await;
    let mut events = world.client.fetch(fetch_request());
    assert!(matches!(events.next().await, Some(Event::Progress(_))));
    drop(events);
    assert_eq!(timeout(PATIENCE, rung.recv()).await.unwrap(), Some("dropped"));
}

#[tokio::test]
async fn who_uses_the_node_is_known() {
    let (bell, mut rung) = mpsc::channel(1);
    let mut world = world(Fake { bell: Some(bell), ..Fake::default() }).await;
    world.client.identity().await.unwrap();
    let mut events = world.client.fetch(fetch_request());
    assert!(events.next().await.is_some());
    assert_ne!(*world.connections.borrow(), 0);
    drop(events);
    timeout(PATIENCE, world.connections.wait_for(|open| *open == 0)).await.unwrap().unwrap();
    assert_eq!(timeout(PATIENCE, rung.recv()).await.unwrap(), Some("dropped"));
}

#[tokio::test]
async fn dropping_a_question_cancels_it() {
    let (bell, mut rung) = mpsc::channel(1);
    let world = world(Fake { bell: Some(bell), ..Fake::default() }).await;
    assert!(timeout(Duration::from_millis(200), world.client.contents()).await.is_err());
    assert_eq!(timeout(PATIENCE, rung.recv()).await.unwrap(), Some("dropped"));
}

#[tokio::test]
async fn entries_come_whole_or_end_in_a_failure() {
    for (entries, fails) in [(0, false), (1, false), (5_000, false), (0, true), (300, true)] {
        let world = world(Fake { entries, fails, ..Fake::default() }).await;
        let mut told = world.client.entries(entries_request()).collect::<Vec<_>>().await;
        if fails {
            assert_eq!(told.pop(), Some(Err(failure())));
        }
        assert_eq!(told.len(), entries);
        assert!(told.iter().all(Result::is_ok));
        assert_eq!(*world.service.asked.lock().unwrap(), [format!("{:?}", entries_request())]);
    }
}

#[tokio::test]
async fn bytes_come_whole_or_end_in_a_failure() {
    for (bytes, fails) in [(0, false), (1, false), (3_000_000, false), (0, true), (3_000_000, true)] {
        let world = world(Fake { bytes, fails, ..Fake::default() }).await;
        let mut told = world.client.bytes(bytes_request()).collect::<Vec<_>>().await;
        if fails {
            assert_eq!(told.pop(), Some(Err(failure())));
        }
        assert_eq!(told.iter().map(|piece| piece.as_ref().unwrap().len()).sum::<usize>(), bytes);
        assert_eq!(*world.service.asked.lock().unwrap(), [format!("{:?}", bytes_request())]);
    }
}

#[tokio::test]
async fn a_client_that_takes_no_trailers_sees_a_broken_answer_rather_than_half_a_file() {
    let get = format!("GET /v1/contents/{}/bytes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", hash());
    let broken = world(Fake { bytes: 100_000, fails: true, ..Fake::default() }).await;
    assert!(!raw(&broken, &get).await.ends_with("\r\n0\r\n\r\n"));
    let whole = world(Fake { bytes: 100_000, ..Fake::default() }).await;
    assert!(raw(&whole, &get).await.ends_with("\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn a_server_that_stops_ends_what_goes_on_and_removes_its_socket() {
    let world = world(Fake { bytes: 0, ..Fake::default() }).await;
    let idle = socket::connect(world.home.path()).await.unwrap().unwrap();
    world.stop.send(()).unwrap();
    timeout(PATIENCE, world.server).await.unwrap().unwrap();
    drop(idle);
    assert!(!socket_path(world.home.path()).exists());
    assert!(Client::connect(world.home.path()).await.unwrap().is_none());
    let failure = world.client.identity().await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Failed);
}

#[tokio::test]
async fn nonsense_is_answered_in_words() {
    let world = world(Fake::default()).await;
    let hash = hash();
    for (line, body, status, word) in [
        ("GET /v2/id", "", 404, "/v2/id"),
        ("DELETE /v1/id", "", 405, "/v1/id"),
        ("POST /v1/publish", "{", 400, "makes no sense"),
        ("POST /v1/fetch", r#"{"hash":"abc"}"#, 400, "56 characters"),
        ("GET /v1/contents/abc/entries", "", 400, "abc is not a content hash"),
        (&format!("GET /v1/contents/{hash}/bytes?range=5"), "", 400, "A-B"),
        (&format!("GET /v1/contents/{hash}/bytes?rnage=5-"), "", 400, "rnage"),
        (&format!("GET /v1/contents/{hash}/entries?path=%ff"), "", 400, "UTF-8"),
    ] {
        let length = body.len();
        let request =
            format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
        let answer = raw(&world, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
        assert!(answer.contains(word) && answer.contains("\"kind\":\"usage\""), "{line}: {answer}");
    }
}

#[tokio::test]
async fn too_long_a_request_is_refused() {
    let world = world(Fake::default()).await;
    let body = " ".repeat(super::routes::MAX_REQUEST_BYTES + 1);
    let length = body.len();
    let head = format!("POST /v1/publish HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    let answer = raw(&world, &(head + &body)).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("cannot be read"), "{answer}");
}

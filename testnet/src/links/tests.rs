//! Relays in front of this very process, which dials itself through them.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// One node, which is this process and listens, behind a line.
async fn through(line: Line) -> (Links, TcpStream, TcpStream) {
    let links = Links::start(vec![line, line], 1).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // This process has many sockets that listen: it says which is meant.
    links.shapes.set_port(0, listener.local_addr().unwrap().port());
    let near = TcpStream::connect(("127.0.0.1", links.port(0).unwrap())).await.unwrap();
    let (far, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    (links, near, far)
}

#[tokio::test]
async fn bytes_arrive_whole_and_in_order_over_a_bad_line() {
    let line = Line {
        up: Some(40_000_000),
        down: Some(20_000_000),
        delay: Duration::from_millis(3),
        loss: crate::scenario::Share::from_millionths(20_000),
    };
    let (links, mut near, mut far) = through(line).await;
    let sent = crate::content::Stream::new(5).bytes(3_000_000);
    let copy = sent.clone();
    let writing = tokio::spawn(async move {
        near.write_all(&copy).await.unwrap();
        near.shutdown().await.unwrap();
        near
    });
    let mut received = Vec::new();
    timeout(PATIENCE, far.read_to_end(&mut received)).await.unwrap().unwrap();
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    assert_eq!(links.carried_bytes(), sent.len() as u64);
    // The other way is still open.
    let mut near = writing.await.unwrap();
    far.write_all(b"answer").await.unwrap();
    drop(far);
    let mut answer = Vec::new();
    timeout(PATIENCE, near.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"answer");
}

#[tokio::test]
async fn a_partition_holds_bytes_and_breaks_nothing() {
    let (links, mut near, mut far) = through(Line::default()).await;
    links.part(&[0]);
    near.write_all(b"held").await.unwrap();
    let mut held = [0; 4];
    let early = timeout(Duration::from_millis(50), far.read_exact(&mut held)).await;
    assert!(early.is_err(), "a cut line carries nothing");
    links.join(&[0]);
    timeout(PATIENCE, far.read_exact(&mut held)).await.unwrap().unwrap();
    assert_eq!(&held, b"held");
}

//! A service for the tests: answers with what it is given and notices when it is dropped.

use std::sync::Mutex;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use shoal_protocol::hash::{ContentHash, NodeId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Events, Items, Service};
use crate::api::{
    BytesRequest, CollectRequest, Collected, ContentInfo, ContentRequest, EntriesRequest, EntryInfo, EntryType, Event,
    Explained, Failure, FailureKind, FetchReport, FetchRequest, Fetched, Identity, PeerInfo, PinRequest, Pinned,
    Progress, PublishRequest, PublishStreamRequest, Published, Removed, Status, Unpinned, Verified, VerifyRequest,
};

pub(super) fn hash() -> ContentHash {
    ContentHash::from_root(NodeId::of(b"fake"))
}

pub(super) fn published() -> Published {
    Published {
        hash: hash(),
        link: format!("shoal:{}", hash()),
        bytes: 7,
        chunks: 1,
        new_bytes: 7,
        entries: 1,
        announced_to: Some(3),
        found_through: None,
    }
}

pub(super) fn failure() -> Failure {
    Failure {
        kind: FailureKind::Integrity,
        message: "größer than life".into(),
        causes: vec!["chunk 7 is wrong".into()],
    }
}

/// Says "dropped" over a channel when it is.
pub(super) struct DropBell(mpsc::Sender<&'static str>);

impl Drop for DropBell {
    fn drop(&mut self) {
        // The test that waits has room for one.
        let _ = self.0.try_send("dropped");
    }
}

#[derive(Default)]
pub(super) struct Fake {
    /// What was asked, as debug text.
    pub(super) asked: Mutex<Vec<String>>,
    /// Rung when an endless stream is dropped.
    pub(super) bell: Option<mpsc::Sender<&'static str>>,
    /// How many entries there are.
    pub(super) entries: usize,
    /// How many bytes there are before the stream ends.
    pub(super) bytes: usize,
    /// Whether streams of values end with [`failure`].
    pub(super) fails: bool,
}

impl Fake {
    fn note(&self, asked: impl std::fmt::Debug) {
        self.asked.lock().unwrap().push(format!("{asked:?}"));
    }

    /// Goes on for ever, until it is dropped.
    fn endless<T: Send + 'static>(&self) -> Events<T> {
        let bell = DropBell(self.bell.clone().unwrap());
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(async move {
            let _bell = bell;
            while sender.send(Event::Progress(Progress::default())).await.is_ok() {}
        });
        ReceiverStream::new(receiver).boxed()
    }

    fn end<T: Send + 'static>(&self) -> impl Stream<Item = Result<T, Failure>> + Send + use<T> {
        stream::iter(self.fails.then(|| Err(failure())))
    }
}

impl Service for Fake {
    async fn identity(&self) -> Result<Identity, Failure> {
        Ok(Identity { peer_id: "fake".into(), addresses: vec!["/ip4/127.0.0.1/tcp/1/p2p/fake".into()] })
    }

    async fn status(&self) -> Result<Status, Failure> {
        Err(failure())
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>, Failure> {
        Ok(Vec::new())
    }

    async fn contents(&self) -> Result<Vec<ContentInfo>, Failure> {
        // Never answers: for the test that a question can be dropped.
        let _bell = DropBell(self.bell.clone().unwrap());
        std::future::pending().await
    }

    async fn explain(&self, hash: ContentHash) -> Result<Explained, Failure> {
        self.note(hash);
        Ok(Explained { hash, fetches: vec![FetchReport::default()] })
    }

    fn publish(&self, request: PublishRequest) -> Events<Published> {
        self.note(&request);
        if self.fails {
            return stream::iter([Event::Error(failure())]).boxed();
        }
        let note = Event::Note { message: "one\ntwo".into() };
        stream::iter([Event::Progress(Progress::default()), note, Event::Done(published())]).boxed()
    }

    fn publish_stream(&self, request: PublishStreamRequest, mut bytes: Items<Bytes>) -> Events<Published> {
        self.note(&request);
        if self.fails {
            return stream::iter([Event::Error(failure())]).boxed();
        }
        let published = async move {
            let mut total = 0;
            while let Some(piece) = bytes.next().await {
                match piece {
                    Ok(piece) => total += piece.len() as u64,
                    Err(failure) => return Event::Error(failure),
                }
            }
            Event::Done(Published { bytes: total, ..published() })
        };
        stream::once(published).boxed()
    }

    fn fetch(&self, request: FetchRequest) -> Events<Fetched> {
        self.note(&request);
        if self.fails {
            return stream::iter([Event::Progress(Progress::default()), Event::Error(failure())]).boxed();
        }
        self.endless()
    }

    fn pin(&self, request: PinRequest) -> Events<Pinned> {
        self.note(&request);
        stream::iter([Event::Done(Pinned { hash: request.hash, bytes: 7, fetched_bytes: 3 })]).boxed()
    }

    fn unpin(&self, request: ContentRequest) -> Events<Unpinned> {
        self.note(&request);
        stream::iter([Event::Done(Unpinned { hash: request.hash })]).boxed()
    }

    fn remove(&self, request: ContentRequest) -> Events<Removed> {
        self.note(&request);
        stream::iter([Event::Done(Removed { hash: request.hash, reclaimed_bytes: 9 })]).boxed()
    }

    fn collect(&self, request: CollectRequest) -> Events<Collected> {
        self.note(request);
        if self.fails {
            return stream::iter([Event::Error(failure())]).boxed();
        }
        stream::iter([Event::Done(Collected { dry_run: request.dry_run, reclaimed_bytes: 5, ..Collected::default() })])
            .boxed()
    }

    fn verify(&self, request: VerifyRequest) -> Events<Verified> {
        self.note(&request);
        let verified = Verified { checked: 1, checked_bytes: 2, damaged: 0, repaired: 0, damage: Vec::new() };
        stream::iter([Event::Done(verified)]).boxed()
    }

    fn entries(&self, request: EntriesRequest) -> Items<EntryInfo> {
        self.note(&request);
        let entry = |at| EntryInfo { path: format!("a/{at}\u{1b}"), kind: EntryType::File, bytes: 1, target: None };
        once_only(stream::iter(0..self.entries).map(move |at| Ok(entry(at))).chain(self.end()))
    }

    fn bytes(&self, request: BytesRequest) -> Items<Bytes> {
        self.note(&request);
        let piece = 60_000;
        let lengths = (0..self.bytes).step_by(piece).map({
            let bytes = self.bytes;
            move |at| piece.min(bytes - at)
        });
        let pieces = lengths.map(|length| Ok(Bytes::from(vec![7; length]))).collect::<Vec<_>>();
        once_only(stream::iter(pieces).chain(self.end()))
    }
}

/// A stream as strict as the node's own: it panics when it is asked again after its end.
fn once_only<T: Send + 'static>(items: impl Stream<Item = Result<T, Failure>> + Send + Unpin + 'static) -> Items<T> {
    stream::unfold(items, |mut items| async { items.next().await.map(|item| (item, items)) }).boxed()
}

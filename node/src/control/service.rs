//! What a node can be asked, whether it lives in this process or behind a socket.

use std::future::Future;

use bytes::Bytes;
use futures::stream::BoxStream;

use shoal_protocol::hash::ContentHash;

use crate::api::{
    BytesRequest, CollectRequest, Collected, ContentInfo, ContentRequest, EntriesRequest, EntryInfo, Event, Explained,
    Failure, FetchRequest, Fetched, Identity, PeerInfo, PinRequest, Pinned, PublishRequest, PublishStreamRequest,
    Published, Removed, Status, Unpinned, Verified, VerifyRequest,
};

/// A long operation as it goes on: progress and notes, then one `Done` or `Error`, then the end.
///
/// Dropping it cancels the operation.
pub type Events<T> = BoxStream<'static, Event<T>>;

/// Values as they become known; the first error is the last item.
///
/// Dropping it cancels the operation.
pub type Items<T> = BoxStream<'static, Result<T, Failure>>;

/// The operations of a node.
///
/// Streams must come from bounded queues. They are polled only as fast as the other end reads: progress should be
/// dropped rather than waited for, results must not be. All futures may be dropped at any time.
pub trait Service: Send + Sync + 'static {
    /// Who the node is and where it listens.
    fn identity(&self) -> impl Future<Output = Result<Identity, Failure>> + Send;

    /// How the node is.
    fn status(&self) -> impl Future<Output = Result<Status, Failure>> + Send;

    /// The peers that connections are open with.
    fn peers(&self) -> impl Future<Output = Result<Vec<PeerInfo>, Failure>> + Send;

    /// What the node holds.
    fn contents(&self) -> impl Future<Output = Result<Vec<ContentInfo>, Failure>> + Send;

    /// Why the fetches of a content are as fast or slow as they are: those that run or have ended lately.
    fn explain(&self, hash: ContentHash) -> impl Future<Output = Result<Explained, Failure>> + Send;

    /// Stores files and folders and tells the network.
    fn publish(&self, request: PublishRequest) -> Events<Published>;

    /// Stores bytes as they come, as one file, and tells the network. What ends with an error, or is dropped, is not
    /// published.
    fn publish_stream(&self, request: PublishStreamRequest, bytes: Items<Bytes>) -> Events<Published>;

    /// Gets a content from peers and puts it at a path.
    fn fetch(&self, request: FetchRequest) -> Events<Fetched>;

    /// Keeps a content from eviction, fetching what is missing of it.
    fn pin(&self, request: PinRequest) -> Events<Pinned>;

    /// Lets a content be evicted again.
    fn unpin(&self, request: ContentRequest) -> Events<Unpinned>;

    /// Drops a content, and gives its room back as far as that is cheap.
    fn remove(&self, request: ContentRequest) -> Events<Removed>;

    /// Gives back room that nothing needs.
    fn collect(&self, request: CollectRequest) -> Events<Collected>;

    /// Hashes again what the node holds.
    fn verify(&self, request: VerifyRequest) -> Events<Verified>;

    /// The entries of a content in the order of their paths, fetching manifest nodes that are not held.
    fn entries(&self, request: EntriesRequest) -> Items<EntryInfo>;

    /// Verified bytes of one file in order, fetching chunks that are not held. Empty items are not sent.
    fn bytes(&self, request: BytesRequest) -> Items<Bytes>;
}

//! Bodies of requests that are content, of any length.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::client::RequestBody;
use super::{Events, Items};
use crate::api::{Event, Failure, FailureKind};

/// Pieces that wait between a connection and whoever stores them: each is as much as one read gave.
const QUEUE: usize = 4;

/// The bytes of a request. Those that the service does not want any more are taken off the connection all the same,
/// until the client ends or hangs up, since only a client that is done with sending is sure to see the answer.
pub(super) fn items(body: Body) -> Items<Bytes> {
    let (sink, items) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let mut pieces = body.into_data_stream();
        let mut wanted = true;
        while let Some(piece) = pieces.next().await {
            let broken = |error| Failure::new(FailureKind::Interrupted, format!("the connection broke: {error}"));
            let piece = piece.map_err(broken);
            let is_last = piece.is_err();
            wanted = wanted && sink.send(piece).await.is_ok();
            if is_last {
                break;
            }
        }
    });
    ReceiverStream::new(items).boxed()
}

/// What broke an upload off at the client's end, where its node can only tell that it did.
#[derive(Debug, Clone, Default)]
pub(super) struct Broken(Arc<Mutex<Option<Failure>>>);

impl Broken {
    /// A body of these bytes. After an error nothing more is sent, and the node hears that it was cut off.
    pub(super) fn body(&self, bytes: impl Stream<Item = Result<Bytes, Failure>> + Send + 'static) -> RequestBody {
        let slot = self.clone();
        let frames = bytes.map(move |piece| match piece {
            Ok(bytes) => Ok(Frame::data(bytes)),
            Err(failure) => {
                *slot.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure.clone());
                Err(failure)
            }
        });
        StreamBody::new(frames).boxed_unsync()
    }

    /// The events, with the cause in place of what it led to.
    pub(super) fn explain<T: Send + 'static>(self, events: Events<T>) -> Events<T> {
        let cause = move || self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        events
            .map(move |event| match event {
                Event::Error(failure) => Event::Error(cause().unwrap_or(failure)),
                event => event,
            })
            .boxed()
    }
}

//! Streams as lines of JSON: how they are written into an answer and read out of one.

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_util::task::AbortOnDropHandle;

use super::{ControlError, Events, Items};
use crate::api::{Event, Failure};

/// Longest line that a client takes in.
const MAX_LINE_BYTES: usize = 1 << 20;
/// Most lines that go into one write, when so many are ready.
const LINES_PER_WRITE: usize = 128;

/// One line of a streamed list.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Line<T> {
    /// One of the list.
    Item(T),
    /// All are told; nothing comes after it.
    Done {},
    /// What went wrong; nothing comes after it.
    Error(Failure),
}

/// Turns a stream of results into lines that end with `Done` or `Error`.
pub(super) fn items<T: Send + 'static>(
    results: impl Stream<Item = Result<T, Failure>> + Send + 'static,
) -> impl Stream<Item = Line<T>> + Send + 'static {
    stream::unfold(Some(Box::pin(results)), |results| async move {
        let mut results = results?;
        Some(match results.next().await {
            Some(Ok(item)) => (Line::Item(item), Some(results)),
            Some(Err(failure)) => (Line::Error(failure), None),
            None => (Line::Done {}, None),
        })
    })
}

/// A body of one line for each value.
pub(super) fn body<T: Serialize + Send + 'static>(values: impl Stream<Item = T> + Send + 'static) -> Body {
    Body::from_stream(values.ready_chunks(LINES_PER_WRITE).map(|values| {
        let mut lines = BytesMut::new();
        for value in &values {
            serde_json::to_writer((&mut lines).writer(), value)?;
            lines.put_u8(b'\n');
        }
        Ok::<_, serde_json::Error>(lines.freeze())
    }))
}

/// The lines of an answer, with the task that drives its connection.
pub(super) struct Lines {
    body: Incoming,
    /// Ends the connection, and with it the operation, as soon as nobody reads any more.
    _connection: AbortOnDropHandle<()>,
    buffer: BytesMut,
    /// Bytes at the front of `buffer` that hold no line feed.
    scanned: usize,
}

impl Lines {
    pub(super) fn new(body: Incoming, connection: AbortOnDropHandle<()>) -> Self {
        Self { body, _connection: connection, buffer: BytesMut::new(), scanned: 0 }
    }

    /// The next line, `None` after the last.
    async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ControlError> {
        loop {
            if let Some(at) = self.buffer.iter().skip(self.scanned).position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.scanned + at + 1).freeze();
                self.scanned = 0;
                return parse(&line).map(Some);
            }
            self.scanned = self.buffer.len();
            if self.scanned > MAX_LINE_BYTES {
                return Err(ControlError::Gibberish { what: format!("a line of over {MAX_LINE_BYTES} bytes") });
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(ControlError::Lost { source: Some(error) }),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(ControlError::Lost { source: None }),
            }
        }
    }

    /// The lines as events; an answer that breaks off ends with an error.
    pub(super) fn into_events<T: DeserializeOwned + Send + 'static>(self) -> Events<T> {
        stream::unfold(Some(self), |lines| async move {
            let mut lines = lines?;
            let event = match lines.next::<Event<T>>().await {
                Ok(Some(event)) => event,
                Ok(None) => Event::Error(ControlError::Lost { source: None }.into()),
                Err(error) => Event::Error(error.into()),
            };
            let ended = matches!(event, Event::Done(_) | Event::Error(_));
            Some((event, (!ended).then_some(lines)))
        })
        .boxed()
    }

    /// The lines as a list; an answer that breaks off ends with an error.
    pub(super) fn into_items<T: DeserializeOwned + Send + 'static>(self) -> Items<T> {
        stream::unfold(Some(self), |lines| async move {
            let mut lines = lines?;
            match lines.next::<Line<T>>().await {
                Ok(Some(Line::Item(item))) => Some((Ok(item), Some(lines))),
                Ok(Some(Line::Done {})) => None,
                Ok(Some(Line::Error(failure))) => Some((Err(failure), None)),
                Ok(None) => Some((Err(ControlError::Lost { source: None }.into()), None)),
                Err(error) => Some((Err(error.into()), None)),
            }
        })
        .boxed()
    }
}

fn parse<T: DeserializeOwned>(line: &Bytes) -> Result<T, ControlError> {
    serde_json::from_slice(line).map_err(|error| ControlError::Gibberish { what: error.to_string() })
}

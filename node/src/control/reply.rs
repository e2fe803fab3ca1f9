//! The answers of the server: values, failures, lines and bytes.
//!
//! A failure that is known before the first byte has a status of its own. One that comes later ends a stream of lines
//! as its last line; it ends a stream of bytes as the trailer `shoal-error` for a client that says `TE: trailers`, and
//! breaks the connection of any other, so that nobody takes half for the whole.

use std::io;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::Serialize;

use super::{Events, Items, lines};
use crate::api::{Event, Failure, FailureKind};

/// The trailer that carries a failure after bytes.
pub(super) const ERROR_TRAILER: &str = "shoal-error";
/// Readers of trailers take in 16 KiB at most.
const MAX_TRAILER_BYTES: usize = 12 << 10;

pub(super) fn value<T: Serialize>(result: Result<T, Failure>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(failure) => self::failure(&failure),
    }
}

pub(super) fn failure(failure: &Failure) -> Response {
    let status = match failure.kind {
        FailureKind::Usage => StatusCode::BAD_REQUEST,
        FailureKind::NotFound => StatusCode::NOT_FOUND,
        FailureKind::Integrity => StatusCode::BAD_GATEWAY,
        FailureKind::Denied => StatusCode::INSUFFICIENT_STORAGE,
        FailureKind::Interrupted => StatusCode::SERVICE_UNAVAILABLE,
        FailureKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, Json(failure)).into_response()
}

/// A long operation as lines of events.
pub(super) async fn events<T: Serialize + Send + 'static>(mut events: Events<T>) -> Response {
    match events.next().await {
        None => failure(&Failure::new(FailureKind::Failed, "the node gave up without a word; see its log")),
        Some(Event::Error(error)) => failure(&error),
        Some(first) => json_lines(lines::body(stream::iter([first]).chain(events))),
    }
}

/// A list as lines.
pub(super) async fn items<T: Serialize + Send + 'static>(items: Items<T>) -> Response {
    // An empty one has ended with its first answer, and may not be asked again.
    let mut items = items.fuse();
    match items.next().await {
        Some(Err(error)) => failure(&error),
        first => json_lines(lines::body(lines::items(stream::iter(first).chain(items)))),
    }
}

fn json_lines(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/jsonl")], body).into_response()
}

/// Bytes as they are.
pub(super) async fn bytes(request: &HeaderMap, items: Items<Bytes>) -> Response {
    // As above: an empty file.
    let mut items = items.fuse();
    let first = match items.next().await {
        Some(Err(error)) => return failure(&error),
        first => first,
    };
    let trailers = request.get(header::TE).is_some_and(|te| te == "trailers");
    let frames = stream::iter(first).chain(items).map(move |item| match item {
        Ok(bytes) => Ok(Frame::data(bytes)),
        Err(error) if trailers => Ok(Frame::trailers(trailer(&error))),
        Err(error) => Err(io::Error::other(error)),
    });
    let headers = [(header::CONTENT_TYPE, "application/octet-stream"), (header::TRAILER, ERROR_TRAILER)];
    (headers, Body::new(StreamBody::new(frames))).into_response()
}

fn trailer(failure: &Failure) -> HeaderMap {
    let full = ascii_json(failure);
    let text = match full.len() {
        ..=MAX_TRAILER_BYTES => full,
        _ => {
            let message = failure.message.chars().take(MAX_TRAILER_BYTES / 16).collect::<String>();
            ascii_json(&Failure::new(failure.kind, message))
        }
    };
    let value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("{}"));
    HeaderMap::from_iter([(HeaderName::from_static(ERROR_TRAILER), value)])
}

/// JSON that may stand in a header.
fn ascii_json(failure: &Failure) -> String {
    let json = serde_json::to_string(failure).unwrap_or_default();
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        if (' '..='~').contains(&character) {
            ascii.push(character);
        } else {
            // Characters outside ASCII stand only within JSON strings, where an escape means the same.
            ascii.extend(character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_trailer(failure: &Failure) -> Failure {
        let map = trailer(failure);
        serde_json::from_slice(map.get(ERROR_TRAILER).unwrap().as_bytes()).unwrap()
    }

    #[test]
    fn any_words_fit_into_a_trailer() {
        let failure = Failure {
            kind: FailureKind::Integrity,
            message: "ä 𝄞 \u{7f}\n\"".into(),
            causes: vec!["one".into(), "two".into()],
        };
        assert_eq!(check_trailer(&failure), failure);
    }

    #[test]
    fn too_many_words_are_cut() {
        let failure = Failure::new(FailureKind::Failed, "𝄞".repeat(100_000));
        let cut = check_trailer(&failure);
        assert_eq!(cut.kind, FailureKind::Failed);
        assert!(failure.message.starts_with(&cut.message) && !cut.message.is_empty());
    }
}

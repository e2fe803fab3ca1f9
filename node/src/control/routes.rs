//! Which request asks what: the table of the control API.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use shoal_protocol::hash::ContentHash;

use super::{Service, query, reply, upload};
use crate::api::{BytesRequest, EntriesRequest, Failure, FailureKind, PublishStreamRequest};

/// Longest body of a request: room for some thousand paths.
pub(super) const MAX_REQUEST_BYTES: usize = 4 << 20;
/// For how long a first provider is looked for when a request does not say.
const DEFAULT_TIMEOUT_MS: u64 = 15_000;

/// All endpoints of a service.
pub(super) fn router<S: Service>(service: Arc<S>) -> Router {
    Router::new()
        .route("/v1/id", get(async |State(service): State<Arc<S>>| reply::value(service.identity().await)))
        .route("/v1/status", get(async |State(service): State<Arc<S>>| reply::value(service.status().await)))
        .route("/v1/peers", get(async |State(service): State<Arc<S>>| reply::value(service.peers().await)))
        .route("/v1/contents", get(async |State(service): State<Arc<S>>| reply::value(service.contents().await)))
        .route("/v1/publish", post(publish::<S>))
        .route("/v1/publish/stream", post(publish_stream::<S>))
        .route("/v1/fetch", post(fetch::<S>))
        .route("/v1/pin", post(pin::<S>))
        .route("/v1/unpin", post(unpin::<S>))
        .route("/v1/remove", post(remove::<S>))
        .route("/v1/gc", post(collect::<S>))
        .route("/v1/verify", post(verify::<S>))
        .route("/v1/contents/{hash}/entries", get(entries::<S>))
        .route("/v1/contents/{hash}/bytes", get(bytes::<S>))
        .route("/v1/contents/{hash}/explain", get(explain::<S>))
        .fallback(nowhere)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(service)
}

async fn publish<S: Service>(State(service): State<Arc<S>>, body: Result<Bytes, BytesRejection>) -> Response {
    match parse(body) {
        Ok(request) => reply::events(service.publish(request)).await,
        Err(failure) => reply::failure(&failure),
    }
}

async fn publish_stream<S: Service>(State(service): State<Arc<S>>, RawQuery(query): RawQuery, body: Body) -> Response {
    match publish_stream_request(query.as_deref()) {
        Ok(request) => reply::events(service.publish_stream(request, upload::items(body))).await,
        Err(failure) => reply::failure(&failure),
    }
}

async fn fetch<S: Service>(State(service): State<Arc<S>>, body: Result<Bytes, BytesRejection>) -> Response {
    match parse(body) {
        Ok(request) => reply::events(service.fetch(request)).await,
        Err(failure) => reply::failure(&failure),
    }
}

async fn pin<S: Service>(State(service): State<Arc<S>>, body: Result<Bytes, BytesRejection>) -> Response {
    match parse(body) {
        Ok(request) => reply::events(service.pin(request)).await,
        Err(failure) => reply::failure(&failure),
    }
}

async fn unpin<S: Service>(State(service): State<Arc<S>>, body: Result<Bytes, BytesRejection>) -> Response {
    match parse(body) {
        Ok(request) => reply::events(service.unpin(request)).await,
        Err(failure) => reply::failure(&failure),
    }
}

async fn remove<S: Service>(State(service): State<Arc<S>>, body: Result<Bytes, BytesRejection>) -> Response {
    match parse(body) {
        Ok(request) => reply::events(service.remove(request)).await,
        Err(failure) => reply::failure(&failure),
    }
}

async fn collect<S: Service>(State(service): State<Arc<S>>, body: Result<Bytes, BytesRejection>) -> Response {
    match parse(body) {
        Ok(request) => reply::events(service.collect(request)).await,
        Err(failure) => reply::failure(&failure),
    }
}

async fn verify<S: Service>(State(service): State<Arc<S>>, body: Result<Bytes, BytesRejection>) -> Response {
    match parse(body) {
        Ok(request) => reply::events(service.verify(request)).await,
        Err(failure) => reply::failure(&failure),
    }
}

async fn entries<S: Service>(
    State(service): State<Arc<S>>,
    Path(hash): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    match entries_request(&hash, query.as_deref()) {
        Ok(request) => reply::items(service.entries(request)).await,
        Err(failure) => reply::failure(&failure),
    }
}

async fn bytes<S: Service>(
    State(service): State<Arc<S>>,
    Path(hash): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    match bytes_request(&hash, query.as_deref()) {
        Ok(request) => reply::bytes(&headers, service.bytes(request)).await,
        Err(failure) => reply::failure(&failure),
    }
}

async fn explain<S: Service>(State(service): State<Arc<S>>, Path(hash): Path<String>) -> Response {
    match parse_hash(&hash) {
        Ok(hash) => reply::value(service.explain(hash).await),
        Err(failure) => reply::failure(&failure),
    }
}

async fn nowhere(uri: Uri) -> Response {
    let failure = Failure::new(FailureKind::Usage, format!("there is nothing at {}; see docs/control.md", uri.path()));
    (StatusCode::NOT_FOUND, axum::Json(failure)).into_response()
}

async fn wrong_method(uri: Uri) -> Response {
    let failure = Failure::new(FailureKind::Usage, format!("{} takes another method; see docs/control.md", uri.path()));
    (StatusCode::METHOD_NOT_ALLOWED, axum::Json(failure)).into_response()
}

fn parse<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Failure> {
    let body =
        body.map_err(|error| Failure::new(FailureKind::Usage, format!("the request cannot be read: {error}")))?;
    serde_json::from_slice(&body)
        .map_err(|error| Failure::new(FailureKind::Usage, format!("the request makes no sense: {error}")))
}

fn parse_hash(text: &str) -> Result<ContentHash, Failure> {
    text.parse().map_err(|error| Failure::new(FailureKind::Usage, format!("{text} is not a content hash: {error}")))
}

fn unknown(key: &str) -> Failure {
    Failure::new(FailureKind::Usage, format!("the query has an unknown key {key:?}; see docs/control.md"))
}

fn publish_stream_request(query: Option<&str>) -> Result<PublishStreamRequest, Failure> {
    let mut request = PublishStreamRequest::default();
    for (key, value) in query::pairs(query.unwrap_or_default())? {
        match &*key {
            "name" => request.name = Some(value.into_owned()),
            "import_only" => request.import_only = query::yes_or_no(&key, &value)?,
            "wait_ms" => request.wait_ms = Some(query::number(&key, &value)?),
            _ => return Err(unknown(&key)),
        }
    }
    Ok(request)
}

fn entries_request(hash: &str, query: Option<&str>) -> Result<EntriesRequest, Failure> {
    let mut request = EntriesRequest {
        hash: parse_hash(hash)?,
        path: String::new(),
        peers: Vec::new(),
        timeout_ms: DEFAULT_TIMEOUT_MS,
    };
    for (key, value) in query::pairs(query.unwrap_or_default())? {
        match &*key {
            "path" => request.path = value.into_owned(),
            "peer" => request.peers.push(value.into_owned()),
            "timeout_ms" => request.timeout_ms = query::number(&key, &value)?,
            _ => return Err(unknown(&key)),
        }
    }
    Ok(request)
}

fn bytes_request(hash: &str, query: Option<&str>) -> Result<BytesRequest, Failure> {
    let mut request = BytesRequest {
        hash: parse_hash(hash)?,
        path: String::new(),
        start: None,
        end: None,
        peers: Vec::new(),
        timeout_ms: DEFAULT_TIMEOUT_MS,
    };
    for (key, value) in query::pairs(query.unwrap_or_default())? {
        match &*key {
            "path" => request.path = value.into_owned(),
            "range" => (request.start, request.end) = query::range(&value)?,
            "peer" => request.peers.push(value.into_owned()),
            "timeout_ms" => request.timeout_ms = query::number(&key, &value)?,
            _ => return Err(unknown(&key)),
        }
    }
    Ok(request)
}

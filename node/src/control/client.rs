//! The asking end of the control API.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shoal_protocol::hash::ContentHash;
use tokio_util::task::AbortOnDropHandle;

use super::lines::Lines;
use super::reply::ERROR_TRAILER;
use super::upload::Broken;
use super::{ControlError, Events, Items, Service, query, socket};
use crate::api::{
    BytesRequest, CollectRequest, Collected, ContentInfo, ContentRequest, EntriesRequest, EntryInfo, Event, Explained,
    Failure, FetchRequest, Fetched, Identity, PeerInfo, PinRequest, Pinned, PublishRequest, PublishStreamRequest,
    Published, Removed, Status, Unpinned, Verified, VerifyRequest,
};

/// Longest answer to a plain question.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// How long a node may think about a plain question.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// A way to the node that listens in a home. Cheap to clone; each request has a connection of its own, and dropping
/// the future or stream of a request cancels it at the node.
#[derive(Debug, Clone)]
pub struct Client {
    home: PathBuf,
}

/// What a request brings along.
pub(super) type RequestBody = UnsyncBoxBody<Bytes, Failure>;

/// An answer's head, with the task that drives its connection.
struct Answer {
    response: Response<Incoming>,
    connection: AbortOnDropHandle<()>,
}

impl Client {
    /// A client of the node that runs in this home; `None` if none does.
    ///
    /// # Errors
    /// [`ControlError::Connect`] if there is a node but no way to it, such as another user's.
    pub async fn connect(home: &Path) -> Result<Option<Self>, ControlError> {
        let found = socket::connect(home).await?;
        Ok(found.map(|_| Self { home: home.to_owned() }))
    }

    async fn send(&self, method: Method, uri: String, body: RequestBody) -> Result<Answer, ControlError> {
        let lost = |source| ControlError::Lost { source: Some(source) };
        let stream = socket::connect(&self.home).await?.ok_or(ControlError::Lost { source: None })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection.map(|ended| {
            if let Err(error) = ended {
                tracing::debug!(%error, "control connection ended");
            }
        })));
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::HOST, "shoal")
            .header(header::TE, "trailers")
            .body(body)
            .map_err(|error| ControlError::Gibberish { what: error.to_string() })?;
        let response = sender.send_request(request).await.map_err(lost)?;
        let answer = Answer { response, connection };
        match answer.response.status() {
            StatusCode::OK => Ok(answer),
            status => Err(answer.refusal(status).await),
        }
    }

    /// Asks a plain question.
    async fn get<T: DeserializeOwned>(&self, uri: &str) -> Result<T, Failure> {
        let asked = async {
            let body = self.send(Method::GET, uri.to_owned(), whole(Vec::new())).await?.collect().await?;
            serde_json::from_slice(&body).map_err(|error| ControlError::Gibberish { what: error.to_string() })
        };
        match tokio::time::timeout(ANSWER_DEADLINE, asked).await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                Err(ControlError::NoAnswer { path: socket::socket_path(&self.home), waited: ANSWER_DEADLINE }.into())
            }
        }
    }

    /// Starts a long operation.
    fn post<R, T>(&self, uri: &str, what: &'static str, request: &R) -> Events<T>
    where
        R: Serialize,
        T: DeserializeOwned + Send + 'static,
    {
        let body = serde_json::to_vec(request).map_err(|_| ControlError::NotText { what: what.to_owned() });
        self.operation(uri.to_owned(), body.map(whole))
    }

    /// Starts a long operation with a body of any kind.
    fn operation<T>(&self, uri: String, body: Result<RequestBody, ControlError>) -> Events<T>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let client = self.clone();
        let opened = async move { client.send(Method::POST, uri, body?).await };
        stream::once(opened)
            .flat_map(|opened| match opened {
                Ok(answer) => answer.lines().into_events(),
                Err(error) => stream::iter([Event::Error(error.into())]).boxed(),
            })
            .boxed()
    }

    /// Opens a stream of values.
    fn stream<T: Send + 'static>(&self, uri: String, read: fn(Answer) -> Items<T>) -> Items<T> {
        let client = self.clone();
        stream::once(async move { client.send(Method::GET, uri, whole(Vec::new())).await })
            .flat_map(move |opened| match opened {
                Ok(answer) => read(answer),
                Err(error) => stream::iter([Err(error.into())]).boxed(),
            })
            .boxed()
    }
}

impl Answer {
    async fn collect(self) -> Result<Bytes, ControlError> {
        let body = Limited::new(self.response.into_body(), MAX_ANSWER_BYTES);
        match body.collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => match error.downcast::<hyper::Error>() {
                Ok(error) => Err(ControlError::Lost { source: Some(*error) }),
                Err(error) => Err(ControlError::Gibberish { what: error.to_string() }),
            },
        }
    }

    async fn refusal(self, status: StatusCode) -> ControlError {
        match self.collect().await {
            Ok(body) => match serde_json::from_slice(&body) {
                Ok(failure) => ControlError::Refused(failure),
                Err(_) => ControlError::Gibberish { what: format!("status {status}") },
            },
            Err(error) => error,
        }
    }

    fn lines(self) -> Lines {
        Lines::new(self.response.into_body(), self.connection)
    }

    fn bytes(self) -> Items<Bytes> {
        stream::unfold(Some(self), |answer| async move {
            let mut answer = answer?;
            loop {
                match answer.response.body_mut().frame().await? {
                    Ok(frame) => match frame.into_data() {
                        Ok(bytes) => return Some((Ok(bytes), Some(answer))),
                        Err(frame) => {
                            let trailers = frame.into_trailers().unwrap_or_default();
                            if let Some(value) = trailers.get(ERROR_TRAILER) {
                                let failure = serde_json::from_slice(value.as_bytes())
                                    .unwrap_or_else(|error| ControlError::Gibberish { what: error.to_string() }.into());
                                return Some((Err(failure), None));
                            }
                        }
                    },
                    Err(error) => return Some((Err(ControlError::Lost { source: Some(error) }.into()), None)),
                }
            }
        })
        .boxed()
    }
}

impl Service for Client {
    async fn identity(&self) -> Result<Identity, Failure> {
        self.get("/v1/id").await
    }

    async fn status(&self) -> Result<Status, Failure> {
        self.get("/v1/status").await
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>, Failure> {
        self.get("/v1/peers").await
    }

    async fn contents(&self) -> Result<Vec<ContentInfo>, Failure> {
        self.get("/v1/contents").await
    }

    async fn explain(&self, hash: ContentHash) -> Result<Explained, Failure> {
        self.get(&format!("/v1/contents/{hash}/explain")).await
    }

    fn publish(&self, request: PublishRequest) -> Events<Published> {
        self.post("/v1/publish", "a path", &request)
    }

    fn publish_stream(&self, request: PublishStreamRequest, bytes: Items<Bytes>) -> Events<Published> {
        let mut uri = "/v1/publish/stream".to_owned();
        if let Some(name) = request.name {
            query::push(&mut uri, "name", name);
        }
        query::push(&mut uri, "import_only", request.import_only);
        if let Some(wait_ms) = request.wait_ms {
            query::push(&mut uri, "wait_ms", wait_ms);
        }
        let broken = Broken::default();
        let body = broken.body(bytes);
        broken.explain(self.operation(uri, Ok(body)))
    }

    fn fetch(&self, request: FetchRequest) -> Events<Fetched> {
        self.post("/v1/fetch", "the output path", &request)
    }

    fn pin(&self, request: PinRequest) -> Events<Pinned> {
        self.post("/v1/pin", "a name", &request)
    }

    fn unpin(&self, request: ContentRequest) -> Events<Unpinned> {
        self.post("/v1/unpin", "a hash", &request)
    }

    fn remove(&self, request: ContentRequest) -> Events<Removed> {
        self.post("/v1/remove", "a hash", &request)
    }

    fn collect(&self, request: CollectRequest) -> Events<Collected> {
        self.post("/v1/gc", "a request", &request)
    }

    fn verify(&self, request: VerifyRequest) -> Events<Verified> {
        self.post("/v1/verify", "a hash", &request)
    }

    fn entries(&self, request: EntriesRequest) -> Items<EntryInfo> {
        let mut uri = format!("/v1/contents/{}/entries", request.hash);
        question(&mut uri, &request.path, &request.peers, request.timeout_ms);
        self.stream(uri, |answer| answer.lines().into_items())
    }

    fn bytes(&self, request: BytesRequest) -> Items<Bytes> {
        let mut uri = format!("/v1/contents/{}/bytes", request.hash);
        question(&mut uri, &request.path, &request.peers, request.timeout_ms);
        if request.start.is_some() || request.end.is_some() {
            let side = |byte: Option<u64>| byte.map(|byte| byte.to_string()).unwrap_or_default();
            query::push(&mut uri, "range", format!("{}-{}", side(request.start), side(request.end)));
        }
        self.stream(uri, Answer::bytes)
    }
}

fn whole(body: Vec<u8>) -> RequestBody {
    Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync()
}

fn question(uri: &mut String, path: &str, peers: &[String], timeout_ms: u64) {
    if !path.is_empty() {
        query::push(uri, "path", path);
    }
    for peer in peers {
        query::push(uri, "peer", peer);
    }
    query::push(uri, "timeout_ms", timeout_ms);
}

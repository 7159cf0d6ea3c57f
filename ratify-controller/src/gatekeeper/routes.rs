//! Paths, methods, sizes and statuses. One request, one document.

use std::{cell::RefCell, fmt, panic::AssertUnwindSafe, sync::Arc};

use aws_lc_rs::rand;
use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use ratify_core::ErrorCode;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};
use uuid::{Builder, Uuid};

use super::{
    asked::{Operation, timed_out, why_nothing},
    body::{Bodies, MAX_BYTES, Readable, Unread},
    listen::Answers,
    service::{Answered, Service},
    wire::{ProviderResponse, parse_request},
};
use crate::telemetry::{
    parent::Parent,
    spans::{self, Spot},
};

/// What v1's server calls all that it writes.
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// A longer trace id is cut.
const MAX_TRACE_ID_BYTES: usize = 256;
/// How many random ids are made at once.
const IDS_AT_ONCE: usize = 32;

/// The two endpoints. What is asked again and again goes through no router: that would cost as much
/// as the answer.
#[derive(Clone)]
pub struct Endpoints(Arc<Server>);

/// What answers, and room for what is asked.
struct Server {
    service: Arc<Service>,
    bodies: Bodies,
}

impl Endpoints {
    /// The endpoints of a service.
    pub fn new(service: Arc<Service>) -> Self {
        Self(Arc::new(Server { service, bodies: Bodies::default() }))
    }

    /// Answers a request: with one document, whatever is asked and whatever happens.
    pub async fn answer<B: Readable>(&self, request: Request<B>) -> Response {
        let (operation, route) = match request.uri().path() {
            "/ratify/gatekeeper/v1/verify" => {
                (Operation::Verify, "POST /ratify/gatekeeper/v1/verify")
            }
            "/ratify/gatekeeper/v1/mutate" => {
                (Operation::Mutate, "POST /ratify/gatekeeper/v1/mutate")
            }
            _ => return plain(StatusCode::NOT_FOUND, "404 page not found\n".into()),
        };
        if request.method() != Method::POST {
            return only_post();
        }
        traced(operation, &self.0, request, spans::request(route)).await
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Endpoints").finish_non_exhaustive()
    }
}

impl Answers for Endpoints {
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response> + Send {
        Self::answer(self, request)
    }
}

async fn traced<B: Readable>(
    operation: Operation,
    server: &Server,
    request: Request<B>,
    span: Span,
) -> Response {
    let parent = Parent::of(request.headers());
    if let Some(parent) = parent {
        Spot::of_parent(parent).adopt(&span);
    }
    let names = &server.service.config().trace_id_headers;
    let of_trace = || Spot::of(&span).trace_id().or_else(|| parent.map(Parent::trace_id));
    let trace_id = trace_id(request.headers(), names, of_trace);
    spans::note(&span, "ratify.trace_id", &trace_id);
    let answer = one_document(operation, answer(server, operation, request, &trace_id));
    let response = answer.instrument(span.clone()).await;
    spans::answered(&span, response.status().as_u16());
    response
}

/// Whatever happens there is an answer that says why: a bug of ours, too, is no item.
fn one_document(
    operation: Operation,
    answer: impl Future<Output = Response>,
) -> impl Future<Output = Response> {
    // An `async fn` would have the answer's state twice, and copy it.
    AssertUnwindSafe(answer).catch_unwind().map(move |answer| {
        answer.unwrap_or_else(|_| {
            let bug = "a part of Ratify panicked while it answered";
            tracing::error!(component_type = "server", "{bug}");
            let text = ErrorCode::ExecutorFailure.detail(bug).to_string();
            failed(StatusCode::INTERNAL_SERVER_ERROR, &text, operation)
        })
    })
}

async fn answer<B: Readable>(
    server: &Server,
    operation: Operation,
    request: Request<B>,
    trace_id: &Arc<str>,
) -> Response {
    let Server { service, bodies } = server;
    let started = Instant::now();
    let is_mutation = operation == Operation::Mutate;
    let (name, noun) = match operation {
        Operation::Verify => ("verify", "verification"),
        Operation::Mutate => ("mutate", "mutation"),
    };
    tracing::debug!(
        component_type = "server",
        trace_id = &**trace_id,
        "start request POST /ratify/gatekeeper/v1/{name}"
    );
    let within = service.within(operation);
    let (head, body) = request.into_parts();
    // Reading it counts against the request's time.
    let read = tokio::select! {
        biased;
        read = bodies.read(&head.headers, body) => read.map_err(Refusal::Unread),
        () = service.time_is_over(started + within) => Err(Refusal::Late(timed_out(within))),
    };
    let keys = read.and_then(|read| Ok((keys(&read.bytes)?, read)));
    let (keys, _room) = match keys {
        Ok(keys) => keys,
        Err(refusal) => {
            let text = refusal.text(operation);
            tracing::warn!(component_type = "server", trace_id = &**trace_id, "{name}: {text}");
            return failed(refusal.status(), &text, operation);
        }
    };
    Span::current().record("ratify.keys", keys.len());
    let answered = service.answer(operation, keys, trace_id, started).await;
    let took = started.elapsed();
    match operation {
        Operation::Verify => service.measures.verified(took),
        Operation::Mutate => service.measures.mutated(took),
    }
    let took = took.as_millis();
    tracing::debug!(
        component_type = "server",
        trace_id = &**trace_id,
        "{noun}: execution time for request: {took}ms"
    );
    let Answered { items, unanswered } = answered;
    unanswered.iter().for_each(|one| service.measures.unanswered(one.why.is_none()));
    if unanswered.is_empty() {
        return document(StatusCode::OK, &ProviderResponse::items(items, is_mutation));
    }
    let why = why_nothing(&unanswered, within);
    // Gatekeeper reads the same of every status. This is v1's where the time is over.
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    document(status, &ProviderResponse::partly(items, &why, is_mutation))
}

/// Why a request is not answered.
enum Refusal {
    Unread(Unread),
    Malformed(String),
    Late(String),
}

impl Refusal {
    /// v1 answers 500 to everything. It is the client's fault.
    fn status(&self) -> StatusCode {
        match self {
            Self::Unread(Unread::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unread(Unread::Broken(_)) | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Late(_) => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// v1's texts: a mutation's have a code.
    fn text(&self, operation: Operation) -> String {
        let (what, cause) = match self {
            Self::Unread(Unread::Broken(cause)) => ("unable to read request body", cause.clone()),
            Self::Unread(Unread::TooLarge) => {
                ("unable to read request body", format!("it has more than {MAX_BYTES} bytes"))
            }
            Self::Malformed(cause) => ("unable to unmarshal request body", cause.clone()),
            Self::Late(text) => return text.clone(),
        };
        match operation {
            Operation::Verify => format!("{what}: {cause}"),
            Operation::Mutate => ErrorCode::BadRequest.detail(what).with_source(cause).to_string(),
        }
    }
}

fn keys(body: &[u8]) -> Result<Vec<String>, Refusal> {
    parse_request(body)
        .map_err(|error| Refusal::Malformed(ratify_core::capped_line(&error.to_string(), 200)))
}

/// The first configured header that has a value, or the id of the request's trace, or a random one.
fn trace_id(
    headers: &HeaderMap,
    names: &[String],
    of_trace: impl FnOnce() -> Option<String>,
) -> Arc<str> {
    names
        .iter()
        .filter_map(|name| headers.get(name)?.to_str().ok())
        .find(|value| !value.is_empty())
        .map(|value| ratify_core::capped_line(value, MAX_TRACE_ID_BYTES).into())
        .or_else(|| of_trace().map(Arc::from))
        .unwrap_or_else(random_id)
}

/// A random UUID (v1). The kernel is asked for the randomness of many at once.
fn random_id() -> Arc<str> {
    thread_local! {
        static RANDOM: RefCell<Vec<Uuid>> = const { RefCell::new(Vec::new()) };
    }
    let next = RANDOM.with_borrow_mut(|random| {
        if random.is_empty() {
            let mut bytes = [0; 16 * IDS_AT_ONCE];
            // Without any randomness there is none in these either.
            if rand::fill(&mut bytes).is_ok() {
                let (each, _) = bytes.as_chunks();
                random.extend(each.iter().map(|id| Builder::from_random_bytes(*id).into_uuid()));
            }
        }
        random.pop()
    });
    let id = next.unwrap_or_else(Uuid::new_v4);
    (*id.hyphenated().encode_lower(&mut Uuid::encode_buffer())).into()
}

/// An answer without an item.
fn failed(status: StatusCode, text: &str, operation: Operation) -> Response {
    let is_mutation = operation == Operation::Mutate;
    document(status, &ProviderResponse::system_error(text, is_mutation))
}

fn document(status: StatusCode, response: &ProviderResponse) -> Response {
    match response.to_body() {
        Ok(body) => plain(status, body),
        // No JSON is an error, too, for who reads it.
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn plain(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
    response
}

/// The answer to another method (RFC 9110, section 15.5.6).
fn only_post() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_one_document_that_says_so_and_no_item() {
        for (operation, more) in
            [(Operation::Verify, ""), (Operation::Mutate, r#""idempotent":true,"#)]
        {
            let answer = one_document(operation, async { panic!("on purpose") }).await;
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let expected = format!(
                r#"{{"apiVersion":"externaldata.gatekeeper.sh/v1alpha1","kind":"ProviderResponse","response":{{{more}"systemError":"operation failed with error EXECUTOR_FAILURE: a part of Ratify panicked while it answered"}}}}"#
            );
            assert_eq!(String::from_utf8_lossy(&body), expected + "\n");
        }
    }

    #[test]
    fn a_trace_id_is_the_first_header_that_has_one() {
        let mut headers = HeaderMap::new();
        headers.insert("x-empty", "".parse().unwrap());
        headers.insert("x-second", "id-2".parse().unwrap());
        headers.insert("x-third", "id-3".parse().unwrap());
        let names = ["x-none", "x-empty", "X-Second", "x-third"].map(String::from);
        let of_trace = || Some("of the trace".to_owned());
        assert_eq!(&*trace_id(&headers, &names, of_trace), "id-2");
        assert_eq!(&*trace_id(&headers, &[], of_trace), "of the trace");
        let random = trace_id(&headers, &["not a header name".into()], || None);
        assert_eq!(Uuid::parse_str(&random).unwrap().get_version_num(), 4);
    }

    #[test]
    fn a_trace_id_is_no_weapon() {
        let mut headers = HeaderMap::new();
        headers.insert("x-id", "a".repeat(1000).parse().unwrap());
        let id = |headers: &HeaderMap| trace_id(headers, &["x-id".into()], || None);
        assert_eq!(id(&headers).len(), MAX_TRACE_ID_BYTES);
        headers.insert("x-id", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        assert_ne!(&*id(&headers), "caf\u{e9}");
    }
}

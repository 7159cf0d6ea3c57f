//! Paths, methods, sizes and statuses. One request, one document.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use ratify_core::ErrorCode;
use tokio::time::{Instant, timeout_at};

use super::{
    asked::{Operation, timed_out},
    service::Service,
    wire::{ProviderResponse, parse_request},
};

/// What v1's server calls all that it writes.
const CONTENT_TYPE: &str = "text/plain; charset=utf-8";
/// A request of a thousand keys has some hundred kilobytes.
const MAX_BODY_BYTES: usize = 4 << 20;
/// A longer trace id is cut.
const MAX_TRACE_ID_BYTES: usize = 256;

/// The two endpoints.
pub fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/ratify/gatekeeper/v1/verify", post(verify))
        .route("/ratify/gatekeeper/v1/mutate", post(mutate))
        .fallback(not_found)
        .with_state(service)
}

async fn verify(service: State<Arc<Service>>, request: Request) -> Response {
    answer(&service, Operation::Verify, request).await
}

async fn mutate(service: State<Arc<Service>>, request: Request) -> Response {
    answer(&service, Operation::Mutate, request).await
}

async fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "404 page not found\n".into())
}

async fn answer(service: &Service, operation: Operation, request: Request) -> Response {
    let started = Instant::now();
    let trace_id = trace_id(request.headers(), &service.config().trace_id_headers);
    let is_mutation = operation == Operation::Mutate;
    let (name, noun) = match operation {
        Operation::Verify => ("verify", "verification"),
        Operation::Mutate => ("mutate", "mutation"),
    };
    tracing::debug!(
        component_type = "server",
        trace_id,
        "start request POST /ratify/gatekeeper/v1/{name}"
    );
    let keys = match keys(service, operation, request.into_body(), started).await {
        Ok(keys) => keys,
        Err(refusal) => {
            let text = refusal.text(operation);
            tracing::warn!(component_type = "server", trace_id, "{name}: {text}");
            let response = ProviderResponse::system_error(&text, is_mutation);
            return document(refusal.status(), &response);
        }
    };
    let items = service.answer(operation, keys, &trace_id, started).await;
    let took = started.elapsed().as_millis();
    tracing::debug!(
        component_type = "server",
        trace_id,
        "{noun}: execution time for request: {took}ms"
    );
    document(StatusCode::OK, &ProviderResponse::items(items, is_mutation))
}

/// Why a body is not answered.
enum Refusal {
    Unreadable(String),
    TooLarge,
    Malformed(String),
    Late(String),
}

impl Refusal {
    /// v1 answers 500 to everything. It is the client's fault.
    fn status(&self) -> StatusCode {
        match self {
            Self::Unreadable(_) | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late(_) => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// v1's texts: a mutation's have a code.
    fn text(&self, operation: Operation) -> String {
        let (what, cause) = match self {
            Self::Unreadable(cause) => ("unable to read request body", cause.clone()),
            Self::TooLarge => {
                ("unable to read request body", format!("it has more than {MAX_BODY_BYTES} bytes"))
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

/// The keys of a request. Reading it counts against the request's time.
async fn keys(
    service: &Service,
    operation: Operation,
    body: Body,
    started: Instant,
) -> Result<Vec<String>, Refusal> {
    let within = service.within(operation);
    let body = timeout_at(started + within, read(body))
        .await
        .unwrap_or_else(|_| Err(Refusal::Late(timed_out(within))))?;
    parse_request(&body)
        .map_err(|error| Refusal::Malformed(ratify_core::capped_line(&error.to_string(), 200)))
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge),
        Err(error) => Err(Refusal::Unreadable(ratify_core::capped_line(&error.to_string(), 200))),
    }
}

/// The first configured header that has a value, or a random one.
fn trace_id(headers: &HeaderMap, names: &[String]) -> String {
    names
        .iter()
        .filter_map(|name| headers.get(name)?.to_str().ok())
        .find(|value| !value.is_empty())
        .map_or_else(
            || uuid::Uuid::new_v4().to_string(),
            |value| ratify_core::capped_line(value, MAX_TRACE_ID_BYTES),
        )
}

fn document(status: StatusCode, response: &ProviderResponse) -> Response {
    match response.to_body() {
        Ok(body) => plain(status, body),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn plain(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_the_first_header_that_has_one() {
        let mut headers = HeaderMap::new();
        headers.insert("x-empty", "".parse().unwrap());
        headers.insert("x-second", "id-2".parse().unwrap());
        headers.insert("x-third", "id-3".parse().unwrap());
        let names = ["x-none", "x-empty", "X-Second", "x-third"].map(String::from);
        assert_eq!(trace_id(&headers, &names), "id-2");
        let random = trace_id(&headers, &["not a header name".into()]);
        assert_eq!(uuid::Uuid::parse_str(&random).unwrap().get_version_num(), 4);
    }

    #[test]
    fn a_trace_id_is_no_weapon() {
        let mut headers = HeaderMap::new();
        headers.insert("x-id", "a".repeat(1000).parse().unwrap());
        assert_eq!(trace_id(&headers, &["x-id".into()]).len(), MAX_TRACE_ID_BYTES);
        headers.insert("x-id", http::HeaderValue::from_bytes(b"caf\xe9").unwrap());
        assert_ne!(trace_id(&headers, &["x-id".into()]), "caf\u{e9}");
    }
}

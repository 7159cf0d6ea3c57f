//! The spans of this crate: `http`, one request that is sent, and `token`, an exchange for a token.
//! Their names and fields are OpenTelemetry's where it has some. No query is in them, nor a header.

use std::time::Duration;

use ratify_core::{
    capped_line,
    spans::{MAX_TEXT, TRACE},
};
use reqwest::{
    StatusCode,
    header::{HeaderName, HeaderValue},
};
use tracing::{Span, field::Empty};
use url::Url;

use crate::{OrasError, answer::Answer, exchange::Call};

/// What is known of a request when it is sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sending {
    /// How often the same was sent before.
    pub(crate) resent: u32,
    /// How long it waited for the registry's pace.
    pub(crate) waited: Duration,
}

/// The span of an answer: it ends with the body, of which it says how much was read.
#[derive(Debug)]
pub(crate) struct Body {
    span: Span,
    bytes: u64,
}

/// Headers that mean something by themselves, to a server or to one between.
const OF_HTTP: [&str; 20] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "www-authenticate",
];

/// What is sent of the headers that tell a place which request it is asked for: those that can be
/// sent, and that say nothing else.
pub(crate) fn headers<'a>(
    told: &'a [(String, String)],
    sent: &'a [(HeaderName, HeaderValue)],
) -> impl Iterator<Item = (HeaderName, HeaderValue)> + 'a {
    told.iter().filter_map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let is_free =
            !OF_HTTP.contains(&name.as_str()) && sent.iter().all(|(other, _)| *other != name);
        is_free.then_some((name, HeaderValue::from_str(value).ok()?))
    })
}

/// A request that is sent.
pub(crate) fn http(call: &Call, url: &Url, sending: Sending) -> Span {
    let span = tracing::info_span!(
        target: TRACE, "http",
        "otel.kind" = "client", "otel.name" = Empty, "otel.status_code" = Empty,
        "otel.status_description" = Empty, "error.type" = Empty, "ratify.remediation" = Empty,
        "http.request.method" = Empty, "http.request.resend_count" = Empty,
        "http.response.status_code" = Empty, "http.response.body.size" = Empty,
        "server.address" = Empty, "server.port" = Empty, "url.scheme" = Empty, "url.path" = Empty,
        "ratify.endpoint" = Empty, "ratify.waited_ms" = Empty, "ratify.redirected" = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    let (method, endpoint) = (call.method.as_str(), endpoint(url.path()));
    span.record("otel.name", format!("{method} {endpoint}"));
    span.record("http.request.method", method);
    span.record("ratify.endpoint", endpoint);
    span.record("server.address", capped_line(url.host_str().unwrap_or_default(), MAX_TEXT));
    span.record("server.port", url.port_or_known_default().unwrap_or_default());
    span.record("url.scheme", url.scheme());
    // Elsewhere a path may be a secret of its own.
    if url.origin() == call.url.origin() {
        span.record("url.path", capped_line(url.path(), MAX_TEXT));
    } else {
        span.record("ratify.redirected", true);
    }
    if sending.resent > 0 {
        span.record("http.request.resend_count", sending.resent);
    }
    if sending.waited >= Duration::from_millis(1) {
        span.record("ratify.waited_ms", milliseconds(sending.waited));
    }
    span
}

/// What came of it.
pub(crate) fn sent(span: &Span, result: &Result<&Answer, &OrasError>) {
    match result {
        Ok(answer) => answered(span, answer.status()),
        Err(error) => fail(span, error),
    }
}

/// What came of a request to find out whether somebody is there; `None` where nobody answered.
pub(crate) fn knocked(span: &Span, status: Option<StatusCode>) {
    match status {
        Some(status) => answered(span, status),
        None => fail_as(span, "unreachable", "nobody answers"),
    }
}

fn answered(span: &Span, status: StatusCode) {
    if span.is_disabled() {
        return;
    }
    span.record("http.response.status_code", status.as_u16());
    // To be asked for a token is no failure, nor is what does not exist one of the request.
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        fail_as(span, status.as_str(), status.canonical_reason().unwrap_or_default());
    }
}

/// An exchange for a token.
pub(crate) fn token(realm: &Url) -> Span {
    let span = tracing::info_span!(
        target: TRACE, "token", "otel.status_code" = Empty, "otel.status_description" = Empty,
        "error.type" = Empty, "ratify.remediation" = Empty, "server.address" = Empty,
    );
    if !span.is_disabled() {
        span.record("server.address", capped_line(realm.host_str().unwrap_or_default(), MAX_TEXT));
    }
    span
}

/// Says of a span that what it stands for failed.
pub(crate) fn fail(span: &Span, error: &OrasError) {
    if !span.is_disabled() {
        fail_as(span, error.kind(), &error.to_string());
    }
}

fn fail_as(span: &Span, kind: &str, text: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", capped_line(text, MAX_TEXT));
    span.record("error.type", kind);
}

/// What the span around says is from memory, or from the disk.
pub(crate) fn cached() {
    Span::current().record("ratify.cached", true);
}

impl Body {
    pub(crate) fn of(span: Span) -> Self {
        Self { span, bytes: 0 }
    }

    pub(crate) fn read(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.span.record("http.response.body.size", self.bytes);
        }
    }
}

/// Which of a registry's endpoints a path is of (the distribution specification, "Endpoints").
fn endpoint(path: &str) -> &'static str {
    let Some((_, rest)) = path.split_once("/v2/") else { return "other" };
    if rest.is_empty() {
        return "version";
    }
    let parts: Vec<&str> = rest.rsplitn(4, '/').collect();
    match parts.as_slice() {
        [_, "uploads", "blobs", _] | ["", "uploads", "blobs"] => "upload",
        ["list", "tags", ..] => "tags",
        [_, "manifests", ..] => "manifest",
        [_, "referrers", ..] => "referrers",
        [_, "blobs", ..] => "blob",
        _ => "other",
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_tells_of_the_request_takes_the_place_of_none() {
        let told = [
            ("x-request-id", "id-1"),
            ("Authorization", "Bearer x"),
            ("HOST", "elsewhere"),
            ("x-own", "taken"),
            ("no header", "x"),
            ("x-broken", "a\nb"),
        ];
        let told = told.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let sent = [(HeaderName::from_static("x-own"), HeaderValue::from_static("ours"))];
        let names: Vec<_> = headers(&told, &sent).map(|(name, _)| name.to_string()).collect();
        assert_eq!(names, ["x-request-id"]);
    }

    #[test]
    fn a_path_is_of_one_kind() {
        for (path, kind) in [
            ("/v2/", "version"),
            ("/v2/a/b/manifests/v1", "manifest"),
            ("/v2/a/manifests/sha256:00", "manifest"),
            ("/mirror/v2/a/blobs/sha256:00", "blob"),
            ("/v2/a/b/c/blobs/uploads/", "upload"),
            ("/v2/a/blobs/uploads/some-id", "upload"),
            ("/v2/a/referrers/sha256:00", "referrers"),
            ("/v2/a/tags/list", "tags"),
            ("/token", "other"),
            ("/v2/a", "other"),
        ] {
            assert_eq!(endpoint(path), kind, "{path}");
        }
    }
}

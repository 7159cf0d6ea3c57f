//! The shapes of the embedded registry's answers: an empty one, one with bytes, and a refusal
//! with the error JSON of the OCI distribution specification, "Error Codes".

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;

/// The header with the digest of what is answered.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// The header by which a registry says that it knows the subject of a pushed manifest.
pub(super) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// The header with the tags a pushed manifest was given by query.
pub(super) const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
/// The header naming the filters that a listing went through.
pub(super) const OCI_FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

/// What a handler gives back.
pub(super) type Answer = Result<Response<Body>, Refusal>;

/// A request refused: status, error code and a message for people.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: String,
    message: String,
    headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    pub(super) fn new(
        status: StatusCode,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { status, code: code.into(), message: message.into(), headers: Vec::new() }
    }

    #[must_use]
    pub(super) fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let body = json!({"errors": [{"code": self.code, "message": self.message}]}).to_string();
        let mut response = with_bytes(self.status, "application/json", Bytes::from(body));
        for (name, value) in self.headers {
            set(response.headers_mut(), name, &value);
        }
        response
    }
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        set(response.headers_mut(), header::CONTENT_LENGTH, "0");
    }
    response
}

/// An answer with a body; the length is written, so that taking the body off makes a HEAD answer.
pub(super) fn with_bytes(status: StatusCode, media_type: &str, bytes: Bytes) -> Response<Body> {
    let length = bytes.len().to_string();
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    set(response.headers_mut(), header::CONTENT_TYPE, media_type);
    set(response.headers_mut(), header::CONTENT_LENGTH, &length);
    response
}

/// Sets a header. A value that HTTP does not allow is left out: no value from a client reaches
/// this unchecked but the media type of a manifest, which came in a header itself.
pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_refusal_is_the_error_json_of_the_specification() {
        let refusal = Refusal::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "no such blob")
            .with_header(header::RETRY_AFTER, "3");
        let response = refusal.into_response();
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()["retry-after"], "3");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        insta::assert_snapshot!(String::from_utf8_lossy(&body), @r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"no such blob"}]}"#);
    }
}

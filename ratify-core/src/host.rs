//! [`Host`]: a verifier's only door to the world.

use std::time::Duration;

use bytes::Bytes;

use crate::{BoxFuture, Descriptor, ErrorCode, Manifest, Reference, Result};

/// What a verifier may ask of whoever runs it. Every byte it gives is proven.
///
/// Made by: the store of the request (in-process), the external store a plugin opens, a pipe to
/// the host, or a map (tests).
pub trait Host: Send + Sync {
    /// The manifest of an artifact of the subject.
    fn manifest<'a>(
        &'a self,
        subject: &'a Reference,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Manifest>>;

    /// The bytes of a blob that a manifest lists.
    fn blob<'a>(
        &'a self,
        subject: &'a Reference,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Bytes>>;

    /// Something from outside the registry (a revocation list, a schema). A host grants none
    /// unless it says otherwise.
    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move {
            let url = crate::capped_line(&request.url, 200);
            Err(ErrorCode::OperationForbidden.detail(format!(
                "this host fetches nothing for its verifiers, and was asked for {url}"
            )))
        })
    }
}

/// A request for something outside the registry. The host decides whether it may be had.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchRequest {
    /// Where it is.
    pub url: String,
    /// What to send; empty for a plain read.
    pub body: Bytes,
    /// At most this many bytes are taken; more is an error.
    pub max_bytes: u64,
    /// How long it may take.
    pub timeout: Duration,
}

impl FetchRequest {
    /// A read of `url` of at most `max_bytes` bytes within `timeout`.
    pub fn new(url: impl Into<String>, max_bytes: u64, timeout: Duration) -> Self {
        Self { url: url.into(), body: Bytes::new(), max_bytes, timeout }
    }
}

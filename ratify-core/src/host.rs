//! [`Host`]: a verifier's only door to the world, and [`Fetch`], which a host has from outside the
//! registry for it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    BoxFuture, Context, Descriptor, ErrorCode, KeyRings, Manifest, Reference, Result,
    RingCertificate, RingKey,
};

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

    /// What the subject is: its manifest's type, digest and size. A plugin's process asks, which is told
    /// no more than a reference; a [`Request`](crate::Request) says it. A host says it of none unless it
    /// says otherwise.
    fn subject<'a>(&'a self, subject: &'a Reference) -> BoxFuture<'a, Result<Descriptor>> {
        Box::pin(async move {
            let detail = format!("this host does not say what {subject} is");
            Err(ErrorCode::OperationForbidden.detail(detail))
        })
    }

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

    /// The certificates of a key management provider. A host has none unless it says otherwise.
    ///
    /// # Errors
    /// As [`KeyRings::certificates`].
    fn certificates(&self, provider: &str) -> Result<Arc<[RingCertificate]>> {
        KeyRings::default().certificates(provider, "")
    }

    /// Whose work it is: what one waits for no other should have to wait for. One is told apart where
    /// the host says so.
    fn tenant(&self) -> &str {
        ""
    }

    /// When the work is to be given up; `None` for never.
    fn give_up_at(&self) -> Option<Instant> {
        None
    }

    /// The public keys of a key management provider.
    ///
    /// # Errors
    /// As [`KeyRings::keys`].
    fn keys(&self, provider: &str) -> Result<Arc<[RingKey]>> {
        KeyRings::default().keys(provider, "")
    }

    /// The certificates of a legacy certificate store.
    ///
    /// # Errors
    /// As [`KeyRings::certificate_store`].
    fn certificate_store(&self, name: &str) -> Result<Arc<[RingCertificate]>> {
        KeyRings::default().certificate_store(name, "")
    }
}

/// Who reads what is outside of registries, and refuses what may not be read.
pub trait Fetch: Send + Sync {
    /// The body of an answer that is a success.
    ///
    /// # Errors
    /// `RESOURCE_NOT_FOUND` where the server has no such thing (404); `OPERATION_FORBIDDEN` where it
    /// may not be asked; what may be gone a moment later is [passing](crate::Error::passing).
    fn fetch<'a>(
        &'a self,
        request: &'a FetchRequest,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Bytes>>;
}

/// Who wrote a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlSource {
    /// An administrator, in a configuration.
    Configuration,
    /// Whoever made a document, such as a certificate that names its revocation list.
    Document,
}

/// A request for something outside the registry. The host decides whether it may be had.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchRequest {
    /// Where it is.
    pub url: String,
    /// Who wrote the URL.
    pub url_source: UrlSource,
    /// What to send, and its media type; `None` for a plain read.
    pub body: Option<(&'static str, Bytes)>,
    /// At most this many bytes are taken; more is an error.
    pub max_bytes: u64,
    /// How long it may take.
    pub timeout: Duration,
}

impl FetchRequest {
    /// A read of `url` of at most `max_bytes` bytes within `timeout`.
    pub fn new(
        url: impl Into<String>,
        url_source: UrlSource,
        max_bytes: u64,
        timeout: Duration,
    ) -> Self {
        Self { url: url.into(), url_source, body: None, max_bytes, timeout }
    }

    /// The same, which sends this.
    #[must_use]
    pub fn with_body(mut self, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.body = Some((media_type, body.into()));
        self
    }
}

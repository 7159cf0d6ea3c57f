//! Telling a lie: instead of an answer, about its headers and bytes, or about its document.

use std::future::pending;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Collected};
use ratify_core::{Algorithm, Digest};

use super::{
    super::{
        answer::{CONTENT_DIGEST, OCI_FILTERS, Refusal, empty, set, with_bytes},
        forgery,
        honest::{Registry, query_of},
        route::{ManifestReference, Route},
        storage::digest_of,
    },
    Liar, Lie, REMOTE_TEXT, RequestKind, streams,
};

const WEB_PAGE: &str = "<!doctype html><html><title>Sign in</title><p>Please sign in.</html>\n";

/// What became of a request that a fault is for.
pub(super) enum Outcome {
    /// The lie has no hold on it.
    Honest(Response<Body>),
    /// The lie.
    Lie(Response<Body>),
    /// The connection ends.
    Drop,
}

/// An honest answer, read whole.
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Bytes,
}

/// What of a request the lies look at.
pub(super) struct Asked {
    pub(super) kind: RequestKind,
    pub(super) head: bool,
    pub(super) by_tag: bool,
    pub(super) route: Route,
    uri: Uri,
}

impl Liar {
    /// Tells the lie of the fault with this index, if it has a hold on the request.
    pub(super) async fn tell(
        &self,
        lie: &Lie,
        index: usize,
        registry: &Registry,
        route: Route,
        request: Request<Body>,
    ) -> Outcome {
        let asked = Asked::new(&route, &request);
        let write = asked.kind == RequestKind::Write;
        match lie {
            Lie::DropConnection => return Outcome::Drop,
            Lie::Stall if write || asked.head => {
                self.count(index);
                return pending().await;
            }
            _ => {}
        }
        if let Some(response) = instead(lie, write) {
            return Outcome::Lie(response);
        }
        let request = if asks_for_all(lie) { unfiltered(request) } else { request };
        let response = self.stood_by(registry, route, request).await;
        if write {
            return Outcome::Honest(response);
        }
        let page = Page::read(response).await;
        let told = if page.status.is_success() { about_bytes(lie, &page, &asked) } else { None };
        let told = told.or_else(|| self.about_document(lie, &page, &asked, registry));
        // Nothing of another body is seen in the answer to HEAD but the headers.
        match told.filter(|told| !asked.head || *told.headers() != page.headers) {
            Some(response) => Outcome::Lie(response),
            None => Outcome::Honest(page.copy()),
        }
    }
}

/// Lies that need no honest answer.
fn instead(lie: &Lie, write: bool) -> Option<Response<Body>> {
    match lie {
        Lie::Status { status, code, retry_after } => {
            let status = StatusCode::from_u16(*status).ok()?;
            let mut refusal = Refusal::new(status, code, REMOTE_TEXT);
            if let Some(seconds) = retry_after {
                refusal = refusal.with_header(header::RETRY_AFTER, seconds.to_string());
            }
            Some(refusal.into_response())
        }
        Lie::Challenge(challenge) => {
            let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", REMOTE_TEXT);
            Some(refusal.with_header(header::WWW_AUTHENTICATE, challenge).into_response())
        }
        Lie::RedirectBlobTo(url) if !write => {
            let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
            set(response.headers_mut(), header::LOCATION, url);
            Some(response)
        }
        Lie::NotAManifest if !write => {
            Some(with_bytes(StatusCode::OK, "text/html; charset=utf-8", WEB_PAGE.into()))
        }
        _ => None,
    }
}

/// Lies about headers and bytes.
fn about_bytes(lie: &Lie, page: &Page, asked: &Asked) -> Option<Response<Body>> {
    let media_type = page.media_type();
    match lie {
        Lie::OtherBytesSameLength => Some(page.with(forgery::same_length(&page.bytes)?)),
        Lie::OtherBytesOtherLength => Some(page.with(forgery::other_length(&page.bytes))),
        Lie::EchoPinnedDigestWithOtherBody => Some(page.with(forgery::other_document(&page.bytes))),
        Lie::WrongSizeInDescriptor if asked.head => {
            Some(page.set(header::CONTENT_LENGTH, &(page.bytes.len() + 1).to_string()))
        }
        Lie::WrongDigestHeader if page.headers.contains_key(CONTENT_DIGEST) => {
            let other = digest_of(Algorithm::Sha256, b"something else");
            Some(page.set(CONTENT_DIGEST, other.as_str()))
        }
        Lie::MissingDigestHeader if page.headers.contains_key(CONTENT_DIGEST) => {
            Some(page.without(&[CONTENT_DIGEST]))
        }
        Lie::WrongContentType => {
            Some(page.set(header::CONTENT_TYPE, forgery::other_type(media_type)))
        }
        Lie::ContentTypeWithCharset => {
            Some(page.set(header::CONTENT_TYPE, &format!("{media_type}; charset=utf-8")))
        }
        Lie::GzipEncoded => {
            let mut response = page.with(forgery::gzip(&page.bytes));
            set(response.headers_mut(), header::CONTENT_ENCODING, "gzip");
            Some(response)
        }
        Lie::ReferrersIgnoreFilter if asked.kind == RequestKind::List => {
            asked.has_filter().then(|| page.set(OCI_FILTERS, "artifactType"))
        }
        Lie::ReferrersEndlessPages if asked.kind == RequestKind::List => {
            Some(page.set(header::LINK, &format!("<{}>; rel=\"next\"", asked.uri)))
        }
        Lie::ReferrersLinkOtherHost(url) if asked.kind == RequestKind::List => {
            Some(page.set(header::LINK, &format!("<{url}>; rel=\"next\"")))
        }
        _ if asked.head => None,
        lie => about_body(lie, page),
    }
}

/// Lies about how a body arrives.
fn about_body(lie: &Lie, page: &Page) -> Option<Response<Body>> {
    let (mut response, body) = match lie {
        Lie::Truncated if !page.bytes.is_empty() => (page.copy(), streams::truncated(&page.bytes)),
        Lie::Endless => {
            (page.without(&[header::CONTENT_LENGTH]), streams::endless(page.bytes.clone()))
        }
        Lie::Stall => (page.copy(), streams::stalled()),
        Lie::SlowDrip(pause) => (page.copy(), streams::dripping(page.bytes.clone(), *pause)),
        _ => return None,
    };
    *response.body_mut() = body;
    Some(response)
}

/// Whether a lie looks at the whole list, whatever the client wants filtered.
fn asks_for_all(lie: &Lie) -> bool {
    matches!(lie, Lie::ReferrersIgnoreFilter | Lie::ReferrersOtherArtifactType(_))
}

fn unfiltered(mut request: Request<Body>) -> Request<Body> {
    if let Ok(uri) = request.uri().path().parse() {
        *request.uri_mut() = uri;
    }
    request
}

impl Asked {
    fn new(route: &Route, request: &Request<Body>) -> Self {
        let by_tag = matches!(route, Route::Manifest { reference: ManifestReference::Tag(_), .. });
        Self {
            kind: RequestKind::of(route, request.method()),
            head: request.method() == Method::HEAD,
            by_tag,
            route: route.clone(),
            uri: request.uri().clone(),
        }
    }

    fn has_filter(&self) -> bool {
        query_of(self.uri.query()).iter().any(|(key, _)| key == "artifactType")
    }

    /// Whether a list of referrers is asked for, on either path.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.kind, RequestKind::List | RequestKind::FallbackTag)
    }

    /// The digest whose referrers are asked for.
    pub(super) fn subject(&self) -> Option<Digest> {
        match &self.route {
            Route::Referrers { digest, .. } => Some(digest.clone()),
            Route::Manifest { reference: ManifestReference::Tag(tag), .. } => {
                tag.replacen('-', ":", 1).parse().ok()
            }
            _ => None,
        }
    }
}

impl Page {
    async fn read(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        // The bodies of honest answers are in memory and cannot fail.
        let bytes = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
        Self { status: parts.status, headers: parts.headers, bytes }
    }

    pub(super) fn media_type(&self) -> &str {
        self.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    fn copy(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.bytes.clone()));
        *response.status_mut() = self.status;
        response.headers_mut().clone_from(&self.headers);
        response
    }

    /// The same headers over other bytes of their own length.
    pub(super) fn with(&self, bytes: impl Into<Bytes>) -> Response<Body> {
        let bytes = bytes.into();
        let mut response = self.copy();
        set(response.headers_mut(), header::CONTENT_LENGTH, &bytes.len().to_string());
        *response.body_mut() = Body::from(bytes);
        response
    }

    fn set(&self, name: header::HeaderName, value: &str) -> Response<Body> {
        let mut response = self.copy();
        set(response.headers_mut(), name, value);
        response
    }

    fn without(&self, names: &[header::HeaderName]) -> Response<Body> {
        let mut response = self.copy();
        for name in names {
            response.headers_mut().remove(name);
        }
        response
    }
}

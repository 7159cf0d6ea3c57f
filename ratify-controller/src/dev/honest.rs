//! The honest registry: one request in, one answer out, over [`Storage`]. What each end point
//! does is in `blobs`, `upload`, `manifests` and `referrers`; here they are chosen, and the tags
//! listed (OCI distribution specification, "Endpoints").

use axum::body::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use serde_json::json;

use super::{
    answer::{Answer, Refusal, empty, set, with_bytes},
    blobs, manifests,
    referrers::{self, page_length},
    route::Route,
    storage::Storage,
    upload::{self, value},
};

/// What the honest handlers work on.
pub(super) struct Registry {
    pub(super) storage: Storage,
    page_size: usize,
    pub(super) referrers_api: bool,
    /// What follows `Basic ` in a request that may pass.
    credentials: Option<String>,
}

impl Registry {
    pub(super) fn new(
        maximum_bytes: u64,
        page_size: usize,
        referrers_api: bool,
        credentials: Option<&(String, String)>,
    ) -> Self {
        Self {
            storage: Storage::new(maximum_bytes),
            page_size: page_size.max(1),
            referrers_api,
            credentials: credentials.map(|(user, word)| STANDARD.encode(format!("{user}:{word}"))),
        }
    }

    /// Refuses a request without the credentials, if the registry has any (RFC 7617).
    pub(super) fn authenticate(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(expected) = &self.credentials else { return Ok(()) };
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let sent = sent.and_then(|value| value.split_once(' '));
        let good = sent.is_some_and(|(scheme, sent)| {
            scheme.eq_ignore_ascii_case("basic")
                && aws_lc_rs::constant_time::verify_slices_are_equal(
                    sent.trim().as_bytes(),
                    expected.as_bytes(),
                )
                .is_ok()
        });
        if good {
            return Ok(());
        }
        Err(Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required")
            .with_header(header::WWW_AUTHENTICATE, "Basic realm=\"ratify dev registry\""))
    }

    /// Answers a request that may pass. The answer to a HEAD still has its body.
    pub(super) async fn answer(&self, route: Route, request: Request<Body>) -> Response<Body> {
        self.dispatch(route, request).await.unwrap_or_else(Refusal::into_response)
    }

    async fn dispatch(&self, route: Route, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let (storage, headers) = (&self.storage, &parts.headers);
        let query = query_of(parts.uri.query());
        match (as_read(&parts.method), route) {
            (&Method::GET, Route::Ping) => {
                Ok(with_bytes(StatusCode::OK, "application/json", "{}".into()))
            }
            (&Method::GET, Route::Tags { name }) => self.tags(&name, &query),
            (&Method::GET, Route::Referrers { .. }) if !self.referrers_api => {
                Ok(with_bytes(StatusCode::NOT_FOUND, "text/plain", "404 page not found\n".into()))
            }
            (&Method::GET, Route::Referrers { name, digest }) => {
                referrers::list(storage, &name, &digest, &query, self.page_size)
            }
            (&Method::GET, Route::Manifest { name, reference }) => {
                manifests::get(storage, &name, &reference)
            }
            (&Method::PUT, Route::Manifest { name, reference }) => {
                let announce = self.referrers_api;
                manifests::put(storage, &name, &reference, &query, headers, body, announce).await
            }
            (&Method::DELETE, Route::Manifest { name, reference }) => {
                manifests::delete(storage, &name, &reference)
            }
            (&Method::GET, Route::Blob { name, digest }) => {
                blobs::get(storage, &name, &digest, headers)
            }
            (&Method::DELETE, Route::Blob { name, digest }) => {
                blobs::delete(storage, &name, &digest)
            }
            (method, route) => {
                Self::dispatch_upload(storage, method, route, &query, headers, body).await
            }
        }
    }

    async fn dispatch_upload(
        storage: &Storage,
        method: &Method,
        route: Route,
        query: &[(String, String)],
        headers: &HeaderMap,
        body: Body,
    ) -> Answer {
        match (method, route) {
            (&Method::POST, Route::Uploads { name }) => {
                upload::post(storage, &name, query, body).await
            }
            (&Method::PATCH, Route::Upload { name, id }) => {
                upload::patch(storage, &name, &id, headers, body).await
            }
            (&Method::PUT, Route::Upload { name, id }) => {
                upload::put(storage, &name, &id, query, headers, body).await
            }
            (&Method::GET, Route::Upload { name, id }) => upload::status(storage, &name, &id).await,
            (&Method::DELETE, Route::Upload { name, id }) => {
                upload::cancel(storage, &name, &id).await
            }
            _ => Ok(empty(StatusCode::METHOD_NOT_ALLOWED)),
        }
    }

    /// end-8: the tags after `last`, in order and in pages.
    fn tags(&self, name: &str, query: &[(String, String)]) -> Answer {
        let page_size = page_length(query, self.page_size)?;
        let mut tags = self.storage.tags(name).ok_or_else(|| {
            Refusal::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "no such repository")
        })?;
        let last = value(query, "last").unwrap_or_default();
        tags.retain(|tag| tag.as_str() > last);
        let more = tags.len() > page_size;
        tags.truncate(page_size);
        let body = json!({"name": name, "tags": tags}).to_string();
        let mut response = with_bytes(StatusCode::OK, "application/json", body.into());
        if let Some(last) = tags.last().filter(|_| more) {
            let link = format!("</v2/{name}/tags/list?n={page_size}&last={last}>; rel=\"next\"");
            set(response.headers_mut(), header::LINK, &link);
        }
        Ok(response)
    }
}

/// HEAD is answered as GET; its body is taken off at the very end.
fn as_read(method: &Method) -> &Method {
    if method == Method::HEAD { &Method::GET } else { method }
}

/// The pairs of a query.
pub(super) fn query_of(query: Option<&str>) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect()
}

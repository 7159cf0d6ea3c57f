//! [`WebFetch`]: what built-in verifiers have from outside of registries: revocation lists, responders,
//! transparency logs. What may be asked is decided by the rules for all connections.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ratify_core::{BoxFuture, Context, Error, ErrorCode, Fetch, FetchRequest, Result, UrlSource};
use ratify_store_oras::{OrasError, Web, WebRequest};

/// Fetches over the connections of this process.
#[derive(Debug)]
pub(crate) struct WebFetch(Web);

impl WebFetch {
    /// Fetches by these means.
    pub(crate) fn new(web: Web) -> Self {
        Self(web)
    }
}

impl Fetch for WebFetch {
    fn fetch<'a>(
        &'a self,
        request: &'a FetchRequest,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move {
            let left = context.give_up_at.map(|end| end.saturating_duration_since(Instant::now()));
            let timeout = left.unwrap_or(Duration::MAX).min(request.timeout);
            let mut asked = WebRequest::new(request.url.as_str(), request.max_bytes, timeout);
            asked.is_written = request.url_source == UrlSource::Configuration;
            asked.body.clone_from(&request.body);
            asked.tenant = context.tenant.clone();
            self.0.read(&asked).await.map_err(error)
        })
    }
}

/// The errors that [`Fetch`] promises.
fn error(error: OrasError) -> Error {
    let code = match &error {
        OrasError::NotFound { .. } => ErrorCode::ResourceNotFound,
        OrasError::Forbidden { .. } => ErrorCode::OperationForbidden,
        _ => return error.into(),
    };
    code.error().with_source(error)
}

#[cfg(test)]
mod tests {
    use ratify_store_oras::Connections;

    use super::*;

    #[tokio::test]
    async fn the_time_of_the_work_and_who_wrote_the_url_count() {
        let fetch = WebFetch::new(Web::new(Connections::default(), "test/1"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = format!("http://{}/", listener.local_addr().unwrap());
        let soon = Context::until(Some(Instant::now() + Duration::from_millis(100)));
        let minute = Duration::from_secs(60);
        let of_config = FetchRequest::new(at.as_str(), UrlSource::Configuration, 10, minute);
        let late = fetch.fetch(&of_config, &soon).await.unwrap_err();
        assert!(late.is_transient(), "{late}");
        let of_document = FetchRequest::new(at, UrlSource::Document, 10, minute);
        let refused = fetch.fetch(&of_document, &Context::default()).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::OperationForbidden);
        assert!(!refused.is_transient(), "{refused}");
    }
}

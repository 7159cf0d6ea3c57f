//! [`Web`]: reads what verifiers need from outside of registries, such as revocation lists, over the
//! process's connections: the same rules about addresses, the same roots, proxies and pace.
//!
//! Nothing secret is sent, so a redirect is followed, a few times, where a registry's would be.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ratify_core::capped_line;
use reqwest::{
    Method, Response, StatusCode,
    header::{CONTENT_TYPE, LOCATION, USER_AGENT},
};
use url::Url;

use crate::{
    Connections, OrasError, RetryPolicy, Transport,
    deadline::Deadline,
    failure::{by_proxy, refused, unreachable_error},
    limiter::Paused,
    resolver::asked_by,
    retry::Outcome,
    transport::check_step,
};

/// An answer of more bytes is a long one.
const LONG: usize = 1 << 20;
/// More redirects are none that lead anywhere.
const MAX_REDIRECTS: usize = 3;

/// Reads over the connections of a process. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Web {
    connections: Connections,
    user_agent: Arc<str>,
}

/// What is read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WebRequest {
    /// Where it is: HTTP or HTTPS, without a user.
    pub url: String,
    /// Whether an administrator wrote the URL: this machine may be meant then, as with a registry.
    pub is_written: bool,
    /// What is sent, and its media type; `None` for a plain read.
    pub body: Option<(&'static str, Bytes)>,
    /// More bytes are an error.
    pub max_bytes: u64,
    /// How long all of it may take.
    pub timeout: Duration,
    /// Whose work it is.
    pub tenant: Arc<str>,
}

impl WebRequest {
    /// A plain read, for nobody in particular.
    pub fn new(url: impl Into<String>, max_bytes: u64, timeout: Duration) -> Self {
        Self {
            url: url.into(),
            is_written: false,
            body: None,
            max_bytes,
            timeout,
            tenant: Arc::default(),
        }
    }
}

impl Web {
    /// Reads over these connections.
    pub fn new(connections: Connections, user_agent: impl Into<Arc<str>>) -> Self {
        Self { connections, user_agent: user_agent.into() }
    }

    /// The body of an answer that is a success. It is asked for once.
    ///
    /// # Errors
    /// Where the URL may not be asked, nobody answers in time, the answer is another than 200, or
    /// the body is too long.
    pub async fn read(&self, request: &WebRequest) -> Result<Bytes, OrasError> {
        let what = what_of(request);
        let url = parse(&request.url).map_err(|why| forbidden(&what, why))?;
        if request.timeout.is_zero() {
            // It would be asked, and not be waited for.
            return Err(OrasError::GaveUp { what });
        }
        let end = Instant::now() + request.timeout;
        let work = Box::pin(self.read_from(request, url, &what, end));
        let read = asked_by(&request.tenant, tokio::time::timeout_at(end.into(), work)).await;
        read.unwrap_or(Err(OrasError::GaveUp { what }))
    }

    async fn read_from(
        &self,
        request: &WebRequest,
        mut url: Url,
        what: &str,
        end: Instant,
    ) -> Result<Bytes, OrasError> {
        for _ in 0..=MAX_REDIRECTS {
            let limiter = &self.connections.registries().of(&url).limiter;
            let admitted = limiter.admit(&request.tenant, &Deadline::new(Some(end))).await;
            let ticket = admitted.map_err(|Paused(until)| {
                OrasError::paused(what.to_owned(), until, Instant::now())
            })?;
            let answered = self.ask(request, &url, what).await;
            let outcome = match &answered {
                Ok(response) => Outcome::Status(response.status().as_u16(), None),
                Err(OrasError::Unreachable { timed_out: true, .. }) => Outcome::TimedOut,
                Err(_) => Outcome::Failed,
            };
            ticket.done(RetryPolicy::default().seen(outcome));
            let response = answered?;
            let status = response.status();
            match status {
                StatusCode::OK => return self.body(response, request, what).await,
                StatusCode::NOT_FOUND => return Err(OrasError::NotFound { what: what.to_owned() }),
                _ if status.is_redirection() && request.body.is_none() => {
                    url = next_of(&response, &url).map_err(|why| forbidden(what, why))?;
                }
                _ => return Err(not_ok(what, status)),
            }
        }
        Err(forbidden(what, format!("it is redirected more than {MAX_REDIRECTS} times")))
    }

    async fn ask(
        &self,
        request: &WebRequest,
        url: &Url,
        what: &str,
    ) -> Result<Response, OrasError> {
        let checked = match request.is_written {
            true => self.connections.check(url),
            false => self.connections.check_as_anybodys(url),
        };
        checked.map_err(|refusal| refused(what.to_owned(), &refusal))?;
        let pool = self.connections.pool(None, url)?;
        let method = if request.body.is_some() { Method::POST } else { Method::GET };
        let mut builder = pool.request(method, url.clone()).header(USER_AGENT, &*self.user_agent);
        if let Some((media_type, bytes)) = &request.body {
            builder = builder.header(CONTENT_TYPE, *media_type).body(bytes.clone());
        }
        let proxy = self.connections.proxy_of(url);
        let answered = builder.send().await.map_err(|error| {
            let proxy = proxy.as_deref().filter(|_| error.is_connect());
            by_proxy(unreachable_error(what.to_owned(), error), proxy)
        })?;
        let status = answered.status().as_u16();
        self.connections.counters().count_request(url, status, &request.tenant);
        Ok(answered)
    }

    /// Reads an answer. A long one waits for a place, so that few are in memory at once, whoever names
    /// them.
    async fn body(
        &self,
        mut response: Response,
        request: &WebRequest,
        what: &str,
    ) -> Result<Bytes, OrasError> {
        let limit = request.max_bytes;
        let too_large = || OrasError::TooLarge { what: what.to_owned(), limit, unit: "bytes" };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let (mut body, mut place) = (Vec::new(), None);
        let broken = |error| unreachable_error(what.to_owned(), error);
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            let length = body.len() + chunk.len();
            if length as u64 > limit {
                return Err(too_large());
            }
            if length > LONG && place.is_none() {
                place = Some(self.connections.long_answers().enter(&request.tenant).await);
            }
            body.extend_from_slice(&chunk);
        }
        // Whoever keeps it counts its bytes, and not the room that they grew into.
        body.shrink_to_fit();
        Ok(body.into())
    }
}

/// Where a redirect leads. In clear only to where it came from: what is read in clear is signed, but
/// who chose the first host did not choose the second.
fn next_of(response: &Response, from: &Url) -> Result<Url, String> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or("it is redirected to nowhere")?;
    let next = from.join(location).map_err(|_| "it is redirected to no URL".to_owned())?;
    let next = parse(next.as_str())?;
    check_step(from, &next, Transport::PlainHttp)
        .map_err(|why| format!("it is redirected {why}"))?;
    Ok(next)
}

fn parse(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("it is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("it is no URL of HTTP".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL holds a user or a password".into());
    }
    Ok(url)
}

fn what_of(request: &WebRequest) -> String {
    let method = if request.body.is_some() { "POST" } else { "GET" };
    // What follows may be a signature, or whatever somebody wrote there.
    let without_query = request.url.split(['?', '#']).next().unwrap_or_default();
    let without_user = match (without_query.split_once("://"), without_query.contains('@')) {
        (Some((scheme, rest)), true) => {
            format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or_default())
        }
        _ => without_query.to_owned(),
    };
    capped_line(&format!("{method} {without_user}"), 300)
}

fn forbidden(what: &str, why: impl Into<String>) -> OrasError {
    OrasError::Forbidden { request: what.to_owned(), why: why.into() }
}

fn not_ok(what: &str, status: StatusCode) -> OrasError {
    let reason = status.canonical_reason().unwrap_or("unknown status").to_owned();
    OrasError::Status { request: what.to_owned(), status: status.as_u16(), reason }
}

#[cfg(test)]
mod tests;

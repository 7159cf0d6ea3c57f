//! One HTTP exchange: retries, redirects, bounded reading. It knows no registry and asks for no
//! credentials; [`crate::Client`] does.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use oci_client::errors::OciEnvelope;
use ratify_core::{RequestCount, capped_line, config::RegistryTimeouts};
use reqwest::{
    Method, Response, StatusCode,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
        RETRY_AFTER,
    },
};
use url::Url;

use crate::{
    Connections, OrasError, RetryPolicy, Section, Transport,
    addresses::Refusal,
    counters::host_of,
    deadline::Deadline,
    limiter::Paused,
    patience::{Flow, jitter, silence, unless_silent},
    retry::Outcome,
    route::Endpoint,
    transport::{check_step, looks_like_plain_http},
    upload::FileBody,
};

const MAX_REDIRECTS: u32 = 5;
/// An error's body is read to find its code, and this much of it at most.
const MAX_ERROR_BYTES: u64 = 64 << 10;

/// The next piece of a body, as the HTTP library gives it.
type Read = reqwest::Result<Option<Bytes>>;

/// What is sent.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
    /// What is sent in place of the body: a part of a file, from its beginning at each attempt.
    pub(crate) file: Option<Section>,
    /// What is special about where the URL leads; a redirect to elsewhere has nothing of it.
    pub(crate) place: Option<Arc<Endpoint>>,
    /// Whether redirects are followed; never for a request that carries a body.
    pub(crate) follows_redirects: bool,
}

/// What came back.
pub(crate) struct Answer {
    /// Method and URL without query, for errors.
    pub(crate) request: String,
    /// Whether it came from another host than was asked: its challenges are not answered then.
    pub(crate) is_from_elsewhere: bool,
    pub(crate) url: Url,
    response: Response,
    timeouts: RegistryTimeouts,
    flow: Flow,
}

/// Sends calls over shared connections.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) connections: Connections,
    pub(crate) transport: Transport,
    pub(crate) retry: RetryPolicy,
    /// Until when there is time, where that is not what each call says: others may join the work.
    pub(crate) deadline: Option<Deadline>,
    /// Whose work it is: a registry's limiter is fair among them.
    pub(crate) tenant: Arc<str>,
    /// The count of what is sent for it.
    pub(crate) requests: Arc<RequestCount>,
}

impl Call {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        let follows_redirects = matches!(method, Method::GET | Method::HEAD);
        Self {
            method,
            url,
            headers: Vec::new(),
            body: Bytes::new(),
            file: None,
            place: None,
            follows_redirects,
        }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// What is special about a URL, if it is in the place that was asked.
    fn place_of(&self, url: &Url) -> Option<&Endpoint> {
        self.place.as_deref().filter(|_| url.origin() == self.url.origin())
    }

    fn label(&self, url: &Url) -> String {
        let mut url = url.clone();
        url.set_query(None);
        url.set_fragment(None);
        format!("{} {:?}", self.method, capped_line(url.as_str(), 500))
    }
}

impl Exchange {
    /// Sends a call, again where that is worth it, and follows redirects. `authorization` stays
    /// with the host it is for.
    pub(crate) async fn send(
        &self,
        call: &Call,
        authorization: Option<&HeaderValue>,
        give_up_at: Option<Instant>,
    ) -> Result<Answer, OrasError> {
        let mut authorization = authorization;
        let mut url = call.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut answer = self.send_one(call, &url, authorization, give_up_at).await?;
            answer.is_from_elsewhere = url.origin() != call.url.origin();
            if !call.follows_redirects || !answer.is_redirect() {
                return Ok(answer);
            }
            let forbidden = |why| OrasError::Forbidden { request: answer.request.clone(), why };
            let location = answer
                .single(&LOCATION)?
                .ok_or_else(|| forbidden("redirects without saying where".into()))?;
            let next = redirect_target(&url, location, self.transport).map_err(forbidden)?;
            if next.origin() != url.origin() {
                authorization = None;
            }
            url = next;
        }
        let why = format!("more than {MAX_REDIRECTS} redirects");
        Err(OrasError::Forbidden { request: call.label(&call.url), why })
    }

    async fn send_one(
        &self,
        call: &Call,
        url: &Url,
        authorization: Option<&HeaderValue>,
        give_up_at: Option<Instant>,
    ) -> Result<Answer, OrasError> {
        let limiter = &self.connections.registries().of(url).limiter;
        let deadline = self.deadline.clone().unwrap_or_else(|| Deadline::new(give_up_at));
        let mut retry = 0;
        loop {
            deadline.asks(call.label(url), limiter);
            let admitted = limiter.admit(&self.tenant, &deadline).await;
            let ticket = admitted.map_err(|Paused(until)| {
                OrasError::paused(call.label(url), until, Instant::now())
            })?;
            self.requests.add(&host_of(url));
            let result = self.attempt(call, url, authorization).await;
            if let Ok(answer) = &result {
                let counters = self.connections.counters();
                counters.count_request(url, answer.status().as_u16(), &self.tenant);
            }
            let outcome = match &result {
                Ok(answer) => Outcome::Status(answer.status().as_u16(), answer.retry_after()),
                Err(OrasError::Unreachable { timed_out: true, .. }) => Outcome::TimedOut,
                Err(_) => Outcome::Failed,
            };
            ticket.done(self.retry.seen(outcome));
            let Some(wait) = self.retry.wait(retry, outcome, jitter()) else { return result };
            if deadline.end().is_some_and(|end| Instant::now() + wait >= end) {
                return result;
            }
            tracing::debug!("{}: {outcome:?}, asking again", call.label(url));
            drop(result);
            tokio::time::sleep(wait).await;
            retry += 1;
        }
    }

    async fn attempt(
        &self,
        call: &Call,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, OrasError> {
        let request = call.label(url);
        let place = call.place_of(url);
        // An address that an administrator's file names is meant.
        if !place.is_some_and(|place| place.names_address_of(url)) {
            self.check_address(&request, url)?;
        }
        let profile = place.and_then(|place| place.tls.as_ref());
        let pool = self.connections.pool(profile, url)?;
        let timeouts = self.connections.timeouts();
        // The first answer of a connection is not there before the connection is.
        let patience = timeouts.silence.max(self.connections.connect_timeout(profile));
        let sent = Arc::new(AtomicU64::new(0));
        let body = match &call.file {
            None => call.body.clone().into(),
            Some(file) => reqwest::Body::wrap(FileBody::new(file.clone(), sent.clone())),
        };
        let mut builder = pool.request(call.method.clone(), url.clone()).body(body);
        for (name, value) in &call.headers {
            builder = builder.header(name, value);
        }
        for (name, value) in place.iter().flat_map(|place| &place.headers) {
            builder = builder.header(name, value);
        }
        if let Some(value) = authorization {
            builder = builder.header(AUTHORIZATION, value);
        }
        match unless_silent(builder.send(), &sent, patience).await {
            None => Err(silence(request, patience)),
            Some(Ok(response)) => Ok(Answer {
                request,
                is_from_elsewhere: false,
                url: url.clone(),
                response,
                timeouts,
                flow: Flow::default(),
            }),
            Some(Err(error)) => Err(unreachable_error(request, error)),
        }
    }

    fn check_address(&self, request: &str, url: &Url) -> Result<(), OrasError> {
        self.connections.check(url).map_err(|refusal| refused(request.to_owned(), &refusal))
    }

    /// Whether a loopback host speaks plain HTTP where it should speak TLS; `None` where it
    /// answers neither.
    pub(crate) async fn speaks_plain_http(&self, base: &Url) -> Result<Option<bool>, OrasError> {
        let mut url = base.clone();
        url.set_path("/v2/");
        self.check_address(&Call::new(Method::GET, url.clone()).label(&url), &url)?;
        let pool = self.connections.pool(None, &url)?;
        let silence = self.connections.timeouts().silence;
        match pool.get(url.clone()).timeout(silence).send().await {
            Ok(_) => return Ok(Some(false)),
            Err(error) if looks_like_plain_http(&error) => {}
            Err(_) => return Ok(None),
        }
        let answers =
            url.set_scheme("http").is_ok() && pool.get(url).timeout(silence).send().await.is_ok();
        Ok(answers.then_some(true))
    }
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The values of a header that are text.
    pub(crate) fn all<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a str> {
        self.response.headers().get_all(name).iter().filter_map(|value| value.to_str().ok())
    }

    /// The values of a header as they were sent.
    pub(crate) fn raw(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.response.headers().get_all(name).iter()
    }

    /// The one value of a header. Two different ones, or one that is no text, are refused: who
    /// reads the first and who reads the last would see different things.
    pub(crate) fn single(&self, name: &HeaderName) -> Result<Option<&str>, OrasError> {
        let mut values = self.response.headers().get_all(name).iter();
        let Some(first) = values.next() else { return Ok(None) };
        let text = first.to_str().ok().filter(|_| values.all(|other| other == first));
        let invalid =
            || OrasError::invalid(&self.request, format!("the header {name} is ambiguous"));
        text.map(Some).ok_or_else(invalid)
    }

    /// The media type without its parameters; empty where none was sent.
    pub(crate) fn media_type(&self) -> Result<String, OrasError> {
        let value = self.single(&CONTENT_TYPE)?.unwrap_or_default();
        Ok(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
    }

    /// Refuses a compressed transfer: what was proven would not be what was sent.
    pub(crate) fn refuse_encoding(&self) -> Result<(), OrasError> {
        match self.single(&CONTENT_ENCODING)? {
            None => Ok(()),
            Some(encoding) if encoding.trim().eq_ignore_ascii_case("identity") => Ok(()),
            Some(encoding) => Err(OrasError::invalid(
                &self.request,
                format!("the body is encoded as {:?}", capped_line(encoding, 40)),
            )),
        }
    }

    /// Reads the body: exactly `size` bytes where given, else at most `limit`.
    pub(crate) async fn read(
        mut self,
        what: &str,
        size: Option<u64>,
        limit: u64,
    ) -> Result<Bytes, OrasError> {
        self.check_length(what, size, limit)?;
        let bound = size.unwrap_or(limit);
        // The announced length is only believed as far as memory is reserved for it.
        let expected = self.response.content_length().unwrap_or(0).min(bound).min(1 << 20);
        let mut body = BytesMut::with_capacity(usize::try_from(expected).unwrap_or(0));
        while let Some(chunk) = self.chunk().await? {
            if body.len() as u64 + chunk.len() as u64 > bound {
                return Err(too_much(what, size, limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// Checks the announced length before anything is read.
    pub(crate) fn check_length(
        &self,
        what: &str,
        size: Option<u64>,
        limit: u64,
    ) -> Result<(), OrasError> {
        match (self.response.content_length(), size) {
            (Some(announced), Some(size)) if announced != size => Err(OrasError::Size {
                what: what.to_owned(),
                expected: size,
                actual: announced.to_string(),
            }),
            (Some(announced), None) if announced > limit => Err(too_much(what, None, limit)),
            _ => Ok(()),
        }
    }

    /// The next piece of the body.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, OrasError> {
        let (request, length) = (&self.request, |read: &Read| match read {
            Ok(Some(piece)) => piece.len(),
            _ => 0,
        });
        let piece = self.response.chunk();
        let read: Read = self.flow.wait(request, &self.timeouts, piece, length).await?;
        read.map_err(|error| unreachable_error(request.clone(), error))
    }

    /// The error this answer stands for. `what` is the reference that was asked for.
    pub(crate) async fn into_error(self, what: &str) -> OrasError {
        let (request, status) = (self.request.clone(), self.status());
        if status == StatusCode::NOT_FOUND {
            return OrasError::NotFound { what: what.to_owned() };
        }
        let again = self.retry_after().filter(|_| status == StatusCode::TOO_MANY_REQUESTS);
        let body = self.read(what, None, MAX_ERROR_BYTES).await.unwrap_or_default();
        let mut reason = oci_code(&body)
            .or_else(|| status.canonical_reason().map(Into::into))
            .unwrap_or_else(|| "unknown status".into());
        if let Some(seconds) = again {
            reason = format!("{reason}; it may be asked again in {seconds} s");
        }
        match status.as_u16() {
            status @ (401 | 403) => OrasError::Denied { request, status, reason },
            status => OrasError::Status { request, status, reason },
        }
    }

    /// The code of an error's body, in oras's words; `None` where it is no OCI error.
    pub(crate) async fn into_code(self, what: &str) -> Option<String> {
        oci_code(&self.read(what, None, MAX_ERROR_BYTES).await.ok()?)
    }

    fn is_redirect(&self) -> bool {
        matches!(self.status().as_u16(), 301 | 302 | 303 | 307 | 308)
    }

    fn retry_after(&self) -> Option<u64> {
        self.all(&RETRY_AFTER).next().and_then(|value| value.trim().parse().ok())
    }
}

/// Where a redirect leads, if it is followed.
///
/// # Errors
/// Says why it is not: it is no URL, or a step that is not allowed.
pub(crate) fn redirect_target(
    from: &Url,
    location: &str,
    transport: Transport,
) -> Result<Url, String> {
    let to = from.join(location).map_err(|error| format!("redirects to no URL: {error}"))?;
    if !to.username().is_empty() || to.password().is_some() {
        return Err("redirects to a URL with a user in it, which is not followed".into());
    }
    check_step(from, &to, transport)
        .map_err(|why| format!("redirects {why}, which is not followed"))?;
    Ok(to)
}

/// The first code of an OCI error body, in the words oras uses: `name unknown`. Only codes, never
/// the message: an answer's text does not belong in an error of ours.
fn oci_code(body: &[u8]) -> Option<String> {
    let envelope: OciEnvelope = serde_json::from_slice(body).ok()?;
    let code = serde_json::to_value(&envelope.errors.first()?.code).ok()?;
    let code = code.as_str()?;
    let is_code = (1..=40).contains(&code.len())
        && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    is_code.then(|| code.to_ascii_lowercase().replace('_', " "))
}

fn too_much(what: &str, size: Option<u64>, limit: u64) -> OrasError {
    let what = what.to_owned();
    match size {
        Some(expected) => OrasError::Size { what, expected, actual: "more".into() },
        None => OrasError::TooLarge { what, limit, unit: "bytes" },
    }
}

fn refused(request: String, refusal: &Refusal) -> OrasError {
    OrasError::Forbidden { request, why: refusal.to_string() }
}

/// The resolver's refusal, wherever in an error it is.
fn refusal<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Refusal> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|e| e.downcast_ref())
}

pub(crate) fn unreachable_error(request: String, error: reqwest::Error) -> OrasError {
    let timed_out = error.is_timeout();
    let error = error.without_url();
    if let Some(refusal) = refusal(&error) {
        return refused(request, refusal);
    }
    let mut reason = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        let text = cause.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        next = cause.source();
    }
    OrasError::Unreachable { request, reason: capped_line(&reason, 300), timed_out }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(from: &str, location: &str, transport: Transport) -> Result<String, String> {
        redirect_target(&Url::parse(from).unwrap(), location, transport).map(Into::into)
    }

    #[test]
    fn redirects_never_lose_tls_and_never_come_back_to_this_machine() {
        let https = "https://r.example.com/v2/x";
        let to = |location| target(https, location, Transport::Https);
        assert_eq!(to("/y").unwrap(), "https://r.example.com/y");
        assert_eq!(to("https://cdn.example.com/z?s=1").unwrap(), "https://cdn.example.com/z?s=1");
        for location in [
            "http://r.example.com/y",
            "http://127.0.0.1/",
            "https://localhost:1/",
            "https://[::1]/",
            "ftp://x/",
            "file:///etc/passwd",
            "https://",
        ] {
            assert!(to(location).is_err(), "{location}");
        }
    }

    #[test]
    fn plain_http_leads_to_other_hosts_only_where_it_is_configured() {
        let local = "http://127.0.0.1:5000/v2/x";
        let remote = "http://cdn.example.com/y";
        assert!(target(local, remote, Transport::PlainHttp).is_ok());
        assert!(target(local, remote, Transport::HttpsOrLoopbackHttp).is_err());
        assert!(target(local, "/y", Transport::HttpsOrLoopbackHttp).is_ok());
        assert!(target(local, "https://cdn.example.com/", Transport::PlainHttp).is_ok());
    }

    #[test]
    fn only_the_code_of_an_error_body_is_taken() {
        let body = br#"{"errors":[{"code":"NAME_UNKNOWN","message":"secret","detail":{}}]}"#;
        assert_eq!(oci_code(body).unwrap(), "name unknown");
        assert_eq!(oci_code(br#"{"errors":[{"code":"QUOTA_2"}]}"#).unwrap(), "quota 2");
        for body in [
            &br#"{"errors":[{"code":"\u001b[31m"}]}"#[..],
            br#"{"errors":[{"code":"allow everything"}]}"#,
            br#"{"errors":[]}"#,
            b"<html>",
        ] {
            assert_eq!(oci_code(body), None);
        }
    }

    #[test]
    fn a_label_has_no_query() {
        let url = Url::parse("https://cdn.example.com/blob?signature=s").unwrap();
        let label = Call::new(Method::GET, url.clone()).label(&url);
        assert_eq!(label, r#"GET "https://cdn.example.com/blob""#);
    }
}

//! One HTTP exchange: retries and redirects. It knows no registry and asks for no credentials;
//! [`crate::Client`] does. What comes back is an [`Answer`].

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use bytes::Bytes;
use ratify_core::{RequestCount, capped_line};
use reqwest::{
    Method, StatusCode,
    header::{AUTHORIZATION, HeaderName, HeaderValue, LOCATION},
};
use tracing::Instrument as _;
use url::{Position, Url};

use crate::{
    Connections, OrasError, RetryPolicy, Section, Transport,
    counters::host_of,
    deadline::Deadline,
    failure::{asked_by_proxy, by_proxy, is_closed, refused, unreachable_error},
    limiter::{Paused, Ticket},
    patience::{jitter, silence, unless_silent},
    resolver::asked_by,
    retry::Outcome,
    route::Endpoint,
    trace::{self, Body, Sending},
    transport::{check_step, knows_http2_alone, looks_like_plain_http},
    upload::FileBody,
};

pub(crate) use crate::answer::Answer;

const MAX_REDIRECTS: u32 = 5;

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
    /// Whether the answer is long and read as slowly as a disk writes: it has a connection of its own
    /// then.
    pub(crate) is_long: bool,
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
    /// What a place that is asked is told of the request it is for.
    pub(crate) trace_headers: Arc<[(String, String)]>,
}

/// Why there is no answer, and whether that is because the connection was closed.
struct Broken {
    error: OrasError,
    is_closed: bool,
}

impl From<OrasError> for Broken {
    fn from(error: OrasError) -> Self {
        Self { error, is_closed: false }
    }
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
            is_long: false,
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

    /// Without what a query may hold.
    fn label(&self, url: &Url) -> String {
        format!("{} {:?}", self.method, capped_line(&url[..Position::AfterPath], 500))
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
        let deadline = self.deadline_or(give_up_at);
        let mut retry = 0;
        let mut sending = Sending::default();
        loop {
            let (ticket, waited) = self.admit(call, url, &deadline).await?;
            sending.waited = waited;
            let result = self.attempt(call, url, authorization, &mut sending).await;
            if let Ok(answer) = &result {
                self.count_answer(url, answer.status());
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

    /// Waits until a request may be sent to a host, and counts it. Says how long it waited.
    async fn admit(
        &self,
        call: &Call,
        url: &Url,
        deadline: &Deadline,
    ) -> Result<(Ticket, Duration), OrasError> {
        let began = Instant::now();
        let limiter = &self.connections.registries().of(url).limiter;
        deadline.asks(call.label(url), limiter);
        let admitted = limiter.admit(&self.tenant, deadline).await;
        let ticket = admitted
            .map_err(|Paused(until)| OrasError::paused(call.label(url), until, Instant::now()))?;
        self.requests.add(&host_of(url));
        Ok((ticket, began.elapsed()))
    }

    fn count_answer(&self, url: &Url, status: StatusCode) {
        self.connections.counters().count_request(url, status.as_u16(), &self.tenant);
    }

    fn deadline_or(&self, give_up_at: Option<Instant>) -> Deadline {
        self.deadline.clone().unwrap_or_else(|| Deadline::new(give_up_at))
    }

    /// Sends a call, and once more where the connection was closed instead of an answer: a server, or
    /// a proxy, may close one that was kept open just when it is used again. Nothing of what we ask
    /// does harm twice (RFC 9110, section 9.2.2): a POST asks for a token, or opens an upload, of
    /// which the registry forgets the one that is not used.
    async fn attempt(
        &self,
        call: &Call,
        url: &Url,
        authorization: Option<&HeaderValue>,
        sending: &mut Sending,
    ) -> Result<Answer, OrasError> {
        match self.attempt_traced(call, url, authorization, sending).await {
            Err(Broken { error, is_closed: true }) => {
                tracing::debug!("{error}, asking again");
            }
            result => return result.map_err(|broken| broken.error),
        }
        self.requests.add(&host_of(url));
        let again = self.attempt_traced(call, url, authorization, sending).await;
        again.map_err(|broken| broken.error)
    }

    async fn attempt_traced(
        &self,
        call: &Call,
        url: &Url,
        authorization: Option<&HeaderValue>,
        sending: &mut Sending,
    ) -> Result<Answer, Broken> {
        let span = trace::http(call, url, *sending);
        *sending = Sending { resent: sending.resent + 1, waited: Duration::ZERO };
        let attempt = self.attempt_once(call, url, authorization).instrument(span.clone());
        let result = attempt.await;
        trace::sent(&span, &result.as_ref().map_err(|broken| &broken.error));
        result.map(|answer| answer.traced(Body::of(span)))
    }

    async fn attempt_once(
        &self,
        call: &Call,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, Broken> {
        let request = call.label(url);
        let place = call.place_of(url);
        // An address that an administrator's file names is meant.
        if !place.is_some_and(|place| place.names_address_of(url)) {
            self.check_address(&request, url)?;
        }
        let profile = place.and_then(|place| place.tls.as_ref());
        let pool = match call.is_long {
            true => self.connections.pool_of_long_bodies(profile, url)?,
            false => self.connections.pool(profile, url)?,
        };
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
        if url.origin() == call.url.origin() {
            for (name, value) in trace::headers(&self.trace_headers, &call.headers) {
                builder = builder.header(name, value);
            }
        }
        if let Some(value) = authorization {
            builder = builder.header(AUTHORIZATION, value);
        }
        let sending = asked_by(&self.tenant, builder.send());
        match unless_silent(sending, &sent, patience).await {
            None => Err(silence(request, patience).into()),
            Some(Ok(response)) => {
                let proxy = || self.connections.proxy_of(url);
                asked_by_proxy(&request, response.status(), proxy)?;
                Ok(Answer::new(request, url.clone(), response, timeouts))
            }
            Some(Err(error)) if call.is_long && knows_http2_alone(&error) => {
                let call = Call { is_long: false, ..call.clone() };
                Box::pin(self.attempt_once(&call, url, authorization)).await
            }
            Some(Err(error)) => {
                let proxy = self.connections.proxy_of(url).filter(|_| error.is_connect());
                let is_closed = is_closed(&error);
                let error = by_proxy(unreachable_error(request, error), proxy.as_deref());
                Err(Broken { error, is_closed })
            }
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
        match self.knock(&url).await? {
            Ok(_) => return Ok(Some(false)),
            Err(error) if looks_like_plain_http(&error) => {}
            Err(_) => return Ok(None),
        }
        let answers = url.set_scheme("http").is_ok() && self.knock(&url).await?.is_ok();
        Ok(answers.then_some(true))
    }

    /// Asks a loopback host for anything, as one of all requests to it.
    async fn knock(&self, url: &Url) -> Result<reqwest::Result<StatusCode>, OrasError> {
        let pool = self.connections.pool(None, url)?;
        let call = Call::new(Method::GET, url.clone());
        let (ticket, waited) = self.admit(&call, url, &self.deadline_or(None)).await?;
        let span = trace::http(&call, url, Sending { resent: 0, waited });
        let silence = self.connections.timeouts().silence;
        let sending = pool.get(url.clone()).timeout(silence).send();
        let answer = asked_by(&self.tenant, sending).instrument(span.clone()).await;
        trace::knocked(&span, answer.as_ref().map(reqwest::Response::status).ok());
        let outcome = match &answer {
            Ok(answer) => Outcome::Status(answer.status().as_u16(), None),
            Err(error) if error.is_timeout() => Outcome::TimedOut,
            Err(_) => Outcome::Failed,
        };
        ticket.done(self.retry.seen(outcome));
        let status = answer.map(|answer| answer.status());
        if let Ok(status) = &status {
            self.count_answer(url, *status);
        }
        Ok(status)
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
    fn a_label_has_no_query() {
        let url = Url::parse("https://cdn.example.com/blob?signature=s").unwrap();
        let label = Call::new(Method::GET, url.clone()).label(&url);
        assert_eq!(label, r#"GET "https://cdn.example.com/blob""#);
    }
}

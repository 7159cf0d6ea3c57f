//! [`Web`]: reads what verifiers need from outside of registries, such as revocation lists, over the
//! process's connections: the same rules about addresses, the same roots, proxies and pace.
//!
//! Nothing secret is sent, so a redirect is followed, a few times, where a registry's would be.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
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
        let (mut body, mut place) = (BytesMut::new(), None);
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
        Ok(body.freeze())
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
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::{AddressRules, ConnectionRules, TlsRoots};

    /// Answers every request with this, and keeps what it was sent.
    async fn server(
        answer: impl Into<String>,
    ) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
        let answer = answer.into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = format!("http://{}", listener.local_addr().unwrap());
        let (told, asked) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let read = stream.read(&mut request).await.unwrap();
                let _ = told.send(String::from_utf8_lossy(&request[..read]).into_owned());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (at, asked)
    }

    fn ok(body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
    }

    fn anybodys() -> Web {
        let rules = || ConnectionRules::new(AddressRules::for_anybody(Arc::default()));
        Web::new(Connections::with_rules(TlsRoots::default(), rules), "test/1")
    }

    fn web() -> Web {
        Web::new(Connections::default(), "test/1")
    }

    fn written(url: &str) -> WebRequest {
        let request = WebRequest::new(url, 10, Duration::from_secs(10));
        WebRequest { is_written: true, ..request }
    }

    #[tokio::test]
    async fn reads_what_is_there_and_sends_what_it_is_given() {
        let (at, mut asked) = server(ok("0123456789")).await;
        assert_eq!(web().read(&written(&at)).await.unwrap(), "0123456789");
        let told = asked.recv().await.unwrap().to_ascii_lowercase();
        assert!(told.starts_with("get / http/1.1\r\n") && told.contains("user-agent: test/1"));
        let question = WebRequest { body: Some(("application/x", "abc".into())), ..written(&at) };
        web().read(&question).await.unwrap();
        let told = asked.recv().await.unwrap();
        assert!(told.starts_with("POST /") && told.ends_with("\r\n\r\nabc"), "{told}");
        assert!(told.to_ascii_lowercase().contains("content-type: application/x"));
    }

    #[tokio::test]
    async fn what_is_longer_than_asked_for_is_no_answer_announced_or_not() {
        let announced = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n01234567890";
        let unannounced = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n01234567890";
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nb\r\n01234567890\r\n";
        for answer in [announced, unannounced, chunked] {
            let (at, _asked) = server(answer).await;
            let error = web().read(&written(&at)).await.unwrap_err();
            assert!(matches!(error, OrasError::TooLarge { limit: 10, .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn few_long_answers_are_read_at_once_and_short_ones_do_not_wait() {
        let web = web();
        let (at, _asked) = server(ok(&"x".repeat(LONG + 1))).await;
        let long = WebRequest {
            max_bytes: 2 << 20,
            timeout: Duration::from_millis(500),
            tenant: "a".into(),
            ..written(&at)
        };
        let places = web.connections.long_answers();
        let mut taken = vec![places.enter(&long.tenant).await, places.enter(&long.tenant).await];
        let late = web.read(&long).await.unwrap_err();
        assert!(matches!(late, OrasError::GaveUp { .. }), "{late}");
        let (short, _asked) = server(ok("x")).await;
        let short = WebRequest { tenant: "a".into(), ..written(&short) };
        assert_eq!(web.read(&short).await.unwrap(), "x");
        let patient = Duration::from_secs(30);
        let of_another = WebRequest { tenant: "b".into(), timeout: patient, ..long.clone() };
        assert_eq!(web.read(&of_another).await.unwrap().len(), LONG + 1);
        taken.pop();
        let again = WebRequest { timeout: patient, ..long };
        assert_eq!(web.read(&again).await.unwrap().len(), LONG + 1);
    }

    #[tokio::test]
    async fn each_answer_that_is_no_success_is_an_error_of_its_kind() {
        let status = |line: &str| format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n");
        let (at, _asked) = server(status("404 Not Found")).await;
        assert!(web().read(&written(&at)).await.unwrap_err().is_not_found());
        for (line, is_passing) in
            [("503 Busy", true), ("403 Forbidden", false), ("204 Nothing", false)]
        {
            let (at, _asked) = server(status(line)).await;
            let error = web().read(&written(&at)).await.unwrap_err();
            assert_eq!(error.is_transient(), is_passing, "{error}");
        }
        let (at, _asked) = server("").await;
        let hung_up = web().read(&written(&at)).await.unwrap_err();
        assert!(matches!(hung_up, OrasError::Unreachable { .. }), "{hung_up}");
    }

    #[tokio::test]
    async fn who_does_not_answer_is_waited_for_no_longer_than_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = format!("http://{}/crl?secret=hunter2", listener.local_addr().unwrap());
        let request = WebRequest { timeout: Duration::from_millis(200), ..written(&at) };
        let error = web().read(&request).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn follows_redirects_to_where_it_may_and_not_for_ever() {
        let (end, _asked) = server(ok("end")).await;
        let to = |location: &str| {
            format!(
                "HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
        };
        let (at, _asked) = server(to(&end)).await;
        assert_eq!(web().read(&written(&at)).await.unwrap(), "end");
        for location in ["/", "ftp://x/", "http://u:p@127.0.0.1/", "http://169.254.169.254/"] {
            let (at, _asked) = server(to(location)).await;
            let error = web().read(&written(&at)).await.unwrap_err();
            assert!(matches!(error, OrasError::Forbidden { .. }), "{location}: {error}");
        }
        let (at, _asked) = server(to(&end)).await;
        let question = WebRequest { body: Some(("a/b", Bytes::new())), ..written(&at) };
        let error = web().read(&question).await.unwrap_err();
        assert!(matches!(error, OrasError::Status { status: 302, .. }), "{error}");
    }

    #[tokio::test]
    async fn a_document_does_not_make_this_machine_be_asked_and_an_operator_may() {
        let (at, mut asked) = server(ok("x")).await;
        let of_document = WebRequest { is_written: false, ..written(&at) };
        for web in [web(), anybodys()] {
            let error = web.read(&of_document).await.unwrap_err();
            assert!(error.to_string().contains("registries.allowedAddresses"), "{error}");
        }
        let error = anybodys().read(&written(&at)).await.unwrap_err();
        assert!(matches!(error, OrasError::Forbidden { .. }), "{error}");
        for url in [
            "http://169.254.169.254/",
            "https://metadata.google.internal/",
            "file:///etc/passwd",
            "http://",
            "x",
        ] {
            let error = web().read(&written(url)).await.unwrap_err();
            assert!(matches!(error, OrasError::Forbidden { .. }), "{url}: {error}");
        }
        assert!(asked.try_recv().is_err(), "it was asked");
    }
}

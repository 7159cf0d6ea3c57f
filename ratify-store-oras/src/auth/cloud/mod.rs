//! [`CloudHttp`]: how the services of a cloud are asked for credentials. Secrets go in and come
//! out, so it follows no redirect, reads little, gives up soon, and speaks plain HTTP only to this
//! machine and to the addresses at which clouds answer their machines.

pub(super) mod clock;
pub(super) mod token_file;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use url::{Host, Url};

use crate::{
    Connections, OrasError, RetryPolicy,
    counters::AzureCall,
    deadline::Deadline,
    failure::{by_proxy, unreachable_error},
    limiter::Paused,
    patience::jitter,
    resolver::asked_by,
    retry::Outcome,
    transport::is_loopback,
};

/// No answer of such a service is longer.
const MAX_ANSWER_BYTES: usize = 128 << 10;
/// All attempts of one call together take no longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Whose work it is for queues: everybody's, so it waits behind nobody's. No namespace has the name,
/// for a key's ends at its first bracket.
const TENANT: &str = "]clouds";
/// Where clouds answer their own machines, in clear: instance metadata, ECS, EKS Pod Identity.
const METADATA: [&str; 4] = ["169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

/// Sends the calls of the providers for clouds.
#[derive(Clone)]
pub(super) struct CloudHttp {
    connections: Connections,
    retry: RetryPolicy,
    tenant: Arc<str>,
}

/// What is asked. It has no `Debug`: headers and body hold secrets.
#[derive(Clone)]
pub(super) struct CloudCall {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

/// What was answered, whatever its status.
pub(super) struct CloudAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why a service of a cloud could not be asked. It names the service and holds nothing of what was
/// sent or answered, but for a code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CloudError {
    /// Its address is none that is asked.
    #[error("{service}: {why}")]
    Address { service: String, why: String },
    /// It cannot be reached, or hung up.
    #[error("{service}: {why}")]
    Unreachable { service: String, why: String },
    /// It said no.
    #[error("{service}: response status code {status}: {code}")]
    Refused { service: String, status: u16, code: String },
    /// What it said cannot be used.
    #[error("{service}: {why}")]
    Invalid { service: String, why: &'static str },
}

impl CloudCall {
    /// A call without headers and without a body.
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: Vec::new(), body: Bytes::new() }
    }

    /// A form that is sent.
    #[cfg(any(feature = "alibaba", feature = "azure"))]
    pub(super) fn form(url: Url, form: String) -> Self {
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let call = Self::new(Method::POST, url).header(CONTENT_TYPE, form_type);
        Self { body: form.into(), ..call }
    }

    /// A header that shows in no log.
    pub(super) fn header(mut self, name: HeaderName, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        self.headers.push((name, value));
        self
    }

    /// The service for errors: its URL without query, user and fragment.
    pub(super) fn service(&self) -> String {
        service_of(&self.url)
    }
}

impl CloudAnswer {
    /// The error that an answer other than 200 stands for. `code` is what the body calls it; it is
    /// told only where it looks like a code, since the rest is foreign text.
    pub(super) fn refused(&self, service: String, code: Option<&str>) -> CloudError {
        let is_code = |code: &&str| {
            let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'_';
            (1..=80).contains(&code.len()) && code.bytes().all(is_part)
        };
        let named = code.filter(is_code).or_else(|| self.status.canonical_reason());
        let code = named.unwrap_or("unknown status").to_owned();
        CloudError::Refused { service, status: self.status.as_u16(), code }
    }
}

impl CloudHttp {
    /// Calls over the process's connections.
    pub(super) fn new(connections: Connections) -> Self {
        let retry = RetryPolicy { max_retries: 2, ..RetryPolicy::default() };
        Self { connections, retry, tenant: TENANT.into() }
    }

    /// Counts a call of those that v1 times.
    #[cfg(feature = "azure")]
    pub(super) fn count_azure(&self, call: AzureCall, what: &str, tenant: &str, took: Duration) {
        self.connections.counters().count_azure(call, what, tenant, took);
    }

    /// Sends a call, again where that is worth it, and reads the answer.
    ///
    /// # Errors
    /// When the address is none that is asked, nobody answers in time, or the answer is too long.
    /// An answer of any status is none.
    pub(super) async fn send(&self, call: &CloudCall) -> Result<CloudAnswer, CloudError> {
        let service = call.service();
        let work = Box::pin(self.send_until_answered(call, &service));
        tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| {
            let why = "gave up, the time for it is over".to_owned();
            Err(CloudError::Unreachable { service, why })
        })
    }

    async fn send_until_answered(
        &self,
        call: &CloudCall,
        service: &str,
    ) -> Result<CloudAnswer, CloudError> {
        let mut retry = 0;
        let limiter = &self.connections.registries().of(&call.url).limiter;
        let deadline = Deadline::new(Some(Instant::now() + PATIENCE));
        loop {
            let admitted = limiter.admit(&self.tenant, &deadline).await;
            let ticket = admitted.map_err(|Paused(_)| {
                let why = "it asks for a pause that is longer than there is time".to_owned();
                CloudError::Unreachable { service: service.to_owned(), why }
            })?;
            let result = self.attempt(call, service).await;
            let outcome = match &result {
                Ok(answer) => Outcome::Status(answer.status.as_u16(), retry_after(answer)),
                Err(CloudError::Unreachable { .. }) => Outcome::TimedOut,
                Err(_) => return result,
            };
            ticket.done(self.retry.seen(outcome));
            let Some(wait) = self.retry.wait(retry, outcome, jitter()) else { return result };
            tracing::debug!("{service}: {outcome:?}, asking again");
            tokio::time::sleep(wait).await;
            retry += 1;
        }
    }

    async fn attempt(&self, call: &CloudCall, service: &str) -> Result<CloudAnswer, CloudError> {
        let unreachable = |why| CloudError::Unreachable { service: service.to_owned(), why };
        let pool = self.pool(&call.url, service)?;
        let mut builder = pool.request(call.method.clone(), call.url.clone());
        for (name, value) in &call.headers {
            builder = builder.header(name, value);
        }
        let proxy = self.connections.proxy_of(&call.url).filter(|_| call.url.scheme() == "https");
        let failed = |error: reqwest::Error| {
            let proxy = proxy.as_deref().filter(|_| error.is_connect());
            unreachable(reason(by_proxy(unreachable_error(String::new(), error), proxy)))
        };
        let sending = asked_by(&self.tenant, builder.body(call.body.clone()).send());
        let mut response = sending.await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let counters = self.connections.counters();
        counters.count_request(&call.url, status.as_u16(), &Arc::default());
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                let why = "its answer is longer than 128 KiB";
                return Err(CloudError::Invalid { service: service.to_owned(), why });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(CloudAnswer { status, headers, body: body.freeze() })
    }

    fn pool(&self, url: &Url, service: &str) -> Result<reqwest::Client, CloudError> {
        let refused = |why| CloudError::Address { service: service.to_owned(), why };
        check_address(url).map_err(|why| refused(why.to_owned()))?;
        // In clear nothing is asked but this machine and metadata. Over TLS it may be a registry,
        // whose name somebody wrote.
        if url.scheme() == "https" {
            self.connections.check(url).map_err(|refusal| refused(refusal.to_string()))?;
        }
        let pool = match url.scheme() {
            // The answer is this machine's, so no proxy may be in between.
            "http" => self.connections.unproxied(),
            _ => self.connections.pool(None, url),
        };
        pool.map_err(|error| CloudError::Unreachable {
            service: service.to_owned(),
            why: error.to_string(),
        })
    }
}

/// Whether credentials may be asked for there.
///
/// # Errors
/// Says why not.
pub(super) fn check_address(url: &Url) -> Result<(), &'static str> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err("its URL holds a user or a password");
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) || is_metadata(url) => Ok(()),
        "http" => Err("plain HTTP is for this machine and for metadata addresses only"),
        _ => Err("its URL is not one of HTTPS"),
    }
}

fn is_metadata(url: &Url) -> bool {
    let address: IpAddr = match url.host() {
        Some(Host::Ipv4(address)) => address.into(),
        Some(Host::Ipv6(address)) => address.into(),
        _ => return false,
    };
    METADATA.iter().any(|known| known.parse() == Ok(address))
}

fn service_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    ratify_core::capped_line(&format!("{}://{host}{port}{}", url.scheme(), url.path()), 300)
}

fn retry_after(answer: &CloudAnswer) -> Option<u64> {
    answer.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

fn reason(error: OrasError) -> String {
    match error {
        OrasError::Unreachable { reason, .. } => reason,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    fn check(url: &str) -> bool {
        check_address(&Url::parse(url).unwrap()).is_ok()
    }

    #[test]
    fn plain_http_goes_to_this_machine_and_to_metadata_addresses_only() {
        for url in [
            "https://sts.example.com/",
            "http://127.0.0.1:5000/",
            "http://[::1]:80/",
            "http://localhost/x",
            "http://169.254.169.254/metadata",
            "http://169.254.170.2/v2",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
        ] {
            assert!(check(url), "{url}");
        }
        for url in [
            "http://sts.example.com/",
            "http://169.254.169.253/",
            "http://169.254.169.254.example.com/",
            "http://localhost.example.com/",
            "http://10.0.0.1/",
            "http://[::ffff:169.254.170.23]/",
            "http://user@127.0.0.1/",
            "https://u:p@sts.example.com/",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
        ] {
            assert!(!check(url), "{url}");
        }
    }

    #[test]
    fn an_error_holds_no_query_and_only_what_looks_like_a_code() {
        let call = CloudCall::new(
            Method::GET,
            Url::parse("https://u:hunter2@sts.example.com:8443/x?token=hunter2#hunter2").unwrap(),
        );
        assert_eq!(call.service(), "https://sts.example.com:8443/x");
        let answer = CloudAnswer {
            status: StatusCode::FORBIDDEN,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let text = |code| answer.refused("s".into(), code).to_string();
        assert_eq!(text(Some("AccessDenied")), "s: response status code 403: AccessDenied");
        for code in [None, Some(""), Some("no, hunter2"), Some("<b>")] {
            assert_eq!(text(code), "s: response status code 403: Forbidden");
        }
    }

    /// Takes any number of connections, and answers each request a little later; how many there
    /// were at most at once.
    async fn slow(status: &'static str) -> (Url, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let peak = Arc::clone(&most);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
                tokio::spawn(async move {
                    while let Ok(1..) = stream.read(&mut [0; 4096]).await {
                        peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        now.fetch_sub(1, Ordering::SeqCst);
                        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        (Url::parse(&url).unwrap(), most)
    }

    #[tokio::test]
    async fn a_service_is_asked_at_the_pace_of_its_host() {
        let (url, most) = slow("200 OK").await;
        let http = CloudHttp::new(Connections::default());
        let calls = (0..60).map(|_| {
            let (http, call) = (http.clone(), CloudCall::new(Method::GET, url.clone()));
            async move { http.send(&call).await.map(|answer| answer.status) }
        });
        for answer in futures_util::future::join_all(calls).await {
            assert_eq!(answer, Ok(StatusCode::OK));
        }
        let most = most.load(Ordering::SeqCst);
        assert!((2..=20).contains(&most), "{most} at once");
    }

    #[tokio::test]
    async fn a_service_is_asked_while_what_names_no_namespace_waits_and_is_counted() {
        let (url, _) = slow("200 OK").await;
        let connections = Connections::default();
        let limiter = &connections.registries().of(&url).limiter;
        let (nobody, deadline) = (Arc::from(""), Deadline::new(None));
        // As many as may be one tenant's, and one that waits.
        let mut tickets = Vec::new();
        let soon = Duration::from_millis(50);
        while let Ok(ticket) = tokio::time::timeout(soon, limiter.admit(&nobody, &deadline)).await {
            tickets.push(ticket);
        }
        let http = CloudHttp::new(connections.clone());
        let waiting = limiter.admit(&nobody, &deadline);
        let call = CloudCall::new(Method::GET, url);
        let asked = async {
            let asked = tokio::time::timeout(Duration::from_secs(5), http.send(&call)).await;
            let answer =
                asked.expect("it waits behind the others").map_err(|error| error.to_string());
            assert_eq!(answer.unwrap().status, StatusCode::OK);
        };
        tokio::select! {
            biased;
            _ = waiting => panic!("there was room for more"),
            () = asked => {}
        }
        let counted = connections.counters().requests();
        let [(series, 1)] = &counted[..] else { panic!("{counted:?}") };
        assert_eq!((series.status, &*series.tenant), (200, ""));
    }

    #[tokio::test]
    async fn a_pause_that_a_service_asks_for_is_everybodys() {
        let (url, _) = slow("429 Too Many Requests\r\nretry-after: 50").await;
        let http = CloudHttp::new(Connections::default());
        let call = CloudCall::new(Method::GET, url);
        let first = tokio::time::timeout(Duration::from_millis(500), http.send(&call)).await;
        assert!(first.is_err(), "it did not wait");
        let Err(error) = http.send(&call).await else { panic!("it was asked in its pause") };
        assert!(error.to_string().contains("a pause that is longer than there is time"), "{error}");
    }

    #[tokio::test]
    async fn an_address_of_the_metadata_is_not_asked_over_tls_either() {
        let http = CloudHttp::new(Connections::default());
        for url in ["https://169.254.169.254/oauth2/exchange", "https://[fd00:ec2::254]/"] {
            let call = CloudCall::new(Method::POST, Url::parse(url).unwrap());
            let Err(error) = http.send(&call).await else { panic!("{url} was asked") };
            assert!(error.to_string().contains("registries.allowedAddresses"), "{error}");
        }
    }
}

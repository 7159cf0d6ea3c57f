//! A registry that says whatever a test wants and remembers what it was asked.

use std::{
    any::Any,
    collections::BTreeMap,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, Version},
    response::Response,
};
use bytes::Bytes;
use ratify_core::{Algorithm, Descriptor, Digest, Reference, media_type};
use ratify_store_oras::{
    Artifact, AuthProvider, Client, ClientOptions, Connections, Credential, CredentialUse, Granted,
    RetryPolicy, Secret, Transport,
    auth::{Asked, RegistryHost},
    digest_of,
};
use tokio::{net::TcpListener, task::JoinHandle};

/// A request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    #[cfg_attr(not(feature = "http2"), allow(dead_code, reason = "HTTP/1.1"))]
    pub(crate) version: Version,
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What is answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    notes: Arc<Notes>,
    task: JoinHandle<()>,
}

/// What a fake saw, and what failed in its answers: an assertion there is the test's.
#[derive(Default)]
struct Notes {
    seen: Mutex<Vec<Seen>>,
    failure: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A subject, a signature attached to it, and the signature's one blob.
pub(crate) struct Content {
    pub(crate) subject: Descriptor,
    pub(crate) manifest: Descriptor,
    pub(crate) blob: Descriptor,
    pub(crate) objects: BTreeMap<String, (String, Bytes)>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::empty() }
    }

    pub(crate) fn ok(body: impl Into<Bytes>) -> Self {
        Self { body: Body::from(body.into()), ..Self::new(200) }
    }

    /// What a HEAD says of a manifest.
    pub(crate) fn described(digest: &Digest, size: u64) -> Self {
        Self::new(200)
            .with("content-type", media_type::OCI_MANIFEST)
            .with("content-length", &size.to_string())
            .with("docker-content-digest", digest.as_str())
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces a header.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.with(name, value)
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    pub(crate) fn error(status: u16, code: &str) -> Self {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"REMOTE TEXT"}}]}}"#);
        Self { status, ..Self::ok(body) }.with("content-type", "application/json")
    }
}

impl Fake {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", answer).await
    }

    /// The same at another address of this machine.
    pub(crate) async fn start_at(
        address: impl tokio::net::ToSocketAddrs,
        answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let notes = Arc::<Notes>::default();
        let router = router(answer, notes.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, notes, task }
    }

    /// The same over TLS, with a certificate that nobody trusts.
    pub(crate) async fn start_tls(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_tls_at("127.0.0.1:0", &["registry.test"], answer).await.0
    }

    /// The same at an address, with a certificate for some names; and the certificate in PEM.
    pub(crate) async fn start_tls_at(
        address: &str,
        names: &[&str],
        answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> (Self, String) {
        let (acceptor, pem) = crate::transport::acceptor(names);
        (Self::start_tls_with(acceptor, address, answer).await, pem)
    }

    /// The same with an acceptor.
    pub(crate) async fn start_tls_with(
        acceptor: tokio_rustls::TlsAcceptor,
        address: &str,
        answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let notes = Arc::<Notes>::default();
        let router = router(answer, notes.clone());
        let listener = TlsListener { listener, acceptor };
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, notes, task }
    }

    pub(crate) fn registry(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn reference(&self, rest: &str) -> Reference {
        Reference::parse(&format!("{}/{rest}", self.registry())).unwrap()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.notes.seen.lock().unwrap().clone()
    }

    /// What was asked, one line a request.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
        let failure = self.notes.failure.lock().ok().and_then(|mut failure| failure.take());
        if let Some(failure) = failure.filter(|_| !std::thread::panicking()) {
            resume_unwind(failure);
        }
    }
}

pub(crate) struct TlsListener {
    pub(crate) listener: TcpListener,
    pub(crate) acceptor: tokio_rustls::TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn router(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static, notes: Arc<Notes>) -> Router {
    let answer = Arc::new(answer);
    Router::new().fallback(move |request: Request| {
        let (answer, notes) = (answer.clone(), notes.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
            let seen = Seen {
                method: parts.method.to_string(),
                version: parts.version,
                path: parts.uri.path_and_query().unwrap().to_string(),
                headers: parts.headers,
                body,
            };
            notes.seen.lock().unwrap().push(seen.clone());
            let reply =
                catch_unwind(AssertUnwindSafe(|| answer(&seen))).unwrap_or_else(|failure| {
                    notes.failure.lock().unwrap().get_or_insert(failure);
                    Reply::new(500)
                });
            let mut response = Response::builder().status(reply.status);
            for (name, value) in &reply.headers {
                response = response.header(name, value);
            }
            response.body(reply.body).unwrap()
        }
    })
}

impl Content {
    pub(crate) fn new() -> Self {
        let mut objects = BTreeMap::new();
        let mut add = |kind: &str, media_type: &str, bytes: Bytes| {
            let digest = digest_of(Algorithm::Sha256, &bytes);
            let descriptor = Descriptor::new(media_type, digest.clone(), bytes.len() as u64);
            objects.insert(format!("{kind}/{digest}"), (media_type.to_owned(), bytes));
            descriptor
        };
        let blob = add("blobs", "text/plain", Bytes::from_static(b"the signature"));
        add("blobs", media_type::OCI_EMPTY, Bytes::from_static(b"{}"));
        let subject = Artifact::new("", vec![]).to_bytes().unwrap();
        let subject = add("manifests", media_type::OCI_MANIFEST, subject);
        let mut artifact = Artifact::new("application/x", vec![blob.clone()]);
        artifact.subject = Some(subject.clone());
        let bytes = artifact.to_bytes().unwrap();
        let manifest = add("manifests", media_type::OCI_MANIFEST, bytes);
        let manifest = manifest.with_artifact_type("application/x");
        let image = objects[&format!("manifests/{}", subject.digest)].clone();
        objects.insert("manifests/1".into(), image);
        let list = (media_type::OCI_INDEX.to_owned(), index(&[&manifest]));
        objects.insert(format!("referrers/{}", subject.digest), list.clone());
        let tag = subject.digest.as_str().replace(':', "-");
        objects.insert(format!("manifests/{tag}"), list);
        Self { subject, manifest, blob, objects }
    }

    /// Answers as an honest registry would, for any repository.
    pub(crate) fn answer(&self, seen: &Seen) -> Reply {
        let path = seen.path.split('?').next().unwrap_or_default();
        let mut parts: Vec<&str> = path.rsplitn(3, '/').collect();
        parts.pop();
        parts.reverse();
        match self.objects.get(&parts.join("/")) {
            None => Reply::error(404, "MANIFEST_UNKNOWN"),
            Some((media_type, bytes)) => {
                let digest = digest_of(Algorithm::Sha256, bytes);
                Reply::ok(bytes.clone())
                    .with("content-type", media_type)
                    .with("content-length", &bytes.len().to_string())
                    .with("docker-content-digest", digest.as_str())
            }
        }
    }
}

pub(crate) fn index(entries: &[&Descriptor]) -> Bytes {
    let entries: Vec<String> =
        entries.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
        media_type::OCI_INDEX,
        entries.join(",")
    )
    .into()
}

pub(crate) fn digest(byte: &str) -> Digest {
    format!("sha256:{}", byte.repeat(32)).parse().unwrap()
}

/// Options for a fake in clear, with short waits.
pub(crate) fn options() -> ClientOptions {
    let mut options = ClientOptions::default();
    options.transport = Transport::PlainHttp;
    options.retry = RetryPolicy::fast(5);
    options.user_agent = "ratify+test (linux/amd64)".into();
    options.auth = Arc::new(Fixed(Ok(Credential::Anonymous)));
    options.connections = Connections::default();
    options
}

pub(crate) fn client() -> Client {
    Client::new(options()).unwrap()
}

pub(crate) fn client_with(credential: Credential) -> Client {
    client_over(Transport::PlainHttp, credential)
}

pub(crate) fn client_over(transport: Transport, credential: Credential) -> Client {
    let mut options = options();
    options.transport = transport;
    options.auth = fixed(credential);
    Client::new(options).unwrap()
}

/// A provider that has these credentials for everybody.
pub(crate) fn fixed(credential: Credential) -> Arc<dyn AuthProvider> {
    Arc::new(Fixed(Ok(credential)))
}

pub(crate) fn client_failing(credential_use: CredentialUse) -> Client {
    let mut options = options();
    options.auth = Arc::new(Fixed(Err("no identity yet".into())));
    options.credential_use = credential_use;
    Client::new(options).unwrap()
}

pub(crate) fn basic() -> Credential {
    Credential::Basic { username: "user".into(), password: Secret::new("hunter2") }
}

pub(crate) fn soon() -> Option<std::time::Instant> {
    Some(std::time::Instant::now() + Duration::from_millis(300))
}

/// The same answer each time.
struct Fixed(Result<Credential, String>);

impl AuthProvider for Fixed {
    fn name(&self) -> &str {
        "fixed"
    }

    fn credential<'a>(
        &'a self,
        _asked: &'a Asked<'a>,
    ) -> ratify_core::BoxFuture<'a, ratify_core::Result<Granted>> {
        let result = self.0.clone().map(|credential| Granted { credential, good_until: None });
        let result = result.map_err(|why| ratify_core::ErrorCode::AuthDenied.detail(why));
        Box::pin(std::future::ready(result))
    }
}

/// What a provider gives out for a host and an artifact there.
pub(crate) async fn credential(
    provider: &dyn AuthProvider,
    host: &str,
    artifact: &str,
) -> ratify_core::Result<Credential> {
    let host = RegistryHost::parse(host).unwrap();
    let asked = Asked { host: &host, repository: "app", artifact, give_up_at: None };
    provider.credential(&asked).await.map(|granted| granted.credential)
}

#[tokio::test]
#[should_panic(expected = "an assertion of a test")]
async fn what_fails_in_an_answer_fails_the_test() {
    let fake = Fake::start(|_: &Seen| panic!("an assertion of a test")).await;
    assert!(client().resolve(&fake.reference("app:1"), None).await.is_err());
    assert!(!fake.seen().is_empty());
}

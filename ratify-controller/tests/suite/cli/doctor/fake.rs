//! A registry that answers as a test wants: with its own certificate, its own clock, its own limits. It
//! gives out tokens for one user.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{io::AsyncRead, io::AsyncWrite, net::TcpListener, task::JoinHandle};

use crate::tls::parts::Identity;

/// What nobody may see in anything that is said.
pub(super) const PASSWORD: &str = "TRAP-of-the-password";
pub(super) const TOKEN: &str = "TRAP-of-the-token";
pub(super) const USER: &str = "robot";

/// What is different about it.
#[derive(Debug, Clone, Default)]
pub(super) struct Ways {
    /// Sent with every answer.
    pub(super) headers: Vec<(&'static str, String)>,
    /// Answered to everything.
    pub(super) status: Option<u16>,
    /// Whether the Referrers API is missing.
    pub(super) lists_by_tag: bool,
    /// Whether nothing is attached.
    pub(super) is_bare: bool,
}

/// It ends with the test.
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    /// How often each path was asked.
    pub(super) asked: Arc<Mutex<BTreeMap<String, usize>>>,
    task: JoinHandle<()>,
}

impl Fake {
    pub(super) async fn start(identity: Option<&Identity>, ways: Ways) -> Self {
        let acceptor = identity.map(Identity::acceptor);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<BTreeMap<String, usize>>>::default();
        let noted = Arc::clone(&asked);
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let base = format!("{scheme}://{address}");
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, ways) = (acceptor.clone(), ways.clone());
                let (noted, base) = (Arc::clone(&noted), base.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, ways, noted, base).await,
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            serve(stream, ways, noted, base).await;
                        }
                    }
                });
            }
        });
        Self { address, asked, task }
    }

    pub(super) fn image(&self) -> String {
        format!("{}/app:v1", self.address)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    ways: Ways,
    noted: Arc<Mutex<BTreeMap<String, usize>>>,
    base: String,
) {
    let answering = service_fn(move |request: Request<Incoming>| {
        let path = request.uri().path().to_owned();
        *noted.lock().unwrap().entry(path).or_default() += 1;
        let answer = answer(&request, &ways, &base);
        async move { Ok::<_, Infallible>(answer) }
    });
    // A client that goes away is nobody's fault.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answering).await;
}

fn answer(request: &Request<Incoming>, ways: &Ways, base: &str) -> Response<Body> {
    let shown = request.headers().get(header::AUTHORIZATION);
    let shown = shown.map(|value| value.to_str().unwrap()).unwrap_or_default();
    let login = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let digest = format!("sha256:{}", "a".repeat(64));
    let mut answer = Response::builder();
    for (name, value) in &ways.headers {
        answer = answer.header(*name, value);
    }
    let path = request.uri().path();
    let body = |text: &str| Body::from(text.to_owned());
    let end = |answer: http::response::Builder, status: StatusCode, text: &str| {
        answer.status(status).body(body(text)).unwrap()
    };
    if let Some(status) = ways.status {
        return end(answer, StatusCode::from_u16(status).unwrap(), "");
    }
    if path == "/token" {
        return match shown == login {
            true => end(answer, StatusCode::OK, &format!(r#"{{"token":"{TOKEN}"}}"#)),
            false => end(answer, StatusCode::UNAUTHORIZED, r#"{"errors":[{"code":"DENIED"}]}"#),
        };
    }
    if shown != format!("Bearer {TOKEN}") {
        let asks = format!(r#"Bearer realm="{base}/token",service="fake""#);
        return end(answer.header(header::WWW_AUTHENTICATE, asks), StatusCode::UNAUTHORIZED, "");
    }
    let index = "application/vnd.oci.image.index.v1+json";
    let entry = format!(
        r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{}","size":2,"artifactType":"a/b"}}"#,
        "b".repeat(64)
    );
    let entries = if ways.is_bare { "" } else { entry.as_str() };
    let list = format!(r#"{{"schemaVersion":2,"mediaType":"{index}","manifests":[{entries}]}}"#);
    let is_tag_of_list = path.ends_with(&format!("/manifests/sha256-{}", "a".repeat(64)));
    match path {
        "/v2/" => end(answer, StatusCode::OK, "{}"),
        "/v2/app/manifests/v1" => answer
            .header(header::CONTENT_TYPE, "application/vnd.oci.image.manifest.v1+json")
            .header("docker-content-digest", &digest)
            .body(Body::empty())
            .unwrap(),
        _ if path.starts_with("/v2/app/referrers/") && !ways.lists_by_tag => {
            end(answer.header(header::CONTENT_TYPE, index), StatusCode::OK, &list)
        }
        _ if is_tag_of_list && ways.lists_by_tag => {
            end(answer.header(header::CONTENT_TYPE, index), StatusCode::OK, &list)
        }
        _ => end(answer, StatusCode::NOT_FOUND, ""),
    }
}

//! A door in front of a registry: it asks for a password and passes everything else on.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header},
    response::Response,
};
use tokio::{net::TcpListener, task::JoinHandle};

/// `user:hunter2`.
const PASSWORD: &str = "Basic dXNlcjpodW50ZXIy";

/// Ended with the test.
pub(super) struct Door {
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

struct Behind {
    registry: String,
    client: reqwest::Client,
}

impl Door {
    pub(super) async fn start(registry: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy();
        let client = client.build().unwrap();
        let behind = Arc::new(Behind { registry: registry.to_owned(), client });
        let router = Router::new().fallback(pass).with_state(behind);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, task }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(State(behind): State<Arc<Behind>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if parts.headers.get(header::AUTHORIZATION).is_none_or(|shown| shown != PASSWORD) {
        let refused = Response::builder().status(StatusCode::UNAUTHORIZED);
        return refused.header(header::WWW_AUTHENTICATE, "Basic").body(Body::empty()).unwrap();
    }
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let url = format!("http://{}{}", behind.registry, parts.uri);
    let mut headers = parts.headers;
    for name in [header::HOST, header::AUTHORIZATION, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let passed = behind.client.request(parts.method, url).headers(headers).body(body);
    let answer = passed.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

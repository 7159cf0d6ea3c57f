//! A provider of external data that answers what a test wants, over TLS, in place of Ratify.

use std::convert::Infallible;

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::ExtendedKeyUsagePurpose::ServerAuth;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::tls::parts::Authority;

/// What is answered to these keys: the body.
type Answer = fn(&[String]) -> String;

/// The provider; it ends with the test.
pub(super) struct Provider {
    port: u16,
    authority: Authority,
    task: JoinHandle<()>,
}

impl Provider {
    pub(super) async fn start(answer: Answer) -> Self {
        let authority = Authority::new("provider");
        let identity = authority.issue_named("localhost", vec![ServerAuth]);
        let acceptor = identity.acceptor();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let serve = service_fn(move |request| respond(request, answer));
                    // A client that goes away is nobody's fault.
                    let _ =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await;
                });
            }
        });
        Self { port, authority, task }
    }

    /// What Gatekeeper is told of it.
    pub(super) fn object(&self, name: &str) -> Value {
        json!({
            "apiVersion": "externaldata.gatekeeper.sh/v1beta1",
            "kind": "Provider",
            "metadata": {"name": name},
            "spec": {
                "url": format!("https://localhost:{}/", self.port),
                "timeout": 5,
                "caBundle": STANDARD.encode(self.authority.pem()),
            },
        })
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn respond(request: Request<Incoming>, answer: Answer) -> Result<Response<Body>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let keys = body["request"]["keys"].as_array().unwrap().iter();
    let keys: Vec<String> = keys.map(|key| key.as_str().unwrap().to_owned()).collect();
    Ok(Response::new(Body::new(Full::new(Bytes::from(answer(&keys))))))
}

/// An answer of these items, with an error of the system where that is not empty.
pub(super) fn answer_of(items: &[Value], system_error: &str) -> String {
    json!({
        "apiVersion": "externaldata.gatekeeper.sh/v1alpha1",
        "kind": "ProviderResponse",
        "response": {"items": items, "systemError": system_error},
    })
    .to_string()
}

//! Entra and a key vault of Azure on loopback, in one server: it gives tokens to who shows the service
//! account's, and what the vault holds to who shows a token. What it is sent wrongly it refuses.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

pub(super) const TENANT: &str = "7b795fb9-09d3-42f4-a494-38864f99ba3c";
pub(super) const CLIENT: &str = "11111111-2222-3333-4444-555555555555";
/// What the service account's token file holds.
pub(super) const ASSERTION: &str = "the-service-account";
const TOKEN: &str = "hunter2";

/// It ends with the test.
pub(super) struct FakeVault {
    pub(super) url: String,
    known: Arc<Known>,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Known {
    /// By path: the status, and the body.
    answers: Mutex<BTreeMap<String, (u16, Value)>>,
    asked: Mutex<Vec<String>>,
}

impl Drop for FakeVault {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl FakeVault {
    pub(super) async fn start() -> Self {
        let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
        let chain = vec![CertificateDer::from(identity.cert)];
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let known = Arc::<Known>::default();
        let shared = Arc::clone(&known);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, known) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let Some(request) = read_request(&mut stream).await else { return };
                    let (status, body) = known.answer(&request);
                    let body = body.to_string();
                    let length = body.len();
                    let answer = format!(
                        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { url, known, serving }
    }

    /// The vault holds this from now on.
    pub(super) fn put(&self, path: &str, status: u16, body: Value) {
        self.known.answers.lock().unwrap().insert(path.to_owned(), (status, body));
    }

    /// The paths that were asked for, in order.
    pub(super) fn asked(&self) -> Vec<String> {
        self.known.asked.lock().unwrap().clone()
    }
}

impl Known {
    fn answer(&self, request: &str) -> (u16, Value) {
        let (head, body) = request.split_once("\r\n\r\n").unwrap_or((request, ""));
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        if target == format!("/{TENANT}/oauth2/v2.0/token") {
            let form: BTreeMap<_, _> = url::form_urlencoded::parse(body.as_bytes()).collect();
            let is = |name: &str, value: &str| form.get(name).is_some_and(|given| given == value);
            let is_right = method == "POST"
                && is("client_id", CLIENT)
                && is("client_assertion", ASSERTION)
                && is("grant_type", "client_credentials")
                && is("scope", "https://vault.azure.net/.default");
            return match is_right {
                true => (
                    200,
                    json!({"token_type": "Bearer", "expires_in": 3599, "access_token": TOKEN}),
                ),
                false => (400, json!({"error": "invalid_request", "error_codes": [9002313]})),
            };
        }
        let is_shown = head.lines().any(|line| {
            line.split_once(": ").is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("authorization") && value == format!("Bearer {TOKEN}")
            })
        });
        let path = target.strip_suffix("?api-version=7.4").unwrap_or_default();
        self.asked.lock().unwrap().push(path.to_owned());
        let answers = self.answers.lock().unwrap();
        match answers.get(path) {
            _ if !is_shown || method != "GET" => (401, json!({"error": {"code": "Unauthorized"}})),
            Some(answer) => answer.clone(),
            None => (404, json!({"error": {"code": "SecretNotFound"}})),
        }
    }
}

async fn read_request(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse().unwrap())
        });
        if body.len() >= length.unwrap_or(0) {
            return Some(text.into_owned());
        }
    }
}

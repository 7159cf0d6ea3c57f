//! What `cargo xtask bench` measures the server's answers against, and who asks it.
//!
//! - `bare ADDRESS ANSWER [CERT KEY CLIENT_CA]`: an axum handler that parses Gatekeeper's request and
//!   answers with the bytes of a file. Nothing that answers over this HTTP stack can cost less.
//! - `ask ADDRESS QUESTION CONNECTIONS COUNT KEYS [CA CERT KEY]`: asks so often over connections that
//!   stay open, each one question at a time, and checks that each answer has so many verdicts, all
//!   of them good. Prints how many answers were not so.
//!
//! Its tasks are those of a tool: it ends with a panic where anything is not as it should be.

#![allow(clippy::expect_used, reason = "whoever starts it reads why it ended")]

use std::{
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const PATH: &str = "/ratify/gatekeeper/v1/verify";
/// What v1 calls its answers.
const CONTENT_TYPE: (&str, &str) = ("content-type", "text/plain; charset=utf-8");

/// Gatekeeper's request, as far as the handler needs it.
#[derive(Deserialize)]
struct ProviderRequest {
    request: Keys,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<String>,
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["bare", address, answer, ref tls @ ..] => bare(address, answer, tls),
        ["ask", address, question, connections, count, keys, ref tls @ ..] => {
            let wrong = Ask {
                address: address.to_owned(),
                question: question_of(question),
                connections: number(connections),
                keys: number(keys),
                tls: tls_of_client(tls),
            }
            .ask(number(count));
            println!("{wrong}");
        }
        _ => panic!("bare or ask, and what belongs to it"),
    }
}

#[tokio::main]
async fn bare(address: &str, answer: &str, tls: &[&str]) {
    let answer = Bytes::from(fs::read(answer).expect("the answer"));
    let router = Router::new().route(PATH, post(handle)).with_state(answer);
    let listener = TcpListener::bind(address).await.expect("an address");
    let Some(acceptor) = tls_of_server(tls) else {
        return axum::serve(listener, router).await.expect("to serve");
    };
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = TowerToHyperService::new(router);
            let connection = hyper::server::conn::http1::Builder::new();
            // Whoever asks closes it.
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn handle(
    State(answer): State<Bytes>,
    body: Bytes,
) -> (StatusCode, [(&'static str, &'static str); 1], Bytes) {
    match serde_json::from_slice::<ProviderRequest>(&body) {
        Ok(asked) if !asked.request.keys.is_empty() => (StatusCode::OK, [CONTENT_TYPE], answer),
        _ => (StatusCode::BAD_REQUEST, [CONTENT_TYPE], Bytes::new()),
    }
}

struct Ask {
    address: String,
    question: Vec<u8>,
    connections: usize,
    /// How many verdicts belong to each answer.
    keys: usize,
    tls: Option<Arc<ClientConfig>>,
}

impl Ask {
    fn ask(&self, count: usize) -> usize {
        let (left, wrong) = (AtomicUsize::new(count), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..self.connections {
                scope.spawn(|| {
                    let mut connection = self.connect();
                    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
                    {
                        connection.write_all(&self.question).expect("to ask");
                        let answer = read_answer(&mut connection);
                        if count_of(&answer, "\"isSuccess\":true,\"trace") != self.keys {
                            wrong.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        wrong.into_inner()
    }

    fn connect(&self) -> Box<dyn Stream> {
        let stream = TcpStream::connect(&self.address).expect("a server");
        stream.set_nodelay(true).expect("a socket");
        let Some(tls) = &self.tls else { return Box::new(stream) };
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::clone(tls), name).expect("a connection");
        Box::new(StreamOwned::new(connection, stream))
    }
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn one_less(left: usize) -> Option<usize> {
    left.checked_sub(1)
}

/// The bytes of the question in this file: a body, one and the same for all.
fn question_of(file: &str) -> Vec<u8> {
    let body = fs::read(file).expect("the question");
    let mut question = format!(
        "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    question.extend_from_slice(&body);
    question
}

/// The body of an answer.
fn read_answer(connection: &mut dyn Stream) -> Vec<u8> {
    let mut answer = Vec::with_capacity(8192);
    let mut buffer = [0; 8192];
    loop {
        let read = connection.read(&mut buffer).expect("an answer");
        assert!(read > 0, "the server broke off");
        answer.extend_from_slice(&buffer[..read]);
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let body = &answer[end + 4..];
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        match length {
            Some(length) if body.len() == number(length) => return body.into(),
            // Go's server writes what is long in chunks.
            None if body.ends_with(b"\r\n0\r\n\r\n") => return without_chunks(body),
            _ => {}
        }
    }
}

/// The content of chunks (RFC 9112, section 7.1).
fn without_chunks(mut chunks: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(chunks.len());
    while let Some(line) = chunks.windows(2).position(|two| two == b"\r\n") {
        let size = String::from_utf8_lossy(&chunks[..line]);
        let size = usize::from_str_radix(&size, 16).expect("the size of a chunk");
        content.extend_from_slice(&chunks[line + 2..][..size]);
        chunks = &chunks[line + 2 + size + 2..];
    }
    content
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

/// Who asks does as little as it can: it shares the cores with whoever is measured.
fn count_of(text: &[u8], part: &str) -> usize {
    str::from_utf8(text).map_or(0, |text| text.matches(part).count())
}

fn tls_of_server(files: &[&str]) -> Option<TlsAcceptor> {
    let [certificate, key, clients] = files else { return None };
    let verifier =
        WebPkiClientVerifier::builder(Arc::new(roots(clients))).build().expect("a client CA");
    // v1 speaks TLS 1.3 only.
    let config = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(certificate), key_of(key))
        .expect("a certificate and its key");
    Some(TlsAcceptor::from(Arc::new(config)))
}

fn tls_of_client(files: &[&str]) -> Option<Arc<ClientConfig>> {
    let [authority, certificate, key] = files else { return None };
    let config = ClientConfig::builder()
        .with_root_certificates(roots(authority))
        .with_client_auth_cert(chain(certificate), key_of(key))
        .expect("a certificate and its key");
    Some(Arc::new(config))
}

fn roots(file: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(chain(file));
    roots
}

fn chain(file: &str) -> Vec<CertificateDer<'static>> {
    let read = CertificateDer::pem_file_iter(file).expect("a certificate");
    read.collect::<Result<_, _>>().expect("a certificate")
}

fn key_of(file: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(file).expect("a key")
}

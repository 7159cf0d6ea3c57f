//! An authority that answers on loopback, by real programs: the status of a certificate by `openssl
//! ocsp`, a time by `openssl ts`, lists of revoked certificates, and what an authority should not do.

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderName, StatusCode, Uri, header::CONTENT_TYPE},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::stream;
use ratify_core::executor::testing::openssl::{openssl, timestamp_reply};
use tokio::net::TcpListener;

/// How many bytes a chunk has, of what is sent in chunks.
const CHUNK: usize = 1 << 16;

/// The authority; it ends with the test. Its folder has a folder for each certificate.
pub(crate) struct Authority {
    pub(crate) address: String,
    server: tokio::task::JoinHandle<()>,
}

impl Authority {
    /// Starts to answer by what will be in a folder.
    pub(crate) async fn start(folder: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().fallback(answer).with_state(Arc::new(folder));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, server }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(
    State(folder): State<Arc<PathBuf>>,
    uri: Uri,
    body: Bytes,
) -> Result<([(HeaderName, &'static str); 1], Body), StatusCode> {
    // `notation` takes nothing else for a time; nobody asks for the type of the others.
    let body = body_of(&folder, &uri, body).await?;
    let body = if uri.path().starts_with("/chunks/") { in_chunks(body) } else { body.into() };
    Ok(([(CONTENT_TYPE, "application/timestamp-reply")], body))
}

/// A body that does not say in front how long it is.
fn in_chunks(body: Vec<u8>) -> Body {
    let body = Bytes::from(body);
    let chunks = (0..body.len()).step_by(CHUNK);
    let chunks = chunks.map(move |at| body.slice(at..body.len().min(at + CHUNK)));
    Body::from_stream(stream::iter(chunks.map(Ok::<_, Infallible>)))
}

async fn body_of(folder: &Path, uri: &Uri, body: Bytes) -> Result<Vec<u8>, StatusCode> {
    let path = uri.path().trim_start_matches('/').to_owned();
    let (kind, rest) = path.split_once('/').unwrap_or((&path, ""));
    match kind {
        "ocsp" => {
            let (name, request) = rest.split_once('/').ok_or(StatusCode::BAD_REQUEST)?;
            let encoded = request.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
            let request = STANDARD.decode(encoded).map_err(|_| StatusCode::BAD_REQUEST)?;
            let folder = folder.join(name);
            run(move || status(&folder, &request)).await
        }
        "tsa" => {
            let (folder, accuracy) = (folder.join("tsa"), rest.to_owned());
            run(move || time(&folder, &accuracy, &body)).await
        }
        "crl" | "chunks" => {
            fs::read(folder.join(rest).join("list")).map_err(|_| StatusCode::NOT_FOUND)
        }
        "file" => fs::read(folder.join(rest)).map_err(|_| StatusCode::NOT_FOUND),
        "hang" => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Err(StatusCode::NO_CONTENT)
        }
        _ => Err(StatusCode::NOT_FOUND),
    }
}

/// On a thread of its own: a program is waited for.
async fn run(program: impl FnOnce() -> Vec<u8> + Send + 'static) -> Result<Vec<u8>, StatusCode> {
    tokio::task::spawn_blocking(program).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

fn status(folder: &Path, request: &[u8]) -> Vec<u8> {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("request"), request).unwrap();
    let shown = scratch.path().display();
    let by = "-index index.txt -ndays 1 -resp_no_certs -rsigner issuer.pem -rkey issuer-key.pem";
    let files = format!("-CA issuer.pem -reqin {shown}/request -respout {shown}/response");
    openssl(folder, &format!("ocsp {by} {files}"));
    fs::read(scratch.path().join("response")).unwrap()
}

/// A time that is exact to so many seconds, where they are given.
pub(super) fn time(folder: &Path, accuracy: &str, query: &[u8]) -> Vec<u8> {
    let scratch = tempfile::tempdir().unwrap();
    let accuracy = match accuracy {
        "" => String::new(),
        seconds => format!("secs:{seconds}, millisecs:500, microsecs:20"),
    };
    timestamp_reply(folder, scratch.path(), &accuracy, query)
}

//! Authorities that say what time it is (RFC 3161), by the real openssl, and such that say something else.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderName, StatusCode, Uri, header::CONTENT_TYPE},
};
use ratify_core::executor::testing::openssl::{openssl, signed_anew};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair,
    KeyUsagePurpose,
};
use tokio::net::TcpListener;

use super::super::authority::time;

/// A time at which a certificate was good that is over.
const PAST: &str = "20210601000000Z";

/// The authorities, one a path; they end with the test.
pub(super) struct Clocks {
    pub(super) address: String,
    /// The certificates of the one that is trusted, from its own to its root.
    pub(super) chain: PathBuf,
    server: tokio::task::JoinHandle<()>,
}

impl Clocks {
    /// Starts to answer: `good`, `past` (another time), `other` (about something else), `stranger` (of
    /// another root), `twice` (with its certificate twice) and `broken`.
    pub(super) async fn start(folder: &Path) -> Self {
        for name in ["trusted", "stranger"] {
            certify(&folder.join(name));
        }
        fs::create_dir_all(folder.join("twice")).unwrap();
        for (from, to) in
            [("signer.pem", "signer.pem"), ("key.pem", "key.pem"), ("whole.pem", "chain.pem")]
        {
            fs::copy(folder.join("trusted").join(from), folder.join("twice").join(to)).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().fallback(answer).with_state(Arc::new(folder.to_owned()));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, chain: folder.join("trusted/whole.pem"), server }
    }
}

impl Drop for Clocks {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Answered = Result<([(HeaderName, &'static str); 1], Vec<u8>), StatusCode>;

async fn answer(State(folder): State<Arc<PathBuf>>, uri: Uri, body: Bytes) -> Answered {
    let kind = uri.path().trim_start_matches('/').to_owned();
    let reply = tokio::task::spawn_blocking(move || reply(&folder, &kind, body.to_vec())).await;
    let reply = reply.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(CONTENT_TYPE, "application/timestamp-reply")], reply))
}

fn reply(folder: &Path, kind: &str, mut query: Vec<u8>) -> Vec<u8> {
    let trusted = folder.join("trusted");
    match kind {
        "good" => time(&trusted, "", &query),
        "past" => past(&trusted, &time(&trusted, "", &query)),
        "stranger" | "twice" => time(&folder.join(kind), "", &query),
        "other" => {
            // A digest of SHA-256, as a byte string.
            let digest = query.windows(2).position(|two| two == [4, 32]).unwrap();
            query[digest + 9] ^= 1;
            time(&trusted, "", &query)
        }
        "broken" => {
            let mut reply = time(&trusted, "", &query);
            *reply.last_mut().unwrap() ^= 1;
            reply
        }
        other => panic!("nobody is at {other}"),
    }
}

/// The same answer about another time, signed anew.
fn past(folder: &Path, reply: &[u8]) -> Vec<u8> {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path();
    fs::write(path.join("reply"), reply).unwrap();
    openssl(path, "ts -reply -in reply -token_out -out token");
    let token = fs::read(path.join("token")).unwrap();
    let token = signed_anew(folder, path, &token, Some(PAST));
    let granted = [&[0x30, 3, 2, 1, 0], token.as_slice()].concat();
    let length = u16::try_from(granted.len()).unwrap().to_be_bytes();
    [&[0x30, 0x82], &length[..], &granted].concat()
}

/// Makes an authority: its certificate and key, its root, and both certificates in one file.
fn certify(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, "clocks");
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "clock");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // The purpose timeStamping alone, which is critical (RFC 3161, section 2.3).
    let purposes = vec![0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 8];
    let mut purpose = CustomExtension::from_oid_content(&[2, 5, 29, 37], purposes);
    purpose.set_criticality(true);
    params.custom_extensions.push(purpose);
    let signer = params.signed_by(&key, &root).unwrap();
    fs::create_dir_all(folder).unwrap();
    let write = |name: &str, text: String| fs::write(folder.join(name), text).unwrap();
    write("signer.pem", signer.pem());
    write("key.pem", key.serialize_pem());
    write("chain.pem", root.pem());
    write("whole.pem", signer.pem() + &root.pem());
}

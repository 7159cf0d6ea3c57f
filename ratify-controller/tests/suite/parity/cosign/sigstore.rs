//! A private Sigstore for the real cosign and for both hosts: an authority whose certificates name who
//! signs, and a transparency log that promises what it is sent (Rekor's API, version 1).

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use serde_json::{Value, json};

use super::super::layout::sha256;

/// Whom the certificate names, and who vouched for that.
pub(super) const SUBJECT: &str = "dev@example.com";
pub(super) const ISSUER: &str = "https://id.example.com";
/// The head of an answer.
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
/// The extensions that name the issuer (Fulcio's OID list): v1 reads the older one alone.
const ISSUER_ID: &[u64] = &[1, 3, 6, 1, 4, 1, 57264, 1, 8];
const OLDER_ISSUER_ID: &[u64] = &[1, 3, 6, 1, 4, 1, 57264, 1, 1];

/// A log, which ends with the test.
pub(crate) struct Log {
    pub(crate) url: String,
    serving: tokio::task::JoinHandle<()>,
}

/// What a log is: its key and what it was sent.
struct Kept {
    key: EcdsaKeyPair,
    entries: Mutex<Vec<Value>>,
}

impl Drop for Log {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Log {
    /// Starts a log whose public key is written into the folder as `log.pub`.
    pub(crate) async fn start(folder: &Path) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        fs::write(folder.join("log.pub"), pem("PUBLIC KEY", &spki(&key))).unwrap();
        let kept = Arc::new(Kept { key, entries: Mutex::default() });
        let routes = Router::new()
            .route("/api/v1/log/entries", post(add))
            .route("/api/v1/log/entries/retrieve", post(retrieve))
            .with_state(kept);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            axum::serve(listener, routes).await.unwrap();
        });
        Self { url, serving }
    }
}

async fn add(State(log): State<Arc<Kept>>, sent: String) -> impl IntoResponse {
    let entry: Value = serde_json::from_str(&sent).unwrap();
    log.entries.lock().unwrap().push(entry.clone());
    (StatusCode::CREATED, JSON, log.answer(&entry).to_string())
}

/// What is asked for by the whole entry: it is there, or it is not.
async fn retrieve(State(log): State<Arc<Kept>>, sent: String) -> impl IntoResponse {
    let asked: Value = serde_json::from_str(&sent).unwrap();
    let content = |entry: &Value| entry["spec"]["signature"]["content"].clone();
    let entries = log.entries.lock().unwrap();
    let wanted = content(&asked["entries"][0]);
    let found = entries.iter().filter(|entry| content(entry) == wanted);
    (JSON, Value::Array(found.map(|entry| log.answer(entry)).collect()).to_string())
}

impl Kept {
    fn answer(&self, entry: &Value) -> Value {
        let body = entry.to_string();
        let id = sha256(&spki(&self.key)).replace("sha256:", "");
        let promised = json!({
            "body": STANDARD.encode(&body),
            "integratedTime": jiff::Timestamp::now().as_second(),
            "logID": id,
            "logIndex": 0,
        });
        let leaf = sha256(&[&[0], body.as_bytes()].concat()).replace("sha256:", "");
        let root = STANDARD.encode(hex::decode(&leaf).unwrap());
        let note = format!("log.example.com\n1\n{root}\n");
        let hint = hex::decode(&id[..8]).unwrap();
        let signed = STANDARD.encode([hint, self.sign(note.as_bytes())].concat());
        let mut answer = promised.clone();
        answer["verification"] = json!({
            "signedEntryTimestamp": STANDARD.encode(self.sign(promised.to_string().as_bytes())),
            "inclusionProof": {
                "checkpoint": format!("{note}\n\u{2014} log.example.com {signed}\n"),
                "hashes": [], "logIndex": 0, "treeSize": 1, "rootHash": leaf,
            },
        });
        json!({ (leaf): answer })
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }
}

/// Makes an authority, and two certificates with their keys, the second of which ended with 2021: `root.pem`,
/// `leaf.crt` and `leaf.pem`, `ended.crt` and `ended.pem`.
pub(super) fn certify(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, "authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join("root.pem"), authority.pem()).unwrap();
    for (name, end) in [("leaf", 2100), ("ended", 2022)] {
        let key = KeyPair::generate().unwrap();
        let leaf = leaf(end).signed_by(&key, &authority).unwrap();
        fs::write(folder.join(format!("{name}.crt")), leaf.pem()).unwrap();
        fs::write(folder.join(format!("{name}.pem")), key.serialize_pem()).unwrap();
    }
}

/// What a certificate says that ends with the beginning of a year.
fn leaf(end: i32) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(end, 1, 1);
    params.subject_alt_names = vec![SanType::Rfc822Name(SUBJECT.try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let issuer = [&[0x0c, u8::try_from(ISSUER.len()).unwrap()], ISSUER.as_bytes()].concat();
    params.custom_extensions = vec![
        CustomExtension::from_oid_content(OLDER_ISSUER_ID, ISSUER.into()),
        CustomExtension::from_oid_content(ISSUER_ID, issuer),
    ];
    params
}

fn spki(key: &EcdsaKeyPair) -> Vec<u8> {
    let der: aws_lc_rs::encoding::PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    der.as_ref().to_vec()
}

fn pem(tag: &str, der: &[u8]) -> String {
    format!("-----BEGIN {tag}-----\n{}\n-----END {tag}-----\n", STANDARD.encode(der))
}

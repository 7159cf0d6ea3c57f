//! The parts of a trusted root (Sigstore's protobuf-specs, `sigstore_trustroot.proto`), as a document
//! and as the PEM files that cosign's environment variables name.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ratify_core::{ErrorCode, Result};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sigstore_verify::{crypto::sha256, trust_root::TrustedRoot};

use crate::{json, keys::PublicKey};

/// Reads a `trusted_root.json`.
pub(super) fn parse(bytes: &[u8]) -> Result<TrustedRoot> {
    json::message(bytes).map_err(|error| {
        ErrorCode::ConfigInvalid.detail("the trusted root is malformed").with_source(error)
    })
}

/// A trusted root that trusts nobody.
pub(super) fn empty() -> Result<TrustedRoot> {
    made(json!({"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}))
}

/// Trusts these certificates, and no others, to name who signed.
pub(super) fn put_authorities(root: &mut TrustedRoot, pem: &[u8]) -> Result<()> {
    let malformed = |error: String| {
        ErrorCode::CertInvalid.detail("the certificates of Fulcio are malformed").with_source(error)
    };
    let blocks = pem::parse_many(pem).map_err(|error| malformed(error.to_string()))?;
    let blocks: Vec<Value> = blocks
        .iter()
        .filter(|block| block.tag() == "CERTIFICATE")
        .map(|block| json!({"rawBytes": STANDARD.encode(block.contents())}))
        .collect();
    if blocks.is_empty() {
        return Err(malformed("there are none".to_owned()));
    }
    root.certificate_authorities =
        made(json!([{"uri": "", "certChain": {"certificates": blocks}}]))?;
    Ok(())
}

/// Trusts this log, and no other, with when something was signed.
pub(super) fn put_log(root: &mut TrustedRoot, pem: &[u8]) -> Result<()> {
    root.tlogs = made(json!([log(pem)?]))?;
    Ok(())
}

/// Trusts this log, and no other, with which certificates there are.
pub(super) fn put_certificate_log(root: &mut TrustedRoot, pem: &[u8]) -> Result<()> {
    root.ctlogs = made(json!([log(pem)?]))?;
    Ok(())
}

fn log(pem: &[u8]) -> Result<Value> {
    let key = PublicKey::from_pem(pem).map_err(|error| {
        ErrorCode::KeyInvalid.detail("the public key of the log is malformed").with_source(error)
    })?;
    Ok(json!({
        "baseUrl": "",
        "hashAlgorithm": "SHA2_256",
        "publicKey": {"rawBytes": STANDARD.encode(key.spki()), "keyDetails": ""},
        "logId": {"keyId": STANDARD.encode(sha256(key.spki()).as_bytes())},
    }))
}

fn made<T: DeserializeOwned>(document: Value) -> Result<T> {
    serde_json::from_value(document).map_err(|error| {
        ErrorCode::DataEncodingFailure.detail("failed to make a trusted root").with_source(error)
    })
}

//! A signature as cosign has always attached it: the payload, and behind record separators the
//! annotations: signature, entry of the log, certificate, its chain, timestamp. Only the payload that the key
//! has signed is good, and where the log is asked for only what the log has signed too.

use ratify_core::{Descriptor, VerifierReport};
use serde_json::{Value, json};

use super::{
    cosign::{PAYLOAD, host, verifier},
    signed::{image, judge},
};

const SEPARATOR: u8 = 0x1e;
pub(super) const ENTRY: &str = "dev.sigstore.cosign/bundle";
pub(super) const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
pub(super) const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";
const ANNOTATIONS: [&str; 5] = [
    "dev.cosignproject.cosign/signature",
    ENTRY,
    CERTIFICATE,
    "dev.sigstore.cosign/chain",
    TIMESTAMP,
];

/// The layer, and its bytes.
pub(super) fn layer(input: &[u8]) -> (Descriptor, &[u8]) {
    let mut parts = input.split(|byte| *byte == SEPARATOR);
    let payload = parts.next().unwrap_or_default();
    let type_ = "application/vnd.dev.cosign.simplesigning.v1+json";
    let mut layer = Descriptor::new(type_, image(), payload.len() as u64);
    for (name, value) in ANNOTATIONS.iter().zip(parts).filter(|(_, value)| !value.is_empty()) {
        let value = String::from_utf8_lossy(value).into_owned();
        layer.annotations.insert((*name).to_owned(), value);
    }
    (layer, payload)
}

fn judged(input: &[u8], policy: Value) -> VerifierReport {
    let (layer, payload) = layer(input);
    judge(&verifier(policy).unwrap(), host().with_blob(layer, payload.to_vec()))
}

pub(super) fn unlogged(input: &[u8]) -> VerifierReport {
    judged(input, json!({"tLogVerify": false}))
}

pub(super) fn logged(input: &[u8]) -> VerifierReport {
    judged(input, json!({"rekorURL": "https://log.example.com"}))
}

pub(super) fn check(input: &[u8]) {
    let (layer, payload) = layer(input);
    let is_logged = logged(input).is_success;
    assert!(
        !is_logged && !unlogged(input).is_success || payload == PAYLOAD,
        "nobody has signed it"
    );
    assert!(!is_logged || layer.annotations.contains_key(ENTRY), "it is in no log");
}

//! A signature by a certificate, in the form of the target `cosign_signature`. Only the payload that was
//! signed for the identity is good, by a certificate that has ended only with a time that somebody else
//! says, and where the log is asked for only with what it has signed.

use ratify_core::VerifierReport;
use serde_json::{Value, json};

use super::{
    cosign::keyless,
    cosign_signature::{CERTIFICATE, ENTRY, TIMESTAMP, layer},
    signed::judge,
};

const PAYLOAD: &[u8] = include_bytes!("../../fixtures/keyless/payload.json");
/// The certificates that have not ended: one is in the log of certificates.
const CURRENT: [&str; 2] = [
    include_str!("../../fixtures/keyless/good.pem"),
    include_str!("../../fixtures/keyless/unlisted.pem"),
];

fn judged(input: &[u8], policy: Value) -> VerifierReport {
    let (layer, payload) = layer(input);
    judge(&keyless(policy), super::cosign::host().with_blob(layer, payload.to_vec()))
}

pub(super) fn unlogged(input: &[u8]) -> VerifierReport {
    judged(input, json!({"tLogVerify": false, "keyless": {"ctLogVerify": false}}))
}

/// The certificate has to be in a log of certificates, and somebody to say when it signed.
pub(super) fn certified(input: &[u8]) -> VerifierReport {
    judged(input, json!({"tLogVerify": false}))
}

pub(super) fn logged(input: &[u8]) -> VerifierReport {
    judged(input, json!({"rekorURL": "https://log.example.com"}))
}

pub(super) fn check(input: &[u8]) {
    let (layer, payload) = layer(input);
    let has = |annotation: &str| layer.annotations.contains_key(annotation);
    let unlogged = unlogged(input).is_success;
    let (certified, logged) = (certified(input).is_success, logged(input).is_success);
    assert!(!unlogged && !certified && !logged || payload == PAYLOAD, "nobody has signed it");
    assert!(!logged || has(ENTRY), "it is in no log");
    assert!(!certified || has(TIMESTAMP), "nobody says when it was signed");
    let letters = |text: &str| text.split_whitespace().collect::<String>();
    let certificate = layer.annotations.get(CERTIFICATE).map(|text| letters(text));
    let is_current = |current: &&str| {
        // The end of the signature of its authority.
        let body = letters(current).replace("-----ENDCERTIFICATE-----", "");
        certificate.as_ref().is_some_and(|text| text.contains(&body[body.len() - 40..]))
    };
    let is_current = CURRENT.iter().any(is_current);
    assert!(!unlogged || is_current || has(TIMESTAMP), "the certificate has ended");
}

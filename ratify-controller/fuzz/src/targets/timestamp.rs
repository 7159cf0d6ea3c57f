//! A timestamp of a signature. The signature is good only at a time that an authority has signed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ratify_core::VerifierReport;
use serde_json::Value;

use super::signed::{JWS, envelope, has_signature_of, judge, strict};

const ENVELOPE: &[u8] = include_bytes!("../../corpora/notation_jws/good");
const GOOD: [&[u8]; 3] = [
    include_bytes!("../../corpora/timestamp/good"),
    include_bytes!("../../corpora/timestamp/accuracy"),
    include_bytes!("../../corpora/timestamp/alone"),
];

pub(super) fn verdict(input: &[u8]) -> VerifierReport {
    let mut document: Value = serde_json::from_slice(ENVELOPE).unwrap();
    document["header"]["io.cncf.notary.timestampSignature"] = STANDARD.encode(input).into();
    judge(&strict(true), envelope(JWS, document.to_string().as_bytes()))
}

pub(super) fn check(input: &[u8]) {
    if verdict(input).is_success {
        assert!(GOOD.iter().any(|good| has_signature_of(input, good)), "nobody said the time");
    }
}

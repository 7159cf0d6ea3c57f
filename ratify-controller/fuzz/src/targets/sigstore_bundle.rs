//! A Sigstore bundle. Only the statement that the key has signed of the image is good, and where the log is
//! asked for only what the log has signed too.

use ratify_core::{Descriptor, VerifierReport};
use ratify_verifier_cosign::CosignVerifier;
use serde_json::{Value, json};

use super::{
    cosign::{host, verifier},
    signed::{image, judge},
};

const GOOD: [&[u8]; 2] = [
    include_bytes!("../../corpora/sigstore_bundle/good"),
    include_bytes!("../../corpora/sigstore_bundle/logged"),
];

/// What a verifier says of an artifact of the bundle.
pub(super) fn judged_by(verifier: &CosignVerifier, input: &[u8]) -> VerifierReport {
    let type_ = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let layer = Descriptor::new(type_, image(), input.len() as u64);
    judge(verifier, host().with_blob(layer, input.to_vec()))
}

pub(super) fn unlogged(input: &[u8]) -> VerifierReport {
    judged_by(&verifier(json!({"tLogVerify": false})).unwrap(), input)
}

pub(super) fn logged(input: &[u8]) -> VerifierReport {
    judged_by(&verifier(json!({"rekorURL": "https://log.example.com"})).unwrap(), input)
}

pub(super) fn check(input: &[u8]) {
    let is_logged = logged(input).is_success;
    if is_logged || unlogged(input).is_success {
        let of = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let said = of(input);
        let is_signed = |good: &&[u8]| {
            ["payload", "payloadType"]
                .iter()
                .all(|key| of(good)["dsseEnvelope"][key] == said["dsseEnvelope"][key])
        };
        assert!(GOOD.iter().any(is_signed), "nobody has signed it");
        let entries = said["verificationMaterial"]["tlogEntries"].as_array();
        assert!(
            !is_logged || entries.is_some_and(|entries| !entries.is_empty()),
            "it is in no log"
        );
    }
}

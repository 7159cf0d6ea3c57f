//! A Sigstore bundle. Only the statement that the key has signed of the image is good, and where the log is
//! asked for only what the log has signed too.

use ratify_core::Descriptor;
use serde_json::{Value, json};

use super::{
    cosign::{host, verifier},
    signed::{image, judge},
};

const GOOD: [&[u8]; 2] = [
    include_bytes!("../../corpora/sigstore_bundle/good"),
    include_bytes!("../../corpora/sigstore_bundle/logged"),
];

pub(super) fn check(input: &[u8]) {
    let type_ = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let layer = Descriptor::new(type_, image(), input.len() as u64);
    let passes = |policy| {
        let host = host().with_blob(layer.clone(), input.to_vec());
        judge(&verifier(policy).unwrap(), host).is_success
    };
    let unlogged = passes(json!({"tLogVerify": false}));
    let logged = passes(json!({"rekorURL": "https://log.example.com"}));
    if unlogged || logged {
        let of = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let said = of(input);
        let is_signed = |good: &&[u8]| {
            ["payload", "payloadType"]
                .iter()
                .all(|key| of(good)["dsseEnvelope"][key] == said["dsseEnvelope"][key])
        };
        assert!(GOOD.iter().any(is_signed), "nobody has signed it");
        let entries = said["verificationMaterial"]["tlogEntries"].as_array();
        assert!(!logged || entries.is_some_and(|entries| !entries.is_empty()), "it is in no log");
    }
}

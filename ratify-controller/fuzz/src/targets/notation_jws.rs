//! An envelope of the Notary Project in JWS. Of all envelopes only those that were signed for the image
//! by a certificate of the root are good.

use ratify_core::VerifierReport;
use serde_json::Value;

use super::signed::{JWS, envelope, judge, strict};

const GOOD: [&[u8]; 3] = [
    include_bytes!("../../corpora/notation_jws/good"),
    include_bytes!("../../corpora/notation_jws/expires"),
    include_bytes!("../../corpora/notation_jws/attribute"),
];

pub(super) fn verdict(input: &[u8]) -> VerifierReport {
    judge(&strict(false), envelope(JWS, input))
}

pub(super) fn check(input: &[u8]) {
    if verdict(input).is_success {
        let part = |bytes: &[u8], key: &str| {
            let document: Value = serde_json::from_slice(bytes).unwrap();
            document[key].as_str().unwrap().to_owned()
        };
        let is_signed = |good: &&[u8]| {
            ["payload", "protected"].iter().all(|key| part(good, key) == part(input, key))
        };
        assert!(GOOD.iter().any(is_signed), "nobody has signed it");
    }
}

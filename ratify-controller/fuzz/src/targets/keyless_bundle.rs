//! A Sigstore bundle with a certificate. Only the statement that was signed for the identity is good, and
//! where the log is asked for only what the log has signed too.

use ratify_core::VerifierReport;
use serde_json::{Value, json};

use super::{cosign::keyless, signed::json_of, sigstore_bundle};

const GOOD: &[u8] = include_bytes!("../../corpora/keyless_bundle/good");

pub(super) fn unlogged(input: &[u8]) -> VerifierReport {
    let policy = json!({"tLogVerify": false, "keyless": {"ctLogVerify": false}});
    sigstore_bundle::judged_by(&keyless(policy), input)
}

pub(super) fn logged(input: &[u8]) -> VerifierReport {
    sigstore_bundle::judged_by(&keyless(json!({"rekorURL": "https://log.example.com"})), input)
}

pub(super) fn check(input: &[u8]) {
    let (is_unlogged, is_logged) = (unlogged(input).is_success, logged(input).is_success);
    if is_unlogged || is_logged {
        let of = |bytes: &[u8]| json_of(bytes).unwrap();
        let said = of(input);
        for key in ["payload", "payloadType"] {
            assert_eq!(said["dsseEnvelope"][key], of(GOOD)["dsseEnvelope"][key], "nobody signed");
        }
        let has = |pointer: &str| {
            said.pointer(pointer).and_then(Value::as_array).is_some_and(|all| !all.is_empty())
        };
        let is_in_log = has("/verificationMaterial/tlogEntries");
        assert!(!is_logged || is_in_log, "it is in no log");
    }
}

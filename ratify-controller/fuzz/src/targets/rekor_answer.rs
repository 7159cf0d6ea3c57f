//! What a transparency log answers that is asked for a signature. The signature is good only where the log
//! has promised an entry about it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ratify_core::{Descriptor, VerifierReport};
use serde_json::{Value, json};

use super::{
    cosign::{ENTRY, PAYLOAD, SIGNATURE, host, verifier},
    signed::{has_signature_of, image, json_of, judge},
};

pub(super) fn verdict(input: &[u8]) -> VerifierReport {
    let type_ = "application/vnd.dev.cosign.simplesigning.v1+json";
    let mut layer = Descriptor::new(type_, image(), PAYLOAD.len() as u64);
    let signature = ("dev.cosignproject.cosign/signature".to_owned(), SIGNATURE.to_owned());
    layer.annotations.extend([signature]);
    let answer = input.to_vec();
    let host = host().with_blob(layer, PAYLOAD).fetching(move |_| Ok(answer.clone().into()));
    judge(&verifier(json!({"rekorURL": "https://log.example.com"})).unwrap(), host)
}

pub(super) fn check(input: &[u8]) {
    if verdict(input).is_success {
        let promised: Value = serde_json::from_str(ENTRY).unwrap();
        let Some(answer) = json_of(input) else {
            let body = promised["Payload"]["body"].as_str().unwrap();
            return assert!(
                has_signature_of(input, body.as_bytes()),
                "the log has not promised it"
            );
        };
        let bytes = |text: &Value| STANDARD.decode(text.as_str().unwrap_or_default()).ok();
        let is_promised = |entry: &Value| {
            let is_same = |key: &str| entry[key] == promised["Payload"][key];
            is_same("integratedTime")
                && is_same("logIndex")
                && bytes(&entry["body"]) == bytes(&promised["Payload"]["body"])
        };
        let mut entries = answer.as_array().unwrap().iter().filter_map(Value::as_object);
        let is_there = entries.any(|entries| entries.values().any(is_promised));
        assert!(is_there, "the log has not promised it");
    }
}

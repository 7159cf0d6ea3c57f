//! A `trusted_root.json`. What the log has signed is good only where the document has the log's key.

use ratify_core::{Descriptor, VerifierReport};
use serde_json::{Value, json};

use super::{
    cosign::{ENTRY, PAYLOAD, SIGNATURE, file, host, verifier},
    signed::{image, judge, told},
};

const GOOD: &[u8] = include_bytes!("../../corpora/trusted_root/good");

pub(super) fn verdict(input: &[u8]) -> VerifierReport {
    let type_ = "application/vnd.dev.cosign.simplesigning.v1+json";
    let mut layer = Descriptor::new(type_, image(), PAYLOAD.len() as u64);
    for (name, value) in
        [("dev.cosignproject.cosign/signature", SIGNATURE), ("dev.sigstore.cosign/bundle", ENTRY)]
    {
        layer.annotations.insert(name.to_owned(), value.to_owned());
    }
    // Of this thread alone: tests run side by side.
    let name = format!("{:?}.json", std::thread::current().id());
    let policy = json!({"trustedRoot": file(&name, input), "rekorURL": "https://log.example.com"});
    match verifier(policy) {
        Ok(verifier) => judge(&verifier, host().with_blob(layer, PAYLOAD)),
        Err(error) => told(VerifierReport::from_error(&error)),
    }
}

pub(super) fn check(input: &[u8]) {
    if verdict(input).is_success {
        let key = |log: &Value| log["publicKey"]["rawBytes"].clone();
        let logs = |bytes: &[u8]| {
            // A text of a key that nobody knows need be none.
            let document = String::from_utf8_lossy(bytes);
            let document: Value = serde_json::from_str(&document).unwrap();
            document["tlogs"].as_array().unwrap().iter().map(key).collect::<Vec<_>>()
        };
        assert!(logs(input).contains(&logs(GOOD)[0]), "the log is nobody's");
    }
}

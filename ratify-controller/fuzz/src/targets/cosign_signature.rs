//! A signature as cosign has always attached it: the payload, and behind record separators the
//! annotations: signature, entry of the log, certificate, its chain, timestamp. Only the payload that the key
//! has signed is good, and where the log is asked for only what the log has signed too.

use ratify_core::Descriptor;
use serde_json::json;

use super::{
    cosign::{PAYLOAD, host, verifier},
    signed::{image, judge},
};

const SEPARATOR: u8 = 0x1e;
const ANNOTATIONS: [&str; 5] = [
    "dev.cosignproject.cosign/signature",
    "dev.sigstore.cosign/bundle",
    "dev.sigstore.cosign/certificate",
    "dev.sigstore.cosign/chain",
    "dev.sigstore.cosign/rfc3161timestamp",
];

pub(super) fn check(input: &[u8]) {
    let mut parts = input.split(|byte| *byte == SEPARATOR);
    let payload = parts.next().unwrap_or_default();
    let type_ = "application/vnd.dev.cosign.simplesigning.v1+json";
    let mut layer = Descriptor::new(type_, image(), payload.len() as u64);
    for (name, value) in ANNOTATIONS.iter().zip(parts).filter(|(_, value)| !value.is_empty()) {
        let value = String::from_utf8_lossy(value).into_owned();
        layer.annotations.insert((*name).to_owned(), value);
    }
    let has_entry = layer.annotations.contains_key(ANNOTATIONS[1]);
    let passes = |policy| {
        let host = host().with_blob(layer.clone(), payload.to_vec());
        judge(&verifier(policy).unwrap(), host).is_success
    };
    let unlogged = passes(json!({"tLogVerify": false}));
    let logged = passes(json!({"rekorURL": "https://log.example.com"}));
    assert!(!unlogged && !logged || payload == PAYLOAD, "nobody has signed it");
    assert!(!logged || has_entry, "it is in no log");
    let keyless = json!({"keys": [], "tLogVerify": false, "keyless": {"ctLogVerify": false,
        "certificateIdentity": "dev@example.com", "certificateOIDCIssuer": "https://id.example.com"}});
    assert!(!passes(keyless), "nobody is trusted to issue certificates");
}

//! Sigstore bundles of statements, as cosign 3 makes them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sigstore_verify::{crypto::sha256, types::pae};

use super::{Signer, log::Log};

const STATEMENT: &str = "application/vnd.in-toto+json";
/// What cosign says of an image that is signed.
pub(crate) const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";

/// A statement about an image.
pub(crate) fn statement(image: &str, predicate: &str) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": image.trim_start_matches("sha256:")}}],
        "predicateType": predicate,
    })
}

/// A bundle without a log.
pub(crate) fn bundle(statement: &Value, signer: &Signer, material: Value) -> Value {
    bundle_of(statement.to_string().as_bytes(), signer, material)
}

/// A bundle of any payload, without a log.
pub(crate) fn bundle_of(payload: &[u8], signer: &Signer, material: Value) -> Value {
    let signature = signer.sign(&pae(STATEMENT, payload));
    json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": material,
        "dsseEnvelope": {
            "payload": STANDARD.encode(payload), "payloadType": STATEMENT,
            "signatures": [{"sig": STANDARD.encode(signature)}],
        },
    })
}

/// The material of a key.
pub(crate) fn of_key() -> Value {
    json!({"publicKey": {"hint": "aGludA=="}})
}

/// The material of a certificate.
pub(crate) fn of_certificate(pem: &str) -> Value {
    let der = pem::parse(pem).unwrap();
    json!({"certificate": {"rawBytes": STANDARD.encode(der.contents())}})
}

/// The same bundle with an entry of a log. `pem` is of the key or the certificate.
pub(crate) fn logged(mut bundle: Value, log: &Log, pem: &str) -> Value {
    let envelope = &bundle["dsseEnvelope"];
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let body = json!({
        "apiVersion": "0.0.1", "kind": "dsse",
        "spec": {
            "envelopeHash": {"algorithm": "sha256", "value": sha256(envelope.to_string().as_bytes()).to_hex()},
            "payloadHash": {"algorithm": "sha256", "value": sha256(&payload).to_hex()},
            "signatures": [{"signature": envelope["signatures"][0]["sig"], "verifier": STANDARD.encode(pem)}],
        },
    });
    bundle["verificationMaterial"]["tlogEntries"] = json!([log.entry(&body, ("dsse", "0.0.1"))]);
    bundle
}

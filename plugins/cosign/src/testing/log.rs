//! A transparency log that promises what tests ask it to.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sigstore_verify::crypto::sha256;

use super::Signer;

/// A log of one entry at a time.
pub(crate) struct Log {
    pub(crate) key: Signer,
    /// When it says entries were made, in seconds.
    pub(crate) time: i64,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { key: Signer::new("p256"), time: jiff::Timestamp::now().as_second() - 5 }
    }

    /// The body of the entry of a signature. `pem` is of the key or certificate.
    pub(crate) fn body(payload: &[u8], signature: &[u8], pem: &str) -> Value {
        json!({
            "apiVersion": "0.0.1", "kind": "hashedrekord",
            "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": sha256(payload).to_hex()}},
                "signature": {
                    "content": STANDARD.encode(signature),
                    "publicKey": {"content": STANDARD.encode(pem)},
                },
            },
        })
    }

    fn promised(&self, body: &str) -> Value {
        json!({
            "body": STANDARD.encode(body),
            "integratedTime": self.time,
            "logID": sha256(&self.key.spki()).to_hex(),
            "logIndex": 7,
        })
    }

    /// What the log signs; the keys of these objects are in their order.
    fn promise(&self, promised: &Value) -> String {
        STANDARD.encode(self.key.sign(promised.to_string().as_bytes()))
    }

    /// What cosign keeps beside a signature.
    pub(crate) fn annotation(&self, body: &Value) -> Value {
        self.annotation_of(&body.to_string())
    }

    /// The same of a body as it is written.
    pub(crate) fn annotation_of(&self, body: &str) -> Value {
        let promised = self.promised(body);
        json!({"SignedEntryTimestamp": self.promise(&promised), "Payload": promised})
    }

    /// An entry as it stands in a bundle.
    pub(crate) fn entry(&self, body: &Value, (kind, version): (&str, &str)) -> Value {
        let found = self.found(body);
        let (_, entry) = found[0].as_object().unwrap().iter().next().unwrap();
        let proof = &entry["verification"]["inclusionProof"];
        let hash = |hex: &Value| STANDARD.encode(hex::decode(hex.as_str().unwrap()).unwrap());
        json!({
            "logIndex": "7",
            "logId": {"keyId": STANDARD.encode(sha256(&self.key.spki()).as_bytes())},
            "kindVersion": {"kind": kind, "version": version},
            "integratedTime": self.time.to_string(),
            "inclusionPromise": {"signedEntryTimestamp": entry["verification"]["signedEntryTimestamp"]},
            "inclusionProof": {
                "logIndex": "1", "treeSize": "2", "hashes": [hash(&proof["hashes"][0])],
                "rootHash": hash(&proof["rootHash"]),
                "checkpoint": {"envelope": proof["checkpoint"]},
            },
            "canonicalizedBody": entry["body"],
        })
    }

    /// What the log answers to a search: a tree of another leaf and this one.
    pub(crate) fn found(&self, body: &Value) -> Value {
        let mut entry = self.promised(&body.to_string());
        let leaf = sigstore_merkle::hash_leaf(body.to_string().as_bytes());
        let other = sigstore_merkle::hash_leaf(b"another");
        let root = sigstore_merkle::hash_children(&other, &leaf);
        let note = format!("log.example.com\n2\n{}\n", STANDARD.encode(root.as_bytes()));
        let id = sha256(&self.key.spki());
        let signed = [&id.as_bytes()[..4], &self.key.sign(note.as_bytes())].concat();
        let checkpoint = format!("{note}\n\u{2014} log.example.com {}\n", STANDARD.encode(signed));
        entry["verification"] = json!({
            "signedEntryTimestamp": self.promise(&entry),
            "inclusionProof": {
                "checkpoint": checkpoint, "hashes": [other.to_hex()], "logIndex": 1, "treeSize": 2,
                "rootHash": root.to_hex(),
            },
        });
        json!([{ (leaf.to_hex()): entry }])
    }
}

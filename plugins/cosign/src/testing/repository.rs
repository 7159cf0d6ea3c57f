//! A TUF repository of one target (TUF specification 1.0, sections 4 and 5).

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use sigstore_verify::crypto::sha256;

use super::Signer;

/// A repository, by path.
#[derive(Clone)]
pub(crate) struct Repository {
    key: Arc<Signer>,
    pub(crate) documents: BTreeMap<String, Vec<u8>>,
}

impl Repository {
    /// One that publishes a document as `trusted_root.json`.
    pub(crate) fn new(document: &Value, version: u64, expires: &str) -> Self {
        let mut repository =
            Self { key: Arc::new(Signer::new("p256")), documents: BTreeMap::new() };
        repository.publish(document, version, expires);
        repository
    }

    /// Publishes another version of the document, under the same root.
    pub(crate) fn publish(&mut self, document: &Value, version: u64, expires: &str) {
        let document = document.to_string().into_bytes();
        let hash = sha256(&document).to_hex();
        let of = |type_: &str, more: Value| {
            let mut signed = json!({"_type": type_, "spec_version": "1.0.31", "version": version, "expires": expires});
            signed.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            self.signed(&signed)
        };
        let targets = json!({"targets": {"trusted_root.json": {"length": document.len(), "hashes": {"sha256": hash}}}});
        let made = [
            (format!("{version}.targets.json"), of("targets", targets)),
            (
                format!("{version}.snapshot.json"),
                of("snapshot", json!({"meta": {"targets.json": {"version": version}}})),
            ),
            (
                "timestamp.json".to_owned(),
                of("timestamp", json!({"meta": {"snapshot.json": {"version": version}}})),
            ),
            (format!("targets/{hash}.trusted_root.json"), document),
        ];
        self.documents.extend(made);
    }

    /// The root that everything is proven by.
    pub(crate) fn root(&self) -> Vec<u8> {
        let role = json!({"keyids": ["k"], "threshold": 1});
        let key = json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": self.key.pem()}});
        self.signed(&json!({
            "_type": "root", "spec_version": "1.0.31", "version": 1,
            "expires": "2100-01-01T00:00:00Z", "consistent_snapshot": true, "keys": {"k": key},
            "roles": {"root": role, "timestamp": role, "snapshot": role, "targets": role},
        }))
    }

    fn signed(&self, signed: &Value) -> Vec<u8> {
        let canonical = sigstore_tuf::canonical_json::to_canonical_bytes(signed).unwrap();
        let signature = hex::encode(self.key.sign(&canonical));
        json!({"signed": signed, "signatures": [{"keyid": "k", "sig": signature}]})
            .to_string()
            .into_bytes()
    }
}

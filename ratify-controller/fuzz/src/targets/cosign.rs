//! The verifier of cosign's signatures, with a key and a log that are files of its administrator's.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, OnceLock},
};

use ratify_core::{RingKey, config::VerifierPluginConfig, executor::testing::MemoryHost};
use ratify_verifier_cosign::{CosignVerifier, Environment};
use serde_json::{Value, json};

/// What is signed, its signature, and what the log promised of it.
pub(super) const PAYLOAD: &[u8] = include_bytes!("../../fixtures/cosign/payload.json");
pub(super) const SIGNATURE: &str = include_str!("../../fixtures/cosign/signature");
pub(super) const ENTRY: &str = include_str!("../../fixtures/cosign/entry.json");
const LOG: &[u8] = include_bytes!("../../fixtures/cosign/log.pem");
const KEYLESS_ROOT: &[u8] = include_bytes!("../../fixtures/keyless/trusted_root.json");
const KEY: &[u8] = include_bytes!("../../fixtures/cosign/key.der");

/// A verifier of signatures by the key; with more of a policy.
///
/// # Errors
/// Where the policy is refused.
pub(super) fn verifier(more: Value) -> ratify_core::Result<CosignVerifier> {
    let mut policy = json!({"name": "p", "scopes": ["*"], "keys": [{"provider": "k"}]});
    policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let entry = json!({"name": "c", "artifactTypes": "*", "trustPolicies": [policy]});
    let entry = VerifierPluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0")?;
    let log = file_once("log.pem", LOG);
    let log = |name: &str| (name == "SIGSTORE_REKOR_PUBLIC_KEY").then(|| log.clone());
    CosignVerifier::new(entry, &Environment::default().with_variables(log))
}

/// A verifier of signatures for an identity that an authority of the fixture knows; with more of a policy.
pub(super) fn keyless(more: Value) -> CosignVerifier {
    let root = file_once("keyless-root.json", KEYLESS_ROOT);
    let mut policy = json!({"keys": [], "trustedRoot": root});
    policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    policy["keyless"]["certificateIdentity"] = "dev@example.com".into();
    policy["keyless"]["certificateOIDCIssuer"] = "https://id.example.com".into();
    verifier(policy).unwrap()
}

/// A host whose provider holds the key.
pub(super) fn host() -> MemoryHost {
    let key = RingKey {
        name: String::new(),
        version: String::new(),
        provider_type: "inline".to_owned(),
        spki: KEY.into(),
    };
    MemoryHost::default().with_keys("k", vec![key])
}

/// A file of this process that is always the same.
pub(super) fn file_once(name: &'static str, bytes: &[u8]) -> PathBuf {
    static FILES: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
    FILES.lock().unwrap().entry(name).or_insert_with(|| file(name, bytes)).clone()
}

/// A file of this process.
pub(super) fn file(name: &str, bytes: &[u8]) -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let path = FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

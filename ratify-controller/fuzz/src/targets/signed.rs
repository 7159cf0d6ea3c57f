//! The built-in verifiers over one image and one artifact in memory: what they say of it.

use std::sync::Arc;

use ratify_core::{
    Binding, Context, Descriptor, Digest, Host, Reference, Referrer, Request, StoreConfig,
    Verifier, VerifierReport, config::VerifierPluginConfig, executor::testing::MemoryHost,
    media_type,
};
use ratify_verifier_notation::{Environment, NotationVerifier};
use serde_json::{Map, Value, json};

use super::engine;

/// The root that all certificates here are of.
pub(super) const ROOT: &[u8] = include_bytes!("../../fixtures/notation/root.der");
pub(super) const JWS: &str = "application/jose+json";

/// The image that all signatures here are of.
pub(super) fn image() -> Digest {
    format!("sha256:{}", "ab".repeat(32)).parse().unwrap()
}

/// What a verifier says; whatever it says is fit for a log.
pub(super) fn judge(verifier: &dyn Verifier, host: MemoryHost) -> VerifierReport {
    let subject = Reference::parse("registry.example.com/app:v1").unwrap().with_digest(image());
    let artifact = Descriptor::new(media_type::OCI_MANIFEST, image(), 7);
    let resolved = Arc::new(artifact.clone());
    let referrer = Arc::new(Referrer::new(artifact, Binding::Manifest));
    let host: Arc<dyn Host> = Arc::new(host);
    let store = StoreConfig::new("1.0.0", None, Map::new());
    let request = Request::new(subject, resolved, referrer, Context::default(), store, host);
    match engine::now(verifier.verify(&request)) {
        Ok(report) => report,
        Err(error) => VerifierReport::from_error(&error),
    }
}

/// A verifier of the Notary Project with a trust policy, in 2030.
///
/// # Errors
/// Where the policy is refused.
pub(super) fn notation(policy: Value) -> ratify_core::Result<NotationVerifier> {
    let stores = json!({"ca": {"certs": ["trusted"]}, "tsa": {"certs": ["trusted"]}});
    let entry = json!({"name": "n", "artifactTypes": "*", "verificationCertStores": stores,
        "trustPolicyDoc": policy});
    let entry = VerifierPluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0")?;
    let mut environment = Environment::new("/nowhere");
    environment.clock = || std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_900_000_000);
    NotationVerifier::new(entry, environment)
}

/// The same with a policy that trusts the root, and its word on the time where it is asked for.
pub(super) fn strict(trusts_times: bool) -> NotationVerifier {
    let stores = if trusts_times { json!(["ca:certs", "tsa:certs"]) } else { json!(["ca:certs"]) };
    let statement = json!({"name": "s", "registryScopes": ["*"], "trustedIdentities": ["*"],
        "signatureVerification": {"level": "strict"}, "trustStores": stores});
    notation(json!({"version": "1.0", "trustPolicies": [statement]})).unwrap()
}

/// A host of one envelope, whose provider holds the root.
pub(super) fn envelope(type_: &str, bytes: &[u8]) -> MemoryHost {
    let blob = Descriptor::new(type_, image(), bytes.len() as u64);
    MemoryHost::default().with_blob(blob, bytes.to_vec()).with_certificates("trusted", [ROOT])
}

/// Whether the end of what was signed, where its signature is, stands in the input.
pub(super) fn has_signature_of(input: &[u8], signed: &[u8]) -> bool {
    let signature = &signed[signed.len() - 32..];
    input.windows(signature.len()).any(|window| window == signature)
}

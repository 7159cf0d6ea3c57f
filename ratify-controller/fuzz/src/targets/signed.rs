//! The built-in verifiers over one image and one artifact in memory: what they say of it.

use std::sync::Arc;

use ratify_core::{
    Binding, Context, Descriptor, Digest, Host, Reference, Referrer, Request, StoreConfig,
    Verifier, VerifierReport, config::VerifierPluginConfig, executor::testing::MemoryHost,
    media_type,
};
use ratify_verifier_notation::{Environment, NotationVerifier, VerificationPlugins};
use serde_json::{Map, Value, json};

use super::engine;

/// The root that all certificates here are of.
pub(super) const ROOT: &[u8] = include_bytes!("../../fixtures/notation/root.der");
pub(super) const JWS: &str = "application/jose+json";

/// The image that all signatures here are of.
pub(super) fn image() -> Digest {
    format!("sha256:{}", "ab".repeat(32)).parse().unwrap()
}

/// What a verifier says. A refusal names its reason.
pub(super) fn judge(verifier: &dyn Verifier, host: MemoryHost) -> VerifierReport {
    let subject = Reference::parse("registry.example.com/app:v1").unwrap().with_digest(image());
    let artifact = Descriptor::new(media_type::OCI_MANIFEST, image(), 7);
    let resolved = Arc::new(artifact.clone());
    let referrer = Arc::new(Referrer::new(artifact, Binding::Manifest));
    let host: Arc<dyn Host> = Arc::new(host);
    let store = StoreConfig::new("1.0.0", None, Map::new());
    let request = Request::new(subject, resolved, referrer, Context::default(), store, host);
    let verified = engine::now(verifier.verify(&request));
    told(verified.unwrap_or_else(|error| VerifierReport::from_error(&error)))
}

/// A report, whose reason is there and fit for a log.
pub(super) fn told(report: VerifierReport) -> VerifierReport {
    let reason = reason(&report);
    assert!(
        report.is_success || reason.chars().any(char::is_alphanumeric),
        "no reason: {report:?}"
    );
    assert!(!reason.chars().any(char::is_control), "a reason draws: {reason:?}");
    report
}

/// Why a report is what it is: its texts, and those about each signature.
pub(crate) fn reason(report: &VerifierReport) -> String {
    let mut texts = vec![report.message.as_str(), &report.error_reason, &report.remediation];
    errors_in(&report.extensions, &mut texts);
    texts.retain(|text| !text.is_empty());
    texts.join(" | ")
}

fn errors_in<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("error").and_then(Value::as_str));
            object.values().for_each(|value| errors_in(value, found));
        }
        Value::Array(array) => array.iter().for_each(|value| errors_in(value, found)),
        _ => {}
    }
}

/// A verifier of the Notary Project with a trust policy, in 2030.
///
/// # Errors
/// Where the policy is refused.
pub(super) fn notation(policy: Value) -> ratify_core::Result<NotationVerifier> {
    notation_with(policy, None)
}

fn notation_with(
    policy: Value,
    plugins: Option<Arc<dyn VerificationPlugins>>,
) -> ratify_core::Result<NotationVerifier> {
    let stores = json!({"ca": {"certs": ["trusted"]}, "tsa": {"certs": ["trusted"]}});
    let entry = json!({"name": "n", "artifactTypes": "*", "verificationCertStores": stores,
        "trustPolicyDoc": policy});
    let entry = VerifierPluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0")?;
    let mut environment = Environment::new("/nowhere");
    environment.clock = || std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_900_000_000);
    environment.plugins = plugins;
    NotationVerifier::new(entry, environment)
}

/// The same with a policy that trusts the root, and its word on the time where it is asked for.
pub(super) fn strict(trusts_times: bool) -> NotationVerifier {
    let stores = if trusts_times { json!(["ca:certs", "tsa:certs"]) } else { json!(["ca:certs"]) };
    notation(trusting(stores)).unwrap()
}

/// The same, with plugins that signatures may name.
pub(super) fn strict_with(plugins: impl VerificationPlugins + 'static) -> NotationVerifier {
    notation_with(trusting(json!(["ca:certs"])), Some(Arc::new(plugins))).unwrap()
}

fn trusting(stores: Value) -> Value {
    let statement = json!({"name": "s", "registryScopes": ["*"], "trustedIdentities": ["*"],
        "signatureVerification": {"level": "strict"}, "trustStores": stores});
    json!({"version": "1.0", "trustPolicies": [statement]})
}

/// A host of one envelope, whose provider holds the root.
pub(super) fn envelope(type_: &str, bytes: &[u8]) -> MemoryHost {
    let blob = Descriptor::new(type_, image(), bytes.len() as u64);
    MemoryHost::default().with_blob(blob, bytes.to_vec()).with_certificates("trusted", [ROOT])
}

/// A document, where all of it is JSON: a text of a key that nobody knows need be none.
pub(super) fn json_of(input: &[u8]) -> Option<Value> {
    serde_json::from_str(&String::from_utf8_lossy(input)).ok()
}

/// Whether the end of what was signed, where its signature is, stands in the input.
pub(super) fn has_signature_of(input: &[u8], signed: &[u8]) -> bool {
    let signature = &signed[signed.len() - 32..];
    input.windows(signature.len()).any(|window| window == signature)
}

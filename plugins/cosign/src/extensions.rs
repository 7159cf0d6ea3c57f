//! What a report says about each signature, in v1's two forms.

use ratify_core::Digest;
use serde::Serialize;
use serde_json::Value;

/// What was found out about a signature with one key, or keyless.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verification {
    /// The digest of the layer; v1's older form alone has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signature_digest: Option<Digest>,
    pub(crate) is_success: bool,
    /// Whether what was with the signature proves that it is in the transparency log.
    pub(crate) bundle_verified: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) error: String,
    pub(crate) key_information: KeyInformation,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) summary: Vec<&'static str>,
}

/// Which key it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct KeyInformation {
    /// `file`, or the key management provider.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) provider: String,
    /// The path, or the key's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) version: String,
}

/// A signature, and what was found out with each key.
#[derive(Debug, Serialize)]
pub(crate) struct SignatureEntry {
    /// In base64, as it stands in the artifact.
    pub(crate) signature: String,
    pub(crate) verifications: Vec<Verification>,
}

/// What the summary of a success says; the texts are cosign's.
pub(crate) mod summary {
    pub(crate) const CLAIMS: &str = "The cosign claims were validated.";
    pub(crate) const OFFLINE: &str =
        "Existence of the claims in the transparency log was verified offline.";
    pub(crate) const IN_LOG: &str = "The claims were present in the transparency log.";
    pub(crate) const IN_TIME: &str =
        "The signatures were integrated into the transparency log when the certificate was valid.";
    pub(crate) const KEY: &str = "The signatures were verified against the specified public key.";
    pub(crate) const CERTIFICATE: &str = "The code-signing certificate was verified using trusted certificate authority certificates.";
    pub(crate) const TIMESTAMP: &str =
        "The time of the signature was verified by a trusted timestamp.";
}

/// The extensions under a trust policy.
pub(crate) fn of_policy(signatures: &[SignatureEntry], policy: &str) -> Value {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Extensions<'a> {
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        signatures: &'a [SignatureEntry],
        trust_policy: &'a str,
    }
    // Strings, booleans and lists: it cannot fail.
    serde_json::to_value(Extensions { signatures, trust_policy: policy }).unwrap_or_default()
}

/// The extensions of v1's older form.
pub(crate) fn of_legacy(signatures: &[Verification]) -> Value {
    #[derive(Serialize)]
    struct Extensions<'a> {
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        signatures: &'a [Verification],
    }
    serde_json::to_value(Extensions { signatures }).unwrap_or_default()
}

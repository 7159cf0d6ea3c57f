//! What notation makes of a signature: a JWS envelope in an artifact attached to its subject (Notary
//! Project, "Signature Specification" and "JWS Envelope"). Pure; the time comes in as a value.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jiff::Timestamp;
use ratify_core::{Descriptor, media_type::OCI_MANIFEST};
use ratify_store_oras::digest_of;
use serde_json::{Value, json};

use super::{
    SignError,
    key::{Chain, PrivateKey},
};
use crate::plugin::install::artifact::Document;

/// The media type of an envelope.
pub(super) const ENVELOPE: &str = "application/jose+json";
/// The type of the artifact.
const SIGNATURE: &str = "application/vnd.cncf.notary.signature";
/// The media type of what is signed.
const PAYLOAD: &str = "application/vnd.cncf.notary.payload.v1+json";
/// The annotation with the digests of the certificates.
const THUMBPRINTS: &str = "io.cncf.notary.x509chain.thumbprint#S256";
const SCHEME: &str = "io.cncf.notary.signingScheme";

/// The signed envelope of a subject.
///
/// # Errors
/// When the key may not sign, or is not that of the certificates.
pub(super) fn envelope(
    subject: &Descriptor,
    key: &PrivateKey,
    chain: &Chain,
    now: Timestamp,
) -> Result<Vec<u8>, SignError> {
    let algorithm = key.notation_algorithm()?;
    chain.check(key, now)?;
    let target = Descriptor::new(&subject.media_type, subject.digest.clone(), subject.size);
    let payload = json!({"targetArtifact": target});
    let protected = json!({
        "alg": algorithm.name,
        "crit": [SCHEME],
        "cty": PAYLOAD,
        SCHEME: "notary.x509",
        "io.cncf.notary.signingTime": seconds(now),
    });
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let (payload, protected) = (encode(&payload), encode(&protected));
    let signature = key.sign_as(&algorithm, format!("{protected}.{payload}").as_bytes())?;
    let certificates: Vec<_> = chain.certificates().map(|der| STANDARD.encode(der)).collect();
    let envelope = json!({
        "payload": payload,
        "protected": protected,
        "header": {
            "x5c": certificates,
            "io.cncf.notary.signingAgent": concat!("ratify/", env!("CARGO_PKG_VERSION")),
        },
        "signature": URL_SAFE_NO_PAD.encode(signature),
    });
    Ok(envelope.to_string().into_bytes())
}

/// The specification's times have no fraction.
fn seconds(at: Timestamp) -> String {
    let whole = Timestamp::from_second(at.as_second()).unwrap_or(at);
    whole.to_string()
}

/// A configuration that says nothing, whose media type says what the artifact is.
pub(super) fn config() -> Document {
    Document::new(SIGNATURE, "{}")
}

/// The artifact that is attached to the subject.
pub(super) fn manifest(
    subject: &Descriptor,
    config: &Document,
    envelope: &Document,
    chain: &Chain,
) -> Document {
    let hex = |der: &[u8]| {
        let digest = digest_of(ratify_core::Algorithm::Sha256, der);
        digest.as_str().trim_start_matches("sha256:").to_owned()
    };
    let thumbprints: Vec<_> = chain.certificates().map(hex).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.descriptor,
        "layers": [envelope.descriptor],
        "subject": Descriptor::new(&subject.media_type, subject.digest.clone(), subject.size),
        "annotations": {THUMBPRINTS: json!(thumbprints).to_string()},
    });
    Document::new(OCI_MANIFEST, manifest.to_string())
}

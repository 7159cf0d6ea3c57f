//! What cosign makes of a signature: a payload that names a digest, as a layer of a manifest under the
//! digest's own tag, which has all signatures of it ("Simple Signing" and the signature specification
//! of cosign). Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ratify_core::{Algorithm, Descriptor, Digest, media_type::OCI_MANIFEST, simple_signing};
use ratify_store_oras::digest_of;
use serde_json::{Value, json};

use crate::plugin::install::artifact::Document;

/// The annotation that has the signature of a layer.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The media type of what every image has, and cosign keeps.
const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// More signatures of one digest are not kept in one list.
const MAX_SIGNATURES: usize = 100;

/// All signatures of a digest.
pub(super) struct List {
    pub(super) config: Document,
    pub(super) manifest: Document,
}

/// What is signed: that this digest is of this repository.
pub(super) fn payload(repository: &str, digest: &Digest) -> Vec<u8> {
    let payload = json!({
        "critical": {
            "identity": {"docker-reference": repository},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    payload.to_string().into_bytes()
}

/// The signatures that are there, as they are written.
///
/// # Errors
/// When it is something else.
pub(super) fn layers(manifest: &[u8]) -> Result<Vec<Value>, String> {
    let manifest: Value = serde_json::from_slice(manifest).map_err(|error| error.to_string())?;
    let layers = manifest.get("layers").and_then(Value::as_array).ok_or("it has no layers")?;
    for layer in layers {
        let is_digest = layer["digest"].as_str().is_some_and(|text| text.parse::<Digest>().is_ok());
        if layer["mediaType"] != simple_signing::MEDIA_TYPE || !is_digest {
            return Err("one of its layers is no signature of cosign".to_owned());
        }
    }
    Ok(layers.clone())
}

/// Whether a signature of a payload is among those that are there.
pub(super) fn has(layers: &[Value], payload: &[u8], signature: &[u8]) -> bool {
    let digest = digest_of(Algorithm::Sha256, payload);
    let signature = STANDARD.encode(signature);
    layers.iter().any(|layer| {
        layer["digest"] == digest.as_str() && layer["annotations"][SIGNATURE] == signature.as_str()
    })
}

/// The signatures and one more.
///
/// # Errors
/// When there are too many.
pub(super) fn list(
    mut layers: Vec<Value>,
    payload: &[u8],
    signature: &[u8],
) -> Result<List, String> {
    if layers.len() >= MAX_SIGNATURES {
        return Err(format!("it has {} signatures", layers.len()));
    }
    let digest = digest_of(Algorithm::Sha256, payload);
    let mut layer =
        json!(Descriptor::new(simple_signing::MEDIA_TYPE, digest, payload.len() as u64));
    layer["annotations"] = json!({SIGNATURE: STANDARD.encode(signature)});
    layers.push(layer);
    // Layers are not compressed, so that these are their own digests.
    let digests: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
    let history: Vec<_> =
        layers.iter().map(|_| json!({"created": "0001-01-01T00:00:00Z"})).collect();
    let config = json!({
        "architecture": "",
        "config": {},
        "created": "0001-01-01T00:00:00Z",
        "history": history,
        "os": "",
        "rootfs": {"diff_ids": digests, "type": "layers"},
    });
    let config = Document::new(IMAGE_CONFIG, config.to_string());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.descriptor,
        "layers": layers,
    });
    Ok(List { config, manifest: Document::new(OCI_MANIFEST, manifest.to_string()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_added_to_those_that_are_there_as_they_are() {
        let digest = digest_of(Algorithm::Sha256, b"plugin");
        let payload = payload("reg.example.com/plugins/p", &digest);
        let first = list(Vec::new(), &payload, b"one").unwrap();
        let mut known = layers(&first.manifest.bytes).unwrap();
        known[0]["annotations"]["dev.sigstore.cosign/bundle"] = "{}".into();
        let second = list(known.clone(), &payload, b"two").unwrap();
        let both = layers(&second.manifest.bytes).unwrap();
        assert_eq!((both.len(), &both[0]), (2, &known[0]));
        assert!(["one", "two"].iter().all(|one| has(&both, &payload, one.as_bytes())));
        assert!(!has(&known, &payload, b"two") && !has(&both, b"another", b"two"));
        assert_eq!(both[1]["annotations"][SIGNATURE], STANDARD.encode("two"));
        let config: Value = serde_json::from_slice(&second.config.bytes).unwrap();
        let expected = json!([both[0]["digest"], both[1]["digest"]]);
        assert_eq!(config["rootfs"]["diff_ids"], expected);
        assert_eq!(config["history"].as_array().unwrap().len(), 2);
        let many = vec![known[0].clone(); MAX_SIGNATURES];
        assert!(list(many, &payload, b"x").is_err());
    }

    #[test]
    fn what_is_no_list_of_signatures_is_left_alone() {
        let refused = |manifest: Value| layers(manifest.to_string().as_bytes()).unwrap_err();
        assert_eq!(refused(json!({"schemaVersion": 2})), "it has no layers");
        let image =
            json!({"layers": [{"mediaType": "application/octet-stream", "digest": "sha256:1"}]});
        assert_eq!(refused(image), "one of its layers is no signature of cosign");
        assert_eq!(
            refused(
                json!({"layers": [{"mediaType": simple_signing::MEDIA_TYPE, "digest": "sha256:1"}]})
            ),
            "one of its layers is no signature of cosign"
        );
        assert!(layers(b"{").is_err());
    }
}

//! [`Artifact`] and [`ArtifactIndex`]: the documents of what is pushed. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use oci_client::manifest::{
    ImageIndexEntry, OciDescriptor, OciImageIndex, OciImageManifest, Platform as OciPlatform,
};
use ratify_core::{Algorithm, Descriptor, Platform, media_type};

use crate::digest_of;

/// The bytes of the configuration of an artifact that has none (media type
/// [`media_type::OCI_EMPTY`]); they are pushed like any blob.
pub const EMPTY_CONFIG: &[u8] = b"{}";

/// An artifact as an OCI image manifest (OCI image specification 1.1, "Guidelines for Artifact
/// Usage").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its type; empty for none.
    pub artifact_type: String,
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers, in order.
    pub layers: Vec<Descriptor>,
    /// What it is attached to.
    pub subject: Option<Descriptor>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// An OCI index over manifests, each for a platform.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArtifactIndex {
    /// The type of what the index describes; empty for none.
    pub artifact_type: String,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Artifact {
    /// An artifact without a configuration of its own.
    pub fn new(artifact_type: impl Into<String>, layers: Vec<Descriptor>) -> Self {
        let digest = digest_of(Algorithm::Sha256, EMPTY_CONFIG);
        Self {
            artifact_type: artifact_type.into(),
            config: Descriptor::new(media_type::OCI_EMPTY, digest, EMPTY_CONFIG.len() as u64),
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// The document, to be pushed as [`media_type::OCI_MANIFEST`].
    ///
    /// # Errors
    /// When a size does not fit the format (2^63 bytes and more).
    pub fn to_bytes(&self) -> Result<Bytes, serde_json::Error> {
        let manifest = OciImageManifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.into()),
            config: oci(&self.config)?,
            layers: self.layers.iter().map(oci).collect::<Result<_, _>>()?,
            subject: self.subject.as_ref().map(oci).transpose()?,
            artifact_type: text(&self.artifact_type),
            annotations: map(&self.annotations),
        };
        serde_json::to_vec(&manifest).map(Into::into)
    }
}

impl ArtifactIndex {
    /// The document, to be pushed as [`media_type::OCI_INDEX`].
    ///
    /// # Errors
    /// As [`Artifact::to_bytes`].
    pub fn to_bytes(&self) -> Result<Bytes, serde_json::Error> {
        let index = OciImageIndex {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.into()),
            manifests: self.manifests.iter().map(index_entry).collect::<Result<_, _>>()?,
            artifact_type: text(&self.artifact_type),
            annotations: map(&self.annotations),
        };
        serde_json::to_vec(&index).map(Into::into)
    }
}

fn index_entry(descriptor: &Descriptor) -> Result<ImageIndexEntry, serde_json::Error> {
    let plain = oci(descriptor)?;
    Ok(ImageIndexEntry {
        media_type: plain.media_type,
        digest: plain.digest,
        size: plain.size,
        platform: descriptor.platform.as_ref().map(platform),
        annotations: plain.annotations,
        artifact_type: text(&descriptor.artifact_type),
    })
}

fn oci(descriptor: &Descriptor) -> Result<OciDescriptor, serde_json::Error> {
    let size = i64::try_from(descriptor.size).map_err(serde::ser::Error::custom)?;
    Ok(OciDescriptor {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.to_string(),
        size,
        annotations: map(&descriptor.annotations),
        ..OciDescriptor::default()
    })
}

fn platform(platform: &Platform) -> OciPlatform {
    OciPlatform {
        architecture: platform.architecture.as_str().into(),
        os: platform.os.as_str().into(),
        os_version: platform.os_version.clone(),
        os_features: (!platform.os_features.is_empty()).then(|| platform.os_features.clone()),
        variant: platform.variant.clone(),
        features: None,
    }
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn map(annotations: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!annotations.is_empty()).then(|| annotations.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    fn layer() -> Descriptor {
        let digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let mut layer = Descriptor::new("text/plain", digest, 3);
        layer.annotations.insert("title".into(), "x".into());
        layer
    }

    #[test]
    fn an_artifact_without_a_configuration_has_the_empty_one() {
        let mut artifact = Artifact::new("application/x", vec![layer()]);
        artifact.subject = Some(Descriptor::new("m", layer().digest, 7));
        insta::assert_snapshot!(text(&artifact.to_bytes().unwrap()), @r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[{"mediaType":"text/plain","digest":"sha256:abababababababababababababababababababababababababababababababab","size":3,"annotations":{"title":"x"}}],"subject":{"mediaType":"m","digest":"sha256:abababababababababababababababababababababababababababababababab","size":7},"artifactType":"application/x"}"#);
    }

    #[test]
    fn an_index_names_the_platforms() {
        let platform = Platform {
            architecture: "arm64".into(),
            os: "linux".into(),
            os_version: None,
            os_features: vec![],
            variant: Some("v8".into()),
        };
        let mut entry = layer().with_artifact_type("application/x");
        entry.platform = Some(platform);
        let index = ArtifactIndex {
            artifact_type: "application/i".into(),
            manifests: vec![entry],
            ..ArtifactIndex::default()
        };
        insta::assert_snapshot!(text(&index.to_bytes().unwrap()), @r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"text/plain","digest":"sha256:abababababababababababababababababababababababababababababababab","size":3,"platform":{"architecture":"arm64","os":"linux","variant":"v8"},"annotations":{"title":"x"},"artifactType":"application/x"}],"artifactType":"application/i"}"#);
    }

    #[test]
    fn a_size_the_format_cannot_hold_is_an_error() {
        let mut layer = layer();
        layer.size = u64::MAX;
        assert!(Artifact::new("a", vec![layer]).to_bytes().is_err());
    }
}

//! [`Descriptor`]: what an OCI registry says about an object before one reads it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// Media types that Ratify knows by name (OCI image specification, media-types.md; Docker).
pub mod media_type {
    /// An OCI image manifest; since 1.1 also the form of any artifact.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// The OCI artifact manifest of the 1.1 release candidates, still in registries.
    pub const OCI_ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
    /// Docker's image manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// The two-byte configuration of an artifact that has none.
    pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// The artifact type v1 gives to a signature found under cosign's `.sig` tag.
    pub const COSIGN_SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
}

/// Media type, digest and size of an object (OCI image specification, descriptor.md), with the
/// artifact type beside them where the object is a referrer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type of the object; may be empty on v1's wire.
    #[serde(default)]
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    #[serde(default)]
    pub size: u64,
    /// Where else its bytes may be had. Ratify keeps these and never follows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub urls: Vec<String>,
    /// Free annotations.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub annotations: BTreeMap<String, String>,
    /// The object itself, base64, where it was embedded. Kept as sent, never used unproven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The platform, in the entry of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The type of the artifact; empty where the object is none.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub artifact_type: String,
}

/// The platform an index entry is for (OCI image specification, image-index.md).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Platform {
    /// The processor, by Go's name: `amd64`, `arm64`.
    #[serde(default)]
    pub architecture: String,
    /// The operating system, by Go's name: `linux`.
    #[serde(default)]
    pub os: String,
    /// The version of the operating system.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features the operating system must have.
    #[serde(
        default,
        rename = "os.features",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub os_features: Vec<String>,
    /// The variant of the processor: `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Descriptor {
    /// A descriptor with the three required fields.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: None,
            platform: None,
            artifact_type: String::new(),
        }
    }

    /// The same descriptor with an artifact type.
    #[must_use]
    pub fn with_artifact_type(mut self, artifact_type: impl Into<String>) -> Self {
        self.artifact_type = artifact_type.into();
        self
    }
}

/// Go writes an empty slice or map as `null`; both mean "nothing".
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_three_required_fields_even_when_empty_and_nothing_else() {
        let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let json = serde_json::to_string(&Descriptor::new("", digest, 0)).unwrap();
        assert_eq!(
            json,
            format!(r#"{{"mediaType":"","digest":"sha256:{}","size":0}}"#, "ab".repeat(32))
        );
    }

    #[test]
    fn reads_nulls_unknown_keys_and_platforms() {
        let json = format!(
            r#"{{"mediaType":"m","digest":"sha256:{}","size":3,"annotations":null,"urls":null,"x":1,
                "platform":{{"architecture":"arm64","os":"linux","variant":"v8"}},"artifactType":"a/b"}}"#,
            "ab".repeat(32)
        );
        let descriptor: Descriptor = serde_json::from_str(&json).unwrap();
        assert_eq!(descriptor.artifact_type, "a/b");
        assert_eq!(descriptor.platform.unwrap().variant.as_deref(), Some("v8"));
    }
}

//! The form in which Ratify pushes a plugin: one index, a manifest for each platform, a JSON
//! configuration that says what the plugin is, and the program as the only layer, as it is.
//!
//! Each platform's manifest has a tag of its own too, since v1 takes manifests only.

use std::collections::BTreeMap;

use bytes::Bytes;
use ratify_core::{Algorithm, Descriptor, Platform};
use ratify_store_oras::digest_of;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::plugin::inventory::Kind;

/// Media types of Ratify's plugin artifacts.
pub mod media_type {
    /// The type of the index and of each manifest.
    pub const ARTIFACT: &str = "application/vnd.ratify.plugin.v1";
    /// A [`super::PluginConfig`].
    pub const CONFIG: &str = "application/vnd.ratify.plugin.config.v1+json";
    /// A program, uncompressed, in no archive.
    pub const PROGRAM: &str = "application/vnd.ratify.plugin.layer.v1+binary";
}

/// The file name of a layer (OCI image specification, annotations.md).
pub(super) const TITLE: &str = "org.opencontainers.image.title";
/// The version of what the artifact holds (same).
const VERSION: &str = "org.opencontainers.image.version";

/// What a plugin says of itself. A declaration: it is shown and checked, never believed where
/// the node decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PluginConfig {
    /// Its type, which is what its program is called.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// The ways it can be run; `exec` is v1's.
    #[serde(default)]
    pub protocols: Vec<String>,
    /// The oldest Ratify that can run it, where it needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The JSON Schema of its parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
}

impl PluginConfig {
    /// A plugin that is run as v1 runs one.
    pub fn new(name: impl Into<String>, kind: Kind, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind,
            version: version.into(),
            protocols: vec!["exec".to_owned()],
            host: None,
            parameters: None,
        }
    }
}

/// A document and what to call it.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Bytes,
}

impl Document {
    pub(crate) fn new(media_type: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let digest = digest_of(Algorithm::Sha256, &bytes);
        Self { descriptor: Descriptor::new(media_type, digest, bytes.len() as u64), bytes }
    }
}

/// The configuration as pushed. Deterministic: the same plugin has the same digest.
pub(super) fn config_document(config: &PluginConfig) -> serde_json::Result<Document> {
    Ok(Document::new(media_type::CONFIG, serde_json::to_vec(config)?))
}

/// The manifest of one platform.
pub(super) fn manifest_document(
    config: &PluginConfig,
    config_descriptor: &Descriptor,
    program: &Descriptor,
) -> Document {
    let mut layer = json!(program);
    layer["annotations"] = json!({ TITLE: config.name });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": ratify_core::media_type::OCI_MANIFEST,
        "artifactType": media_type::ARTIFACT,
        "config": config_descriptor,
        "layers": [layer],
        "annotations": annotations(config),
    });
    Document::new(ratify_core::media_type::OCI_MANIFEST, manifest.to_string())
}

/// The index of all platforms.
pub(super) fn index_document(
    config: &PluginConfig,
    manifests: &[(Platform, Descriptor)],
) -> Document {
    let entries = manifests.iter().map(|(platform, manifest)| {
        let entry = Descriptor { platform: Some(platform.clone()), ..manifest.clone() };
        entry.with_artifact_type(media_type::ARTIFACT)
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": ratify_core::media_type::OCI_INDEX,
        "artifactType": media_type::ARTIFACT,
        "manifests": entries.collect::<Vec<_>>(),
        "annotations": annotations(config),
    });
    Document::new(ratify_core::media_type::OCI_INDEX, index.to_string())
}

fn annotations(config: &PluginConfig) -> BTreeMap<&'static str, &str> {
    [(TITLE, config.name.as_str()), (VERSION, config.version.as_str())]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// Go's name of a platform: `linux/amd64`, `linux/arm/v7`.
pub fn platform_text(platform: &Platform) -> String {
    let variant = platform.variant.as_deref().filter(|variant| !variant.is_empty());
    let variant = variant.map(|variant| format!("/{variant}")).unwrap_or_default();
    format!("{}/{}{variant}", platform.os, platform.architecture)
}

/// Reads `linux/amd64` or `linux/arm/v7`.
pub fn parse_platform(text: &str) -> Option<Platform> {
    let parts: Vec<&str> = text.split('/').collect();
    let plain = |part: &&str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.')
    };
    let (os, architecture, variant) = match parts[..] {
        [os, architecture] => (os, architecture, None),
        [os, architecture, variant] => (os, architecture, Some(variant.to_owned())),
        _ => return None,
    };
    parts.iter().all(plain).then(|| Platform {
        architecture: architecture.to_owned(),
        os: os.to_owned(),
        os_version: None,
        os_features: Vec::new(),
        variant,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_of_a_plugin_are_a_contract() {
        let config = PluginConfig::new("sample", Kind::Verifier, "1.2.3");
        let config_document = config_document(&config).unwrap();
        let program = Document::new(media_type::PROGRAM, &b"program"[..]).descriptor;
        let manifest = manifest_document(&config, &config_document.descriptor, &program);
        let platform = parse_platform("linux/arm64").unwrap();
        let index = index_document(&config, &[(platform, manifest.descriptor.clone())]);
        let pretty = |document: &Document| {
            let value: Value = serde_json::from_slice(&document.bytes).unwrap();
            serde_json::to_string_pretty(&value).unwrap()
        };
        insta::assert_snapshot!(pretty(&config_document), @r#"
        {
          "kind": "verifier",
          "name": "sample",
          "protocols": [
            "exec"
          ],
          "version": "1.2.3"
        }
        "#);
        insta::assert_snapshot!(pretty(&manifest), @r#"
        {
          "annotations": {
            "org.opencontainers.image.title": "sample",
            "org.opencontainers.image.version": "1.2.3"
          },
          "artifactType": "application/vnd.ratify.plugin.v1",
          "config": {
            "digest": "sha256:cd5115d7b850b7c2aebbc3a57cca689d9165e3788763694c849798485435d0e6",
            "mediaType": "application/vnd.ratify.plugin.config.v1+json",
            "size": 74
          },
          "layers": [
            {
              "annotations": {
                "org.opencontainers.image.title": "sample"
              },
              "digest": "sha256:1310ca2c8932dbd118668bd97442558a3e1f546b5e15c69699dfbd6024f548d8",
              "mediaType": "application/vnd.ratify.plugin.layer.v1+binary",
              "size": 7
            }
          ],
          "mediaType": "application/vnd.oci.image.manifest.v1+json",
          "schemaVersion": 2
        }
        "#);
        insta::assert_snapshot!(pretty(&index), @r#"
        {
          "annotations": {
            "org.opencontainers.image.title": "sample",
            "org.opencontainers.image.version": "1.2.3"
          },
          "artifactType": "application/vnd.ratify.plugin.v1",
          "manifests": [
            {
              "artifactType": "application/vnd.ratify.plugin.v1",
              "digest": "sha256:d95307d3553bd33d40055f4a0675260bc6e1dd01a5e9d0bd355cc53ce6a1ab60",
              "mediaType": "application/vnd.oci.image.manifest.v1+json",
              "platform": {
                "architecture": "arm64",
                "os": "linux"
              },
              "size": 613
            }
          ],
          "mediaType": "application/vnd.oci.image.index.v1+json",
          "schemaVersion": 2
        }
        "#);
    }

    #[test]
    fn platforms_are_read_and_written_as_go_does() {
        for text in ["linux/amd64", "linux/arm/v7"] {
            assert_eq!(platform_text(&parse_platform(text).unwrap()), text);
        }
        for text in ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/a b"] {
            assert_eq!(parse_platform(text), None, "{text}");
        }
    }
}

//! [`inspect`]: what a reference stands for, without installing or running it.

use std::time::Instant;

use bytes::Bytes;
use ratify_core::{
    Descriptor, Digest, Index, Manifest, Platform, Reference, capped_line,
    media_type::{OCI_ARTIFACT, OCI_INDEX, OCI_MANIFEST},
};
use ratify_store_oras::Client;
use serde::Serialize;

use super::{
    InstallError, PluginConfig,
    artifact::{self, TITLE, platform_text},
    plan::MAX_CONFIG,
};

/// More entries than this are not looked at one by one.
const MAX_ENTRIES: usize = 32;

/// A plugin artifact.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Description {
    /// As asked.
    pub reference: String,
    /// Of what the reference stands for.
    pub digest: Digest,
    /// An index or a manifest.
    pub media_type: String,
    /// The artifact's own type.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
    /// Each platform; one without a name for a manifest that is in no index.
    pub platforms: Vec<PlatformDescription>,
}

/// One platform's manifest.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PlatformDescription {
    /// `linux/amd64`; absent for a manifest that is in no index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The manifest's digest.
    pub manifest: Digest,
    /// The files in it.
    pub files: Vec<FileDescription>,
    /// What the plugin says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<PluginConfig>,
}

/// A file of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct FileDescription {
    /// Its name, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
}

/// Describes what a reference stands for. Every document is proven; no program is fetched.
///
/// # Errors
/// When the registry fails or lies, or it is no manifest and no index.
pub async fn inspect(
    client: &Client,
    reference: &Reference,
    give_up_at: Option<Instant>,
) -> Result<Description, InstallError> {
    let look = Look { client, reference, give_up_at };
    let root = client.resolve(reference, give_up_at).await?;
    let bytes = client.manifest_bytes(reference, &root, give_up_at).await?;
    let mut description = Description {
        reference: reference.to_string(),
        digest: root.digest.clone(),
        media_type: capped_line(&root.media_type, 200),
        artifact_type: String::new(),
        platforms: Vec::new(),
    };
    if root.media_type != OCI_INDEX {
        let (artifact_type, platform) = look.platform(None, &root, &bytes).await?;
        description.artifact_type = artifact_type;
        description.platforms.push(platform);
        return Ok(description);
    }
    let index = Index::from_bytes(OCI_INDEX, &bytes).map_err(super::PlanError::from)?;
    description.artifact_type = capped_line(&index.artifact_type, 200);
    for entry in index.manifests.iter().take(MAX_ENTRIES) {
        if !matches!(entry.media_type.as_str(), OCI_MANIFEST | OCI_ARTIFACT) {
            continue;
        }
        let bytes = client.manifest_bytes(reference, entry, give_up_at).await?;
        let (_, platform) = look.platform(entry.platform.as_ref(), entry, &bytes).await?;
        description.platforms.push(platform);
    }
    Ok(description)
}

struct Look<'a> {
    client: &'a Client,
    reference: &'a Reference,
    give_up_at: Option<Instant>,
}

impl Look<'_> {
    async fn platform(
        &self,
        platform: Option<&Platform>,
        descriptor: &Descriptor,
        bytes: &Bytes,
    ) -> Result<(String, PlatformDescription), InstallError> {
        let unsupported =
            || super::PlanError::Unsupported(capped_line(&descriptor.media_type, 200));
        if !matches!(descriptor.media_type.as_str(), OCI_MANIFEST | OCI_ARTIFACT) {
            return Err(unsupported().into());
        }
        let manifest =
            Manifest::from_bytes(&descriptor.media_type, bytes).map_err(super::PlanError::from)?;
        let config = match super::plan::config_descriptor(bytes) {
            Some(config) => self.config(&config).await?,
            None => None,
        };
        let description = PlatformDescription {
            platform: platform.map(|platform| capped_line(&platform_text(platform), 100)),
            manifest: descriptor.digest.clone(),
            files: manifest.blobs.iter().map(file).collect(),
            config,
        };
        Ok((capped_line(&manifest.artifact_type, 200), description))
    }

    async fn config(&self, config: &Descriptor) -> Result<Option<PluginConfig>, InstallError> {
        if config.media_type != artifact::media_type::CONFIG || config.size > MAX_CONFIG {
            return Ok(None);
        }
        let (digest, size) = (&config.digest, Some(config.size));
        let bytes = self.client.blob_bytes(self.reference, digest, size, self.give_up_at).await?;
        Ok(serde_json::from_slice(&bytes).ok())
    }
}

fn file(blob: &Descriptor) -> FileDescription {
    FileDescription {
        title: blob.annotations.get(TITLE).map(|title| capped_line(title, 200)),
        digest: blob.digest.clone(),
        size: blob.size,
        media_type: capped_line(&blob.media_type, 200),
    }
}

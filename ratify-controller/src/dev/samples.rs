//! Images and artifacts made and put into a running registry in one call, for tests and the demo.

use bytes::Bytes;
use ratify_core::{Descriptor, media_type};
use serde_json::json;

use super::{
    referrers,
    registry::{RegistryError, RunningRegistry},
};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

impl RunningRegistry {
    /// Keeps an image of one layer, whose bytes are `layer`, under a tag.
    ///
    /// # Errors
    /// When a name is none or the registry is full.
    pub fn put_image(
        &self,
        repository: &str,
        tag: &str,
        layer: impl Into<Bytes>,
    ) -> Result<Descriptor, RegistryError> {
        let config = json!({
            "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}
        });
        let config = self.described(repository, CONFIG, config.to_string())?;
        let layer = self.described(repository, LAYER, layer)?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": config, "layers": [layer],
        });
        let bytes = manifest.to_string();
        self.put_manifest(repository, Some(tag), media_type::OCI_MANIFEST, bytes)
    }

    /// Keeps an image index over `manifests` under a tag.
    ///
    /// # Errors
    /// When a name is none or the registry is full.
    pub fn put_index(
        &self,
        repository: &str,
        tag: &str,
        manifests: &[Descriptor],
    ) -> Result<Descriptor, RegistryError> {
        let bytes = referrers::index(manifests);
        self.put_manifest(repository, Some(tag), media_type::OCI_INDEX, bytes)
    }

    /// Attaches an artifact to a subject: an OCI image manifest with a `subject`, an empty config
    /// and one layer for each blob, given by media type and bytes. Without the Referrers API it is
    /// added to the list under the fallback tag (OCI distribution specification, "Referrers Tag
    /// Schema").
    ///
    /// # Errors
    /// When a name is none or the registry is full.
    pub fn put_artifact(
        &self,
        repository: &str,
        subject: &Descriptor,
        artifact_type: &str,
        blobs: &[(&str, Bytes)],
    ) -> Result<Descriptor, RegistryError> {
        let config = self.described(repository, media_type::OCI_EMPTY, "{}")?;
        let layers: Result<Vec<_>, _> = blobs
            .iter()
            .map(|(media_type, bytes)| self.described(repository, media_type, bytes.clone()))
            .collect();
        let subject = Descriptor::new(&subject.media_type, subject.digest.clone(), subject.size);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "artifactType": artifact_type, "config": config, "layers": layers?,
            "subject": subject,
        });
        let bytes = manifest.to_string();
        let artifact = self.put_manifest(repository, None, media_type::OCI_MANIFEST, bytes)?;
        if !self.shared.registry.referrers_api {
            self.put_fallback_tag(repository, &subject)?;
        }
        Ok(artifact)
    }

    /// Writes the list of a subject's referrers under its fallback tag, `<algorithm>-<hex>`.
    ///
    /// # Errors
    /// When a name is none or the registry is full.
    pub fn put_fallback_tag(
        &self,
        repository: &str,
        subject: &Descriptor,
    ) -> Result<Descriptor, RegistryError> {
        let manifests = self.shared.registry.storage.with_subject(repository);
        let list: Vec<_> = manifests
            .iter()
            .filter(|manifest| manifest.facts.subject.as_ref() == Some(&subject.digest))
            .map(|manifest| manifest.descriptor())
            .collect();
        let tag = subject.digest.as_str().replacen(':', "-", 1);
        self.put_index(repository, &tag, &list)
    }

    fn described(
        &self,
        repository: &str,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<Descriptor, RegistryError> {
        let bytes = bytes.into();
        let size = bytes.len() as u64;
        Ok(Descriptor::new(media_type, self.put_blob(repository, bytes)?, size))
    }
}

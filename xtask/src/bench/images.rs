//! What is asked about: images, each with some SPDX documents attached, all different.
//!
//! An artifact's type is its config's media type: go-containerregistry 0.22.1 lists that one even
//! where the manifest names an `artifactType`.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::http::{self, Request};
use super::say;
use crate::sha256;

/// How many images the load has.
pub(super) const IMAGES: usize = 40;
/// How many artifacts each of them has.
pub(super) const ARTIFACTS: usize = 5;
/// The type of every artifact: the only one that v1's sbom plugin takes.
pub(super) const ARTIFACT_TYPE: &str = "application/spdx+json";
/// How many packages each document lists.
const PACKAGES: usize = 25;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What an image is called.
struct Pushed {
    by_tag: String,
    by_digest: String,
}

/// Pushes so many images with so many artifacts each, and returns a reference by tag for each.
///
/// # Errors
/// When the registry refuses something.
pub(super) fn push(registry: SocketAddr, images: usize, artifacts: usize) -> Result<Vec<String>> {
    Ok(push_all(registry, images, artifacts)?.into_iter().map(|image| image.by_tag).collect())
}

/// The same, with a reference by digest for each.
///
/// # Errors
/// As [`push`].
pub(super) fn push_by_digest(
    registry: SocketAddr,
    images: usize,
    artifacts: usize,
) -> Result<Vec<String>> {
    Ok(push_all(registry, images, artifacts)?.into_iter().map(|image| image.by_digest).collect())
}

fn push_all(registry: SocketAddr, images: usize, artifacts: usize) -> Result<Vec<Pushed>> {
    say(&format!("push {images} images with {artifacts} artifacts each"));
    (0..images).map(|number| push_image(registry, number, artifacts)).collect()
}

fn push_image(registry: SocketAddr, number: usize, artifacts: usize) -> Result<Pushed> {
    let name = format!("bench/app-{number:03}");
    let repository = Repository { registry, name: &name };
    let config = repository.push_blob(
        "application/vnd.oci.image.config.v1+json",
        format!(r#"{{"architecture":"amd64","os":"linux","number":{number}}}"#).as_bytes(),
    )?;
    let layer = repository.push_blob("application/vnd.oci.image.layer.v1.tar", name.as_bytes())?;
    let image =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    let subject = repository.push_manifest(Some("v1"), &image)?;
    for artifact in 0..artifacts {
        let config = repository.push_blob(ARTIFACT_TYPE, b"{}")?;
        let document = document(&format!("app-{number}-{artifact}")).to_string();
        let layer = repository.push_blob(ARTIFACT_TYPE, document.as_bytes())?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [layer],
            "subject": subject,
        });
        repository.push_manifest(None, &manifest)?;
    }
    let digest = subject["digest"].as_str().unwrap_or_default();
    Ok(Pushed {
        by_tag: format!("{registry}/{name}:v1"),
        by_digest: format!("{registry}/{name}@{digest}"),
    })
}

/// A small SPDX 2.3 document (section 6: creation information; 7: packages; 11: relationships).
fn document(name: &str) -> Value {
    let packages: Vec<Value> = (0..PACKAGES)
        .map(|number| {
            json!({
                "SPDXID": format!("SPDXRef-Package-{number}"),
                "name": format!("library-{number}"),
                "versionInfo": format!("1.{number}.0"),
                "downloadLocation": "NOASSERTION",
                "filesAnalyzed": false,
                "licenseConcluded": "Apache-2.0",
                "licenseDeclared": "Apache-2.0",
                "copyrightText": "NOASSERTION",
            })
        })
        .collect();
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("https://example.com/spdx/{name}"),
        "creationInfo": {"created": "2026-01-01T00:00:00Z", "creators": ["Tool: ratify-bench"]},
        "packages": packages,
        "relationships": [{
            "spdxElementId": "SPDXRef-DOCUMENT",
            "relationshipType": "DESCRIBES",
            "relatedSpdxElement": "SPDXRef-Package-0",
        }],
    })
}

/// One repository of the registry.
struct Repository<'a> {
    registry: SocketAddr,
    name: &'a str,
}

impl Repository<'_> {
    /// Pushes a blob in one request (OCI distribution spec, "Pushing a blob monolithically") and
    /// returns its descriptor.
    fn push_blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let digest = format!("sha256:{}", sha256::of_bytes(bytes));
        let path = format!("/v2/{}/blobs/uploads/?digest={digest}", self.name);
        self.created("POST", &path, "application/octet-stream", bytes)?;
        Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}))
    }

    /// Pushes a manifest by tag or by digest and returns its descriptor.
    fn push_manifest(&self, tag: Option<&str>, manifest: &Value) -> Result<Value> {
        let bytes = manifest.to_string();
        let digest = format!("sha256:{}", sha256::of_bytes(bytes.as_bytes()));
        let path = format!("/v2/{}/manifests/{}", self.name, tag.unwrap_or(&digest));
        self.created("PUT", &path, MANIFEST, bytes.as_bytes())?;
        Ok(json!({"mediaType": MANIFEST, "digest": digest, "size": bytes.len()}))
    }

    fn created(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<()> {
        let answer = http::send(self.registry, &Request { method, path, content_type, body })?;
        if answer.status != 201 {
            bail!("the registry answered {} to {method} {path}", answer.status);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_different_names_differ_and_have_the_wanted_packages() {
        assert_ne!(document("a"), document("b"));
        assert_eq!(document("a")["packages"].as_array().map(Vec::len), Some(PACKAGES));
    }
}

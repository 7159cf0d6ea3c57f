//! [`push`]: programs become one plugin artifact in a registry.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use ratify_core::{Descriptor, Digest, Platform, Reference, ReferenceError};
use ratify_store_oras::{Client, OrasError};

use super::{
    PluginConfig,
    artifact::{self, Document, media_type, platform_text},
};
use crate::plugin::trust::{self, Distrust};

/// What is to be pushed, and where.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// Where the index goes; by tag. Each platform's manifest goes beside it, under that tag with
    /// the platform behind it (`1.0.0-linux-amd64`).
    pub reference: Reference,
    /// What the plugin says of itself.
    pub config: PluginConfig,
    /// The program of each platform.
    pub programs: Vec<(Platform, PathBuf)>,
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pushed {
    /// The digest of the index.
    pub index: Digest,
    /// The manifests, in the order asked for.
    pub manifests: Vec<PushedManifest>,
}

/// One platform of a pushed plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushedManifest {
    /// The platform, `linux/amd64`.
    pub platform: String,
    /// The manifest by tag, for v1.
    pub reference: Reference,
    /// The digest of the manifest.
    pub digest: Digest,
    /// The program.
    pub program: Descriptor,
}

/// Why a plugin is not pushed. Each text holds its cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// By digest there is nowhere to push to.
    #[error("{0} is no tag: push to REGISTRY/REPOSITORY:TAG")]
    NoTag(Reference),
    /// No tag can be made for a platform.
    #[error("the tag for {platform} would be none: {why}")]
    Tag {
        /// The platform.
        platform: String,
        /// Why.
        why: ReferenceError,
    },
    /// One platform is named twice.
    #[error("{0} is given twice")]
    Twice(String),
    /// No platform is named.
    #[error("no program is given: --platform linux/amd64=PATH")]
    Nothing,
    /// A program cannot be read.
    #[error("reading {} failed: {why}", path.display())]
    Read {
        /// The program.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// A file that its platform cannot run.
    #[error("{} is refused: {why}", path.display())]
    Distrust {
        /// The file.
        path: PathBuf,
        /// Why.
        why: Distrust,
    },
    /// The configuration cannot be JSON.
    #[error("the plugin's configuration cannot be written: {0}")]
    Config(#[from] serde_json::Error),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] OrasError),
}

/// One program, read and described.
struct Part {
    platform: Platform,
    reference: Reference,
    program: Document,
    manifest: Document,
}

/// Pushes programs, then manifests, then the index: a reader never finds one that names another
/// which is not there.
///
/// # Errors
/// When a program is not for the platform it is given for, or the registry refuses.
pub async fn push(client: &Client, request: &PushRequest) -> Result<Pushed, PushError> {
    let config = artifact::config_document(&request.config)?;
    let parts = parts(request, &config)?;
    let entries: Vec<(Platform, Descriptor)> =
        parts.iter().map(|p| (p.platform.clone(), p.manifest.descriptor.clone())).collect();
    let index = artifact::index_document(&request.config, &entries);
    client.push_blob(&request.reference, config.bytes).await?;
    let mut manifests = Vec::new();
    for part in parts {
        client.push_blob(&request.reference, part.program.bytes).await?;
        let Document { descriptor, bytes } = part.manifest;
        client.push_manifest(&part.reference, &descriptor.media_type, bytes).await?;
        manifests.push(PushedManifest {
            platform: platform_text(&part.platform),
            reference: part.reference,
            digest: descriptor.digest,
            program: part.program.descriptor,
        });
    }
    let Document { descriptor, bytes } = index;
    client.push_manifest(&request.reference, &descriptor.media_type, bytes).await?;
    Ok(Pushed { index: descriptor.digest, manifests })
}

fn parts(request: &PushRequest, config: &Document) -> Result<Vec<Part>, PushError> {
    let Some(tag) = request.reference.tag() else {
        return Err(PushError::NoTag(request.reference.clone()));
    };
    if request.programs.is_empty() {
        return Err(PushError::Nothing);
    }
    let mut parts: Vec<Part> = Vec::new();
    for (platform, path) in &request.programs {
        let name = platform_text(platform);
        if parts.iter().any(|part| part.platform == *platform) {
            return Err(PushError::Twice(name));
        }
        let tag = format!("{tag}-{}", name.replace('/', "-"));
        let reference = request.reference.sibling_tag(&tag);
        let reference = reference.map_err(|why| PushError::Tag { platform: name, why })?;
        let program = read(path, platform)?;
        let manifest =
            artifact::manifest_document(&request.config, &config.descriptor, &program.descriptor);
        parts.push(Part { platform: platform.clone(), reference, program, manifest });
    }
    Ok(parts)
}

/// The program, held to its platform's processor. Loaders and interpreters are the node's affair.
fn read(path: &PathBuf, platform: &Platform) -> Result<Document, PushError> {
    let bytes = fs::read(path).map_err(|why| PushError::Read { path: path.clone(), why })?;
    let node = trust::Node {
        architecture: &platform.architecture,
        allow_scripts: true,
        exists: &|_| true,
    };
    trust::program(&bytes[..], &node)
        .map_err(|why| PushError::Distrust { path: path.clone(), why })?;
    Ok(Document::new(media_type::PROGRAM, Bytes::from(bytes)))
}

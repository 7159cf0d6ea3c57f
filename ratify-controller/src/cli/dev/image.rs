//! `ratify dev image`: something to verify. A real image would do as well; this one is small, and
//! whatever is attached to it is chosen on the command line.

use std::{path::PathBuf, process::ExitCode, str::FromStr};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use ratify_core::{Algorithm, Descriptor, Reference, media_type};
use ratify_store_oras::{Artifact, Client, EMPTY_CONFIG, auth::SecretScope, digest_of};

use super::super::{Context, output};

#[derive(Debug, Args)]
pub(super) struct Image {
    /// The image: registry, repository and tag. Plain HTTP is spoken on loopback only
    reference: String,
    /// An artifact to attach, as TYPE=FILE
    #[arg(long, value_name = "TYPE=FILE")]
    attach: Vec<Attachment>,
}

#[derive(Debug, Clone)]
struct Attachment {
    artifact_type: String,
    file: PathBuf,
}

impl FromStr for Attachment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((artifact_type, file)) if !artifact_type.is_empty() && !file.is_empty() => {
                Ok(Self { artifact_type: artifact_type.to_owned(), file: file.into() })
            }
            _ => {
                Err("write it as TYPE=FILE, for example application/spdx+json=sbom.json".to_owned())
            }
        }
    }
}

impl Image {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let reference = Reference::parse_exact(&self.reference)
            .with_context(|| format!("{} is no place for an image", self.reference))?;
        let client = context.runtime.plugin_client(None, &SecretScope::Cluster)?;
        let image = push(&client, &reference, "", b"ratify", None).await?;
        output::print_line(&format!("{reference} {}", image.digest))?;
        for attachment in self.attach {
            let file = attachment.file.display();
            let bytes =
                std::fs::read(&attachment.file).with_context(|| format!("cannot read {file}"))?;
            let type_ = &attachment.artifact_type;
            let artifact = push(&client, &reference, type_, &bytes, Some(image.clone())).await?;
            output::print_line(&format!("{} {}", attachment.artifact_type, artifact.digest))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Pushes an artifact of one layer: under the reference's tag, or by digest where it is attached to
/// a subject.
async fn push(
    client: &Client,
    reference: &Reference,
    artifact_type: &str,
    bytes: &[u8],
    subject: Option<Descriptor>,
) -> anyhow::Result<Descriptor> {
    client.push_blob(reference, Bytes::from_static(EMPTY_CONFIG)).await?;
    let size = bytes.len() as u64;
    let digest = client.push_blob(reference, Bytes::copy_from_slice(bytes)).await?;
    let type_of_layer =
        if artifact_type.is_empty() { "application/octet-stream" } else { artifact_type };
    let layer = Descriptor::new(type_of_layer, digest, size);
    let mut artifact = Artifact::new(artifact_type, vec![layer]);
    if subject.is_some() {
        // go-containerregistry lists this as the type of an attachment, and not the manifest's own.
        artifact.config.media_type = artifact_type.to_owned();
    }
    artifact.subject = subject;
    let document = artifact.to_bytes()?;
    let digest = digest_of(Algorithm::Sha256, &document);
    let size = document.len() as u64;
    let descriptor = Descriptor::new(media_type::OCI_MANIFEST, digest, size);
    match &artifact.subject {
        None => {
            client.push_manifest(reference, media_type::OCI_MANIFEST, document).await?;
        }
        Some(_) => client.attach(reference, &descriptor, document).await?,
    }
    Ok(descriptor)
}

//! `ratify dev image`: something to verify. A real image would do as well; this one is small, and
//! whatever is attached to it is chosen on the command line.

use std::{path::PathBuf, process::ExitCode, str::FromStr};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use ratify_core::{Descriptor, Reference, media_type};
use ratify_store_oras::{Artifact, ArtifactIndex, Client, EMPTY_CONFIG, auth::SecretScope};

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
            list(&client, &reference, &image, artifact.clone().with_artifact_type(type_)).await?;
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
    let size = document.len() as u64;
    let place = match &artifact.subject {
        None => reference.clone(),
        Some(_) => reference
            .sibling(&ratify_store_oras::digest_of(ratify_core::Algorithm::Sha256, &document)),
    };
    let digest = client.push_manifest(&place, media_type::OCI_MANIFEST, document).await?;
    Ok(Descriptor::new(media_type::OCI_MANIFEST, digest, size))
}

/// Adds an artifact to the list of its subject's referrers where the registry keeps none (OCI
/// distribution specification, "Referrers Tag Schema").
async fn list(
    client: &Client,
    image: &Reference,
    subject: &Descriptor,
    artifact: Descriptor,
) -> anyhow::Result<()> {
    let mut listed = client.referrers(image, &subject.digest, None).await?;
    if listed.iter().any(|entry| entry.digest == artifact.digest) {
        return Ok(());
    }
    listed.push(artifact);
    let index = ArtifactIndex { manifests: listed, ..ArtifactIndex::default() };
    let tag = image.sibling_tag(&subject.digest.as_str().replacen(':', "-", 1))?;
    client.push_manifest(&tag, media_type::OCI_INDEX, index.to_bytes()?).await?;
    Ok(())
}

//! [`Tree`]: an image or an artifact with all that it names, on its way from one place to
//! another. Its documents are read and proven first; what names another is written after it.

use std::{fs::File, io, time::Instant};

use bytes::Bytes;
use ratify_core::{Descriptor, Index, Manifest, ManifestError, Reference, capped_line, media_type};
use serde::Deserialize;

use crate::{Client, Layout, LayoutWriter, OrasError, Origin, layout::attachment};

/// The most documents of one image, and the most blobs.
const MAX_PARTS: usize = 1000;

/// What is moved, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Layers and configurations, each once.
    blobs: Vec<Descriptor>,
    /// The manifests of an index.
    manifests: Vec<Document>,
    /// What a name stands for.
    root: Document,
}

/// A manifest or an index, proven.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Document {
    descriptor: Descriptor,
    bytes: Bytes,
}

/// What a manifest names, beside what every artifact has.
#[derive(Deserialize)]
struct Named {
    config: Option<Descriptor>,
}

impl Tree {
    /// Reads the documents of what a descriptor stands for.
    ///
    /// # Errors
    /// When one is missing, is none, or can be read in two ways.
    pub async fn read(
        origin: &Origin,
        reference: &Reference,
        root: &Descriptor,
        give_up_at: Option<Instant>,
    ) -> Result<Self, OrasError> {
        let read = async |descriptor: &Descriptor| {
            let bytes = origin.manifest_bytes(reference, descriptor, give_up_at).await?;
            Ok::<_, OrasError>(Document { descriptor: descriptor.clone(), bytes })
        };
        let root = read(root).await?;
        let mut tree = Self { blobs: Vec::new(), manifests: Vec::new(), root };
        if !is_index(&tree.root.descriptor) {
            tree.blobs = blobs(&tree.root)?;
            return Ok(tree);
        }
        let what = tree.root.descriptor.digest.as_str();
        let index = Index::from_bytes(&tree.root.descriptor.media_type, &tree.root.bytes);
        let index = index.map_err(|error| malformed(&tree.root, error))?;
        check_count(what, index.manifests.len(), "entries")?;
        for entry in &index.manifests {
            if is_index(entry) {
                return Err(OrasError::invalid(entry.digest.as_str(), "is an index in an index"));
            }
            let manifest = read(entry).await?;
            for blob in blobs(&manifest)? {
                let is_known =
                    |known: &Descriptor| known.digest == blob.digest && known.size == blob.size;
                if !tree.blobs.iter().any(is_known) {
                    tree.blobs.push(blob);
                }
            }
            check_count(what, tree.blobs.len(), "blobs")?;
            tree.manifests.push(manifest);
        }
        Ok(tree)
    }

    /// What all of it is named by.
    pub fn root(&self) -> &Descriptor {
        &self.root.descriptor
    }

    /// Copies all of it into a layout, where it gets a name.
    ///
    /// # Errors
    /// When the origin fails or lies, or the layout cannot be written to. No name stands for
    /// something that is not whole.
    pub async fn save(
        &self,
        origin: &Origin,
        reference: &Reference,
        layout: &mut LayoutWriter,
        name: &str,
        give_up_at: Option<Instant>,
    ) -> Result<(), OrasError> {
        for blob in &self.blobs {
            let fill = async |file: File| {
                origin.blob_into(reference, blob, file, &mut |_| (), give_up_at).await
            };
            layout.put(blob, fill).await?;
        }
        for Document { descriptor, bytes } in self.manifests.iter().chain([&self.root]) {
            layout.put_bytes(&descriptor.digest, bytes)?;
        }
        layout.name(self.root(), name)
    }

    /// Pushes all of it from a layout to a registry. Every blob is proven before the first byte is
    /// sent. A manifest with a subject is listed with it.
    ///
    /// # Errors
    /// When a blob is missing or another one, or the registry refuses.
    pub async fn push(
        &self,
        layout: &Layout,
        client: &Client,
        reference: &Reference,
    ) -> Result<(), OrasError> {
        for blob in &self.blobs {
            let asked = blob.clone();
            let prove = move |layout: &Layout| layout.blob_into(&asked, io::sink());
            layout.on_a_thread(blob.digest.as_str(), None, prove).await?;
        }
        for blob in &self.blobs {
            let file = layout.section(blob)?;
            client.push_file(reference, blob, file, None).await?;
        }
        for Document { descriptor, bytes } in &self.manifests {
            client.attach(reference, descriptor, bytes.clone()).await?;
        }
        let Document { descriptor, bytes } = &self.root;
        if attachment(descriptor, bytes)?.is_some() {
            client.attach(reference, descriptor, bytes.clone()).await?;
        }
        client.push_manifest(reference, &descriptor.media_type, bytes.clone()).await?;
        Ok(())
    }
}

fn is_index(descriptor: &Descriptor) -> bool {
    matches!(descriptor.media_type.as_str(), media_type::OCI_INDEX | media_type::DOCKER_LIST)
}

/// What a manifest names, each digest once.
fn blobs(document: &Document) -> Result<Vec<Descriptor>, OrasError> {
    // The strict reading comes first: a document that could be read in two ways is not moved.
    let manifest = Manifest::from_bytes(&document.descriptor.media_type, &document.bytes)
        .map_err(|error| malformed(document, error))?;
    let named: Named = serde_json::from_slice(&document.bytes)
        .map_err(|error| malformed(document, error.into()))?;
    let mut blobs: Vec<Descriptor> = Vec::new();
    for blob in manifest.blobs.into_iter().chain(named.config) {
        if !blobs.iter().any(|known| known.digest == blob.digest && known.size == blob.size) {
            blobs.push(blob);
        }
    }
    check_count(document.descriptor.digest.as_str(), blobs.len(), "blobs")?;
    Ok(blobs)
}

fn check_count(what: &str, count: usize, unit: &'static str) -> Result<(), OrasError> {
    if count > MAX_PARTS {
        return Err(OrasError::TooLarge { what: what.to_owned(), limit: MAX_PARTS as u64, unit });
    }
    Ok(())
}

fn malformed(document: &Document, error: ManifestError) -> OrasError {
    let why = capped_line(&error.to_string(), 200);
    OrasError::invalid(document.descriptor.digest.as_str(), why)
}

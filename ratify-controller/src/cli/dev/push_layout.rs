//! `ratify dev push-layout`: an image that lies in a folder, as `cargo xtask image` or a container
//! engine wrote it (OCI image specification, "Image Layout"), goes to a registry. Everything is
//! read and proven before anything is sent, and what names another is sent after it.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use clap::Args;
use ratify_core::{Algorithm, Descriptor, Index, Manifest, Reference, media_type};
use ratify_store_oras::{Client, auth::SecretScope, digest_of};
use serde::Deserialize;

use super::super::{Context, output};

/// The most bytes of one document.
const MAX_DOCUMENT: u64 = 4 << 20;
/// The most bytes of one blob; it is held in memory while it is sent.
const MAX_BLOB: u64 = 256 << 20;
/// The most documents of one image, and the most blobs.
const MAX_PARTS: usize = 1000;

#[derive(Debug, Args)]
pub(super) struct PushLayout {
    /// The folder of the layout; it holds one image
    layout: PathBuf,
    /// Where the image goes: registry, repository and tag. Plain HTTP is spoken on loopback only
    reference: String,
}

/// What is sent, in this order.
#[derive(Debug, PartialEq)]
struct Plan {
    /// Layers and configurations, each once.
    blobs: Vec<Descriptor>,
    /// What is sent by its digest: the manifests of an index.
    manifests: Vec<Document>,
    /// What is sent by tag.
    root: Document,
}

/// A manifest or an index, proven.
#[derive(Debug, PartialEq)]
struct Document {
    descriptor: Descriptor,
    bytes: Bytes,
}

/// What a manifest of an image names, beside what every artifact has.
#[derive(Deserialize)]
struct Named {
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

impl PushLayout {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let reference = Reference::parse_exact(&self.reference)
            .with_context(|| format!("{} is no place for an image", self.reference))?;
        ensure!(reference.tag().is_some(), "{reference} has no tag: push to REGISTRY/REPO:TAG");
        let cannot_read = || format!("cannot push the layout {}", self.layout.display());
        let plan = plan(&self.layout).with_context(cannot_read)?;
        for blob in &plan.blobs {
            // Proven before the first byte is sent, and once more when its turn comes.
            read(&self.layout, blob, MAX_BLOB).with_context(cannot_read)?;
        }
        let client = context.runtime.plugin_client(None, &SecretScope::Cluster)?;
        push(&client, &self.layout, &reference, &plan).await?;
        output::print_line(&format!("pushed {reference} {}", plan.root.descriptor.digest))?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn push(
    client: &Client,
    layout: &Path,
    reference: &Reference,
    plan: &Plan,
) -> anyhow::Result<()> {
    for blob in &plan.blobs {
        let bytes = read(layout, blob, MAX_BLOB)?;
        client.push_blob(reference, bytes).await?;
    }
    for Document { descriptor, bytes } in &plan.manifests {
        let place = reference.sibling(&descriptor.digest);
        client.push_manifest(&place, &descriptor.media_type, bytes.clone()).await?;
    }
    let Document { descriptor, bytes } = &plan.root;
    client.push_manifest(reference, &descriptor.media_type, bytes.clone()).await?;
    Ok(())
}

/// Reads every document of a layout.
fn plan(layout: &Path) -> anyhow::Result<Plan> {
    let path = layout.join("index.json");
    let top = read_at_most(&path, MAX_DOCUMENT)?;
    let top = Index::from_bytes(media_type::OCI_INDEX, &top).context("index.json")?;
    let [root] = top.manifests.as_slice() else {
        bail!("it holds {} images, and one is pushed at a time", top.manifests.len());
    };
    let root = document(layout, root)?;
    let mut manifests = Vec::new();
    let mut blobs = Vec::new();
    if is_index(&root.descriptor) {
        let index = Index::from_bytes(&root.descriptor.media_type, &root.bytes)
            .with_context(|| root.descriptor.digest.to_string())?;
        ensure!(index.manifests.len() <= MAX_PARTS, "its index has over {MAX_PARTS} entries");
        for entry in &index.manifests {
            ensure!(!is_index(entry), "{} is an index in an index", entry.digest);
            let manifest = document(layout, entry)?;
            add_blobs(&manifest, &mut blobs)?;
            manifests.push(manifest);
        }
    } else {
        add_blobs(&root, &mut blobs)?;
    }
    Ok(Plan { blobs, manifests, root })
}

fn is_index(descriptor: &Descriptor) -> bool {
    matches!(descriptor.media_type.as_str(), media_type::OCI_INDEX | media_type::DOCKER_LIST)
}

fn document(layout: &Path, descriptor: &Descriptor) -> anyhow::Result<Document> {
    let bytes = read(layout, descriptor, MAX_DOCUMENT)?;
    Ok(Document { descriptor: descriptor.clone(), bytes })
}

/// Adds what a manifest names, each digest once.
fn add_blobs(manifest: &Document, blobs: &mut Vec<Descriptor>) -> anyhow::Result<()> {
    let Document { descriptor, bytes } = manifest;
    let what = || descriptor.digest.to_string();
    // The strict reading comes first: a document that could be read in two ways is not sent.
    Manifest::from_bytes(&descriptor.media_type, bytes).with_context(what)?;
    let named: Named = serde_json::from_slice(bytes).with_context(what)?;
    for blob in named.layers.into_iter().chain([named.config]) {
        if !blobs.iter().any(|known| known.digest == blob.digest && known.size == blob.size) {
            blobs.push(blob);
        }
        ensure!(blobs.len() <= MAX_PARTS, "it has over {MAX_PARTS} blobs");
    }
    Ok(())
}

/// The bytes of a descriptor, proven.
fn read(layout: &Path, descriptor: &Descriptor, at_most: u64) -> anyhow::Result<Bytes> {
    let (digest, size) = (&descriptor.digest, descriptor.size);
    // The client names what it pushes by this algorithm alone.
    ensure!(digest.algorithm() == Algorithm::Sha256, "{digest}: only sha256 is pushed");
    ensure!(size <= at_most, "{digest} has {size} bytes, more than {at_most}");
    let path = layout.join("blobs").join(digest.algorithm().name()).join(digest.hex());
    let bytes = read_at_most(&path, size)?;
    let found = bytes.len();
    ensure!(found as u64 == size, "{} has {found} bytes, not {size}", path.display());
    let proven = digest_of(digest.algorithm(), &bytes);
    ensure!(proven == *digest, "the bytes of {} have the digest {proven}", path.display());
    Ok(bytes)
}

fn read_at_most(path: &Path, at_most: u64) -> anyhow::Result<Bytes> {
    let cannot_read = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(cannot_read)?;
    ensure!(file.metadata().with_context(cannot_read)?.is_file(), "{} is no file", path.display());
    let mut bytes = Vec::new();
    file.take(at_most + 1).read_to_end(&mut bytes).with_context(cannot_read)?;
    ensure!(bytes.len() as u64 <= at_most, "{} has over {at_most} bytes", path.display());
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A layout of one image for one platform, under an index.
    struct Layout(tempfile::TempDir);

    impl Layout {
        fn new() -> Self {
            let layout = Self(tempfile::tempdir().unwrap());
            std::fs::create_dir_all(layout.0.path().join("blobs/sha256")).unwrap();
            let (config, layer) = (layout.blob("c", b"{}"), layout.blob("l", b"layer"));
            let manifest = layout.document(
                media_type::OCI_MANIFEST,
                &json!({"schemaVersion": 2, "config": config, "layers": [layer, layer]}),
            );
            let index = json!({"schemaVersion": 2, "manifests": [manifest]});
            let index = layout.document(media_type::OCI_INDEX, &index);
            layout.top(&json!([index]));
            layout
        }

        fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
            let digest = digest_of(Algorithm::Sha256, bytes);
            std::fs::write(self.path(digest.hex()), bytes).unwrap();
            json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
        }

        fn document(&self, media_type: &str, document: &Value) -> Value {
            self.blob(media_type, document.to_string().as_bytes())
        }

        fn top(&self, manifests: &Value) {
            let index = json!({"schemaVersion": 2, "manifests": manifests});
            std::fs::write(self.0.path().join("index.json"), index.to_string()).unwrap();
        }

        fn path(&self, hex: &str) -> PathBuf {
            self.0.path().join("blobs/sha256").join(hex)
        }

        fn plan(&self) -> anyhow::Result<Plan> {
            plan(self.0.path())
        }
    }

    fn says(result: anyhow::Result<impl std::fmt::Debug>) -> String {
        format!("{:#}", result.unwrap_err())
    }

    #[test]
    fn what_is_named_is_sent_before_what_names_it_and_once() {
        let plan = Layout::new().plan().unwrap();
        let types: Vec<_> = plan.blobs.iter().map(|blob| blob.media_type.as_str()).collect();
        assert_eq!(types, ["l", "c"]);
        assert_eq!(plan.manifests.len(), 1);
        assert_eq!(plan.root.descriptor.media_type, media_type::OCI_INDEX);
    }

    #[test]
    fn a_document_that_is_not_its_digest_or_not_its_size_is_refused() {
        let layout = Layout::new();
        let plan = layout.plan().unwrap();
        let path = layout.path(plan.manifests[0].descriptor.digest.hex());
        let bytes = std::fs::read(&path).unwrap();
        let mut changed = bytes.clone();
        *changed.last_mut().unwrap() = b' ';
        std::fs::write(&path, changed).unwrap();
        assert!(says(layout.plan()).contains("have the digest sha256:"));
        std::fs::write(&path, [&bytes[..], b" "].concat()).unwrap();
        assert!(says(layout.plan()).contains("has over "));
        std::fs::write(&path, &bytes[1..]).unwrap();
        assert!(says(layout.plan()).contains("bytes, not "));
        std::fs::remove_file(&path).unwrap();
        assert!(says(layout.plan()).starts_with("cannot read "));
    }

    #[test]
    fn a_layer_that_is_not_its_digest_is_refused() {
        let layout = Layout::new();
        let plan = layout.plan().unwrap();
        let layer = &plan.blobs[0];
        assert_eq!(&read(layout.0.path(), layer, MAX_BLOB).unwrap()[..], b"layer");
        assert!(says(read(layout.0.path(), layer, 4)).contains("more than 4"));
        std::fs::write(layout.path(layer.digest.hex()), b"other").unwrap();
        assert!(says(read(layout.0.path(), layer, MAX_BLOB)).contains("have the digest sha256:"));
    }

    #[test]
    fn a_layout_of_no_image_of_several_or_of_an_index_in_an_index_is_refused() {
        let layout = Layout::new();
        let index = serde_json::to_value(layout.plan().unwrap().root.descriptor).unwrap();
        let nested = json!({"schemaVersion": 2, "manifests": [index]});
        let nested = layout.document(media_type::OCI_INDEX, &nested);
        for (top, reason) in [
            (json!([]), "it holds 0 images"),
            (json!([index, index]), "it holds 2 images"),
            (json!([nested]), "is an index in an index"),
        ] {
            layout.top(&top);
            assert!(says(layout.plan()).contains(reason), "{top}");
        }
    }
}

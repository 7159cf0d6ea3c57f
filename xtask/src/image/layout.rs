//! An image as an OCI image layout: an index, for each platform a manifest and a configuration,
//! and the layers (OCI image specification, "Image Layout", "Index", "Manifest",
//! "Configuration"). Structs keep the order of keys, so that the same image has the same digest.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::archive::Layer;
use crate::sha256;
use crate::workspace::Platform;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The annotation that gives an image of a layout its name.
const NAME: &str = "org.opencontainers.image.ref.name";

/// Labels and annotations by their keys.
pub(crate) type Labels = BTreeMap<&'static str, String>;

/// What an image is, apart from its layers.
pub(crate) struct Image {
    /// What it is called in its layout.
    pub(crate) name: String,
    /// When it was made: RFC 3339.
    pub(crate) created: String,
    /// What is said about it.
    pub(crate) labels: Labels,
    /// How it runs.
    pub(crate) run: Run,
}

/// How an image runs.
#[derive(Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Run {
    /// User and group.
    pub(crate) user: &'static str,
    /// The ports that it listens on: `6001/tcp`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) exposed_ports: BTreeMap<&'static str, Nothing>,
    /// Variables as `NAME=VALUE`.
    pub(crate) env: Vec<&'static str>,
    /// The program and its first arguments.
    pub(crate) entrypoint: Vec<&'static str>,
    /// The arguments where none are given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cmd: Vec<&'static str>,
    /// The directory it starts in.
    pub(crate) working_dir: &'static str,
}

/// The empty object that a set of keys has as its values.
#[derive(Clone, Serialize)]
pub(crate) struct Nothing {}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Target>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: Labels,
}

#[derive(Clone, Serialize)]
struct Target {
    architecture: &'static str,
    os: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u8,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a Labels,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
    annotations: &'a Labels,
}

#[derive(Serialize)]
struct Configuration<'a> {
    created: &'a str,
    #[serde(flatten)]
    platform: Target,
    config: Labelled<'a>,
    rootfs: RootFs<'a>,
    history: Vec<Step<'a>>,
}

#[derive(Serialize)]
struct Labelled<'a> {
    #[serde(flatten)]
    run: &'a Run,
    #[serde(rename = "Labels")]
    labels: &'a Labels,
}

#[derive(Serialize)]
struct RootFs<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: Vec<&'a str>,
}

#[derive(Serialize)]
struct Step<'a> {
    created: &'a str,
    created_by: &'a str,
}

/// The files of a layout, by their paths in it.
pub(crate) struct Layout(BTreeMap<String, Vec<u8>>);

impl Layout {
    /// The layout of an image: each platform with its layers, the lowest first.
    ///
    /// # Errors
    /// When a document cannot be written down.
    pub(crate) fn new(image: &Image, platforms: &[(Platform, Vec<&Layer>)]) -> Result<Self> {
        let mut layout = Self(BTreeMap::new());
        let mut manifests = Vec::new();
        for (platform, layers) in platforms {
            manifests.push(layout.platform(image, *platform, layers)?);
        }
        let annotations = &image.labels;
        let index = Index { schema_version: 2, media_type: INDEX, manifests, annotations };
        let mut index = layout.blob(INDEX, serde_json::to_vec(&index)?);
        index.annotations.insert(NAME, image.name.clone());
        let none = &Labels::new();
        let top = Index {
            schema_version: 2,
            media_type: INDEX,
            manifests: vec![index],
            annotations: none,
        };
        layout.0.insert("index.json".to_owned(), serde_json::to_vec(&top)?);
        layout.0.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
        Ok(layout)
    }

    /// Adds what a platform has, and returns what the index says of it.
    fn platform(
        &mut self,
        image: &Image,
        platform: Platform,
        layers: &[&Layer],
    ) -> Result<Descriptor> {
        let target = Target { architecture: platform.architecture(), os: "linux" };
        let created = image.created.as_str();
        let step = |layer: &&Layer| Step { created, created_by: layer.made_by };
        let config = Configuration {
            created,
            platform: target.clone(),
            config: Labelled { run: &image.run, labels: &image.labels },
            rootfs: RootFs {
                kind: "layers",
                diff_ids: layers.iter().map(|layer| layer.diff_id.as_str()).collect(),
            },
            history: layers.iter().map(step).collect(),
        };
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST,
            config: self.blob(CONFIG, serde_json::to_vec(&config)?),
            layers: layers.iter().map(|layer| self.blob(LAYER, layer.bytes.clone())).collect(),
            annotations: &image.labels,
        };
        let mut manifest = self.blob(MANIFEST, serde_json::to_vec(&manifest)?);
        manifest.platform = Some(target);
        Ok(manifest)
    }

    fn blob(&mut self, media_type: &'static str, bytes: Vec<u8>) -> Descriptor {
        let (hash, size) = (sha256::of_bytes(&bytes), bytes.len() as u64);
        let digest = format!("sha256:{hash}");
        self.0.insert(format!("blobs/sha256/{hash}"), bytes);
        Descriptor { media_type, digest, size, platform: None, annotations: Labels::new() }
    }

    /// Writes the layout beside its folder, and then puts it in the place of what is there.
    ///
    /// # Errors
    /// When a file cannot be written or the folder cannot be replaced.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let draft = folder.with_extension("draft");
        remove(&draft)?;
        for (name, bytes) in &self.0 {
            let path = draft.join(name);
            let cannot_write = || format!("cannot write {}", path.display());
            fs::create_dir_all(path.parent().unwrap_or(&draft)).with_context(cannot_write)?;
            fs::write(&path, bytes).with_context(cannot_write)?;
        }
        remove(folder)?;
        fs::rename(&draft, folder).with_context(|| format!("cannot write {}", folder.display()))
    }

    /// The names of the files whose bytes differ in the two, or that only one of them has.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let names = self.0.keys().chain(other.0.keys());
        let mut differing: Vec<String> =
            names.filter(|name| self.0.get(*name) != other.0.get(*name)).cloned().collect();
        differing.sort();
        differing.dedup();
        differing
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

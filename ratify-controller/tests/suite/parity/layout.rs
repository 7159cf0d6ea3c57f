//! Images and what is attached to them, written as OCI image layouts (OCI image specification,
//! image-layout.md): foreign clients push these, and the external sample store reads them as they
//! are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// One repository, with one image under the tag `v1`.
pub(crate) struct Layout {
    pub(crate) folder: PathBuf,
    pub(crate) image: Value,
    listed: Vec<Value>,
}

/// What is attached: `layers` are media types and bytes.
#[derive(Default)]
pub(crate) struct Attached<'a> {
    pub(crate) artifact_type: &'a str,
    pub(crate) layers: Vec<(&'a str, Vec<u8>)>,
    pub(crate) annotations: Value,
    /// Types the artifact by `artifactType` with the empty configuration, as OCI 1.1 says, and not
    /// by its configuration's media type. go-containerregistry lists such a one wrongly.
    pub(crate) modern: bool,
}

impl<'a> Attached<'a> {
    pub(crate) fn new(artifact_type: &'a str, layer_type: &'a str, bytes: &[u8]) -> Self {
        Self { artifact_type, layers: vec![(layer_type, bytes.to_vec())], ..Self::default() }
    }

    pub(crate) fn annotated(mut self, annotations: Value) -> Self {
        self.annotations = annotations;
        self
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(digest(&SHA256, bytes)))
}

pub(crate) fn digest_of(descriptor: &Value) -> &str {
    descriptor["digest"].as_str().unwrap()
}

impl Layout {
    /// An image whose only layer is its name, so that each has a digest of its own.
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        Self::of_content(folder, name, name)
    }

    /// An image whose only layer is a text.
    pub(crate) fn of_content(folder: &Path, name: &str, content: &str) -> Self {
        let folder = folder.join(name);
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let mut layout = Self { folder, image: Value::Null, listed: Vec::new() };
        let layer = layout.blob("application/vnd.oci.image.layer.v1.tar", content.as_bytes());
        let diff = json!({"type": "layers", "diff_ids": [digest_of(&layer)]});
        let config = json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": diff});
        let config = layout.blob(CONFIG, config.to_string().as_bytes());
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        let mut image = layout.blob(MANIFEST, manifest.to_string().as_bytes());
        layout.image = image.clone();
        image["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
        layout.list(image);
        layout
    }

    /// Attaches to the image.
    pub(crate) fn attach(&mut self, attached: &Attached<'_>) -> Value {
        let subject = self.image.clone();
        self.attach_to(&subject, attached)
    }

    /// Attaches to an artifact of this repository.
    pub(crate) fn attach_to(&mut self, subject: &Value, attached: &Attached<'_>) -> Value {
        let descriptor = self.manifest(Some(subject), attached);
        let mut listed = descriptor.clone();
        listed["artifactType"] = attached.artifact_type.into();
        self.list(listed);
        descriptor
    }

    /// A manifest that the layout lists under a tag and that says nothing of a subject, as cosign
    /// keeps signatures.
    pub(crate) fn tagged(&mut self, tag: &str, attached: &Attached<'_>) -> Value {
        let mut descriptor = self.manifest(None, attached);
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        self.list(descriptor.clone());
        descriptor
    }

    fn manifest(&mut self, subject: Option<&Value>, attached: &Attached<'_>) -> Value {
        let layers: Vec<Value> = attached
            .layers
            .iter()
            .map(|(media_type, bytes)| self.blob(media_type, bytes))
            .collect();
        let config_type = if attached.modern { EMPTY } else { attached.artifact_type };
        let config = self.blob(config_type, b"{}");
        let mut manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        if attached.modern {
            manifest["artifactType"] = attached.artifact_type.into();
        }
        if let Some(subject) = subject {
            manifest["subject"] = subject.clone();
        }
        if attached.annotations.is_object() {
            manifest["annotations"] = attached.annotations.clone();
        }
        self.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = sha256(bytes);
        let path = self.folder.join("blobs").join(digest.replace(':', "/"));
        fs::write(path, bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    fn list(&mut self, descriptor: Value) {
        self.listed.push(descriptor);
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.listed});
        fs::write(self.folder.join("index.json"), index.to_string()).unwrap();
    }
}

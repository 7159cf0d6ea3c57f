//! OCI image layouts: `foreign` reads those that other tools wrote, `bad` those that are none.

mod bad;
mod foreign;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ratify_core::{
    Algorithm, Context, Descriptor, ReferrerStore, config::StorePluginConfig, media_type,
};
use ratify_store_oras::{EMPTY_CONFIG, LayoutStore, Limits, digest_of};
use serde_json::{Value, json};

/// The repository that the layouts of these tests are of.
const REPOSITORY: &str = "registry.example.com/app";

/// A store over a layout of [`REPOSITORY`].
fn store(path: &Path) -> ratify_core::Result<LayoutStore> {
    open(&json!({"name": "oci-layout", "path": path, "repository": REPOSITORY}))
}

fn open(entry: &Value) -> ratify_core::Result<LayoutStore> {
    let entry = StorePluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0").unwrap();
    LayoutStore::new(&entry, Limits::default())
}

/// All that a verdict needs of an image: what it stands for, what is attached, and its blobs.
async fn read(
    store: &LayoutStore,
    subject: &str,
) -> ratify_core::Result<(Descriptor, Vec<String>)> {
    let subject = ratify_core::Reference::parse(subject).unwrap();
    let found = store.resolve(&subject, &Context::default()).await?;
    let page = store.list_referrers(&subject, &found, &[], "", &Context::default()).await?;
    let mut texts = Vec::new();
    for referrer in page.referrers {
        let manifest = store.manifest(&subject, &referrer.descriptor, &Context::default()).await?;
        assert_eq!(manifest.listed_type(), referrer.descriptor.artifact_type);
        assert_eq!(manifest.subject.as_ref().unwrap().digest, found.digest);
        for blob in &manifest.blobs {
            let bytes =
                store.blob(&subject, &blob.digest, Some(blob.size), &Context::default()).await?;
            texts.push(format!(
                "{} {}",
                referrer.descriptor.artifact_type,
                String::from_utf8_lossy(&bytes)
            ));
        }
    }
    texts.sort();
    Ok((found, texts))
}

/// A layout written by hand: an image `v1` and a signature of it.
struct Written {
    folder: tempfile::TempDir,
    image: Value,
    signature: Value,
    blob: Value,
}

impl Written {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let null = Value::Null;
        let mut written = Self { folder, image: null.clone(), signature: null.clone(), blob: null };
        let config = written.add(media_type::OCI_EMPTY, EMPTY_CONFIG);
        written.blob = written.add("text/plain", b"signed");
        written.image = written.document(&json!({"config": config, "layers": []}));
        written.signature = written.document(&json!({
            "config": config, "layers": [written.blob], "artifactType": "application/x",
            "subject": written.image,
        }));
        written.index(&[written.named("v1"), written.signature.clone()]);
        written
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn add(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest_of(Algorithm::Sha256, bytes);
        fs::write(self.path().join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    fn document(&self, document: &Value) -> Value {
        let mut document = document.clone();
        document["schemaVersion"] = json!(2);
        self.add(media_type::OCI_MANIFEST, document.to_string().as_bytes())
    }

    /// The image under a name.
    fn named(&self, name: &str) -> Value {
        let mut entry = self.image.clone();
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        entry
    }

    fn index(&self, manifests: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        fs::write(self.path().join("index.json"), index.to_string()).unwrap();
    }

    fn blob_of(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().unwrap();
        self.path().join("blobs").join(digest.replace(':', "/"))
    }

    /// The same in an archive, as `tar` writes it.
    fn archive(&self, options: &[&str], names: &[&str]) -> PathBuf {
        let archive = self.path().join("layout.tar");
        let _ = fs::remove_file(&archive);
        let mut tar = Command::new("tar");
        tar.arg("-cf").arg(&archive).args(options).arg("-C").arg(self.path()).args(names);
        assert!(tar.status().unwrap().success());
        archive
    }
}

/// What every layout of a [`Written`] has.
const NAMES: [&str; 3] = ["oci-layout", "index.json", "blobs"];

fn tagged() -> String {
    format!("{REPOSITORY}:v1")
}

/// As cosign 2.6 lists a bundle; its manifest stands in the index of the layout as well, or does not.
#[tokio::test]
async fn what_the_tag_lists_by_the_type_of_an_empty_configuration_is_what_its_manifest_says() {
    let written = Written::new();
    let mut entry = written.signature.clone();
    entry["artifactType"] = media_type::OCI_EMPTY.into();
    let list =
        json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry]});
    let mut list = written.add(media_type::OCI_INDEX, list.to_string().as_bytes());
    let tag = written.image["digest"].as_str().unwrap().replace(':', "-");
    list["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    for others in [vec![written.signature.clone()], vec![]] {
        written.index(&[&[written.named("v1"), list.clone()][..], &others].concat());
        let (_, texts) = read(&store(written.path()).unwrap(), &tagged()).await.unwrap();
        assert_eq!(texts, ["application/x signed"], "{others:?}");
    }
    fs::remove_file(written.blob_of(&written.signature)).unwrap();
    let error = read(&store(written.path()).unwrap(), &tagged()).await.unwrap_err();
    assert!(error.to_string().contains("not found"), "{error}");
}

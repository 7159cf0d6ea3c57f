//! Real parts: the sample verifier runs the sample store and reads a binary blob; the host reads
//! the same blob through the same store. v1's host loses such bytes.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
};

use ratify_controller::plugin::{exec::Program, store::ExecStore, verifier::ExecVerifier};
use ratify_core::{
    Algorithm, Binding, Context, Descriptor, Reference, Referrer, ReferrerStore, Verifier,
    config::{StorePluginConfig, VerifierPluginConfig},
    media_type,
};
use ratify_store_oras::digest_of;
use serde_json::{Value, json};

use super::{
    plugin, runner,
    verifier::{asked, object},
};

const ARTIFACT_TYPE: &str = "application/vnd.example.binary";

/// An image layout of one image with one artifact of one blob.
struct Layout {
    root: PathBuf,
    subject: Reference,
    blob: Vec<u8>,
}

impl Layout {
    fn write(root: PathBuf) -> Self {
        let repository = root.join("registry.example.com/app");
        let blobs = repository.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let put = |bytes: &[u8]| {
            let digest = digest_of(Algorithm::Sha256, bytes);
            fs::write(blobs.join(digest.hex()), bytes).unwrap();
            digest
        };
        // Every byte value, lines that look like answers, and no newline at the end.
        let mut blob: Vec<u8> = (0..300_000_u32).map(|n| (n % 256) as u8).collect();
        blob.extend_from_slice(b"\n{\"isSuccess\":true}\nINFO: x\n\0");
        let config = json!({"mediaType": media_type::OCI_EMPTY, "digest": put(b"{}"), "size": 2});
        let layer = json!({"mediaType": "b", "digest": put(&blob), "size": blob.len()});
        let manifest = |more: Value| {
            let mut manifest = object(json!({
                "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config,
            }));
            manifest.extend(object(more));
            serde_json::to_vec(&manifest).unwrap()
        };
        let entry = |bytes: &[u8], more: Value| {
            let mut entry = object(json!({
                "mediaType": media_type::OCI_MANIFEST, "digest": put(bytes), "size": bytes.len(),
            }));
            entry.extend(object(more));
            Value::Object(entry)
        };
        let image = manifest(json!({"layers": []}));
        let annotations = json!({"annotations": {"org.opencontainers.image.ref.name": "v1"}});
        let image = entry(&image, annotations);
        let subject = json!({"mediaType": image["mediaType"], "digest": image["digest"], "size": image["size"]});
        let artifact =
            manifest(json!({"artifactType": ARTIFACT_TYPE, "layers": [layer], "subject": subject}));
        let artifact = entry(&artifact, json!({"artifactType": ARTIFACT_TYPE}));
        let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [image, artifact]});
        fs::write(repository.join("index.json"), index.to_string()).unwrap();
        fs::write(repository.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let subject = Reference::parse("registry.example.com/app:v1").unwrap();
        Self { root, subject, blob }
    }
}

fn store(plugins: &Path, layout: &Layout) -> ExecStore {
    let entry = object(json!({"name": "sample-store", "root": layout.root}));
    let config = StorePluginConfig::from_entry(&entry, "1.0.0").unwrap();
    let dirs = vec![plugins.to_owned()];
    let told = vec![plugins.to_str().unwrap().to_owned()];
    ExecStore::new(&config, told, Program::Search { name: "sample-store".into(), dirs }, runner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_and_the_host_read_the_same_bytes_through_an_external_store() {
    let place = tempfile::tempdir().unwrap();
    // Only with this feature does a plugin open stores itself.
    let sample = ["--package", "ratify-verifier-sample", "--features", "v1-host"];
    let sample = plugin("sample", "sample-v1-host", &sample);
    let sample_store =
        plugin("sample-store", "sample-store", &["--package", "ratify-store-sample"]);
    symlink(sample, place.path().join("sample")).unwrap();
    symlink(sample_store, place.path().join("sample-store")).unwrap();
    let layout = Layout::write(place.path().join("layouts"));
    let store = Arc::new(store(place.path(), &layout));
    let described = store.resolve(&layout.subject, &Context::default()).await.unwrap();
    let subject = layout.subject.with_digest(described.digest.clone());
    let page =
        store.list_referrers(&subject, &described, &[], "", &Context::default()).await.unwrap();
    let [artifact] = &page.referrers[..] else { panic!("{page:?}") };
    assert_eq!(artifact.descriptor.artifact_type, ARTIFACT_TYPE);
    assert_eq!(artifact.binding, Binding::Store);

    let manifest =
        store.manifest(&subject, &artifact.descriptor, &Context::default()).await.unwrap();
    let listed: &Descriptor = &manifest.blobs[0];
    let read =
        store.blob(&subject, &listed.digest, Some(listed.size), &Context::default()).await.unwrap();
    assert_eq!(read, layout.blob);

    let seen = judge(place.path(), &subject, artifact, store).await;
    assert_eq!(seen, json!({"sha256": listed.digest.hex(), "length": layout.blob.len()}));
}

/// What the sample verifier says about the first blob.
async fn judge(
    plugins: &Path,
    subject: &Reference,
    artifact: &Referrer,
    store: Arc<ExecStore>,
) -> Value {
    let entry = object(json!({"name": "reader", "type": "sample", "readBlobs": true}));
    let config = VerifierPluginConfig::from_entry(&entry, "1.0.0").unwrap();
    let program = Program::Search { name: "sample".into(), dirs: vec![plugins.to_owned()] };
    let verifier = ExecVerifier::new(config, program, runner(), plugins.to_owned());
    let store = store.config().clone();
    let referrer = Arc::new(artifact.clone());
    let request = asked(subject.clone(), referrer, store);
    let report = verifier.verify(&request).await.unwrap();
    assert!(report.is_success, "{report:?}");
    report.extensions
}

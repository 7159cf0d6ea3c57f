//! The store on directories, over the wire but in this process.

use std::path::Path;

use ratify_plugin_sdk::{
    Descriptor, Digest, media_type, proof,
    testing::{self, Outcome},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::DirectoryStore;

/// Bytes that are neither text nor JSON, and that v1's host would lose.
const BINARY: &[u8] = b"{\"z\":1,\"a\":2}\n\x00\xff\xfe binary";

struct Layout {
    root: TempDir,
    manifests: Vec<Value>,
}

impl Layout {
    fn new() -> Self {
        Self { root: TempDir::new().unwrap(), manifests: Vec::new() }
    }

    fn folder(&self) -> std::path::PathBuf {
        self.root.path().join("reg.io/team/app")
    }

    fn add_blob(&self, bytes: &[u8]) -> Digest {
        let digest = proof::sha256(bytes);
        let path = self.folder().join("blobs/sha256").join(digest.hex());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        digest
    }

    fn add_manifest(&mut self, manifest: &Value, tag: Option<&str>) -> Descriptor {
        let bytes = manifest.to_string();
        let digest = self.add_blob(bytes.as_bytes());
        let listed = Descriptor::new(media_type::OCI_MANIFEST, digest, bytes.len() as u64);
        let mut entry = serde_json::to_value(&listed).unwrap();
        if let Some(tag) = tag {
            entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        }
        self.manifests.push(entry);
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        std::fs::write(self.folder().join("index.json"), index.to_string()).unwrap();
        listed
    }

    /// An image `v1` and artifacts of the given types, each with the binary blob.
    fn with_artifacts(types: &[&str]) -> (Self, Descriptor, Vec<Descriptor>) {
        let mut layout = Self::new();
        let empty = json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": layout.add_blob(b"{}"), "size": 2});
        let image = json!({"schemaVersion": 2, "config": empty, "layers": []});
        let image = layout.add_manifest(&image, Some("v1"));
        let blob =
            json!({"mediaType": "x/y", "digest": layout.add_blob(BINARY), "size": BINARY.len()});
        let artifacts = types.iter().map(|artifact_type| {
            let config =
                json!({"mediaType": artifact_type, "digest": layout.add_blob(b"{}"), "size": 2});
            let manifest =
                json!({"schemaVersion": 2, "config": config, "layers": [blob], "subject": image});
            layout.add_manifest(&manifest, None)
        });
        let artifacts = artifacts.collect();
        (layout, image, artifacts)
    }
}

fn run(root: &Path, command: &str, args: &str, more: &Value) -> Outcome {
    let mut entry = json!({"name": "sample-store", "root": root});
    for (key, value) in more.as_object().unwrap() {
        entry[key] = value.clone();
    }
    let variables = [
        ("RATIFY_STORE_COMMAND", command),
        ("RATIFY_STORE_SUBJECT", "reg.io/team/app:v1"),
        ("RATIFY_STORE_VERSION", "1.0.0"),
        ("RATIFY_STORE_ARGS", args),
    ];
    testing::run_store::<DirectoryStore>(&variables, entry.to_string().as_bytes())
}

fn json_of(outcome: &Outcome) -> Value {
    assert_eq!(outcome.exit_code, 0, "{}", String::from_utf8_lossy(&outcome.stdout));
    serde_json::from_slice(&outcome.stdout).unwrap()
}

#[test]
fn lists_what_is_attached_by_type_and_by_page() {
    let (layout, _, artifacts) = Layout::with_artifacts(&["a/b", "c/d", "a/b"]);
    let list = |args: &str, more: Value| {
        let answer = json_of(&run(layout.root.path(), "LISTREFERRERS", args, &more));
        let types: Vec<Value> = answer["referrers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["artifactType"].clone())
            .collect();
        (types, answer["nextToken"].as_str().unwrap().to_owned())
    };
    let all = list("nextToken=;artifactTypes=", json!({}));
    assert_eq!(all, (vec![json!("a/b"), json!("c/d"), json!("a/b")], String::new()));
    assert_eq!(list("nextToken=;artifactTypes=c/d,x", json!({})).0, [json!("c/d")]);
    let pages = json!({"pageSize": 2});
    assert_eq!(list("nextToken=;artifactTypes=", pages.clone()).1, "2");
    let last = list("nextToken=2;artifactTypes=", pages);
    assert_eq!(last, (vec![json!("a/b")], String::new()));
    let answer = json_of(&run(
        layout.root.path(),
        "LISTREFERRERS",
        "nextToken=;artifactTypes=c/d",
        &json!({}),
    ));
    assert_eq!(answer["referrers"][0]["digest"], artifacts[1].digest.as_str());
}

#[test]
fn gives_a_blob_as_it_is_a_manifest_and_what_a_tag_stands_for() {
    let (layout, image, artifacts) = Layout::with_artifacts(&["a/b"]);
    let root = layout.root.path();
    let blob = format!("digest={}", proof::sha256(BINARY));
    let outcome = run(root, "GETBLOB", &blob, &json!({}));
    assert_eq!((outcome.exit_code, outcome.stdout.as_slice()), (0, BINARY));
    let manifest = format!("digest={}", artifacts[0].digest);
    let manifest = json_of(&run(root, "GETREFMANIFEST", &manifest, &json!({})));
    assert_eq!(manifest["artifactType"], "a/b");
    assert_eq!(manifest["subject"]["digest"], image.digest.as_str());
    let descriptor = json_of(&run(root, "GETSUBJECTDESCRIPTOR", "", &json!({})));
    assert_eq!(descriptor["digest"], image.digest.as_str());
}

#[test]
fn a_changed_file_a_missing_blob_and_a_missing_root_are_errors() {
    let (layout, _, artifacts) = Layout::with_artifacts(&["a/b"]);
    let root = layout.root.path();
    let error = |outcome: Outcome| {
        assert_eq!(outcome.exit_code, 1);
        let error: Value = serde_json::from_slice(&outcome.stdout).unwrap();
        format!("{} {}; {}", error["code"], error["msg"], error["details"])
    };
    let digest = &artifacts[0].digest;
    std::fs::write(layout.folder().join("blobs/sha256").join(digest.hex()), "{}").unwrap();
    let changed = error(run(root, "GETREFMANIFEST", &format!("digest={digest}"), &json!({})));
    assert!(changed.ends_with("has other bytes\""), "{changed}");
    let changed = error(run(root, "LISTREFERRERS", "nextToken=;artifactTypes=", &json!({})));
    assert!(changed.starts_with("8 \"plugin command LISTREFERRERS failed\""), "{changed}");
    let unknown = format!("digest={}", proof::sha256(b"unknown"));
    assert!(error(run(root, "GETBLOB", &unknown, &json!({}))).contains("cannot read sha256:"));
    let no_root = error(run(&root.join("none"), "GETBLOB", &unknown, &json!({})));
    assert!(no_root.starts_with("2 \"invalid store config\"; \"root: "), "{no_root}");
}

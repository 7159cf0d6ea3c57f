//! A verifier reads from the store's real process, as it does under a host: bytes go through two
//! pipes and come out the same.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use ratify_plugin_sdk::{
    Descriptor, Result, Store, Subject, VerifierConfig, VerifierPlugin, VerifierReport, external,
    media_type, proof, testing,
};
use serde_json::{Value, json};

const BINARY: &[u8] = b"{\"z\":1,\"a\":2}\n\x00\xff\xfe binary";

/// Reads the first blob of the artifact.
struct Reader;

impl VerifierPlugin for Reader {
    type Parameters = serde_json::Map<String, Value>;

    fn new(_: Self::Parameters, _: &VerifierConfig) -> Result<Self> {
        Ok(Self)
    }

    fn verify(&self, subject: &Subject, store: &Store) -> Result<VerifierReport> {
        let manifest = store.manifest(&subject.referrer)?;
        let blob = store.blob(&manifest.blobs[0])?;
        let digest = proof::sha256(&blob);
        Ok(VerifierReport::success(manifest.artifact_type).with_extensions(json!(digest)))
    }
}

/// A layout with one artifact; returns its descriptor.
fn write_layout(root: &Path, listed_size: usize) -> Descriptor {
    let folder = root.join("reg.io/app");
    std::fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    let write = |bytes: &[u8]| {
        let digest = proof::sha256(bytes);
        std::fs::write(folder.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        digest
    };
    let config = json!({"mediaType": "a/b", "digest": write(b"{}"), "size": 2});
    let layer = json!({"mediaType": "x/y", "digest": write(BINARY), "size": listed_size});
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]}).to_string();
    let artifact = Descriptor::new(
        media_type::OCI_MANIFEST,
        write(manifest.as_bytes()),
        manifest.len() as u64,
    );
    let index = json!({"schemaVersion": 2, "manifests": [artifact]}).to_string();
    std::fs::write(folder.join("index.json"), index).unwrap();
    artifact
}

fn run(root: &Path, artifact: &Descriptor) -> (u8, Value) {
    let directory = Path::new(env!("CARGO_BIN_EXE_sample-store")).parent().unwrap();
    let input = json!({
        "config": {"name": "reader"},
        "storeConfig": {"version": "1.0.0", "pluginBinDirs": [directory], "store": {"name": "sample-store", "root": root}},
        "referenceDesc": artifact,
    });
    let variables = [
        ("RATIFY_VERIFIER_COMMAND", "VERIFY"),
        ("RATIFY_VERIFIER_VERSION", "1.0.0"),
        ("RATIFY_VERIFIER_SUBJECT", "reg.io/app:v1"),
    ];
    let outcome = testing::run_verifier_with::<Reader>(
        external::open,
        &variables,
        input.to_string().as_bytes(),
    );
    (outcome.exit_code, serde_json::from_slice(&outcome.stdout).unwrap())
}

#[test]
fn a_binary_blob_comes_out_of_two_pipes_as_it_went_in() {
    let root = tempfile::tempdir().unwrap();
    let artifact = write_layout(root.path(), BINARY.len());
    let (exit_code, report) = run(root.path(), &artifact);
    assert_eq!((exit_code, &report["message"]), (0, &json!("a/b")), "{report}");
    assert_eq!(report["extensions"], proof::sha256(BINARY).as_str());
}

#[test]
fn a_blob_of_another_size_than_listed_is_refused() {
    for listed_size in [BINARY.len() - 1, BINARY.len() + 1] {
        let root = tempfile::tempdir().unwrap();
        let artifact = write_layout(root.path(), listed_size);
        let (exit_code, error) = run(root.path(), &artifact);
        assert_eq!((exit_code, &error["code"]), (1, &json!(8)), "{error}");
        assert!(error["details"].as_str().unwrap().contains("bytes"), "{error}");
    }
}

#[test]
fn an_artifact_the_store_does_not_have_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let mut artifact = write_layout(root.path(), BINARY.len());
    artifact.digest = proof::sha256(b"unknown");
    let (exit_code, error) = run(root.path(), &artifact);
    assert_eq!(exit_code, 1);
    assert!(error["details"].as_str().unwrap().contains("the layout lists no manifest"), "{error}");
}

//! The sample's verdicts and its wire.

use ratify_plugin_sdk::{
    VerifierReport,
    testing::{self, MemoryHost},
};
use serde_json::{Value, json};

use super::Sample;

fn judge(entry: &Value, document: &'static str) -> Result<VerifierReport, String> {
    let mut host = MemoryHost::new();
    let blob = host.add_blob("text/plain", document);
    let artifact = host.add_artifact("example/document", vec![blob]);
    testing::verify::<Sample>(entry, &artifact, host).map_err(|error| error.to_string())
}

#[test]
fn accepts_whatever_has_a_size_and_reads_nothing() {
    let report = judge(&json!({"name": "n"}), "").unwrap();
    assert!(report.is_success && report.extensions.is_null());
    assert_eq!(report.message, "Sample verification success");
}

#[test]
fn reports_the_first_blob_where_it_is_told_to_read() {
    let report = judge(&json!({"name": "n", "readBlobs": true}), "abc").unwrap();
    insta::assert_snapshot!(report.extensions, @r#"{"length":3,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}"#);
}

#[test]
fn a_wrong_parameter_is_named() {
    let error = judge(&json!({"name": "n", "readBlobs": "yes"}), "").unwrap_err();
    assert_eq!(error, "readBlobs: expected a boolean, found a string");
    let error = judge(&json!({"name": "n", "readBlob": true}), "").unwrap_err();
    assert_eq!(error, "readBlob: unknown field `readBlob`, expected `readBlobs`");
}

#[test]
fn an_artifact_without_a_blob_is_an_error_where_it_is_told_to_read() {
    let mut host = MemoryHost::new();
    let artifact = host.add_artifact("example/document", Vec::new());
    let entry = json!({"name": "n", "readBlobs": true});
    let error = testing::verify::<Sample>(&entry, &artifact, host).unwrap_err();
    assert_eq!(error.to_string(), "the artifact has no blob");
}

#[test]
fn says_on_the_wire_what_v1s_sample_says() {
    let digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let run = |size: u64| {
        let input = json!({
            "config": {"name": "verifier-sample", "type": "sample", "artifactTypes": "*"},
            "storeConfig": {"version": "1.0.0", "pluginBinDirs": null, "store": {"name": "oras"}},
            "referenceDesc": {"mediaType": "m", "digest": digest, "size": size, "artifactType": "a/b"},
        });
        let variables = [
            ("RATIFY_VERIFIER_COMMAND", "VERIFY"),
            ("RATIFY_VERIFIER_VERSION", "1.0.0"),
            ("RATIFY_VERIFIER_SUBJECT", "registry.example.com/app:v1"),
        ];
        let outcome = testing::run_verifier::<Sample>(&variables, input.to_string().as_bytes());
        let stdout = String::from_utf8(outcome.stdout).unwrap();
        format!("exit {}\n{stdout}{}", outcome.exit_code, outcome.stderr)
    };
    insta::assert_snapshot!(run(42), @r#"
    exit 0
    {"isSuccess":true,"name":"verifier-sample","type":"sample","message":"Sample verification success"}
    INFO: initialized plugin verifier-sample
    "#);
    insta::assert_snapshot!(run(0), @r#"
    exit 0
    {"isSuccess":false,"name":"verifier-sample","type":"sample","message":"Sample verification success"}
    INFO: initialized plugin verifier-sample
    "#);
}

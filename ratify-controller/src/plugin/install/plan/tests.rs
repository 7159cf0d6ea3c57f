//! Every form of manifest and index, and those that are none.

use ratify_core::{Algorithm, Digest, media_type::DOCKER_MANIFEST};
use ratify_store_oras::digest_of;
use serde_json::{Value, json};

use super::*;
use crate::plugin::install::artifact::parse_platform;

const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

fn descriptor(media_type: &str, text: &str) -> Value {
    let digest = digest_of(Algorithm::Sha256, text.as_bytes());
    json!({"mediaType": media_type, "digest": digest, "size": text.len()})
}

fn titled(text: &str, title: &str) -> Value {
    let mut layer = descriptor(OCI_LAYER, text);
    layer["annotations"] = json!({ TITLE: title });
    layer
}

fn manifest(layers: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.unknown.config.v1+json", "{}"), "layers": layers})
}

fn index(entries: &[(&str, &str)]) -> Value {
    let entries = entries.iter().map(|(platform, text)| {
        let mut entry = descriptor(OCI_MANIFEST, text);
        entry["platform"] = json!(parse_platform(platform).unwrap());
        entry
    });
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries.collect::<Vec<_>>()})
}

fn step(media_type: &str, document: &Value, platform: &str) -> Result<Step, PlanError> {
    let bytes = document.to_string().into_bytes();
    let digest = digest_of(Algorithm::Sha256, &bytes);
    let platform = parse_platform(platform).unwrap();
    let wanted =
        Wanted { platform: &platform, type_: "sample", kind: Kind::Verifier, max_size: 100 };
    root(&Descriptor::new(media_type, digest, bytes.len() as u64), &bytes, &wanted)
}

fn says(media_type: &str, document: &Value) -> String {
    step(media_type, document, "linux/amd64").unwrap_err().to_string()
}

fn program_text(media_type: &str, document: &Value) -> Digest {
    match step(media_type, document, "linux/amd64").unwrap() {
        Step::Program(program) => program.layer.digest,
        Step::Manifest(_) => panic!("a program was expected"),
    }
}

fn sha256(text: &str) -> Digest {
    digest_of(Algorithm::Sha256, text.as_bytes())
}

#[test]
fn the_only_file_is_the_program_whatever_it_is_called() {
    let pushed_by_oras = manifest(&[titled("program", "./anything")]);
    assert_eq!(program_text(OCI_MANIFEST, &pushed_by_oras), sha256("program"));
    let artifact = json!({"mediaType": OCI_ARTIFACT, "artifactType": "a/b",
        "blobs": [descriptor("application/octet-stream", "program")]});
    assert_eq!(program_text(OCI_ARTIFACT, &artifact), sha256("program"));
}

#[test]
fn of_several_files_the_one_that_is_called_as_the_plugin_is_the_program() {
    let both = manifest(&[titled("readme", "README.md"), titled("program", "bin/sample")]);
    assert_eq!(program_text(OCI_MANIFEST, &both), sha256("program"));
    let none = manifest(&[titled("readme", "README.md"), descriptor(OCI_LAYER, "program")]);
    let two = manifest(&[titled("a", "sample"), titled("b", "x/sample")]);
    insta::assert_snapshot!(says(OCI_MANIFEST, &none), @"the manifest has 2 files and 0 of them are called sample: push the program alone, or under that name");
    insta::assert_snapshot!(says(OCI_MANIFEST, &two), @"the manifest has 2 files and 2 of them are called sample: push the program alone, or under that name");
}

#[test]
fn what_v1_refuses_is_refused_in_v1s_words() {
    insta::assert_snapshot!(says(DOCKER_MANIFEST, &manifest(&[titled("p", "sample")])), @"unsupported manifest media type: application/vnd.docker.distribution.manifest.v2+json");
    insta::assert_snapshot!(says("text/html\u{1b}", &json!({})), @"unsupported manifest media type: text/html�");
    insta::assert_snapshot!(says(OCI_MANIFEST, &manifest(&[])), @"no blobs found in the manifest");
}

#[test]
fn sizes_are_held_to_the_limit_before_anything_is_fetched() {
    let exact = manifest(&[titled(&"x".repeat(100), "sample")]);
    program_text(OCI_MANIFEST, &exact);
    let large = manifest(&[titled(&"x".repeat(101), "sample")]);
    insta::assert_snapshot!(says(OCI_MANIFEST, &large), @"the program has 101 bytes, more than the limit of 100");
    insta::assert_snapshot!(says(OCI_MANIFEST, &manifest(&[titled("", "sample")])), @"the program is empty");
}

#[test]
fn an_index_leads_to_the_manifest_of_this_platform() {
    let document =
        index(&[("linux/amd64", "a"), ("linux/arm64/v8", "b"), ("unknown/unknown", "c")]);
    for (platform, text) in [("linux/amd64", "a"), ("linux/arm64", "b"), ("linux/amd64/v2", "a")] {
        let Step::Manifest(entry) = step(OCI_INDEX, &document, platform).unwrap() else {
            panic!("a manifest was expected");
        };
        assert_eq!(entry.digest, sha256(text), "{platform}");
    }
    let missing = step(OCI_INDEX, &document, "linux/s390x").unwrap_err().to_string();
    insta::assert_snapshot!(missing, @"the index has nothing for linux/s390x, it has linux/amd64, linux/arm64/v8, unknown/unknown: push the plugin for linux/s390x too");
    insta::assert_snapshot!(says(OCI_INDEX, &index(&[])), @"the index has nothing for linux/amd64, it has no platform at all: push the plugin for linux/amd64 too");
}

#[test]
fn an_ambiguous_or_nested_index_is_refused() {
    let twice = index(&[("linux/amd64", "a"), ("linux/amd64", "b")]);
    insta::assert_snapshot!(says(OCI_INDEX, &twice), @"the index is ambiguous: 2 entries are for linux/amd64");
    let variants = index(&[("linux/amd64/v2", "a"), ("linux/amd64", "b")]);
    assert!(says(OCI_INDEX, &variants).contains("ambiguous"));
    let mut nested = index(&[("linux/amd64", "a")]);
    nested["manifests"][0]["mediaType"] = OCI_INDEX.into();
    insta::assert_snapshot!(says(OCI_INDEX, &nested), @"the index entry for this platform is of media type application/vnd.oci.image.index.v1+json, not a manifest");
    let mut both = index(&[("linux/amd64", "a")]);
    both["layers"] = json!([]);
    insta::assert_snapshot!(says(OCI_INDEX, &both), @"the document is ambiguous: it has the fields layers and manifests, of a manifest and of an index");
    insta::assert_snapshot!(says(OCI_MANIFEST, &index(&[])), @r#"the document has the field manifests, but it was served as "application/vnd.oci.image.manifest.v1+json", which has none"#);
}

#[test]
fn a_child_must_be_of_the_type_its_index_says() {
    let bytes = manifest(&[titled("program", "sample")]).to_string();
    let platform = parse_platform("linux/amd64").unwrap();
    let wanted =
        Wanted { platform: &platform, type_: "sample", kind: Kind::Verifier, max_size: 100 };
    let child = |listed: &str| {
        let entry = Descriptor::new(OCI_MANIFEST, sha256(&bytes), bytes.len() as u64);
        program(&entry.with_artifact_type(listed), bytes.as_bytes(), &wanted)
    };
    child("").unwrap();
    child("application/vnd.unknown.config.v1+json").unwrap();
    insta::assert_snapshot!(child("application/vnd.ratify.plugin.v1").unwrap_err(), @r#"the index says its manifest is of type "application/vnd.ratify.plugin.v1", the manifest says "application/vnd.unknown.config.v1+json""#);
}

#[test]
fn a_configuration_of_ours_is_found_and_held_to_the_kind_that_is_wanted() {
    let mut document = manifest(&[titled("program", "sample")]);
    document["config"]["mediaType"] = artifact::media_type::CONFIG.into();
    match step(OCI_MANIFEST, &document, "linux/amd64").unwrap() {
        Step::Program(program) => assert_eq!(program.config.unwrap().digest, sha256("{}")),
        Step::Manifest(_) => panic!("a program was expected"),
    }
    let text = br#"{"name":"sample","kind":"store","future":1}"#;
    assert_eq!(config(text, Kind::Store).unwrap().name, "sample");
    insta::assert_snapshot!(config(text, Kind::Verifier).unwrap_err(), @"the artifact is a store plugin, a verifier plugin is wanted");
    insta::assert_snapshot!(config(b"{}", Kind::Verifier).unwrap_err(), @"the plugin's configuration is malformed: missing field `name` at line 1 column 2");
}

#[test]
fn a_document_that_is_here_is_told_by_its_structure() {
    let cases = [
        (index(&[]), Some(OCI_INDEX)),
        (manifest(&[]), Some(OCI_MANIFEST)),
        (json!({"blobs": []}), Some(OCI_ARTIFACT)),
        (json!({"name": "sample"}), None),
        (json!([]), None),
    ];
    for (document, expected) in cases {
        assert_eq!(media_type_of(document.to_string().as_bytes()), expected);
    }
}

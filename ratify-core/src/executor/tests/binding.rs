//! Whether an artifact speaks for the subject it is listed for (v1 does not ask).

use super::*;
use crate::{
    Binding, Descriptor, Manifest,
    executor::{
        Notice,
        testing::{descriptor, digest},
    },
    media_type,
};

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

fn manifest(subject: Option<u8>, artifact_type: &str) -> Manifest {
    let mut manifest = Manifest::new(media_type::OCI_MANIFEST, artifact_type);
    manifest.subject = subject.map(|byte| descriptor(byte, ""));
    manifest
}

/// Verifies artifact 2, listed under image 1 as an sbom.
fn evaluate(binding: Binding, of_artifact: Option<Manifest>, blobs: &[(u8, String)]) -> Evaluation {
    let mut store = MemoryStore::new("s").image(IMAGE, 1).listed(1, descriptor(2, "sbom"), binding);
    if let Some(manifest) = of_artifact {
        store = store.manifest_of(2, manifest);
    }
    for (byte, bytes) in blobs {
        store = store.blob_of(*byte, bytes.clone());
    }
    verify(&executor(vec![store], vec![FunctionVerifier::passing("v", "sbom").nested()]))
}

/// The reason of the one failed report, which is the fitting verifier's.
fn refusal(evaluation: &Evaluation) -> String {
    let report = only(evaluation);
    assert!(!evaluation.result.is_success && !report.is_success);
    assert_eq!((report.name.as_str(), report.artifact_type.as_str()), ("v", "sbom"));
    assert!(report.nested_results.is_empty(), "what is attached to it says nothing either");
    assert!(evaluation.notices.iter().any(|one| matches!(one, Notice::NotBound { .. })));
    report.error_reason.clone()
}

#[test]
fn an_artifact_of_image_a_listed_under_image_b_is_a_failed_report_that_says_so() {
    let evaluation = evaluate(Binding::Manifest, Some(manifest(Some(9), "sbom")), &[]);
    assert_eq!(refusal(&evaluation), format!("its manifest is attached to {}", digest(9)));
    let message = &only(&evaluation).message;
    assert_eq!(*message, format!("{} is no artifact of {IMAGE}", digest(2)));
}

#[test]
fn an_artifact_without_a_subject_or_of_another_type_than_listed_is_refused() {
    let without = evaluate(Binding::Manifest, Some(manifest(None, "sbom")), &[]);
    assert_eq!(refusal(&without), "its manifest names no subject");
    let typed = evaluate(Binding::Manifest, Some(manifest(Some(1), "signature")), &[]);
    assert_eq!(
        refusal(&typed),
        "it is listed as \"sbom\", but its manifest is of the type \"signature\""
    );
}

#[test]
fn a_manifest_that_cannot_be_read_is_a_deny_with_the_stores_reason() {
    for binding in [Binding::Manifest, Binding::Payload, Binding::Store] {
        let evaluation = evaluate(binding, None, &[]);
        assert_eq!(refusal(&evaluation), "not found");
        assert!(only(&evaluation).message.starts_with("could not tell whether sha256:02"));
    }
}

#[test]
fn an_external_store_vouches_for_its_list_but_not_against_the_manifest() {
    let vouched = |subject| {
        let store = MemoryStore::new("external")
            .image(IMAGE, 1)
            .listed(1, descriptor(2, "sbom"), Binding::Store)
            .manifest_of(2, manifest(subject, "anything"));
        verify(&executor(vec![store], vec![FunctionVerifier::passing("v", "sbom")]))
    };
    assert!(vouched(None).result.is_success);
    assert!(vouched(Some(1)).result.is_success);
    assert_eq!(refusal(&vouched(Some(9))), format!("its manifest is attached to {}", digest(9)));
}

fn payload(named: &str) -> String {
    format!(
        r#"{{"critical":{{"identity":{{}},"image":{{"docker-manifest-digest":"{named}"}},"type":"cosign container image signature"}},"optional":null}}"#
    )
}

fn signature(layers: &[(u8, &str, u64)]) -> Manifest {
    let mut signature = manifest(None, "application/vnd.oci.image.config.v1+json");
    signature.blobs = layers
        .iter()
        .map(|(byte, type_, size)| Descriptor::new(*type_, digest(*byte), *size))
        .collect();
    signature
}

#[test]
fn one_payload_that_names_the_image_binds_a_signature_in_any_order() {
    let good = payload(digest(1).as_str());
    let other = payload(digest(9).as_str());
    let blobs = [(5, good), (6, other), (7, "{".into())];
    for order in [[5, 6, 7], [6, 5, 7], [7, 6, 5]] {
        let layers = order.map(|byte| (byte, SIMPLE_SIGNING, 10));
        let store = blobs.iter().fold(
            MemoryStore::new("s")
                .image(IMAGE, 1)
                .listed(1, descriptor(2, "sbom"), Binding::Payload)
                .manifest_of(2, signature(&layers)),
            |store, (byte, bytes)| store.blob_of(*byte, bytes.clone()),
        );
        let evaluation =
            verify(&executor(vec![store], vec![FunctionVerifier::passing("v", "sbom")]));
        assert!(evaluation.result.is_success, "{order:?}");
    }
}

#[test]
fn a_signature_of_something_else_or_of_nothing_is_refused() {
    let twice =
        r#"{"critical":{"image":{"docker-manifest-digest":"a","docker-manifest-digest":"b"}}}"#;
    let cases = [
        (payload(digest(9).as_str()), SIMPLE_SIGNING, 10, format!("names {}", digest(9))),
        ("{}".into(), SIMPLE_SIGNING, 10, "names no image".into()),
        (
            r#"{"critical":{"image":{"docker-manifest-digest":1}}}"#.into(),
            SIMPLE_SIGNING,
            10,
            "names no image".into(),
        ),
        (twice.into(), SIMPLE_SIGNING, 10, "is malformed".into()),
        (twice.replacen('d', "D", 1), SIMPLE_SIGNING, 10, "is malformed".into()),
        ("<html>".into(), SIMPLE_SIGNING, 10, "is malformed".into()),
        (payload(digest(1).as_str()), "text/plain", 10, "it has no signature payload".into()),
        (
            payload(digest(1).as_str()),
            SIMPLE_SIGNING,
            1 << 21,
            "has more than 1048576 bytes".into(),
        ),
    ];
    for (bytes, type_, size, expected) in cases {
        let evaluation =
            evaluate(Binding::Payload, Some(signature(&[(5, type_, size)])), &[(5, bytes)]);
        let reason = refusal(&evaluation);
        assert!(reason.contains(&expected), "{reason} does not say {expected}");
    }
    let unreadable = evaluate(Binding::Payload, Some(signature(&[(5, SIMPLE_SIGNING, 1)])), &[]);
    assert!(refusal(&unreadable).contains("could not be read"));
}

#[test]
fn more_payloads_than_are_looked_at_bind_nothing() {
    let layers = vec![(6, SIMPLE_SIGNING, 10); 128];
    let layers: Vec<_> = layers.into_iter().chain([(5, SIMPLE_SIGNING, 10)]).collect();
    let blobs = [(5, payload(digest(1).as_str())), (6, payload(digest(9).as_str()))];
    let evaluation = evaluate(Binding::Payload, Some(signature(&layers)), &blobs);
    assert_eq!(refusal(&evaluation), "none of its first 128 payloads names the subject");
}

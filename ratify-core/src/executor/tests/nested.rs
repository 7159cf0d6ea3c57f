//! What is attached to artifacts.

use super::*;
use crate::{
    Binding, Manifest,
    executor::{
        Limits,
        testing::{descriptor, digest},
    },
    media_type,
};

/// An SBOM with a signature attached to it.
fn signed_sbom() -> MemoryStore {
    MemoryStore::new("oras").image(IMAGE, 1).artifact(1, 2, "sbom").artifact(2, 3, "signature")
}

fn nesting() -> FunctionVerifier {
    FunctionVerifier::passing("sbom", "sbom").nested()
}

#[test]
fn a_nested_report_is_listed_under_its_parent_by_the_artifacts_own_reference() {
    let verifiers = vec![nesting(), FunctionVerifier::passing("signature", "signature")];
    let evaluation = verify(&executor(vec![signed_sbom()], verifiers));
    assert!(evaluation.result.is_success);
    let report = only(&evaluation);
    assert_eq!(report.nested_results.len(), 1);
    assert_eq!(report.nested_results[0].subject, format!("reg.example.com/app@{}", digest(2)));
    assert_eq!(report.nested_results[0].name, "signature");
}

#[test]
fn a_nested_failure_fails_the_parent_with_v1s_message() {
    let verifiers = vec![nesting(), FunctionVerifier::failing("signature", "signature")];
    let evaluation = verify(&executor(vec![signed_sbom()], verifiers));
    assert!(!evaluation.result.is_success);
    let report = only(&evaluation);
    assert_eq!((report.is_success, report.message.as_str()), (false, "nested verification failed"));
    assert_eq!(report.nested_results[0].message, "bad");
}

#[test]
fn nothing_attached_to_the_artifact_fails_the_parent() {
    let store = MemoryStore::new("oras").image(IMAGE, 1).artifact(1, 2, "sbom");
    let evaluation = verify(&executor(vec![store], vec![nesting()]));
    let report = only(&evaluation);
    assert_eq!(report.message, "nested verification failed");
    assert!(
        report.nested_results[0]
            .error_reason
            .starts_with("No verification results for the artifact reg.example.com/app@sha256:02")
    );
}

#[test]
fn a_failed_parent_is_looked_into_as_well() {
    let failing = FunctionVerifier::failing("sbom", "sbom").nested();
    let verifiers = vec![failing, FunctionVerifier::passing("signature", "signature")];
    let evaluation = verify(&executor(vec![signed_sbom()], verifiers));
    let report = only(&evaluation);
    assert_eq!((report.is_success, report.message.as_str()), (false, "bad"));
    assert_eq!(report.nested_results.len(), 1);
}

#[test]
fn a_verifier_that_does_not_ask_for_it_gets_no_nested_results() {
    let verifiers = vec![FunctionVerifier::passing("v", "*")];
    let evaluation = verify(&executor(vec![signed_sbom()], verifiers));
    assert!(only(&evaluation).nested_results.is_empty());
}

#[test]
fn a_listed_type_that_is_missing_at_the_nested_level_fails_it() {
    let mut executor = executor(
        vec![signed_sbom()],
        vec![nesting(), FunctionVerifier::passing("signature", "signature")],
    );
    executor.policy = Some(policy(&json!({"sbom": "all"})));
    assert!(!verify(&executor).result.is_success);
}

#[test]
fn a_chain_deeper_than_the_bound_is_a_deny() {
    let mut store = MemoryStore::new("oras").image(IMAGE, 1);
    for byte in 1..=6 {
        store = store.artifact(byte, byte + 1, "a");
    }
    let verifiers = vec![FunctionVerifier::passing("v", "*").nested()];
    let executor =
        executor(vec![store], verifiers).with_limits(Limits { nesting: 3, ..Limits::default() });
    let evaluation = verify(&executor);
    assert!(!evaluation.result.is_success);
    let mut report = only(&evaluation);
    while let Some(next) = report.nested_results.first() {
        report = next;
    }
    assert_eq!(report.error_reason, "artifacts are attached to artifacts more than 3 levels deep");
}

#[test]
fn an_artifact_attached_to_itself_through_others_is_a_deny() {
    let loose = || Manifest::new(media_type::OCI_MANIFEST, "a");
    let store = MemoryStore::new("external")
        .image(IMAGE, 1)
        .listed(1, descriptor(2, "a"), Binding::Store)
        .listed(2, descriptor(3, "a"), Binding::Store)
        .listed(3, descriptor(1, "a"), Binding::Store)
        .manifest_of(1, loose())
        .manifest_of(2, loose())
        .manifest_of(3, loose());
    let verifiers = vec![FunctionVerifier::passing("v", "*").nested()];
    let evaluation = verify(&executor(vec![store], verifiers));
    assert!(!evaluation.result.is_success);
    let text = serde_json::to_string(&evaluation.result).unwrap();
    assert!(text.contains("is attached, through others, to itself"), "{text}");
}

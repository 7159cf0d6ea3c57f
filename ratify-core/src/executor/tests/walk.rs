//! Resolve, list, match, verify, decide.

use std::{future::ready, sync::Arc, time::Duration};

use bytes::Bytes;

use super::*;
use crate::{
    BoxFuture, Context, Descriptor, ErrorCode, Fetch, FetchRequest, KeyRing, KeyRings, UrlSource,
    executor::{
        Doors,
        testing::{Answer, digest},
    },
};

fn json(evaluation: &Evaluation) -> String {
    serde_json::to_string_pretty(&evaluation.result).unwrap()
}

#[test]
fn an_artifact_that_passes_makes_a_success_with_v1s_report() {
    let store = MemoryStore::new("oras").image(IMAGE, 1).artifact(1, 2, "application/x");
    let passed = verify(&executor(vec![store], vec![FunctionVerifier::passing("v", "*")]));
    insta::assert_snapshot!(json(&passed), @r#"
    {
      "isSuccess": true,
      "verifierReports": [
        {
          "subject": "reg.example.com/app:v1",
          "isSuccess": true,
          "name": "v",
          "verifierName": "v",
          "type": "function",
          "verifierType": "function",
          "referenceDigest": "sha256:0202020202020202020202020202020202020202020202020202020202020202",
          "artifactType": "application/x",
          "message": "ok"
        }
      ]
    }
    "#);
    insta::assert_snapshot!(passed.notices[0].to_string(), @"Resolve of the image completed successfully the digest is sha256:0101010101010101010101010101010101010101010101010101010101010101");
}

#[test]
fn a_verifier_learns_what_the_subject_is_and_the_store_is_not_asked_again() {
    let asks: Answer = Arc::new(|request| {
        let Descriptor { media_type, digest, size, .. } = request.resolved.as_ref();
        let told = format!("{media_type} {digest} {size}");
        Box::pin(ready(Ok(VerifierReport::success(told))))
    });
    let store = MemoryStore::new("oras").image(IMAGE, 1).artifact(1, 2, "application/x");
    let store = Arc::new(store);
    let verifier = Arc::new(FunctionVerifier::new("v", "*", asks)) as Arc<dyn Verifier>;
    let stores = vec![Arc::clone(&store) as Arc<dyn ReferrerStore>];
    let passed = verify(&Executor::new(stores, vec![verifier], Some(policy(&json!({})))));
    insta::assert_snapshot!(only(&passed).message, @"application/vnd.oci.image.manifest.v1+json sha256:0101010101010101010101010101010101010101010101010101010101010101 7");
    let calls = store.calls();
    let resolved = calls.iter().filter(|call| call.starts_with("resolve"));
    assert_eq!(resolved.count(), 1, "{calls:?}");
}

#[test]
fn without_a_policy_there_is_an_error_and_no_verdict() {
    let mut without = executor(vec![], vec![]);
    without.policy = None;
    let error = verify_as(&without, &VerifyParameters::new(IMAGE)).unwrap_err();
    assert_eq!(error.to_string(), "POLICY_PROVIDER_NOT_FOUND: Policy configuration not found");
}

#[test]
fn a_subject_that_is_no_reference_is_a_failed_report() {
    let evaluation = verify_as(&executor(vec![], vec![]), &VerifyParameters::new("A/B")).unwrap();
    insta::assert_snapshot!(json(&evaluation), @r#"
    {
      "verifierReports": [
        {
          "subject": "A/B",
          "isSuccess": false,
          "message": "failed to verify artifact: A/B",
          "errorReason": "failed to parse subject reference"
        }
      ]
    }
    "#);
}

#[test]
fn nothing_attached_or_nothing_that_fits_is_v1s_failed_report() {
    let bare = MemoryStore::new("oras").image(IMAGE, 1);
    let unfitting = MemoryStore::new("oras").image(IMAGE, 1).artifact(1, 2, "application/x");
    for store in [bare, unfitting] {
        let evaluation =
            verify(&executor(vec![store], vec![FunctionVerifier::passing("v", "application/y")]));
        insta::allow_duplicates! {
            insta::assert_snapshot!(json(&evaluation), @r#"
            {
              "verifierReports": [
                {
                  "subject": "reg.example.com/app:v1",
                  "isSuccess": false,
                  "message": "failed to verify artifact: reg.example.com/app:v1",
                  "errorReason": "No verification results for the artifact reg.example.com/app:v1. Ensure verifiers are properly configured and that artifact metadata is attached"
                }
              ]
            }
            "#);
        }
    }
}

#[test]
fn an_artifact_nobody_judges_is_ignored_and_not_even_read() {
    let store = Arc::new(
        MemoryStore::new("oras").image(IMAGE, 1).artifact(1, 2, "a").artifact(1, 3, "other"),
    );
    let mut executor = executor(vec![], vec![FunctionVerifier::passing("v", "a")]);
    executor.stores.push(Arc::clone(&store) as _);
    let evaluation = verify(&executor);
    assert!(evaluation.result.is_success);
    assert_eq!(only(&evaluation).artifact_type, "a");
    assert!(!store.calls().contains(&format!("manifest {}", digest(3))));
}

#[test]
fn the_first_store_that_knows_the_subject_counts_and_the_others_are_noted() {
    let broken = MemoryStore::new("first");
    let store = MemoryStore::new("second").image(IMAGE, 1).artifact(1, 2, "a");
    let evaluation =
        verify(&executor(vec![broken, store], vec![FunctionVerifier::passing("v", "*")]));
    assert!(evaluation.result.is_success);
    assert!(evaluation.notices[0].is_warning() && !evaluation.notices[1].is_warning());
    insta::assert_snapshot!(evaluation.notices[0].to_string(), @"REPOSITORY_OPERATION_FAILURE: failed to resolve the subject descriptor: Unable to resolve the reference: reg.example.com/app:v1: not found");
}

#[test]
fn a_subject_no_store_knows_is_a_failed_report() {
    for stores in [vec![], vec![MemoryStore::new("a"), MemoryStore::new("b")]] {
        let evaluation = verify(&executor(stores, vec![FunctionVerifier::passing("v", "*")]));
        assert!(!evaluation.result.is_success);
        assert_eq!(
            only(&evaluation).error_reason,
            "could not resolve descriptor for a subject from any stores"
        );
    }
}

#[test]
fn a_store_that_resolves_a_digest_to_another_is_not_believed() {
    let asked = format!("reg.example.com/app@{}", digest(9));
    let store = MemoryStore::new("liar").image(&asked, 1).artifact(1, 2, "a");
    let liar = executor(vec![store], vec![FunctionVerifier::passing("v", "*")]);
    let evaluation = verify_as(&liar, &VerifyParameters::new(&asked)).unwrap();
    assert!(!evaluation.result.is_success);
    assert!(evaluation.notices[0].to_string().contains("the store answered the question for"));
}

#[test]
fn one_store_that_cannot_list_fails_the_whole_subject() {
    let good = MemoryStore::new("good").image(IMAGE, 1).artifact(1, 2, "a");
    let bad = MemoryStore::new("bad").hook(Arc::new(|method, _| {
        Box::pin(async move {
            match method {
                "list" => Err(ErrorCode::RepositoryOperationFailure
                    .detail("asked the registry")
                    .with_source("deadline exceeded")),
                _ => Ok(()),
            }
        })
    }));
    let evaluation = verify(&executor(vec![good, bad], vec![FunctionVerifier::passing("v", "*")]));
    assert!(!evaluation.result.is_success);
    let report = only(&evaluation);
    assert_eq!(
        (report.message.as_str(), report.error_reason.as_str()),
        (
            "failed to verify artifact: reg.example.com/app:v1: asked the registry",
            "deadline exceeded"
        )
    );
}

#[test]
fn only_the_first_verifier_that_fits_runs() {
    let store = MemoryStore::new("oras").image(IMAGE, 1).artifact(1, 2, "b");
    let verifiers = vec![
        FunctionVerifier::passing("a", "a"),
        FunctionVerifier::failing("first", "b"),
        FunctionVerifier::passing("second", "*"),
    ];
    let evaluation = verify(&executor(vec![store], verifiers));
    assert!(!evaluation.result.is_success);
    assert_eq!(only(&evaluation).name, "first");
}

#[test]
fn a_verifiers_error_and_its_panic_are_failed_reports_of_that_verifier() {
    let error: Answer = Arc::new(|_| {
        Box::pin(async {
            Err(ErrorCode::VerifyPluginFailure.detail("D").with_source("O").with_remediation("R"))
        })
    });
    let panic: Answer = Arc::new(|_| Box::pin(async { panic!("out of \x1b[31mcheese") }));
    let at_once: Answer = Arc::new(|_| panic!("before it began"));
    let cases = [
        (error, "D", "O", "R"),
        (
            panic,
            "a part of Ratify panicked while it worked on this",
            "out of \u{fffd}[31mcheese",
            "",
        ),
        (at_once, "a part of Ratify panicked while it worked on this", "before it began", ""),
    ];
    for (answer, message, reason, remediation) in cases {
        let store =
            MemoryStore::new("oras").image(IMAGE, 1).artifact(1, 2, "a").artifact(1, 3, "b");
        let verifiers =
            vec![FunctionVerifier::new("sick", "a", answer), FunctionVerifier::passing("v", "*")];
        let result = verify(&executor(vec![store], verifiers)).result;
        assert!(!result.is_success);
        let report = &result.verifier_reports.of_verifiers()[0];
        assert_eq!((report.name.as_str(), report.type_.as_str()), ("sick", "function"));
        assert_eq!(report.artifact_type, "a");
        assert_eq!(
            (report.message.as_str(), report.error_reason.as_str(), report.remediation.as_str()),
            (message, reason, remediation)
        );
        assert!(
            result.verifier_reports.of_verifiers()[1].is_success,
            "the other artifact is judged all the same"
        );
    }
}

#[test]
fn a_store_that_panics_is_a_failed_report() {
    for method in ["resolve", "list", "manifest"] {
        let store = MemoryStore::new("oras").image(IMAGE, 1).artifact(1, 2, "a").hook(Arc::new(
            move |called, _| {
                Box::pin(async move {
                    assert_ne!(called, method);
                    Ok(())
                })
            },
        ));
        let evaluation = verify(&executor(vec![store], vec![FunctionVerifier::passing("v", "*")]));
        assert!(!evaluation.result.is_success, "{method}");
        assert_eq!(evaluation.result.verifier_reports.len(), 1);
    }
}

#[test]
fn a_verifier_cannot_pass_for_another() {
    let store = MemoryStore::new("oras").image(IMAGE, 1).artifact(1, 2, "a");
    let poser: Answer = Arc::new(|_| {
        Box::pin(async {
            let mut report = VerifierReport::success("trust me").named("notation", "notation");
            report.subject = "another/image:v1".into();
            report.reference_digest = digest(7).to_string();
            report.artifact_type = "application/vnd.cncf.notary.signature".into();
            Ok(report)
        })
    });
    let evaluation =
        verify(&executor(vec![store], vec![FunctionVerifier::new("poser", "*", poser)]));
    let report = only(&evaluation);
    assert_eq!((report.name.as_str(), report.verifier_type.as_str()), ("poser", "function"));
    assert_eq!((report.subject.as_str(), report.artifact_type.as_str()), (IMAGE, "a"));
    assert_eq!(report.reference_digest, digest(2).to_string());
}

#[test]
fn a_verifier_reads_through_the_store_and_the_manifest_only_once() {
    let store = Arc::new(
        MemoryStore::new("oras").image(IMAGE, 1).artifact(1, 2, "a").blob_of(5, "content"),
    );
    let reader: Answer = Arc::new(|request| {
        let request = request.clone();
        Box::pin(async move {
            let descriptor = &request.referrer.descriptor;
            let manifest = request.host.manifest(&request.subject, descriptor).await?;
            assert_eq!(manifest.artifact_type, "a");
            let blob = Descriptor::new("text/plain", digest(5), 7);
            let bytes = request.host.blob(&request.subject, &blob).await?;
            assert_eq!(&bytes[..], b"content");
            let list = FetchRequest::new("http://x", UrlSource::Document, 1, Duration::ZERO);
            Ok(match request.host.fetch(&list).await {
                Ok(fetched) => VerifierReport::success(String::from_utf8_lossy(&fetched)),
                Err(error) => VerifierReport::success(error.to_string()),
            })
        })
    });
    let mut executor = executor(vec![], vec![FunctionVerifier::new("reader", "*", reader)]);
    executor.stores.push(Arc::clone(&store) as _);
    let nothing = "OPERATION_FORBIDDEN: http://x may not be fetched here";
    assert_eq!(only(&verify(&executor)).message, nothing);
    let reads = store.calls().iter().filter(|call| call.starts_with("manifest")).count();
    assert_eq!(reads, 1);
    executor.doors = Doors::default().with_fetch(Arc::new(Echo));
    assert_eq!(only(&verify(&executor)).message, "http://x for ");
}

#[test]
fn reference_types_go_to_the_store_and_filter_nothing() {
    let store = Arc::new(MemoryStore::new("oras").image(IMAGE, 1).artifact(1, 2, "a"));
    let mut executor = executor(vec![], vec![FunctionVerifier::passing("v", "*")]);
    executor.stores.push(Arc::clone(&store) as _);
    let parameters = VerifyParameters::new(IMAGE).with_reference_types(vec!["other".into()]);
    assert!(verify_as(&executor, &parameters).unwrap().result.is_success);
    assert!(store.calls().contains(&format!("list {IMAGE} [\"other\"] ")));
}

/// Answers with what it is asked for, and for whom.
struct Echo;

impl Fetch for Echo {
    fn fetch<'a>(
        &'a self,
        request: &'a FetchRequest,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Bytes>> {
        let told = format!("{} for {}", request.url, context.tenant);
        Box::pin(ready(Ok(told.into())))
    }
}

#[test]
fn a_verifier_has_the_keys_of_the_namespace_that_asks() {
    let store = Arc::new(MemoryStore::new("oras").image(IMAGE, 1).artifact(1, 2, "a"));
    let reader: Answer = Arc::new(|request| {
        let keys = request.host.keys("team/own").map(|keys| keys.len());
        let certificates = request.host.certificates("team/own").map(|all| all.len());
        let of_store = request.host.certificate_store("team/certs").map(|all| all.len());
        let told = [keys, certificates, of_store].map(|found| match found {
            Ok(count) => count.to_string(),
            Err(error) => error.code().value().to_owned(),
        });
        Box::pin(ready(Ok(VerifierReport::success(told.join(" ")))))
    });
    let mut executor = executor(vec![], vec![FunctionVerifier::new("reader", "*", reader)]);
    executor.stores.push(store);
    let mut rings = KeyRings::default();
    rings.insert("team/own", Ok(KeyRing::default()));
    rings.insert_store("team/certs", Ok(Vec::new()));
    executor.doors = Doors::new(Arc::new(rings));
    let told = |tenant: &str| {
        let context = Context::default().with_tenant(tenant);
        let parameters = VerifyParameters::new(IMAGE).with_context(context);
        only(&verify_as(&executor, &parameters).unwrap()).message.clone()
    };
    assert_eq!(told("team"), "0 0 0");
    assert_eq!(told("other"), "OPERATION_FORBIDDEN OPERATION_FORBIDDEN OPERATION_FORBIDDEN");
    assert_eq!(told(""), "OPERATION_FORBIDDEN OPERATION_FORBIDDEN 0");
}

//! Rego mode: every verifier runs, every artifact counts, and what is missing is an error.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use crate::{
    Binding, Context, ErrorCode, Manifest, NestedVerifierReport,
    config::Config,
    executor::{
        Executor, Limits, VerifyParameters,
        testing::{self, FunctionVerifier, MemoryStore, descriptor, digest},
    },
    media_type,
    policy::Policy,
};

use super::{Evaluation, IMAGE, block_on, executor, verify};

/// Every report passes; artifacts that nobody judged are no matter.
const NOTHING_FAILED: &str = "package ratify.policy
default valid = false
valid { not failed }
failed { input.verifierReports[_].verifierReports[_].isSuccess == false }
failed { input.verifierReports[_].nestedReports[_].verifierReports[_].isSuccess == false }";

fn rego(text: &str, passthrough: bool) -> Policy {
    let plugin = json!({"name": "rego-policy", "policy": text, "passthroughEnabled": passthrough});
    let file = json!({"policy": {"plugin": plugin}}).to_string();
    let config = Config::from_json(file.as_bytes()).unwrap();
    Policy::from_config(&config.policy.unwrap()).unwrap()
}

fn with_rego(text: &str, stores: Vec<MemoryStore>, verifiers: Vec<FunctionVerifier>) -> Executor {
    let mut executor = executor(stores, verifiers);
    executor.policy = Some(rego(text, false));
    executor
}

fn artifacts(evaluation: &Evaluation) -> &[NestedVerifierReport] {
    evaluation.result.verifier_reports.of_artifacts()
}

fn error(executor: &Executor) -> String {
    let waited = block_on(executor.verify(&VerifyParameters::new(IMAGE), &|_| {}));
    waited.unwrap_err().to_string()
}

/// An image with an SBOM, its signature, and something that nobody judges.
fn store() -> MemoryStore {
    MemoryStore::new("oras")
        .image(IMAGE, 1)
        .artifact(1, 2, "sbom")
        .artifact(2, 3, "signature")
        .artifact(1, 4, "unknown")
}

#[test]
fn every_fitting_verifier_runs_in_the_configured_order() {
    let verifiers = vec![
        FunctionVerifier::passing("second", "sbom"),
        FunctionVerifier::failing("first", "*"),
        FunctionVerifier::passing("never", "other"),
    ];
    let executor = with_rego(NOTHING_FAILED, vec![store()], verifiers);
    let evaluation = verify(&executor);
    assert!(!evaluation.result.is_success);
    let names = |report: &NestedVerifierReport| {
        report.verifier_reports.iter().map(|one| one.name.clone()).collect::<Vec<_>>()
    };
    let reports = artifacts(&evaluation);
    assert_eq!(names(&reports[0]), ["second", "first"]);
    assert_eq!(names(&reports[0].nested_reports[0]), ["first"]);
    assert_eq!(names(&reports[1]), ["first"]);
}

#[test]
fn the_report_of_an_artifact_has_v1s_five_keys_whoever_judges_it() {
    let verifiers = vec![FunctionVerifier::passing("v", "sbom")];
    let evaluation = verify(&with_rego(NOTHING_FAILED, vec![store()], verifiers));
    assert!(evaluation.result.is_success);
    let text = serde_json::to_string(&evaluation.result).unwrap();
    let text = [1, 2, 3, 4]
        .into_iter()
        .fold(text, |text, byte| text.replace(&digest(byte).to_string(), &format!("<{byte}>")));
    insta::assert_snapshot!(text, @r#"{"isSuccess":true,"verifierReports":[{"subject":"reg.example.com/app:v1","referenceDigest":"<2>","artifactType":"sbom","verifierReports":[{"isSuccess":true,"message":"ok","name":"v","verifierName":"v","type":"function","verifierType":"function","extensions":null}],"nestedReports":[{"subject":"reg.example.com/app@<2>","referenceDigest":"<3>","artifactType":"signature","verifierReports":[],"nestedReports":[]}]},{"subject":"reg.example.com/app:v1","referenceDigest":"<4>","artifactType":"unknown","verifierReports":[],"nestedReports":[]}]}"#);
}

#[test]
fn what_nobody_judges_is_looked_into_as_well() {
    let store = store().artifact(4, 5, "signature");
    let verifiers = vec![FunctionVerifier::failing("v", "signature")];
    let evaluation = verify(&with_rego(NOTHING_FAILED, vec![store], verifiers));
    let unknown = &artifacts(&evaluation)[1];
    assert!(unknown.verifier_reports.is_empty());
    assert_eq!(unknown.nested_reports[0].verifier_reports[0].message, "bad");
    assert!(!evaluation.result.is_success);
}

/// A list for each artifact is not asked for where nobody reads what is in it, but by a verifier that
/// wants it.
#[test]
fn what_nobody_reads_is_not_asked_for() {
    let valid = "package ratify.policy\nvalid { count(input.verifierReports) == 2 }";
    let plugin = json!({"name": "rego-policy", "policy": valid, "nestedReports": false});
    let file = json!({"policy": {"plugin": plugin}}).to_string();
    let config = Config::from_json(file.as_bytes()).unwrap();
    for (wants, lists) in [(false, vec![1]), (true, vec![1, 2])] {
        let store = Arc::new(store());
        let verifier = FunctionVerifier::passing("v", "sbom");
        let verifier = if wants { verifier.nested() } else { verifier };
        let mut executor = executor(vec![], vec![verifier]);
        executor.stores = vec![Arc::clone(&store) as Arc<dyn crate::ReferrerStore>];
        executor.policy = Some(Policy::from_config(config.policy.as_ref().unwrap()).unwrap());
        let evaluation = verify(&executor);
        assert!(evaluation.result.is_success);
        let nested = artifacts(&evaluation).iter().map(|one| one.nested_reports.len());
        assert_eq!(nested.collect::<Vec<_>>(), [usize::from(wants), 0]);
        let calls = store.calls();
        let listed = calls.iter().filter(|call| call.starts_with("list ")).count();
        assert_eq!(listed, lists.len(), "{calls:?}");
        let are_listed = |byte: &u8| {
            let list = format!("list reg.example.com/app@{} ", digest(*byte));
            *byte == 1 || calls.iter().any(|call| call.starts_with(&list))
        };
        assert!(lists.iter().all(are_listed), "{calls:?}");
    }
}

#[test]
fn nothing_attached_is_for_the_policy_to_judge() {
    let store = || MemoryStore::new("oras").image(IMAGE, 1);
    let evaluation = verify(&with_rego(NOTHING_FAILED, vec![store()], vec![]));
    assert!(evaluation.result.is_success);
    assert_eq!(
        serde_json::to_string(&evaluation.result).unwrap(),
        r#"{"isSuccess":true,"verifierReports":[]}"#
    );
    let strict =
        "package ratify.policy\ndefault valid = false\nvalid { count(input.verifierReports) > 0 }";
    assert!(!verify(&with_rego(strict, vec![store()], vec![])).result.is_success);
}

#[test]
fn an_artifact_of_another_image_is_a_failed_report_of_each_verifier() {
    let mut foreign = Manifest::new(media_type::OCI_MANIFEST, "sbom");
    foreign.subject = Some(descriptor(9, ""));
    let store = MemoryStore::new("oras")
        .image(IMAGE, 1)
        .listed(1, descriptor(2, "sbom"), Binding::Manifest)
        .manifest_of(2, foreign)
        .artifact(2, 3, "signature");
    let verifiers =
        vec![FunctionVerifier::passing("a", "*"), FunctionVerifier::passing("b", "sbom")];
    let evaluation = verify(&with_rego(NOTHING_FAILED, vec![store], verifiers));
    assert!(!evaluation.result.is_success);
    let report = &artifacts(&evaluation)[0];
    assert_eq!(report.verifier_reports.iter().filter(|one| !one.is_success).count(), 2);
    assert!(report.nested_reports.is_empty(), "{report:?}");
}

/// T19: each of these is an error, never a shorter list; with a verdict and without.
#[test]
fn part_of_the_evidence_is_no_evidence() {
    let chain = |length: u8| {
        (1..=length).fold(MemoryStore::new("oras").image(IMAGE, 1), |store, byte| {
            store.artifact(byte, byte + 1, "a")
        })
    };
    let broken = |about: &'static str| {
        let hook: testing::Hook = Arc::new(move |method, asked: &str| {
            let fails = method == about && asked.contains(&digest(2).to_string());
            Box::pin(async move {
                match fails {
                    true => Err(ErrorCode::RepositoryOperationFailure.detail("reset")),
                    false => Ok(()),
                }
            })
        });
        store().hook(hook)
    };
    let cases: Vec<(MemoryStore, Limits, &str)> = vec![
        (
            broken("list"),
            Limits::default(),
            "failed to verify nested subject, param: {Subject:reg.example.com/app@sha256:0202",
        ),
        (broken("resolve"), Limits::default(), "could not resolve descriptor"),
        (chain(6), Limits { nesting: 3, ..Limits::default() }, "more than 3 levels deep"),
        (chain(6), Limits { referrers: 3, ..Limits::default() }, "more than 3 artifacts"),
        (store().pages_of(1), Limits { pages: 1, ..Limits::default() }, "more than 1 pages"),
        (store().endless(), Limits::default(), "part of a list proves nothing"),
        (MemoryStore::new("oras"), Limits::default(), "could not resolve descriptor"),
    ];
    for (store, limits, expected) in cases {
        let verifiers = vec![FunctionVerifier::passing("v", "*")];
        let mut executor = with_rego("package ratify.policy\nvalid = true", vec![store], verifiers)
            .with_limits(limits);
        for passthrough in [false, true] {
            executor.policy = Some(rego("package ratify.policy\nvalid = true", passthrough));
            let error = error(&executor);
            assert!(error.contains(expected), "{error}");
        }
    }
}

/// T19: of what came too late there is only a failure, in which nothing speaks against the image.
#[test]
fn what_is_late_is_no_success() {
    let deny = "package ratify.policy\ndefault valid = false\nvalid { not denied }\ndenied { input.verifierReports[_].verifierReports[_].extensions.denied }";
    let late = FunctionVerifier::new(
        "late",
        "*",
        Arc::new(|_| Box::pin(async { Err(ErrorCode::VerifyPluginFailure.detail("time is up")) })),
    );
    let mut executor = with_rego(deny, vec![store()], vec![late]);
    let now = std::time::Instant::now();
    for (give_up_at, is_late) in [(now, true), (now + Duration::from_secs(3600), false)] {
        let parameters =
            VerifyParameters::new(IMAGE).with_context(Context::until(Some(give_up_at)));
        for passthrough in [false, true] {
            executor.policy = Some(rego(deny, passthrough));
            let result = block_on(executor.verify(&parameters, &|_| {}));
            assert_eq!(result.as_ref().is_err(), is_late, "{result:?}");
            assert!(result.err().is_none_or(|error| error.is_transient()), "ask again");
        }
        // A failure that is no lateness is for the policy to judge, as in v1.
        executor.policy = Some(rego(deny, false));
        let result = block_on(executor.verify(&parameters, &|_| {}));
        assert_eq!(result.is_ok_and(|result| result.is_success), !is_late);
    }
}

/// T18, T20: what its timer ended has decided nothing, and whoever asks again may have it.
#[test]
fn a_policy_without_an_end_decides_nothing() {
    let number = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]";
    let endless = format!(
        "package ratify.policy\nns := {number}\nvalid {{ not busy }}\nbusy {{ ns[a]; ns[b]; ns[c]; ns[d]; ns[e]; ns[f]; ns[g]; ns[h]; a + b + c + d + e + f + g + h == -1 }}"
    );
    let executor = with_rego(&endless, vec![store()], vec![FunctionVerifier::passing("v", "*")]);
    let waited = block_on(executor.verify(&VerifyParameters::new(IMAGE), &|_| {}));
    let error = waited.unwrap_err();
    let said = "EXECUTOR_FAILURE: failed to evaluate policy: ";
    assert!(error.is_transient() && error.to_string().starts_with(said), "{error}");
}

#[test]
fn passed_through_reports_are_whole_and_without_a_verdict() {
    let mut executor =
        with_rego(NOTHING_FAILED, vec![store()], vec![FunctionVerifier::passing("v", "*")]);
    executor.policy = Some(rego(NOTHING_FAILED, true));
    let evaluation = verify(&executor);
    assert!(!evaluation.result.is_success);
    assert_eq!(artifacts(&evaluation).len(), 2);
    assert!(!evaluation.notices.iter().any(crate::executor::Notice::is_error));
}

#[test]
fn a_fault_of_the_policy_is_said_in_v1s_line() {
    let verifiers = vec![FunctionVerifier::passing("v", "*")];
    let executor = with_rego("package ratify.policy\nvalid { false }", vec![store()], verifiers);
    let evaluation = verify(&executor);
    assert!(!evaluation.result.is_success);
    let line = "failed to evaluate policy: no results returned from query";
    let faults = evaluation.notices.iter().filter(|notice| notice.is_error());
    assert_eq!(faults.map(ToString::to_string).collect::<Vec<_>>(), [line]);
    assert_eq!(executor.policy.map(|policy| policy.response_version()), Some("1.1.0"));
}

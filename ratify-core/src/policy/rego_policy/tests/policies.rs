//! Policies as they are written for Ratify, with reports that must pass and reports that must not.
//! (The policies that v1 ships, themselves, are asked in the controller's suite.)

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::{super::RegoPolicy, Evaluated, evaluate};
use crate::{NestedVerifierReport, VerifierReport};

/// Every report passes, and every artifact has one.
const STOCK: &str = "package ratify.policy
default valid := false
valid { not failed(input) }
failed(all) { [path, value] := walk(all); value == false; path[count(path) - 1] == \"isSuccess\" }
failed(all) {
  [path, value] := walk(all)
  path[count(path) - 1] == \"verifierReports\"
  count(value) == 0
}";

/// The same rule in the newer dialect.
const STOCK_V1: &str = "package ratify.policy
import rego.v1
default valid := false
valid if {
  count(input.verifierReports) > 0
  every report in input.verifierReports { passes(report) }
}
passes(report) if {
  count(report.verifierReports) > 0
  every one in report.verifierReports { one.isSuccess }
}";

/// A list of what is forbidden, and nothing on it.
const DENY: &str = "package ratify.policy
import future.keywords
default valid = false
deny[message] {
  some report in input.verifierReports
  some one in report.verifierReports
  not one.isSuccess
  message := sprintf(\"%s: %s\", [one.name, one.message])
}
deny contains \"nothing is signed\" if {
  not is_signed
}
is_signed if {
  some report in input.verifierReports
  report.artifactType == \"signature\"
}
valid { count(deny) == 0 }";

/// The newest report counts, and must be of the last day.
const NEWEST: &str = "package ratify.policy
import future.keywords.in
default valid = false
ages[age] {
  some report in input.verifierReports
  one := report.verifierReports[_]
  one.isSuccess
  age := time.now_ns() - time.parse_rfc3339_ns(one.extensions.createdAt)
}
valid { min(ages) < time.parse_duration_ns(\"24h\") }";

fn artifact(artifact_type: &str, successes: &[bool]) -> NestedVerifierReport {
    let report = |success: &bool| VerifierReport {
        is_success: *success,
        message: "m".into(),
        ..VerifierReport::default().named("v", "t")
    };
    NestedVerifierReport {
        artifact_type: artifact_type.into(),
        verifier_reports: successes.iter().map(report).collect(),
        ..NestedVerifierReport::default()
    }
}

fn policy(text: &str) -> RegoPolicy {
    let entry = json!({"name": "regopolicy", "policy": text});
    RegoPolicy::from_entry(entry.as_object().unwrap(), &|_| unreachable!()).unwrap()
}

fn decides(text: &str, reports: &[NestedVerifierReport]) -> bool {
    let judgement = policy(text).decide(reports, SystemTime::now());
    assert_eq!(judgement.fault, None);
    judgement.is_success
}

#[test]
fn good_reports_pass_and_one_bad_one_fails_each_policy() {
    let good = || artifact("signature", &[true]);
    let nested = |inner| NestedVerifierReport { nested_reports: vec![inner], ..good() };
    for text in [STOCK, STOCK_V1, DENY] {
        assert!(decides(text, &[good()]), "{text}");
        assert!(decides(text, &[good(), artifact("sbom", &[true, true])]), "{text}");
        assert!(!decides(text, &[artifact("signature", &[false])]), "{text}");
        assert!(!decides(text, &[good(), artifact("sbom", &[true, false])]), "{text}");
        assert!(!decides(text, &[artifact("sbom", &[false]), good()]), "{text}");
    }
    for text in [STOCK, STOCK_V1] {
        assert!(!decides(text, &[]), "{text}");
        assert!(!decides(text, &[good(), artifact("unknown", &[])]), "{text}");
    }
    assert!(!decides(DENY, &[artifact("sbom", &[true])]));
    assert!(!decides(DENY, &[]));
    assert!(decides(STOCK, &[nested(good())]));
    assert!(!decides(STOCK, &[nested(artifact("a", &[false]))]));
    assert!(!decides(STOCK, &[nested(nested(artifact("a", &[])))]));
}

#[test]
fn a_policy_has_the_time_it_is_given() {
    let mut report = artifact("report", &[true]);
    report.verifier_reports[0].extensions = json!({"createdAt": "2026-11-30T00:00:00Z"});
    let day = Duration::from_secs(86_400);
    let made = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_996_800);
    let at = |now| policy(NEWEST).decide(std::slice::from_ref(&report), now).is_success;
    assert!(at(made + day / 2));
    assert!(!at(made + day));
    report.verifier_reports[0].extensions = json!({});
    assert!(!decides(NEWEST, &[report.clone()]));
    report.verifier_reports[0].extensions = json!({"createdAt": "yesterday"});
    let judgement = policy(NEWEST).decide(&[report], made);
    let fault = judgement.fault.unwrap();
    assert!(fault.contains("\"yesterday\" is no time as RFC 3339 writes it"), "{fault}");
}

/// T18: what has no value in the policy engine at hand must not make this true.
#[test]
fn a_policy_that_asks_the_network_is_refused_and_never_asked() {
    let text = "package ratify.policy\nvalid { not denied }\ndenied {\n  http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1:1\"}).status_code != 200\n}";
    let refused = evaluate(text, "ratify.policy.valid", &json!({}));
    let expected = "1 error occurred: policy.rego:4: rego_unproven_error: the function http.send";
    assert_eq!(refused, Evaluated::Refused(expected.into()));
}

#[test]
fn faults_deny_with_v1s_lines() {
    let fault = |text: &str| {
        let judgement = policy(text).decide(&[], SystemTime::now());
        assert!(!judgement.is_success, "{text}");
        judgement.fault.unwrap_or_default()
    };
    let undefined = "failed to evaluate policy: no results returned from query";
    assert_eq!(fault("package ratify.policy\nvalid { false }"), undefined);
    assert_eq!(fault("package ratify.policy\nother = true"), undefined);
    assert_eq!(fault("package ratify.policy\nvalid(x) { x }"), undefined);
    assert_eq!(fault("package other\nvalid = true"), undefined);
    let text = "package ratify.policy\nvalid = \"yes\"";
    assert_eq!(fault(text), "failed to evaluate policy: unexpected result type: \"yes\"");
    let text = "package ratify.policy\nvalid = true\nvalid = false { true }";
    assert!(
        fault(text).starts_with("failed to evaluate policy: rule conflicts with rule"),
        "{}",
        fault(text)
    );
}

#[test]
fn passed_through_reports_have_no_verdict_and_the_policy_must_still_be_one() {
    let entry = |text: &str| json!({"policy": text, "passthroughEnabled": true});
    let of = |entry: Value| RegoPolicy::from_entry(entry.as_object().unwrap(), &|_| unreachable!());
    let policy = of(entry("package ratify.policy\nvalid = true")).unwrap();
    let judgement = policy.decide(&[artifact("a", &[true])], SystemTime::now());
    assert_eq!((judgement.is_success, judgement.fault), (false, None));
    assert!(of(entry("valid = true")).is_err());
}

#[test]
fn wrong_entries_are_refused_with_v1s_texts() {
    let made = |entry: Value| {
        let read = |path: &str| match path {
            "empty" => Ok(String::new()),
            "blank" => Ok(" \n".to_owned()),
            "good" => Ok("\n package ratify.policy\nvalid = true ".to_owned()),
            other => Err(format!("open {other}: no such file or directory")),
        };
        let entry: Map<String, Value> = entry.as_object().cloned().unwrap();
        RegoPolicy::from_entry(&entry, &read).map_err(|error| error.to_string())
    };
    assert!(made(json!({"policyPath": "good"})).is_ok());
    assert!(made(json!({"POLICY": "package a", "policyPath": "missing"})).is_ok());
    let providers = "https://ratify.dev/docs/reference/providers";
    for (entry, expected) in [
        (
            json!({}),
            "CONFIG_INVALID: unable to read rego policy file at path: : open : no such file or directory",
        ),
        (
            json!({"policyPath": "/x"}),
            "CONFIG_INVALID: unable to read rego policy file at path: /x: open /x: no such file or directory",
        ),
        (
            json!({"policyPath": "empty"}),
            "CONFIG_INVALID: policy is required for rego policy provider",
        ),
        (
            json!({"policyPath": "blank"}),
            "PLUGIN_INIT_FAILURE: failed to create OPA engine: failed to create policy engine: policy is empty",
        ),
        (
            json!({"policy": 5}),
            "CONFIG_INVALID: failed to parse policy provider configuration: policy: expected a string",
        ),
        (
            json!({"policy": "package a", "passthroughEnabled": "yes"}),
            "CONFIG_INVALID: failed to parse policy provider configuration: passthroughEnabled: expected a boolean",
        ),
        (
            json!({"policy": "package a", "nestedReports": 1}),
            "CONFIG_INVALID: failed to parse policy provider configuration: nestedReports: expected a boolean",
        ),
        (
            json!({"policy": "package a\nvalid { input.verifierReports[_].nestedReports }", "nestedReports": false}),
            "PLUGIN_INIT_FAILURE: failed to create OPA engine: failed to create policy engine: nestedReports is false, and the policy reads nestedReports",
        ),
        (
            json!({"policy": "package a", "Policy": "package b"}),
            "CONFIG_INVALID: failed to parse policy provider configuration: policy is there in two spellings",
        ),
        (
            json!({"policy": "package a\nvalid {"}),
            "PLUGIN_INIT_FAILURE: failed to create OPA engine: failed to create policy engine: failed to create policy query, err: failed to prepare rego query, err: 1 error occurred: policy.rego:2: rego_parse_error: expecting }",
        ),
    ] {
        assert_eq!(made(entry).unwrap_err(), format!("{expected}: {providers}"));
    }
}

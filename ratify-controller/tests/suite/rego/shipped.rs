//! Every policy that v1 ships, word for word, with reports that must pass and reports that must not.

use std::{fs, path::Path};

use ratify_core::policy::testing::{Evaluated, evaluate};
use serde_json::{Value, json};

use crate::parity::machines::Machines;

fn valid(policy: &str, reports: Value) -> bool {
    let input = json!({ "verifierReports": reports });
    match evaluate(policy, "ratify.policy.valid", &input) {
        Evaluated::Value(Value::Bool(verdict)) => verdict,
        // `valid` without a default.
        Evaluated::Undefined => false,
        other => panic!("{other:?}\n{policy}"),
    }
}

fn one(type_: &str, is_success: bool, extensions: Value) -> Value {
    json!({"isSuccess": is_success, "message": "", "name": "n", "verifierName": "n", "type": type_,
           "verifierType": type_, "extensions": extensions})
}

fn artifact(reports: &[Value], nested: &[Value]) -> Value {
    json!({"subject": "s", "referenceDigest": "d", "artifactType": "a",
           "verifierReports": reports, "nestedReports": nested})
}

fn signed(is_success: bool) -> Value {
    artifact(&[one("notation", is_success, Value::Null)], &[])
}

/// What stands below `policy: |` of a manifest or a template.
fn block(text: &str) -> String {
    let (_, rest) = text.split_once("policy: |\n").unwrap();
    let rest = rest.split("{{- else }}").next().unwrap();
    let lines = rest.lines().map(|line| line.get(6..).unwrap_or_default());
    lines.map(|line| format!("{line}\n")).collect()
}

fn read(module: &Path, path: &str) -> String {
    fs::read_to_string(module.join(path)).unwrap()
}

/// The policy of the chart and of every sample: all pass, and each artifact has a report.
#[test]
fn the_policy_of_chart_and_samples_decides_as_it_says() {
    let Some(machines) = Machines::find() else { return };
    let module = machines.tool("ratify-v1-module");
    for path in [
        "charts/ratify/templates/policy.yaml",
        "config/samples/clustered/policy/config_v1beta1_policy_rego.yaml",
        "config/samples/clustered/policy/config_v1alpha1_policy_rego.yaml",
        "config/samples/namespaced/policy/config_v1beta1_policy_rego.yaml",
    ] {
        let policy = block(&read(&module, path));
        let nested = |inner| artifact(&[one("sbom", true, json!({}))], &[inner]);
        assert!(valid(&policy, json!([signed(true)])), "{path}");
        assert!(valid(&policy, json!([signed(true), nested(signed(true))])), "{path}");
        for bad in [
            json!([]),
            json!([signed(false)]),
            json!([signed(true), signed(false)]),
            json!([signed(true), artifact(&[], &[])]),
            json!([nested(signed(false))]),
            json!([nested(artifact(&[], &[]))]),
            json!([nested(nested(signed(false)))]),
        ] {
            assert!(!valid(&policy, bad.clone()), "{path}: {bad}");
        }
    }
}

#[test]
fn the_policies_of_v1s_own_tests_decide_as_they_say() {
    let Some(machines) = Machines::find() else { return };
    let module = machines.tool("ratify-v1-module");
    let of = |name: &str| {
        let text = read(&module, &format!("test/bats/tests/config/{name}.json"));
        let config: Value = serde_json::from_str(&text).unwrap();
        config["policy"]["plugin"]["policy"].as_str().unwrap().to_owned()
    };
    for name in ["root", "leaf"] {
        let policy = of(&format!("config_rego_policy_notation_{name}_cert"));
        assert!(valid(&policy, json!([signed(true)])));
        assert!(!valid(&policy, json!([signed(true), signed(false)])));
    }
    let any = of("config_multiple_notation_verifiers");
    assert!(valid(&any, json!([signed(false), signed(true)])));
    assert!(!valid(&any, json!([signed(false)])));
    assert!(!valid(&any, json!([])));
}

#[test]
fn the_policies_of_v1s_library_decide_as_they_say() {
    let Some(machines) = Machines::find() else { return };
    let module = machines.tool("ratify-v1-module");
    let sbom = read(&module, "library/rego/sbom-validation.rego");
    let of = |type_, is_success| artifact(&[one(type_, is_success, json!({}))], &[]);
    assert!(valid(&sbom, json!([of("sbom", true)])));
    assert!(valid(&sbom, json!([signed(false), of("sbom", true)])));
    for bad in [json!([]), json!([signed(true)]), json!([of("sbom", false)])] {
        assert!(!valid(&sbom, bad.clone()), "{bad}");
    }
    // What must be signed can never be shown to be in this form of report, in v1 as here.
    let strict = sbom.replace("require_signature := false", "require_signature := true");
    assert_ne!(strict, sbom);
    assert!(!valid(&strict, json!([of("sbom", true)])));

    let scan = read(&module, "library/rego/vulnerability-report-validation.rego");
    let made = |at: &str, is_success| {
        let extensions = json!({ "createdAt": at });
        artifact(&[one("vulnerabilityreport", is_success, extensions)], &[])
    };
    let (old, new) = ("2024-01-01T00:00:00Z", "2024-06-01T12:30:00.5+02:00");
    assert!(valid(&scan, json!([made(old, true)])));
    assert!(valid(&scan, json!([made(old, false), made(new, true)])));
    for bad in [
        json!([]),
        json!([made(old, true), made(new, false)]),
        json!([made(new, false)]),
        json!([of("vulnerabilityreport", true)]),
        json!([signed(true)]),
    ] {
        assert!(!valid(&scan, bad.clone()), "{bad}");
    }
}

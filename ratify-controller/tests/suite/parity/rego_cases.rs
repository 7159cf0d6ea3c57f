//! Rego policies under both hosts: what each decides, and what it shows beside the verdict.

use serde_json::{Value, json};

use super::{
    images::{OTHER, SPDX_JSON, STATEMENT},
    rows::*,
    serve_cases::{ServeCase, VERIFY, asking},
    verify_cases::{Case, sample, with},
};

/// What v1's chart has where `policy.useRego` is set, without its comments.
const STOCK: &str = "package ratify.policy
default valid := false
valid { not failed_verify(input) }
failed_verify(reports) {
  [path, value] := walk(reports)
  value == false
  path[count(path) - 1] == \"isSuccess\"
}
failed_verify(reports) {
  [path, value] := walk(reports)
  path[count(path) - 1] == \"verifierReports\"
  count(value) == 0
}";

/// Any one report that passes is enough.
const ANY: &str = "package ratify.policy
import future.keywords.in
default valid = false
valid {
  some artifact in input.verifierReports
  some report in artifact.verifierReports
  report.isSuccess
}";

fn rego(policy: Value, verifiers: Value) -> Value {
    over(json!({"name": "oras", "useHttp": true}), policy, verifiers)
}

fn over(store: Value, policy: Value, verifiers: Value) -> Value {
    let mut config = with(store, json!({}), verifiers);
    config["policy"]["plugin"] = policy;
    config["policy"]["plugin"]["name"] = "regoPolicy".into();
    config
}

fn stock() -> Value {
    json!({ "policy": STOCK })
}

/// Something of each kind: two that judge an artifact, one of which fails.
fn two_of_a_kind() -> Value {
    json!([
        {"name": "good", "type": "sample", "artifactTypes": STATEMENT},
        {"name": "bad", "type": "sbom", "artifactTypes": format!("{STATEMENT},{OTHER}")},
    ])
}

fn only(types: &str) -> Value {
    json!([{"name": "good", "type": "sample", "artifactTypes": types}])
}

pub(super) fn rego_cases() -> Vec<Case> {
    let api = |name, image, policy, verifiers| Case::new(name, image, rego(policy, verifiers));
    let passed = || json!({"policy": STOCK, "passthroughEnabled": true});
    let file =
        |name: &str| json!({"policyPath": format!("{{documents}}/library/rego/{name}.rego")});
    let sbom = || json!([{"name": "sbom", "artifactTypes": SPDX_JSON}]);
    vec![
        api("rego: the stock policy, good", "{api}/one:v1", stock(), sample()),
        api("rego: the stock policy, two artifacts", "{api}/two:v1", stock(), sample()),
        api("rego: the stock policy, nested", "{api}/nested:v1", stock(), sample()),
        api("rego: the stock policy, one without a verifier", "{api}/two:v1", stock(), only(OTHER)),
        api("rego: nested, one without a verifier", "{api}/nested:v1", stock(), only(STATEMENT)),
        api("rego: the stock policy, nothing attached", "{api}/plain:v1", stock(), sample()),
        api("rego: the stock policy, bad", "{api}/two:v1", stock(), two_of_a_kind())
            .differs(&[PLUGIN_REASON]),
        api("rego: any is enough", "{api}/two:v1", json!({ "policy": ANY }), two_of_a_kind())
            .differs(&[PLUGIN_REASON]),
        api("rego: no image", "{api}/absent:v1", stock(), sample()),
        api("rego: no tag", "{api}/one:v9", stock(), sample()),
        api("rego: passed through, good", "{api}/one:v1", passed(), sample()),
        api("rego: passed through, nested", "{api}/nested:v1", passed(), sample()),
        api("rego: passed through, bad", "{api}/two:v1", passed(), two_of_a_kind())
            .differs(&[PLUGIN_REASON]),
        api("rego: passed through, nothing attached", "{api}/plain:v1", passed(), sample()),
        api("rego: v1's policy of SBOMs, good", "{api}/sbom:v1", file("sbom-validation"), sbom()),
        api("rego: v1's policy of SBOMs, bad", "{api}/one:v1", file("sbom-validation"), sample()),
        api(
            "rego: v1's policy of reports, none there",
            "{api}/one:v1",
            file("vulnerability-report-validation"),
            sample(),
        ),
        api("rego: no file", "{api}/one:v1", json!({"policyPath": "{home}/no"}), sample()),
        api("rego: neither text nor file", "{api}/one:v1", json!({}), sample()),
        api("rego: blank", "{api}/one:v1", json!({"policy": " \n"}), sample()),
        api(
            "rego: undefined",
            "{api}/one:v1",
            json!({"policy": "package ratify.policy\nvalid { false }"}),
            sample(),
        ),
        api(
            "rego: no boolean",
            "{api}/one:v1",
            json!({"policy": "package ratify.policy\nvalid = 1"}),
            sample(),
        ),
        api(
            "rego: another package",
            "{api}/one:v1",
            json!({"policy": "package other\nvalid = true"}),
            sample(),
        ),
        Case::new(
            "rego: our external store",
            "layouts.example.com/two:v1",
            over(json!({"name": "sample-store", "root": "{layouts}"}), stock(), sample()),
        ),
    ]
}

pub(super) fn rego_serve_cases() -> Vec<ServeCase> {
    let keys = || {
        asking(&[
            "{api}/one:v1",
            "{api}/two:v1",
            "{api}/nested:v1",
            "{api}/plain:v1",
            "{api}/absent:v1",
            "{api}/one@{one}",
        ])
    };
    // Debug builds on a busy machine are slow, and lateness is no matter here.
    let patient = |policy, verifiers| {
        let mut config = rego(policy, verifiers);
        config["executor"] = json!({"verificationRequestTimeout": 15_000});
        config
    };
    let case = |name, policy, verifiers, rows| ServeCase {
        name,
        config: patient(policy, verifiers),
        posts: vec![(VERIFY, keys()), (VERIFY, keys())],
        rows,
    };
    let passed = json!({"policy": STOCK, "passthroughEnabled": true});
    vec![
        case("rego: the stock policy, asked by Gatekeeper", stock(), sample(), &[]),
        case("rego: one fails, asked by Gatekeeper", stock(), two_of_a_kind(), &[PLUGIN_REASON]),
        case(
            "rego: passed through, asked by Gatekeeper",
            passed,
            two_of_a_kind(),
            &[PLUGIN_REASON],
        ),
    ]
}

//! Whatever a provider may answer, by the name of the image that is asked about.

use serde_json::{Value, json};

use super::provider::answer_of;

pub(super) const SIGNATURE: &str = "application/vnd.cncf.notary.signature";
pub(super) const SBOM: &str = "application/spdx+json";

/// What is answered for the images of [`image`], by their names.
pub(super) fn answer(keys: &[String]) -> String {
    let mut items: Vec<Value> = Vec::new();
    let mut system_error = String::new();
    for key in keys {
        let name = key.rsplit_once('/').unwrap().1.trim_end_matches(":v1");
        // Gatekeeper keeps what it was answered: the same answer to another question.
        let name = name.split("--").next().unwrap();
        let values = match name {
            "absent" => vec![],
            "another" => vec![json!({"key": "registry.example.com/other:v1", "value": good()})],
            "unfinished" => {
                system_error = "ask again".to_owned();
                vec![]
            }
            "finished" => {
                system_error = "ask again".to_owned();
                vec![json!({"key": key, "value": good()})]
            }
            "sick" => return "no JSON".to_owned(),
            "failed" => vec![json!({"key": key, "error": "the registry says 403"})],
            "twice" => vec![
                json!({"key": key, "value": good()}),
                json!({"key": key, "value": {"isSuccess": false}}),
            ],
            "contested" => vec![
                json!({"key": key, "value": good()}),
                json!({"key": key, "error": "the registry says 403"}),
            ],
            "tenants" if !key.starts_with("[tenants]") => {
                vec![json!({"key": key, "error": "whose?"})]
            }
            "tenants" => vec![json!({"key": key, "value": good()})],
            _ => vec![json!({"key": key, "value": value(name)})],
        };
        items.extend(values);
    }
    answer_of(&items, &system_error)
}

fn good() -> Value {
    value("good")
}

/// The answer to one image, in the form of a policy that decides, or of one that passes reports on.
fn value(name: &str) -> Value {
    let verdict = |success: Value, reports: Value| {
        json!({"version": "0.2.0", "isSuccess": success, "traceID": "t1",
            "timestamp": "2026-01-01T00:00:00Z", "verifierReports": reports})
    };
    let passed = json!([{"subject": "s", "isSuccess": true, "verifierName": "v", "type": "notation",
        "artifactType": SIGNATURE, "extensions": {"Issuer": "CN=us"}}]);
    let of_type = |name: &str, is_success: bool| {
        let created = jiff::Timestamp::now().to_string();
        verdict(
            json!(is_success),
            json!([{"isSuccess": is_success, "type": name,
            "extensions": {"createdAt": created}}]),
        )
    };
    match name {
        "good" => verdict(json!(true), passed),
        "boms" => of_type("sbom", true),
        "bad-boms" => of_type("sbom", false),
        "scans" => of_type("vulnerabilityreport", true),
        "bad-scans" => of_type("vulnerabilityreport", false),
        "text" => json!("yes"),
        "nothing" => json!(null),
        "mute" => json!({"version": "0.2.0", "traceID": "t1", "timestamp": "t",
            "verifierReports": passed}),
        "spoken" => verdict(json!("true"), passed),
        "unsigned" => verdict(
            json!(false),
            json!([{"isSuccess": false, "message": "nothing is attached", "errorReason": "none"}]),
        ),
        "forbidden" => verdict(
            json!(false),
            json!([{"isSuccess": true, "verifierName": "a"}, {"isSuccess": false,
                "verifierName": "licences", "type": "notation", "artifactType": SIGNATURE,
                "message": "GPL-3.0 is forbidden", "extensions": {"Issuer": "CN=us"}}]),
        ),
        "nested" => verdict(
            json!(false),
            json!([{"isSuccess": false, "verifierName": "sbom", "message": "nested", "nestedResults":
                [{"isSuccess": false, "verifierName": "inner", "message": "not signed"}]}]),
        ),
        "many" => {
            let reports = (0..9).map(|n| {
                json!({"isSuccess": false, "verifierName": format!("v{n}"),
                    "message": "x".repeat(5000)})
            });
            verdict(json!(false), reports.collect())
        }
        _ => of_single_verifiers(name).unwrap_or_else(|| passed_on(name)),
    }
}

/// The answer to one image in which v1's templates look for a verifier's report.
fn of_single_verifiers(name: &str) -> Option<Value> {
    let hours_ago = |hours: i64| {
        let then = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(hours);
        json!({"createdAt": then.to_string()})
    };
    let signature = |is_success: bool, issuer: &str| {
        json!({"isSuccess": is_success, "verifierName": "notation", "type": "notation", "subject": "s",
            "artifactType": SIGNATURE, "message": "m", "extensions": {"Issuer": issuer}})
    };
    let report = |of: &str, is_success: bool, age: i64, nested: &[Value]| {
        json!({"isSuccess": is_success, "verifierName": of, "type": of, "subject": "s",
            "artifactType": SBOM, "extensions": hours_ago(age), "nestedResults": nested})
    };
    let ours = |is_success| signature(is_success, "CN=us");
    let bom = |is_signed| report("sbom", true, 0, &[ours(is_signed)]);
    let scan = |is_success, age| report("vulnerabilityreport", is_success, age, &[]);
    let (is_success, reports) = match name {
        "one-signature-of-two" => (false, vec![ours(false), ours(true)]),
        "of-another-issuer" => (true, vec![signature(true, "CN=them")]),
        "signed-bom" => (true, vec![bom(true)]),
        "badly-signed-sbom" => (true, vec![bom(false)]),
        "signed-bom-and-image" => (true, vec![ours(true), bom(true)]),
        "badly-signed-bom-and-image" => (true, vec![ours(true), bom(false)]),
        "signed-scan" => (true, vec![report("vulnerabilityreport", true, 0, &[ours(true)])]),
        "better-of-late" => (false, vec![scan(false, 48), scan(true, 1)]),
        "worse-of-late" => (true, vec![scan(true, 48), scan(false, 1)]),
        _ => return None,
    };
    Some(json!({"version": "0.2.0", "isSuccess": is_success, "traceID": "t3",
        "timestamp": "2026-01-01T00:00:00Z", "verifierReports": reports}))
}

/// Reports that a policy passes on, one of each artifact, with no verdict over them.
fn passed_on(name: &str) -> Value {
    let said = |verifier: &str, is_success: bool| {
        json!({"isSuccess": is_success, "message": "m", "name": verifier, "verifierName": verifier,
            "type": verifier, "verifierType": verifier, "extensions": null})
    };
    let artifact = |artifact_type: &str, reports: Vec<Value>, nested: Vec<Value>| {
        json!({"subject": "s", "referenceDigest": "sha256:00", "artifactType": artifact_type,
            "verifierReports": reports, "nestedReports": nested})
    };
    let signature = |is_good| artifact(SIGNATURE, vec![said("notation", is_good)], vec![]);
    let sbom = |is_good, nested| artifact(SBOM, vec![said("sbom", is_good)], nested);
    let reports = match name {
        "evidence" => vec![signature(true), sbom(true, vec![signature(true)])],
        "one-of-two" => {
            vec![signature(false), signature(true), sbom(true, vec![signature(true)])]
        }
        "two-boms" => vec![
            signature(true),
            sbom(true, vec![signature(true)]),
            sbom(false, vec![signature(true)]),
        ],
        "bare-bom" => vec![signature(true), sbom(true, vec![])],
        "badly-signed-bom" => vec![signature(true), sbom(true, vec![signature(false)])],
        "no-bom" => vec![signature(true)],
        "unjudged" => vec![signature(true), artifact(SBOM, vec![], vec![signature(true)])],
        "of-others" => vec![
            signature(true),
            artifact(SBOM, vec![said("licences", true)], vec![signature(true)]),
        ],
        "empty" => vec![],
        other => panic!("no answer for {other}"),
    };
    json!({"version": "1.1.0", "isSuccess": false, "traceID": "t2",
        "timestamp": "2026-01-01T00:00:00Z", "verifierReports": reports})
}

/// The image that is answered for like this.
pub(super) fn image(name: &str) -> String {
    format!("registry.example.com/{name}:v1")
}

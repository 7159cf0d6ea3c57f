//! The alerts of the chart, by a real `promtool`: that Prometheus takes them, that each fires when
//! it should and not else, and that there is something to be done about it in the document.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::{Value, json};

use super::{dashboard, documented, file, unknown};
use crate::parity::machines::Machines;

/// What happens, and whether an alert fires after so long.
struct Case {
    alert: &'static str,
    /// Series, one value a minute.
    series: &'static [(&'static str, &'static str)],
    /// In minutes.
    at: u32,
    /// How many series of the alert fire.
    firing: u32,
}

const fn case(
    alert: &'static str,
    series: &'static [(&'static str, &'static str)],
    at: u32,
    firing: u32,
) -> Case {
    Case { alert, series, at, firing }
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    case("RatifyAbsent", &[(r#"up{SCRAPED, instance="a"}"#, "0x20"), (r#"up{SCRAPED, instance="b"}"#, "0x20")], 10, 1),
    case("RatifyAbsent", &[(r#"up{SCRAPED, instance="a"}"#, "0x20"), (r#"up{SCRAPED, instance="b"}"#, "1x20")], 10, 0),
    case("RatifyAbsent", &[], 10, 1),
    case("RatifyNoConfiguration", &[(r#"ratify_configuration_parts{SCRAPED, part="stores"}"#, "1x20"), (r#"ratify_configuration_parts{SCRAPED, part="verifiers"}"#, "0x20")], 10, 1),
    case("RatifyNoConfiguration", &[(r#"ratify_configuration_parts{SCRAPED, part="verifiers"}"#, "0 0 1x20")], 10, 0),
    case("RatifySystemErrors", &[(r#"ratify_system_error_count_total{SCRAPED, error="timeout"}"#, "0+6x30"), (r#"ratify_answers_total{SCRAPED, operation="verify", outcome="allowed"}"#, "0+100x30")], 20, 1),
    case("RatifySystemErrors", &[(r#"ratify_system_error_count_total{SCRAPED, error="timeout"}"#, "0+1x30"), (r#"ratify_answers_total{SCRAPED, operation="verify", outcome="allowed"}"#, "0+100x30")], 20, 0),
    case("RatifySystemErrors", &[(r#"ratify_system_error_count_total{SCRAPED, error="timeout"}"#, "7x30"), (r#"ratify_answers_total{SCRAPED, operation="verify", outcome="allowed"}"#, "9x30")], 20, 0),
    case("RatifyLateAnswers", &[(r#"ratify_answers_total{SCRAPED, operation="mutate", outcome="late"}"#, "0+3x30"), (r#"ratify_answers_total{SCRAPED, operation="mutate", outcome="resolved"}"#, "0+97x30")], 20, 1),
    // Denials are none.
    case("RatifyLateAnswers", &[(r#"ratify_answers_total{SCRAPED, operation="verify", outcome="late"}"#, "3x30"), (r#"ratify_answers_total{SCRAPED, operation="verify", outcome="denied"}"#, "0+97x30")], 20, 0),
    case("RatifyQueueFull", &[("ratify_queue_refused_total{SCRAPED}", "0+1x30")], 15, 1),
    case("RatifyQueueFull", &[("ratify_queue_refused_total{SCRAPED}", "500x30")], 15, 0),
    case("RatifyRegistryRefusing", &[(r#"ratify_registry_refused_total{SCRAPED, registry_host="r.example.com"}"#, "0+2x30"), (r#"ratify_registry_refused_total{SCRAPED, registry_host="other"}"#, "0x30")], 20, 1),
    case("RatifyRegistryRefusing", &[(r#"ratify_registry_refused_total{SCRAPED, registry_host="r.example.com"}"#, "0 9x30")], 20, 0),
    case("RatifyPluginLoadFailing", &[(r#"ratify_plugin_loads_total{SCRAPED, outcome="failed"}"#, "0+1x30"), (r#"ratify_plugin_loads_total{SCRAPED, outcome="downloaded"}"#, "0+1x30")], 20, 1),
    case("RatifyPluginLoadFailing", &[(r#"ratify_plugin_loads_total{SCRAPED, outcome="present"}"#, "0+1x30"), (r#"ratify_plugin_loads_total{SCRAPED, outcome="failed"}"#, "1x30")], 20, 0),
    case("RatifyPluginsEnded", &[(r#"ratify_plugin_process_ends_total{SCRAPED, end="deadline"}"#, "0+1x30"), (r#"ratify_plugin_process_ends_total{SCRAPED, end="too_much_memory"}"#, "0+1x30")], 25, 2),
    case("RatifyPluginsEnded", &[(r#"ratify_plugin_process_ends_total{SCRAPED, end="exited"}"#, "0+9x30"), (r#"ratify_plugin_process_ends_total{SCRAPED, end="cancelled"}"#, "0+9x30")], 25, 0),
    case("RatifyResourceNotInForce", &[(r#"ratify_resources{SCRAPED, kind="Verifier", state="refused"}"#, "1x30"), (r#"ratify_resources{SCRAPED, kind="Store", state="in_force"}"#, "1x30")], 20, 1),
    case("RatifyResourceNotInForce", &[(r#"ratify_resources{SCRAPED, kind="Verifier", state="refused"}"#, "1 1 0x30")], 20, 0),
    case("RatifyReplicasDisagree", &[(r#"ratify_configuration_info{SCRAPED, pod="a", fingerprint="1"}"#, "1x30"), (r#"ratify_configuration_info{SCRAPED, pod="b", fingerprint="2"}"#, "1x30")], 20, 1),
    case("RatifyReplicasDisagree", &[(r#"ratify_configuration_info{SCRAPED, pod="a", fingerprint="1"}"#, "1x30"), (r#"ratify_configuration_info{SCRAPED, pod="b", fingerprint="1"}"#, "1x30")], 20, 0),
    // One after the other is a change.
    case("RatifyReplicasDisagree", &[(r#"ratify_configuration_info{SCRAPED, pod="a", fingerprint="1"}"#, "1x9 stale"), (r#"ratify_configuration_info{SCRAPED, pod="a", fingerprint="2"}"#, "_x9 1x30")], 30, 0),
    case("RatifyVerdictsNotShared", &[(r#"ratify_verdict_cache_shared_up{SCRAPED, pod="a"}"#, "0x30"), (r#"ratify_verdict_cache_shared_up{SCRAPED, pod="b"}"#, "1x30")], 15, 1),
    case("RatifyVerdictsNotShared", &[(r#"ratify_verdict_cache_shared_up{SCRAPED, pod="a"}"#, "0 0 1x30")], 15, 0),
    // Time begins at 0 there: six days, and eight.
    case("RatifyCertificateExpiring", &[(r#"ratify_certificate_expiration_timestamp_seconds{SCRAPED, certificate="server"}"#, "518400x30"), (r#"ratify_certificate_expiration_timestamp_seconds{SCRAPED, certificate="client_ca"}"#, "864000x30")], 20, 1),
    case("RatifyCertificateExpiring", &[(r#"ratify_certificate_expiration_timestamp_seconds{SCRAPED, certificate="server"}"#, "691200x30")], 20, 0),
    case("RatifyRotationFailing", &[("ratify_certificate_rotation_failures_total{SCRAPED}", "0+1x60")], 50, 1),
    case("RatifyRotationFailing", &[("ratify_certificate_rotation_failures_total{SCRAPED}", "4x60")], 50, 0),
];

/// The rules, as a release of this name in this namespace has them.
fn rules() -> (String, Value) {
    let text = std::fs::read_to_string(file("charts/ratify/files/alerts.yaml")).unwrap();
    let text = text.replace("RELEASE_NAMESPACE", "gatekeeper-system");
    let text = text.replace("RELEASE_NAME", "ratify");
    let read: Value = serde_saphyr::from_str(&text).unwrap();
    (text, read["groups"][0]["rules"].clone())
}

fn names(rules: &Value) -> BTreeSet<String> {
    let rules = rules.as_array().unwrap().iter();
    rules.map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect()
}

/// Runs `promtool` in a folder with the rules; `None`, said aloud, where it was not brought.
fn promtool(arguments: &[&str], test: &Value) -> Option<Output> {
    let program: PathBuf = Machines::find()?.tool("promtool");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("alerts.yaml"), rules().0).unwrap();
    std::fs::write(folder.path().join("test.json"), test.to_string()).unwrap();
    Some(Command::new(program).args(arguments).current_dir(folder.path()).output().unwrap())
}

fn succeeds(output: &Output) {
    let texts = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{}", texts.concat());
}

#[test]
fn prometheus_takes_them() {
    let check = ["check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml"];
    let Some(output) = promtool(&check, &Value::Null) else { return };
    succeeds(&output);
    let said = String::from_utf8_lossy(&output.stdout);
    let count = names(&rules().1).len();
    assert!(said.contains(&format!("{count} rules found")), "{said}");
}

#[test]
fn each_fires_when_it_should_and_not_else() {
    let known = names(&rules().1);
    for fires in [true, false] {
        let tried = CASES.iter().filter(|case| (case.firing > 0) == fires);
        let tried: BTreeSet<String> = tried.map(|case| case.alert.to_owned()).collect();
        assert_eq!(tried, known, "an alert without a case that fires: {fires}");
    }
    let scraped = r#"namespace="gatekeeper-system", service="ratify-metrics""#;
    let tests: Vec<Value> = CASES
        .iter()
        .map(|case| {
            let series = case.series.iter().map(|(series, values)| {
                json!({"series": series.replace("SCRAPED", scraped), "values": values})
            });
            let (alert, at) = (case.alert, format!("{}m", case.at));
            let firing = json!([{"labels": "{}", "value": case.firing}]);
            let firing = if case.firing > 0 { firing } else { json!([]) };
            let expr = format!(r#"count(ALERTS{{alertname="{alert}", alertstate="firing"}})"#);
            json!({
                "name": format!("{alert}, {}", case.firing), "interval": "1m",
                "input_series": series.collect::<Vec<_>>(),
                "promql_expr_test": [{"expr": expr, "eval_time": at, "exp_samples": firing}],
            })
        })
        .collect();
    let test = json!({"rule_files": ["alerts.yaml"], "evaluation_interval": "1m", "tests": tests});
    let Some(output) = promtool(&["test", "rules", "test.json"], &test) else { return };
    succeeds(&output);
}

#[test]
fn each_asks_for_what_there_is_and_says_what_to_do() {
    let (known, (_, rules)) = (documented(), rules());
    for rule in rules.as_array().unwrap() {
        let alert = rule["alert"].as_str().unwrap();
        let expression = rule["expr"].as_str().unwrap();
        assert_eq!(unknown(expression, &known), [""; 0], "{alert}: {expression}");
        assert!(matches!(rule["labels"]["severity"].as_str(), Some("warning" | "critical")));
        for text in ["summary", "description"] {
            assert!(rule["annotations"][text].as_str().is_some_and(|text| text.ends_with('.')));
        }
        let runbook = format!("docs/OBSERVABILITY.md, {alert}");
        assert_eq!(rule["annotations"]["runbook"], runbook);
    }
    let document = std::fs::read_to_string(file("docs/OBSERVABILITY.md")).unwrap();
    let told = document.lines().filter_map(|line| line.strip_prefix("### Ratify"));
    let told: BTreeSet<String> = told.map(|name| format!("Ratify{name}")).collect();
    assert_eq!(told, names(&rules));
}

/// A panel's expression has variables, which stand for values here.
#[test]
fn prometheus_reads_every_expression_of_the_dashboard() {
    let records: Vec<Value> = dashboard::expressions()
        .into_iter()
        .enumerate()
        .map(|(number, (_, expression))| {
            let expression = expression.replace("$__rate_interval", "5m");
            let expression = expression.replace("$namespace", "n").replace("$pod", ".*");
            json!({"record": format!("panel:{number}"), "expr": expression})
        })
        .collect();
    let rules = json!({"groups": [{"name": "dashboard", "rules": records}]});
    let Some(output) = promtool(&["check", "rules", "test.json"], &rules) else { return };
    succeeds(&output);
}

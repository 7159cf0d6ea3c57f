//! What becomes of the values of v1's chart. Pure: a key at a time, by the table in `keys`; TLS,
//! which five keys say together, as a whole.

use ratify_store_oras::auth::{self, Availability};
use serde_json::{Map, Value};

use super::{
    config,
    entries::{self, DYNAMIC_PLUGINS},
    finding::{Finding, shown},
    keys::{DEFAULTS, KEYS, Rule},
    rows,
};
use crate::env::TUF_ROOT;

/// Where v1's images are.
const V1_IMAGES: [&str; 2] = ["ghcr.io/ratify-project/", "ghcr.io/deislabs/"];
/// Where the chart takes this version's images from.
const OUR_IMAGES: [&str; 2] =
    ["registry.example.com/ratify/ratify", "registry.example.com/ratify/ratify-crds"];
/// The map of feature flags, whose keys are the flags.
const FEATURE_FLAGS: &str = "featureFlags";
const CERT_ROTATION: &str = "RATIFY_CERT_ROTATION";
const HIGH_AVAILABILITY: &str = "RATIFY_EXPERIMENTAL_HIGH_AVAILABILITY";
/// The values that TLS is given by.
const TLS: [&str; 5] = ["crt", "key", "cabundle", "caCert", "caKey"];

/// What is found in values.
pub(super) fn findings(values: &Map<String, Value>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, value) in values {
        walk(key, value, &mut findings);
    }
    let values = Value::Object(values.clone());
    for (path, default) in &DEFAULTS {
        if at(&values, path).is_none_or(Value::is_null) {
            let found = judge(path, default);
            findings.extend(found.into_iter().map(|finding| Finding {
                at: format!("{path}, which v1's chart sets where nothing is said"),
                ..finding
            }));
        }
    }
    findings.push(tls(&values));
    findings
}

fn walk(path: &str, value: &Value, findings: &mut Vec<Finding>) {
    if value.is_null() {
        return;
    }
    if KEYS.iter().any(|(key, _)| *key == path) {
        findings.extend(judge(path, value));
        return;
    }
    let below = format!("{path}.");
    let is_section = path == FEATURE_FLAGS || KEYS.iter().any(|(key, _)| key.starts_with(&below));
    match value {
        Value::Object(fields) if path == FEATURE_FLAGS => {
            findings.extend(fields.iter().map(|(flag, value)| {
                feature_flag(format!("{below}{}", shown(flag)), flag, is_on(value))
            }));
        }
        Value::Object(fields) if is_section => {
            for (key, value) in fields {
                walk(&format!("{below}{key}"), value, findings);
            }
        }
        _ if is_section => findings.push(Finding::change(
            path,
            "this key has keys below it",
            "v1's chart fails here too",
            "write them",
        )),
        _ => findings.push(Finding::look(
            shown(path),
            "v1's chart has no such value",
            "v1 ignores it, and it may mean something to this chart",
            "look it up in this chart's values.yaml, mend its spelling, or take it away",
        )),
    }
}

fn judge(path: &str, value: &Value) -> Option<Finding> {
    let (_, rule) = KEYS.iter().find(|(key, _)| *key == path)?;
    match rule {
        Rule::Same => Some(Finding::same(path, "the same value")),
        Rule::WithAnother => None,
        Rule::Judged(judge) => judge(path, value),
    }
}

fn at<'a>(values: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(values, |value, key| value.get(key))
}

/// What Helm takes for yes: `if` of its templates.
fn is_on(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// The first part of a key: the verifier or plugin it configures.
fn section(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

pub(super) fn image(path: &str, value: &Value) -> Option<Finding> {
    let name = value.as_str().unwrap_or_default();
    if OUR_IMAGES.contains(&name) {
        return Some(Finding::same(path, "the chart's own"));
    }
    Some(if is_v1_image(name) {
        Finding::change(
            path,
            format!("{} is v1's image", shown(name)),
            "the chart refuses it by name: a reused default would run v1",
            "take it away, or name the registry that you keep this image in",
        )
        .row(rows::IMAGE_DEFAULTS)
    } else {
        Finding::look(
            path,
            format!("{} is where the image is taken from", shown(name)),
            "v1's image may be kept there",
            "see that it is the image of this version",
        )
    })
}

/// Whether an image is v1's by its name.
pub(super) fn is_v1_image(name: &str) -> bool {
    V1_IMAGES.iter().any(|images| name.starts_with(images))
}

pub(super) fn tag(path: &str, value: &Value) -> Option<Finding> {
    let tag = value.as_str().unwrap_or_default();
    let what = format!("the tag {:?} goes with the image", shown(tag));
    let todo = "take it away for the chart's own, or name this version's";
    Some(if tag.starts_with("v1.") {
        let why = "it is one of v1's image: this version has tags of its own";
        Finding::change(path, what, why, todo).row(rows::IMAGE_DEFAULTS)
    } else {
        Finding::look(path, what, "this version has tags of its own", todo)
    })
}

pub(super) fn environment(path: &str, value: &Value) -> Option<Finding> {
    let mut variables = value.as_array().into_iter().flatten();
    Some(match variables.any(|variable| variable["name"] == TUF_ROOT) {
        true => entries::tuf_root(format!("{path} {TUF_ROOT}")),
        false => Finding::same(path, "the same value"),
    })
}

pub(super) fn image_plugin(path: &str, value: &Value) -> Option<Finding> {
    if is_on(value) {
        return Some(entries::image_plugin(path, section(path)));
    }
    Some(Finding::same(path, "the same value"))
}

pub(super) fn trust_policies(path: &str, value: &Value) -> Option<Finding> {
    let misspelt =
        |policy: &Value| policy.get("verificatonLevel").is_some() && policy.get("level").is_none();
    let policies = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let is_stricter_meant =
        |policy: &Value| misspelt(policy) && policy["verificatonLevel"] != "strict";
    policies.iter().any(is_stricter_meant).then(|| {
        Finding::look(
            path,
            "verificatonLevel is read by nobody: the level is strict",
            "v1's own values misspell it, and its template reads level",
            "write level",
        )
    })
}

pub(super) fn registry_provider(path: &str, value: &Value) -> Option<Finding> {
    let key = path.rsplit('.').next().unwrap_or_default();
    let name = key.strip_suffix("Enabled").unwrap_or(key);
    if is_on(value) && auth::availability(name) != Availability::BuiltIn {
        return Some(entries::cloud_provider(path, name));
    }
    Some(Finding::same(path, "the same value"))
}

pub(super) fn metrics(path: &str, value: &Value) -> Option<Finding> {
    if !is_on(value) {
        return Some(Finding::same(path, "the same value"));
    }
    let why = "v1's names are there, without `subject` of `ratify_verifier_duration` and `otel_scope_*`; `error` is `timeout` or `failure`; `ratify_akv_certificate_duration` comes with the key providers";
    let todo = "look at what your dashboards and alerts read";
    Some(Finding::look(path, "metrics with other labels", why, todo).row(rows::METRICS))
}

pub(super) fn cache_type(path: &str, value: &Value) -> Option<Finding> {
    if value.as_str() != Some("dapr") {
        return Some(Finding::same(path, "the same value"));
    }
    let finding = Finding::look(
        path,
        "each replica keeps its verdicts in memory: no sidecar is asked",
        "replicas share verdicts through Redis itself, under a key that they have in common",
        "nothing, since no verdict depends on it; or docs/CACHE.md, where there are many replicas",
    );
    Some(finding.row(rows::HIGH_AVAILABILITY))
}

pub(super) fn cache_ttl(path: &str, value: &Value) -> Option<Finding> {
    if !matches!(value.as_str(), Some("0" | "0s")) {
        return Some(Finding::same(path, "the same value"));
    }
    let finding = Finding::look(
        path,
        "verdicts are kept for an hour, not for ever",
        "what is attached to an image may change",
        "say for how long they may be kept",
    );
    Some(finding.row(rows::CACHE_TTL))
}

pub(super) fn formatter(path: &str, value: &Value) -> Option<Finding> {
    Some(config::log_format(path, value.as_str().unwrap_or_default()))
}

pub(super) fn trace_headers(path: &str, value: &Value) -> Option<Finding> {
    let headers = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let is_given =
        headers.iter().any(|header| header.as_str().is_some_and(|name| !name.is_empty()));
    Some(if is_given { config::trace_id(path) } else { Finding::same(path, "the same value") })
}

/// What becomes of a feature flag, given as a value of the chart or as a variable.
pub(super) fn feature_flag(at: String, flag: &str, is_on: bool) -> Finding {
    let state = if is_on { "on" } else { "off" };
    match flag {
        DYNAMIC_PLUGINS | CERT_ROTATION => Finding::same(at, state),
        HIGH_AVAILABILITY if !is_on => Finding::same(at, state),
        HIGH_AVAILABILITY => Finding::look(
            at,
            "accepted without effect",
            "it allows the cache type dapr, which needs no leave here",
            "nothing: any number of replicas may run",
        )
        .row(rows::HIGH_AVAILABILITY),
        _ => Finding::look(
            at,
            "there is no such feature flag",
            "v1 ignores it too",
            "take it away, or mend its spelling",
        ),
    }
}

/// What the five values of TLS come to.
fn tls(values: &Value) -> Finding {
    let given = |key: &str| at(values, &format!("provider.tls.{key}")).is_some_and(is_on);
    let missing: Vec<&str> = TLS.into_iter().filter(|key| !given(key)).collect();
    let rotates = at(values, &format!("{FEATURE_FLAGS}.{CERT_ROTATION}")).is_some_and(is_on);
    let path = "provider.tls";
    let needed = missing.iter().any(|key| TLS[..3].contains(key));
    match (missing.len(), rotates) {
        (0, _) => Finding::same(path, "the certificates as given"),
        (_, true) => Finding::same(path, "certificates are made and renewed"),
        (5, false) => Finding::look(
            path,
            "no certificate is given and RATIFY_CERT_ROTATION is off: the chart refuses, as v1's",
            "Gatekeeper asks over TLS only",
            "give crt, key and cabundle as you do on the command line, or set featureFlags.RATIFY_CERT_ROTATION",
        ),
        _ if needed => Finding::change(
            path,
            format!("{} is missing", missing.join(", ")),
            "v1's chart refuses it too",
            "give crt, key and cabundle",
        ),
        _ => Finding::same(
            path,
            "crt, key and cabundle are enough; v1's chart 1.15.0 wants all five",
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::finding::Level, *};

    fn judged(values: &Value) -> Vec<Finding> {
        findings(values.as_object().unwrap())
    }

    fn lines(values: &Value) -> String {
        let mut findings = judged(values);
        findings.retain(|finding| finding.level != Level::Same);
        let line =
            |finding: &Finding| format!("{:?} {}: {}", finding.level, finding.at, finding.what);
        findings.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Nothing that v1's chart has on by default and this build has not.
    fn off() -> Value {
        json!({
            "notation": {"enabled": false}, "cosign": {"enabled": false},
            "instrumentation": {"metricsEnabled": false}, "oras": {"cache": {"enabled": false}},
            "provider": {"cache": {"enabled": false}, "tls": {"crt": "a", "key": "b", "cabundle": "c"}},
        })
    }

    #[test]
    fn the_table_is_in_order_and_no_key_is_below_another() {
        let keys: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        for key in &keys {
            assert!(!keys.iter().any(|other| other.starts_with(&format!("{key}."))), "{key}");
        }
    }

    #[test]
    fn values_that_need_nothing_carry_over() {
        assert_eq!(lines(&off()), "");
        let mut values = off();
        values["featureFlags"] = json!({"RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS": true});
        values["tolerations"] = json!({});
        values["resources"] = json!({"limits": {"anything": 1}});
        values["oras"]["authProviders"] = json!({"k8secretsEnabled": true});
        assert_eq!(lines(&values), "");
    }

    #[test]
    fn what_v1s_chart_sets_by_itself_counts() {
        insta::assert_snapshot!(lines(&json!({})), @"
        Look instrumentation.metricsEnabled, which v1's chart sets where nothing is said: metrics with other labels
        Look provider.tls: no certificate is given and RATIFY_CERT_ROTATION is off: the chart refuses, as v1's
        ");
    }

    #[test]
    fn each_key_that_does_something_else_is_told() {
        let mut values = off();
        for (path, value) in [
            (
                "/image",
                json!({"repository": "ghcr.io/ratify-project/ratify", "crdRepository": "mirror.example.com/crds", "tag": "v1.4.0"}),
            ),
            (
                "/notation",
                json!({"enabled": true, "trustPolicies": [{"verificatonLevel": "audit"}]}),
            ),
            ("/notationCerts", json!(["x"])),
            ("/sbom", json!({"enabled": true, "disallowedLicenses": ["x"]})),
            ("/azurekeyvault", json!({"enabled": true})),
            ("/azureWorkloadIdentity", json!({"clientId": "x"})),
            ("/policy", json!({"useRego": true})),
            (
                "/logger",
                json!({"formatter": "xml", "requestHeaders": {"traceIDHeaderName": ["x-id"]}}),
            ),
            (
                "/featureFlags",
                json!({"RATIFY_EXPERIMENTAL_HIGH_AVAILABILITY": true, "RATIFY_OTHER": true}),
            ),
            ("/rbac", json!(true)),
            ("/env", json!([{"name": "A", "value": "b"}, {"name": "TUF_ROOT", "value": "/s"}])),
            ("/replicas", json!(2)),
        ] {
            values[&path[1..]] = value;
        }
        values["oras"]["authProviders"] =
            json!({"alibabacloudAcrBasicEnabled": true, "awsEcrBasicEnabled": true});
        values["provider"]["cache"] = json!({"enabled": true, "type": "dapr", "ttl": "0"});
        insta::assert_snapshot!(lines(&values), @r#"
        Change env TUF_ROOT: what cosign initialize wrote is not read: a verifier cosign that needs it is refused
        Look featureFlags.RATIFY_EXPERIMENTAL_HIGH_AVAILABILITY: accepted without effect
        Look featureFlags.RATIFY_OTHER: there is no such feature flag
        Look image.crdRepository: mirror.example.com/crds is where the image is taken from
        Change image.repository: ghcr.io/ratify-project/ratify is v1's image
        Change image.tag: the tag "v1.4.0" goes with the image
        Change logger.formatter: CONFIG_INVALID: unsupported logging formatter: xml
        Look logger.requestHeaders.traceIDHeaderName: the trace id is taken from these headers
        Look notation.trustPolicies: verificatonLevel is read by nobody: the level is strict
        Look provider.cache.ttl: verdicts are kept for an hour, not for ever
        Look provider.cache.type: each replica keeps its verdicts in memory: no sidecar is asked
        Change rbac: this key has keys below it
        Look replicas: v1's chart has no such value
        Change sbom.enabled: v1's image has the plugin sbom, and this one has not
        "#);
    }

    #[test]
    fn no_secret_is_shown() {
        let secret = json!("hunter2");
        let values = json!({
            "provider": {"tls": {"crt": secret, "key": secret, "caKey": secret}, "misspelt": secret},
            "dockerConfig": secret, "cosignKeys": [secret], "notationCert": secret, "env": [{"value": secret}],
            "azureWorkloadIdentity": {"clientId": secret}, "featureFlags": {"RATIFY_OTHER": secret},
        });
        let told = serde_json::to_string(&judged(&values)).unwrap();
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[test]
    fn tls_is_judged_as_a_whole() {
        let judged = |given: &[&str], rotates: bool| {
            let mut values = json!({"featureFlags": {"RATIFY_CERT_ROTATION": rotates}});
            for key in given {
                values["provider"]["tls"][key] = "x".into();
            }
            tls(&values).level
        };
        assert_eq!(judged(&TLS, false), Level::Same);
        assert_eq!(judged(&TLS[..3], false), Level::Same);
        assert_eq!(judged(&TLS[..2], false), Level::Change);
        assert_eq!(judged(&[], false), Level::Look);
        assert_eq!(judged(&[], true), Level::Same);
    }
}

//! Resources of every shape that an API server lets through, under our definitions and under
//! v1's: each field of each kind with values of every type, and a megabyte of parameters. Each
//! gets a status that says what is wrong; nothing else is disturbed.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use ratify_controller::dev::RegistryOptions;
use serde_json::{Map, Value, json};

use super::{Lab, Replica};

/// The kinds by their plural names, whether they have namespaces, and the fields of their specs.
const KINDS: [(&str, &str, bool, &[&str]); 9] = [
    ("verifiers", "Verifier", false, VERIFIER),
    ("namespacedverifiers", "NamespacedVerifier", true, VERIFIER),
    ("stores", "Store", false, STORE),
    ("namespacedstores", "NamespacedStore", true, STORE),
    ("policies", "Policy", false, POLICY),
    ("namespacedpolicies", "NamespacedPolicy", true, POLICY),
    ("keymanagementproviders", "KeyManagementProvider", false, KEYS),
    ("namespacedkeymanagementproviders", "NamespacedKeyManagementProvider", true, KEYS),
    ("certificatestores", "CertificateStore", true, &["provider", "parameters"]),
];
const VERIFIER: &[&str] =
    &["name", "type", "version", "artifactTypes", "address", "source", "parameters"];
const STORE: &[&str] = &["name", "version", "address", "source", "parameters"];
const POLICY: &[&str] = &["type", "parameters"];
const KEYS: &[&str] = &["type", "refreshInterval", "parameters"];
/// What is read within parameters and sources, which are free.
const INNER: [&str; 14] = [
    "name",
    "type",
    "artifactTypes",
    "nestedReferences",
    "source",
    "authProvider",
    "artifact",
    "useHttp",
    "cosignEnabled",
    "localCachePath",
    "cacheEnabled",
    "artifactVerificationPolicies",
    "passthroughEnabled",
    "policy",
];

/// Values of every type.
fn values() -> Vec<Value> {
    let deep = (0..60).fold(json!(1), |inner, _| json!({"a": [inner]}));
    let mut values = vec![
        json!(null),
        json!(""),
        json!("x"),
        json!("../../../../etc/passwd"),
        json!("a\u{0}b\u{1b}[31m\nlevel=info msg=forged"),
        json!("é".repeat(20_000)),
        json!(0),
        json!(-1),
        json!(1e300),
        json!(i64::MAX),
        json!(true),
        json!([]),
        json!([[1], "x", null]),
        json!({}),
        deep,
    ];
    let all: Vec<Value> = values.clone();
    for value in all {
        // One object with the same value under each name that anybody reads.
        let fields = INNER.iter().map(|name| ((*name).to_owned(), value.clone()));
        values.push(Value::Object(fields.collect::<Map<_, _>>()));
    }
    values
}

/// A spec that is right, but for one field.
fn spec(fields: &[&str], odd: &str, value: &Value) -> Value {
    let mut spec = Map::new();
    for field in fields {
        let good = match *field {
            "name" => json!("judge"),
            "artifactTypes" => json!("application/vnd.example.none"),
            "provider" => json!("inline"),
            _ => continue,
        };
        spec.insert((*field).to_owned(), good);
    }
    spec.insert(odd.to_owned(), value.clone());
    Value::Object(spec)
}

/// Every resource that is tried.
fn resources() -> Vec<(&'static str, Value)> {
    let values = values();
    let mut all = Vec::new();
    for (plural, kind, is_namespaced, fields) in KINDS {
        for field in fields {
            for (number, value) in values.iter().enumerate() {
                let name = format!("{}-{number}", field.to_lowercase());
                let mut object = json!({
                    "apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": kind,
                    "metadata": {"name": name}, "spec": spec(fields, field, value),
                });
                if is_namespaced {
                    object["metadata"]["namespace"] = json!("default");
                }
                all.push((plural, object));
            }
        }
    }
    all
}

/// Creates all; how many the API server accepts is returned.
async fn create(lab: &Lab, all: &[(&str, Value)]) -> usize {
    let created = stream::iter(all).map(|(plural, object)| lab.try_create(plural, object));
    let statuses: Vec<u16> = created.buffer_unordered(16).collect().await;
    let is_known = |status: &u16| [201, 400, 422].contains(status);
    assert!(statuses.iter().all(is_known), "{statuses:?}");
    statuses.iter().filter(|status| **status == 201).count()
}

/// Waits until every resource says how it stands; those that do not work say why, in bounds.
async fn until_all_have_a_status(lab: &Lab, replica: &Replica) -> (usize, usize) {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let mut objects = Vec::new();
        for (plural, ..) in KINDS {
            objects.extend(lab.list(plural).await);
        }
        let open = objects.iter().find(|object| !object["status"]["issuccess"].is_boolean());
        if let Some(open) = open {
            assert!(Instant::now() < end, "{open}: {}", replica.log());
            tokio::time::sleep(Duration::from_millis(300)).await;
            continue;
        }
        let refused = objects.iter().filter(|object| object["status"]["issuccess"] == false);
        for object in refused.clone() {
            let status = &object["status"];
            let text = |key: &str| status[key].as_str().unwrap_or_default();
            let (error, brief) = (text("error"), text("brieferror"));
            assert!(!error.is_empty() && !brief.is_empty(), "{object}");
            assert!(brief.len() <= 103 && status.to_string().len() < 40_000, "{status}");
            assert!(!error.chars().any(char::is_control), "{error:?}");
        }
        return (objects.len(), refused.count());
    }
}

async fn every_shape(lab: Lab) {
    let mut replica = lab.replica("pod-1");
    let yes = r#"cat >/dev/null; echo '{"isSuccess":true,"message":"yes"}'"#;
    replica.home.script_plugin("judge", yes);
    replica.home.script_plugin("odd", yes);
    replica.start().await;
    let good = json!({"name": "judge", "artifactTypes": "*"});
    lab.apply("verifiers", "judge", &good).await;
    replica.until_says(&lab.image(), "yes").await;

    let all = resources();
    let accepted = create(&lab, &all).await;
    let (there, refused) = until_all_have_a_status(&lab, &replica).await;
    println!("{} shapes: {accepted} were accepted, {refused} of {there} are refused", all.len());
    assert!(accepted > 250 && there >= accepted && refused > 200, "{accepted} {there} {refused}");

    // A megabyte, which is a plugin's business and nobody else's.
    let huge = json!({"text": "x".repeat(1 << 20)});
    let mut spec = good.clone();
    spec["parameters"] = huge.clone();
    lab.apply("verifiers", "judge", &spec).await;
    lab.until("verifiers", "judge", |object| object["status"]["issuccess"] == true).await;
    let policy = json!({"type": "config-policy", "parameters": huge});
    lab.apply("policies", "huge", &policy).await;
    lab.until("policies", "huge", |object| object["status"]["issuccess"] == false).await;

    // Those that judge everything are refused; what is in force besides still decides.
    for object in lab.list("verifiers").await {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        if name != "judge" {
            lab.delete("verifiers", &name).await;
        }
    }
    for object in lab.list("stores").await {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        if name != "store-oras" {
            lab.delete("stores", &name).await;
        }
    }
    replica.until_says(&lab.image(), "yes").await;
    let log = replica.server().log();
    assert!(!log.contains("panicked at") && !log.contains("broke off"), "{}", replica.log());
    let forged = log.find("\nlevel=info msg=forged").map(|at| &log[at.saturating_sub(500)..at]);
    assert_eq!(forged, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shape_that_our_definitions_let_through_gets_a_status() {
    let Some(lab) = Lab::start().await else { return };
    every_shape(lab).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shape_that_v1s_definitions_let_through_gets_a_status() {
    let options = RegistryOptions::default();
    let Some(lab) = Lab::start_with_v1s_definitions(options).await else { return };
    every_shape(lab).await;
}

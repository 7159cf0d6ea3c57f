//! T19, through the server: an artifact whose verifier is late allows nothing, under no policy, also
//! not under one that allows by what it does not see; and a list without it is passed on to nobody.

use std::fs;

use futures_util::future::join_all;
use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::{Value, json};

use super::{Home, STATEMENT, Server, config, verifier};

/// What is attached to the images and judged late.
const LATE: &str = "application/vnd.example.late.v1+json";
/// How often a state is looked for before a test gives up.
const LOOKS: usize = 300;

/// An image with a statement that is judged at once, and beside it, or on top of it, a late one.
fn put(registry: &RunningRegistry, repository: &str, is_nested: bool) -> String {
    let image = registry.put_image(repository, "v1", repository.to_owned()).unwrap();
    let blob = || ("application/json", bytes::Bytes::from_static(b"{}"));
    let statement = registry.put_artifact(repository, &image, STATEMENT, &[blob()]).unwrap();
    let subject = if is_nested { &statement } else { &image };
    registry.put_artifact(repository, subject, LATE, &[blob()]).unwrap();
    format!("{}/{repository}:v1", registry.host())
}

/// Accepts everything; what is late, only when the file is gone.
fn home(policy: &Value, times: &Value) -> Home {
    let home = Home::new();
    let hold = home.write("hold", "");
    let waits = format!("while [ -e {} ]; do sleep 0.05; done", hold.display());
    let late = format!("case \"$asked\" in *{LATE}*) {waits};; esac");
    let body = format!("asked=$(cat); {late}; echo '{{\"isSuccess\":true,\"message\":\"yes\"}}'");
    home.script_plugin("judge", &body);
    let mut file = config(&verifier("judge"));
    file["policy"]["plugin"] = policy.clone();
    file["executor"] = times.clone();
    home.configure(&file);
    home
}

/// The policies that come nearest to allowing by absence, each with the version of its answers and
/// the verdict where nothing is late.
fn policies() -> Vec<(Value, &'static str, bool)> {
    let rego = |text: &str, passthrough: bool| {
        let text = format!("package ratify.policy\n{text}");
        json!({"name": "regopolicy", "policy": text, "passthroughEnabled": passthrough})
    };
    let none_says_no = "valid { not no }\nno { input.verifierReports[_].verifierReports[_].isSuccess == false }\nno { input.verifierReports[_].nestedReports[_].verifierReports[_].isSuccess == false }";
    let table =
        |rules: Value| json!({"name": "configPolicy", "artifactVerificationPolicies": rules});
    vec![
        (rego("valid = true", false), "1.1.0", true),
        (rego("valid = true", true), "1.1.0", false),
        (rego(none_says_no, false), "1.1.0", true),
        (rego(none_says_no, true), "1.1.0", false),
        (table(json!({"default": "any"})), "0.2.0", true),
        (table(json!({STATEMENT: "any"})), "0.2.0", true),
    ]
}

/// Asks until there is a verdict.
async fn verdict(server: &Server, key: &str) -> Value {
    let mut said = Value::Null;
    for _ in 0..LOOKS {
        said = server.ask(key).await;
        if said.get("value").is_some() {
            return said["value"].clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("never a verdict: {said} {}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artifact_that_is_judged_late_allows_nothing_under_any_policy() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let beside = put(&registry, "beside", false);
    let nested = put(&registry, "nested", true);
    // Late for the answer; and late for good.
    let unanswered = json!({"verificationRequestTimeout": 700});
    let given_up = json!({"verificationRequestTimeout": 15_000, "giveUpAfter": 700});
    for times in [&unanswered, &given_up] {
        for (policy, version, allows) in policies() {
            let home = home(&policy, times);
            let server = Server::start(&home).await;
            // A table is asked about what is attached to the image itself.
            let images: &[_] = if version == "1.1.0" { &[&beside, &nested] } else { &[&beside] };
            let keys: Vec<_> = images
                .iter()
                .flat_map(|image| [(*image).clone(), format!("[team]{image}")])
                .collect();
            for said in join_all(keys.iter().map(|key| server.ask(key))).await {
                assert!(said.get("value").is_none(), "{policy} {times}: {said}");
                let why = said["error"].as_str().unwrap();
                assert!(why.starts_with("operation failed with error "), "{why}");
                let is_late = why.contains("operation timed out after duration 700ms: ask again");
                assert_eq!(is_late, *times == unanswered, "{policy}: {why}");
            }
            fs::remove_file(home.path().join("hold")).unwrap();
            for key in &keys {
                let verdict = verdict(&server, key).await;
                assert_eq!(verdict["version"], version, "{verdict}");
                assert_eq!(verdict["isSuccess"], allows, "{policy}: {verdict}");
                let reports = verdict["verifierReports"].to_string();
                assert!(reports.contains(LATE) && reports.contains(STATEMENT), "{reports}");
            }
        }
    }
}

//! What `docs/registries.md` shows: each of its configurations is one, and each provider has one that
//! a test runs. The clouds' tests are in `cloud`; what gives out passwords by programs is run by the
//! controller's suite (`cli::credentials`).

use std::sync::Arc;

use ratify_core::config::Config;
use ratify_store_oras::auth::{self, Availability, Environment};
use serde_json::{Value, json};

use crate::{
    rules::{registry, resolve, store},
    secrets::{self, Cluster},
};

const PAGE: &str = include_str!("../../../docs/registries.md");
const PROVIDERS: [&str; 7] = [
    "dockerConfig",
    "k8Secrets",
    "credentialProvider",
    "awsEcrBasic",
    "azureWorkloadIdentity",
    "azureManagedIdentity",
    "alibabacloudAcrBasic",
];

/// The first configuration that is shown under a heading.
fn under(heading: &str) -> Value {
    let (_, section) = PAGE.split_once(&format!("\n### {heading}\n")).unwrap();
    let (section, _) = section.split_once("\n### ").unwrap_or((section, ""));
    let (_, example) = section.split_once("\n```json\n").unwrap();
    let (example, _) = example.split_once("\n```\n").unwrap();
    serde_json::from_str(example).unwrap()
}

/// The provider's configuration that is shown under its name.
pub(crate) fn on_the_page(name: &str) -> Value {
    let provider = under(name)["store"]["plugins"][0]["authProvider"].clone();
    assert_eq!(provider["name"], name);
    provider
}

/// All that are shown.
pub(crate) fn configurations() -> Vec<Value> {
    let blocks = PAGE.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(|block| serde_json::from_str(block).unwrap()).collect()
}

#[test]
fn everything_that_is_shown_is_a_configuration_and_every_provider_is_shown() {
    let shown = configurations();
    assert!(shown.len() > PROVIDERS.len(), "{}", shown.len());
    for configuration in shown {
        Config::from_json(configuration.to_string().as_bytes()).unwrap();
    }
    for name in PROVIDERS {
        assert_ne!(auth::availability(name), Availability::Unknown, "{name}");
        assert!(under(name).is_object());
    }
}

#[tokio::test]
async fn the_file_of_docker_that_is_shown_gives_its_password() {
    let directory = tempfile::tempdir().unwrap();
    let registry = registry("of the file").await;
    let mut provider = on_the_page("dockerConfig");
    let file = directory.path().join("config.json");
    let auths = json!({registry.registry(): {"username": "user", "password": "of the file"}});
    std::fs::write(&file, json!({ "auths": auths }).to_string()).unwrap();
    provider["configPath"] = json!(file);
    let keys = json!({ "authProvider": provider });
    let store = store(directory.path(), &keys, Environment::default()).unwrap();
    assert_eq!(resolve(&store, &registry.reference("app:1")).await, "resolved");
}

#[tokio::test]
async fn the_secrets_that_are_shown_give_their_passwords() {
    let provider = on_the_page("k8Secrets");
    let account = format!("ratify/{}", provider["serviceAccountName"].as_str().unwrap());
    let listed = provider["secrets"].as_array().unwrap().iter().map(|secret| {
        let namespace = secret["namespace"].as_str().unwrap_or("ratify");
        format!("{namespace}/{}", secret["secretName"].as_str().unwrap())
    });
    // Each place that is named, and the service account's, has the password alone in its turn.
    let places: Vec<String> = listed.chain(["ratify/of-the-account".to_owned()]).collect();
    assert_eq!(places.len(), 3);
    for place in places {
        let directory = tempfile::tempdir().unwrap();
        let registry = registry("of the secret").await;
        let cluster = Arc::new(Cluster::default());
        cluster.put_account(&account, &["of-the-account"]);
        let kind = "kubernetes.io/dockerconfigjson";
        cluster.put_password(&place, kind, &registry.registry(), "of the secret");
        let keys = json!({ "authProvider": provider });
        let store = store(directory.path(), &keys, secrets::environment(&cluster)).unwrap();
        assert_eq!(resolve(&store, &registry.reference("app:1")).await, "resolved", "{place}");
    }
}

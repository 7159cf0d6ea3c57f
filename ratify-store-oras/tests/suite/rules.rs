//! `authProviders`: several providers in one store, each for some registries and repositories; and
//! that nobody is asked without credentials unless a rule says so.

use std::{path::Path, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use ratify_core::{Context, Reference, ReferrerStore, Result, config::StorePluginConfig};
use ratify_store_oras::{OrasStore, OrasStoreOptions, auth::Environment};
use serde_json::{Value, json};

use crate::{
    fake::{Content, Fake, Reply, Seen},
    secrets::{self, Cluster},
};

/// A registry with a password.
pub(crate) async fn registry(password: &'static str) -> Fake {
    let content = Content::new();
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("user:{password}")));
    Fake::start(move |seen: &Seen| match seen.header("authorization") {
        Some(shown) if shown == expected => content.answer(seen),
        _ => Reply::error(401, "UNAUTHORIZED").with("www-authenticate", r#"Basic realm="r""#),
    })
    .await
}

fn docker_file(at: &Path, host: &str, password: &str) -> Value {
    let auths = json!({host: {"username": "user", "password": password}});
    std::fs::write(at, json!({ "auths": auths }).to_string()).unwrap();
    json!({"name": "dockerConfig", "configPath": at})
}

pub(crate) fn store(directory: &Path, keys: &Value, environment: Environment) -> Result<OrasStore> {
    let mut entry = keys.as_object().unwrap().clone();
    entry.insert("name".into(), "oras".into());
    entry.insert("useHttp".into(), true.into());
    entry.insert("localCachePath".into(), directory.join("cache").to_str().into());
    let mut options = OrasStoreOptions::default();
    options.environment = environment;
    options.connections = crate::fake::options().connections;
    OrasStore::new(&StorePluginConfig::from_entry(&entry, "1.0.0")?, options)
}

pub(crate) async fn resolve(store: &OrasStore, reference: &Reference) -> String {
    match store.resolve(reference, &Context::default()).await {
        Ok(_) => "resolved".into(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn one_store_shows_each_registry_its_own_password() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let (first, second) = (registry("first").await, registry("second").await);
    let cluster = Arc::new(Cluster::default());
    let kind = "kubernetes.io/dockerconfigjson";
    cluster.put_password("ratify/second", kind, &second.registry(), "second");
    let rules = json!({"authProviders": [
        {"match": [first.registry()],
            "provider": docker_file(&at.join("first.json"), &first.registry(), "first")},
        {"match": [format!("{}/app", second.registry())],
            "provider": {"name": "k8Secrets", "secrets": [{"secretName": "second"}]}},
    ]});
    let store = store(at, &rules, secrets::environment(&cluster)).unwrap();
    assert_eq!(resolve(&store, &first.reference("app:1")).await, "resolved");
    assert_eq!(resolve(&store, &second.reference("app:1")).await, "resolved");
    let uncovered = resolve(&store, &second.reference("other:1")).await;
    assert!(uncovered.contains("no rule of authProviders covers "), "{uncovered}");
    assert!(!second.lines().join(" ").contains("other"), "{:?}", second.lines());
}

#[tokio::test]
async fn a_registry_is_not_asked_where_its_provider_fails_or_has_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let registry = Fake::start({
        // Anybody may read here, and yet it is not read without credentials.
        let content = Content::new();
        move |seen: &Seen| content.answer(seen)
    })
    .await;
    let host = registry.registry();
    let cluster = Arc::new(Cluster::default());
    cluster.put_account("ratify/default", &[]);
    let missing = json!({"name": "dockerConfig", "configPath": at.join("missing.json")});
    let elsewhere = docker_file(&at.join("elsewhere.json"), "a.example.com", "p");
    let broken = json!({"name": "k8Secrets", "secrets": [{"secretName": "broken"}]});
    for (provider, expected) in [
        (missing, "missing.json"),
        (elsewhere, "the auth provider dockerConfig, which covers "),
        (broken, "the API server is away"),
        (json!({"name": "k8Secrets"}), "could not find credentials"),
    ] {
        let rules = json!({"authProviders": [
            {"match": [host.replace("127.0", "127.*")], "anonymous": true},
            {"match": [host], "provider": provider},
        ]});
        let store = store(at, &rules, secrets::environment(&cluster)).unwrap();
        let denied = resolve(&store, &registry.reference("app:1")).await;
        assert!(denied.contains(expected), "{denied}");
    }
    assert_eq!(registry.seen().len(), 0);
    let rules = json!({"authProviders": [
        {"match": ["a.example.com"], "provider": {"name": "dockerConfig"}},
        {"match": [format!("{host}/app")], "anonymous": true},
    ]});
    let store = store(at, &rules, Environment::default()).unwrap();
    assert_eq!(resolve(&store, &registry.reference("app:1")).await, "resolved");
    assert!(registry.seen().iter().all(|seen| seen.header("authorization").is_none()));
}

#[test]
fn one_and_several_providers_at_once_are_refused_and_a_namespace_gets_no_more_than_before() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |keys: Value, environment: Environment| {
        store(directory.path(), &keys, environment).map(drop).unwrap_err().to_string()
    };
    let rule = json!([{"match": ["a.example.com"], "provider": {"name": "dockerConfig"}}]);
    insta::assert_snapshot!(
        refused(
            json!({"authProvider": {"name": "dockerConfig"}, "authProviders": rule}),
            Environment::default()
        ),
        @r"CONFIG_INVALID: failed to create auth provider from configuration: authProviders: authProvider is given, too: one of the two counts"
    );
    let tenant = Environment::default().for_namespace("team");
    for name in ["dockerConfig", "credentialProvider"] {
        let rule = json!([{"match": ["a.example.com"], "provider": {"name": name}}]);
        let text = refused(json!({ "authProviders": rule }), tenant.clone());
        assert!(text.contains(&format!("a namespace may not use {name}")), "{text}");
    }
}

/// What the page on registries shows is what is read.
#[test]
fn the_rules_of_the_documentation_are_rules() {
    let shown = crate::page::configurations();
    let rules = shown.iter().filter_map(|block| {
        block.pointer("/store/plugins/0/authProviders").map(|rules| json!({"authProviders": rules}))
    });
    let rules: Vec<Value> = rules.collect();
    assert!(!rules.is_empty());
    let cluster = Arc::new(Cluster::default());
    let mut environment = secrets::environment(&cluster);
    environment.programs = Some(Arc::new(crate::programs::Programs::default()));
    environment.credential_providers = Some(Ok(Arc::new(crate::programs::providers(&["p"]))));
    let directory = tempfile::tempdir().unwrap();
    for keys in rules {
        store(directory.path(), &keys, environment.clone()).unwrap();
    }
}

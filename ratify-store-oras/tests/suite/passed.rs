//! What a plugin that opens its store itself is told of the administrator's rules: it asks mirrors,
//! and no address that nobody may ask. Each plugin is a process: this test, once more.

use std::{path::Path, process::Command};

use futures_util::FutureExt as _;
use ratify_core::{Reference, ReferrerStore as _, StoreConfig, config::StorePluginConfig};
use ratify_store_oras::{OrasStore, OrasStoreOptions, blocking::open_with_environment};
use serde_json::json;

use crate::fake::{Content, Fake, Reply, Seen};

const RULES: &str = "RATIFY_REGISTRY_RULES";
const SUBJECT: &str = "RATIFY_TEST_SUBJECT";

/// What a plugin with these rules says that reads the blob of [`Content`] of a subject.
async fn plugin(rules: Option<String>, subject: String) -> String {
    plugin_at(None, rules, subject).await
}

/// The same with a home of its own.
async fn plugin_at(home: Option<&Path>, rules: Option<String>, subject: String) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "passed::read"]);
    command.env(SUBJECT, subject).env_remove(RULES).envs(rules.map(|rules| (RULES, rules)));
    if let Some(home) = home {
        command.env("HOME", home).env("DOCKER_CONFIG", home.join("docker"));
    }
    let ran = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    said.lines().find_map(|line| line.strip_prefix("said: ")).unwrap().to_owned()
}

#[test]
#[ignore = "started by the tests of this file"]
fn read() {
    let Ok(subject) = std::env::var(SUBJECT) else { return };
    let home = std::env::var("HOME").unwrap();
    let cache = format!("{home}/told");
    let mut entry = json!({"name": "oras", "useHttp": true});
    if std::env::var_os("DOCKER_CONFIG").is_some() {
        entry["localCachePath"] = cache.into();
    }
    let config = StoreConfig::new("1.0.0", None, entry.as_object().unwrap().clone());
    let subject = Reference::parse(&subject).unwrap();
    let blob = Content::new().blob;
    let read = open_with_environment(&config)
        .and_then(|host| host.blob(&subject, &blob).now_or_never().unwrap());
    match read {
        Ok(bytes) => println!("\nsaid: {} bytes", bytes.len()),
        Err(error) => println!("\nsaid: {}", error.to_string().replace('\n', " ")),
    }
}

async fn registry() -> Fake {
    let content = Content::new();
    Fake::start(move |seen: &Seen| content.answer(seen)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_asks_where_the_administrators_file_says() {
    let mirror = registry().await;
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("registry.example.com");
    std::fs::create_dir(&folder).unwrap();
    let file = format!("server = \"http://{}\"", mirror.registry());
    std::fs::write(folder.join("hosts.toml"), file).unwrap();
    for references in ["anybody", "operator"] {
        let registries = json!({"hostsPath": directory.path()});
        let rules = json!({"registries": registries, "references": references}).to_string();
        let said = plugin(Some(rules), "registry.example.com/app:1".into()).await;
        assert_eq!(said, "13 bytes");
    }
    assert!(mirror.lines().iter().all(|line| line.ends_with("?ns=registry.example.com")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_asks_no_address_that_nobody_may_ask() {
    let fake = registry().await;
    let here = format!("{}/app:1", fake.registry());
    let anybodys = || Some(json!({"references": "anybody"}).to_string());
    for subject in ["169.254.169.254/app:1", "metadata.google.internal/app:1", &here] {
        let said = plugin(anybodys(), subject.to_owned()).await;
        assert!(said.contains("registries.allowedAddresses"), "{subject}: {said}");
    }
    assert!(fake.seen().is_empty());
    // v1's host says nothing of rules: as for an operator, who may name loopback registries.
    assert_eq!(plugin(None, here.clone()).await, "13 bytes");
    let said = plugin(None, "169.254.169.254/app:1".into()).await;
    assert!(said.contains("registries.allowedAddresses"), "{said}");
    let registries = json!({"allowedAddresses": ["127.0.0.1"]});
    let listed = json!({"registries": registries, "references": "anybody"}).to_string();
    assert_eq!(plugin(Some(listed), here).await, "13 bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_cannot_be_read_are_an_error() {
    let fake = registry().await;
    for rules in ["", "{}", r#"{"references":"operator","registries":{"newer":1}}"#] {
        let said = plugin(Some(rules.into()), format!("{}/app:1", fake.registry())).await;
        assert!(said.contains("RATIFY_REGISTRY_RULES cannot be used"), "{said}");
    }
    assert!(fake.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_uses_the_hosts_credentials_for_no_namespaces_store() {
    let content = Content::new();
    let fake = Fake::start(move |seen: &Seen| match seen.header("authorization") {
        Some("Basic dXNlcjpodW50ZXIy") => content.answer(seen),
        _ => Reply::new(401).with("www-authenticate", "Basic"),
    })
    .await;
    let home = tempfile::tempdir().unwrap();
    for folder in ["docker", ".docker"] {
        std::fs::create_dir(home.path().join(folder)).unwrap();
        let auths = json!({"auths": {fake.registry(): {"auth": "dXNlcjpodW50ZXIy"}}}).to_string();
        std::fs::write(home.path().join(folder).join("config.json"), auths).unwrap();
    }
    let subject = format!("{}/app:1", fake.registry());
    let rules = |more: &str| Some(format!(r#"{{"references":"operator"{more}}}"#));
    let said = plugin_at(Some(home.path()), rules(""), subject.clone()).await;
    assert_eq!(said, "13 bytes");
    let before = fake.seen().len();
    std::fs::remove_dir_all(home.path().join("told")).unwrap();
    let none = rules(r#","credentials":"none""#);
    let said = plugin_at(Some(home.path()), none, subject).await;
    assert!(said.contains("401"), "{said}");
    let seen = fake.seen().split_off(before);
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.header("authorization").is_none()));
    // The cache is still the plugin's alone.
    assert!(home.path().join("told").exists() && !home.path().join(".ratify").exists());
}

#[test]
fn a_store_says_whether_it_may_use_the_credentials_of_the_process() {
    let home = tempfile::tempdir().unwrap();
    for (namespace, lends, expected) in
        [(None, false, false), (Some("team"), true, false), (Some("team"), false, true)]
    {
        let mut options = OrasStoreOptions::default();
        options.environment.home = Some(home.path().to_owned());
        options.environment.lends_credentials = lends;
        if let Some(namespace) = namespace {
            options.environment = options.environment.for_namespace(namespace);
        }
        let entry = json!({"name": "oras"});
        let entry = StorePluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0").unwrap();
        let store = OrasStore::new(&entry, options).unwrap();
        assert_eq!(store.config().is_borrowers, expected, "{namespace:?} {lends}");
    }
}

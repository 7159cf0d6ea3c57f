//! T14: a rule that comes into force takes out of force what it denies, at once and by itself; when
//! the rule is gone, the plugin is in force again. From a file and from custom resources.

use std::time::Duration;

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::{Value, json};

use super::{
    Home, Server,
    cluster::{Controller, apply_store_and_policy, define, until, verifier},
    config,
    main_job::Place,
    sourced,
};
use crate::cluster::server::{Cluster, ClusterOptions};

/// How often a state is looked for before a test gives up.
const LOOKS: usize = 300;

/// A registry with the sample plugin and an image, and the plugin's digests: of its index, of the
/// manifest of this platform, of the program.
async fn place() -> (RunningRegistry, Place, [String; 3]) {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let mut home = Home::new();
    home.allow_sources();
    let place = Place { home, registry: registry.host().to_string(), is_tls: false };
    let index = place.fill().await;
    let inspect = ["plugin", "inspect", &place.plugin(":1.0.0"), "--output", "json"];
    let seen: Value = serde_json::from_str(&place.home.must(&inspect).await).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let platform = &seen["platforms"][0];
    let digests = [index, text(&platform["manifest"]), text(&platform["files"][0]["digest"])];
    (registry, place, digests)
}

/// Each rule that denies the sample by tag, and what is said about it.
fn denials(place: &Place, digests: &[String; 3]) -> Vec<(Value, &'static str)> {
    let other = format!("{}/other/*", place.registry);
    let mut denials: Vec<(Value, &str)> = digests
        .iter()
        .map(|digest| (json!({"deniedDigests": [digest]}), "is in plugins.deniedDigests"))
        .collect();
    denials.push((json!({"allowedRepositories": [other]}), "plugins.allowedRepositories has"));
    denials.push((json!({"requireDigest": true}), "plugins.requireDigest is set"));
    denials.push((json!({"maxSizeBytes": 1000}), "plugins.maxSizeBytes is 1000"));
    denials
}

/// Rules that deny nothing here.
fn harmless(place: &Place) -> Value {
    json!({
        "allowedRepositories": [format!("{}/plugins/sample", place.registry)],
        "deniedDigests": [format!("sha256:{}", "0".repeat(64))],
        "maxSizeBytes": 100_000_000,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_configuration_file_denies_decides_no_more_though_nothing_else_of_it_can_be_built() {
    let (_registry, place, digests) = place().await;
    let configure = |rules: &Value| {
        let mut file = config(&sourced("sample", &place.plugin(":1.0.0")));
        file["plugins"] = rules.clone();
        place.home.configure(&file);
    };
    configure(&harmless(&place));
    let server = Server::start(&place.home).await;
    let until = async |is_success: bool, text: &str| {
        for _ in 0..LOOKS {
            let item = server.ask(&place.image()).await;
            if item["value"]["isSuccess"] == is_success && item.to_string().contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never {is_success} {text}: {}", server.log());
    };
    for (rules, text) in denials(&place, &digests) {
        until(true, "Sample verification success").await;
        configure(&rules);
        until(false, text).await;
        // A file that is no configuration changes nothing.
        place.home.write(".ratify/config.json", r#"{"plugins":{"denyedDigests":[]}}"#);
        tokio::time::sleep(Duration::from_millis(1200)).await;
        until(false, text).await;
        configure(&harmless(&place));
    }
    until(true, "Sample verification success").await;
    let log = server.log();
    let broken = log.lines().filter(|line| line.contains("unknown key denyedDigests")).count();
    assert_eq!(broken, denials(&place, &digests).len(), "one line each: {log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rule_denies_is_neither_installed_nor_started_by_a_command() {
    let (_registry, place, digests) = place().await;
    let file = place.home.path().join(".ratify/config.json");
    let install = ["plugin", "install", "--config", file.to_str().unwrap()];
    for installed_before in [false, true] {
        for (rules, text) in denials(&place, &digests) {
            let mut config = config(&sourced("sample", &place.plugin(":1.0.0")));
            config["plugins"] = rules.clone();
            place.home.configure(&config);
            for arguments in [&install[..], &["verify", "-s", &place.image()]] {
                let ran = place.home.run(arguments).await;
                assert_eq!(ran.code, Some(1), "{installed_before} {rules} {arguments:?}");
                assert!(ran.error().contains(text), "{}", ran.error());
            }
            assert_eq!(place.home.plugins().join("sample").exists(), installed_before, "{rules}");
        }
        let mut config = config(&sourced("sample", &place.plugin(":1.0.0")));
        config["plugins"] = harmless(&place);
        place.home.configure(&config);
        assert!(place.home.verify(&place.image()).await.is_success());
        place.home.must(&install).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rule_denies_is_taken_out_of_force_in_a_cluster_and_never_kept() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let (_registry, place, digests) = place().await;
    define(&place.home, &cluster).await;
    let configure = |rules: &Value| place.home.configure(&json!({"plugins": rules}));
    configure(&harmless(&place));
    let controller = Controller::start_configured(&place.home, &cluster).await;
    apply_store_and_policy(&cluster, &controller).await;
    cluster.apply(&verifier(&place.plugin(":1.0.0"))).await;
    let seen = async |reason: &str, text: &str| {
        let is_so = |status: &Value| {
            let error = status["error"].as_str().unwrap_or_default();
            status["conditions"][0]["reason"] == reason && error.contains(text)
        };
        until(&cluster, &controller, "verifiers", "verifier-dynamic", is_so).await;
    };
    for (rules, text) in denials(&place, &digests) {
        seen("Active", "").await;
        let item = controller.ask(&place.image()).await;
        assert_eq!(item["value"]["isSuccess"], true, "{item} {}", controller.said());
        configure(&rules);
        seen("Refused", text).await;
        place.home.write(".ratify/config.json", "{");
        let item = controller.ask(&place.image()).await;
        assert_eq!(item["value"]["isSuccess"], false, "{item}");
        assert!(item.to_string().contains(text), "{item}");
        configure(&harmless(&place));
    }
    // What is wrong otherwise is kept, as before.
    seen("Active", "").await;
    cluster.apply(&verifier(&place.plugin(":none"))).await;
    seen("KeptLastGood", "not found").await;
    assert_eq!(controller.ask(&place.image()).await["value"]["isSuccess"], true);
    // And not, once it is denied.
    configure(&json!({"deniedDigests": [digests[2]]}));
    for _ in 0..LOOKS {
        let item = controller.ask(&place.image()).await;
        if item["value"]["isSuccess"] == false {
            assert!(item.to_string().contains("deniedDigests"), "{item}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it still decides: {}", controller.said());
}

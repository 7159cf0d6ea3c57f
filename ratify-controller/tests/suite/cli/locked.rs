//! A lock file: what plugins' references stood for once counts from then on, and nothing else.

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::{Value, json};

use super::{Home, config, main_job::Place, sample, sourced, this_platform};

/// Pushes another plugin under the tag.
async fn move_tag(place: &Place) {
    let program = format!("{}={}", this_platform(), sample().display());
    let plugin = place.plugin(":1.0.0");
    let push = ["plugin", "push", &plugin, "--type", "sample", "--version", "2.0.0"];
    place.home.must(&[&push[..], &["--platform", &program]].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_locked_runs_whatever_its_tag_stands_for_and_nothing_else_does() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let mut home = Home::new();
    home.allow_sources();
    let place = Place { home, registry: registry.host().to_string(), is_tls: false };
    let digest = place.fill().await;
    let file = place.home.path().join("ratify.lock");
    let lock_path = file.to_str().unwrap();
    let configure = |artifact: &str| {
        let mut config = config(&sourced("sample", artifact));
        config["plugins"] = json!({"lockFile": lock_path});
        place.home.configure(&config);
    };
    let refused = async |why: &str| {
        let ran = place.home.verify(&place.image()).await;
        assert_eq!(ran.code, Some(1), "{}", ran.stdout);
        assert!(ran.error().contains(why), "{}", ran.error());
    };
    configure(&place.plugin(":1.0.0"));
    refused("the lock file ").await;

    let written = place.home.path().join(".ratify/config.json");
    let lock = ["plugin", "lock", "--config", written.to_str().unwrap()];
    let printed: Value = serde_json::from_str(&place.home.must(&lock).await).unwrap();
    let expected = json!({"version": 1, "plugins": [
        {"artifact": place.plugin(":1.0.0"), "digest": digest},
    ]});
    assert_eq!(printed, expected);
    place.home.must(&[&lock[..], &["--output", lock_path]].concat()).await;
    assert!(place.home.verify(&place.image()).await.is_success());

    move_tag(&place).await;
    let ran = place.home.verify(&place.image()).await;
    assert!(ran.is_success(), "{}", ran.stderr);
    let loads: Value =
        serde_json::from_str(&place.home.must(&["plugin", "log", "-o", "json"]).await).unwrap();
    for load in loads.as_array().unwrap() {
        assert_eq!(load["root"], digest.as_str(), "{loads}");
    }
    configure(&place.plugin(&format!("@{digest}")));
    refused("the lock file that plugins.lockFile names does not have it").await;
    place
        .home
        .must(&["plugin", "lock", &place.plugin(&format!("@{digest}")), "-o", lock_path])
        .await;
    assert!(place.home.verify(&place.image()).await.is_success());
    std::fs::write(&file, "{}").unwrap();
    refused("missing field `version`").await;
    let install =
        place.home.run(&["plugin", "install", "--config", written.to_str().unwrap()]).await;
    assert!(
        install.code == Some(1) && install.error().contains("the lock file "),
        "{}",
        install.error()
    );
}

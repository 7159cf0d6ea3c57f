//! An OCI image layout in place of a registry, on a machine that has no network.

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Home, STATEMENT, YES, config, main_job::Place, put_app, sourced, verifier};
use crate::{host, parity::machines::Machines};

/// The configuration of most tests, with a layout for a store.
fn over_layout(entry: &Value) -> Value {
    let mut config = config(&verifier("yes"));
    config["store"]["plugins"] = json!([entry]);
    config
}

/// From here on there is no network for the commands of a home, not even loopback.
fn cut_off(home: &mut Home) {
    let unshare = if host::is_root() { "-n" } else { "-rn" };
    home.prefix = ["unshare", unshare].map(str::to_owned).to_vec();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_oras_copied_is_verified_without_a_network() {
    let Some(machines) = Machines::find() else { return };
    let mut home = Home::new();
    home.script_plugin("yes", YES);
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let image = put_app(&registry);
    let layout = home.path().join("layout");
    let mut oras = Command::new(machines.tool("oras"));
    oras.args(["copy", "-r", "--from-plain-http", "--to-oci-layout", &image]);
    oras.arg(format!("{}:v1", layout.display())).env("HOME", home.path());
    assert!(oras.status().await.unwrap().success());
    drop(registry);
    cut_off(&mut home);
    let repository = image.trim_end_matches(":v1");
    let entry = json!({"name": "oci-layout", "path": "layout", "repository": repository});
    home.configure(&over_layout(&entry));
    let ran = home.verify(&image).await;
    assert!(ran.is_success(), "{} {}", ran.stdout, ran.stderr);
    assert_eq!(ran.verdict()["verifierReports"][0]["artifactType"], STATEMENT);
    let found = home.must(&["discover", "-s", &image]).await;
    assert!(found.contains(STATEMENT), "{found}");

    let elsewhere = home.verify("registry.example.com/other:v1").await;
    assert!(!elsewhere.is_success());
    let said = format!("{}{}", elsewhere.stdout, elsewhere.stderr);
    assert!(said.contains("in the layout: not found"), "{said}");
    let anybodys = json!({"name": "oci-layout", "path": "layout"});
    home.configure(&over_layout(&anybodys));
    assert!(!home.verify(&image).await.is_success());
    let nothing = json!({"name": "oci-layout", "path": "elsewhere"});
    home.configure(&over_layout(&nothing));
    let refused = home.verify(&image).await;
    assert!(
        refused.error().contains("could not open the OCI layout at elsewhere"),
        "{}",
        refused.error()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_was_saved_is_loaded_without_a_network_and_pushed_to_another_registry() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let mut home = Home::new();
    home.allow_sources();
    let place = Place { home, registry: registry.host(), is_tls: false };
    let digest = place.fill().await;
    let (image, plugin) = (place.image(), place.plugin(":1.0.0"));
    let mut home = place.home;
    let said = home.must(&["plugin", "save", &plugin, "saved"]).await;
    assert_eq!(said.trim_end(), format!("saved {plugin} {digest}"));

    let other = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let to = format!("{}/mirror/sample:1.0.0", other.host());
    let said = home.must(&["plugin", "load", "saved", "--to", &to]).await;
    assert_eq!(said.trim_end(), format!("pushed {to} {digest}"));
    home.must(&["plugin", "inspect", &to]).await;

    // The image comes along in another layout; then everything else is gone.
    let Some(machines) = Machines::find() else { return };
    let mut oras = Command::new(machines.tool("oras"));
    oras.args(["copy", "-r", "--from-plain-http", "--to-oci-layout", &image, "layout:v1"]);
    oras.env("HOME", home.path()).current_dir(home.path());
    assert!(oras.status().await.unwrap().success());
    drop((registry, other));
    cut_off(&mut home);
    let mut configured = config(&sourced("sample", &plugin));
    let repository = image.trim_end_matches(":v1");
    configured["store"]["plugins"] =
        json!([{"name": "oci-layout", "path": "layout", "repository": repository}]);
    home.configure(&configured);
    assert_eq!(home.verify(&image).await.code, Some(1), "the plugin is not here yet");
    let file = home.path().join(".ratify/config.json");
    let load = ["plugin", "load", "saved", "--config", file.to_str().unwrap()];
    let said = home.must(&load).await;
    assert!(said.starts_with("installed verifier sample"), "{said}");
    let ran = home.verify(&image).await;
    assert!(ran.is_success(), "{} {}", ran.stdout, ran.stderr);
    assert_eq!(ran.reason(), "Sample verification success");

    let mut archive = std::process::Command::new("tar");
    archive.args(["-cf", "saved.tar", "-C", "saved", "."]).current_dir(home.path());
    assert!(archive.status().unwrap().success());
    let again = home.must(&["plugin", "load", "saved.tar", "--dir", "elsewhere"]).await;
    assert!(again.starts_with("installed verifier sample"), "{again}");
    let unknown = home.run(&["plugin", "load", "saved", "registry.example.com/other:1"]).await;
    assert!(unknown.error().contains("not found"), "{}", unknown.error());
}

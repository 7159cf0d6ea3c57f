//! An OCI image layout in place of a registry, on a machine that has no network.

use serde_json::{Value, json};
use tokio::process::Command;

use ratify_controller::dev::{RegistryOptions, RunningRegistry};

use super::{Home, STATEMENT, YES, config, put_app, verifier};
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
    assert_eq!(elsewhere.code, Some(1));
    assert!(elsewhere.error().contains("not found"), "{}", elsewhere.error());
    let anybodys = json!({"name": "oci-layout", "path": "layout"});
    home.configure(&over_layout(&anybodys));
    assert_eq!(home.verify(&image).await.code, Some(1));
    let nothing = json!({"name": "oci-layout", "path": "elsewhere"});
    home.configure(&over_layout(&nothing));
    let refused = home.verify(&image).await;
    assert!(
        refused.error().contains("could not open the OCI layout at elsewhere"),
        "{}",
        refused.error()
    );
}

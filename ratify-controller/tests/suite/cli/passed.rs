//! A plugin that reads from the registry itself reads where the administrator's `hosts.toml` says, as
//! the host does.

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::json;

use super::{Home, config, put_app, verifier};
use crate::host;

#[tokio::test]
async fn host_and_plugin_ask_the_same_mirror() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    put_app(&registry);
    let home = Home::new();
    let folder = home.path().join("certs.d/registry.example.com");
    std::fs::create_dir_all(&folder).unwrap();
    let file = format!("server = \"{}\"\n", registry.url());
    std::fs::write(folder.join("hosts.toml"), file).unwrap();
    let features = ["--package", "ratify-verifier-sample", "--features", "v1-host"];
    home.link_plugin("judge", &host::plugin("sample", "sample-v1-host", &features));
    let mut judge = verifier("judge");
    judge["readBlobs"] = json!(true);
    let mut config = config(&judge);
    config["registries"] = json!({"hostsPath": home.path().join("certs.d")});
    home.configure(&config);
    let ran = home.verify("registry.example.com/app:v1").await;
    assert!(ran.is_success(), "{}", ran.reason());
    let report = &ran.verdict()["verifierReports"][0];
    assert_eq!(report["extensions"]["length"], 21, "{report}");
}

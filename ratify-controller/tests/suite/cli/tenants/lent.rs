//! T12: a tenant reads no image with Ratify's own credentials, which are good for a registry with a
//! password, unless an administrator lends them.

use ratify_controller::dev::RegistryOptions;
use serde_json::json;

use super::{OTHER, Scene, TEAM};

/// What is answered where no store reads the image.
const UNREAD: &str = "could not resolve descriptor for a subject from any stores";

/// A store of the tenant's own, with this provider.
fn store(provider: &str) -> String {
    format!(
        "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: NamespacedStore
metadata: {{name: own, namespace: team}}
spec: {{name: oras, parameters: {{useHttp: true{provider}}}}}
"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_reads_nothing_with_ratifys_credentials_unless_they_are_lent() {
    let options = RegistryOptions {
        credentials: Some(("user".into(), "pass".into())),
        ..RegistryOptions::default()
    };
    let Some(scene) = Scene::start(options).await else { return };
    // The cluster's store has them.
    for namespace in ["", TEAM, OTHER] {
        scene.decides(namespace, true, "guard").await;
    }
    let config = scene.place.home.path().join(".docker/config.json");
    assert!(config.is_file(), "{}", config.display());
    let by_path =
        format!(", authProvider: {{name: dockerConfig, configPath: {}}}", config.display());
    let is_lent = |lent: bool| scene.rule(&json!({}), &json!({"clusterCredentials": lent}));

    scene.apply_as_tenant(&store("")).await;
    scene.seen_of("namespacedstores", "own", "Active", "").await;
    scene.decides(TEAM, false, UNREAD).await;
    let said = scene.controller.said();
    assert!(said.contains("response status code 401: Unauthorized"), "{said}");
    scene.leaves_others_alone("no provider").await;
    is_lent(true);
    scene.decides(TEAM, true, "guard").await;
    is_lent(false);
    scene.decides(TEAM, false, UNREAD).await;

    scene.delete_as_tenant("namespacedstores", "own").await;
    scene.decides(TEAM, true, "guard").await;
    scene.apply_as_tenant(&store(&by_path)).await;
    let text = "a namespace may not use dockerConfig";
    scene.seen_of("namespacedstores", "own", "Refused", text).await;
    scene.decides(TEAM, false, UNREAD).await;
    scene.leaves_others_alone("a provider by name").await;
    is_lent(true);
    scene.seen_of("namespacedstores", "own", "Active", "").await;
    scene.decides(TEAM, true, "guard").await;

    // Its own secret is its own, whatever is lent.
    is_lent(false);
    let host = scene.registry.host();
    let target = ["create", "secret", "docker-registry", "mine", "-n", TEAM];
    let server = format!("--docker-server={host}");
    let rest = [server.as_str(), "--docker-username=user", "--docker-password=pass"];
    scene.cluster.must(&[&target[..], &rest].concat()).await;
    let own = ", authProvider: {name: k8Secrets, secrets: [{secretName: mine}]}";
    scene.apply_as_tenant(&store(own)).await;
    scene.decides(TEAM, true, "guard").await;
}

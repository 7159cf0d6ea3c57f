//! A thousand resources of one namespace that all wait for a registry which never answers: others
//! do not wait for them.

use std::time::{Duration, Instant};

use ratify_controller::dev::RegistryOptions;
use serde_json::{Value, json};

use super::{OTHER, Scene, TEAM, Trap, tenants};

const MANY: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_resources_that_wait_for_ever_hold_up_nobody_else() {
    let Some(scene) = Scene::start(RegistryOptions::default()).await else { return };
    let trap = Trap::start().await;
    let listed = [format!("{}/*", trap.address), format!("{}/*", scene.place.registry)];
    let rules = json!({"namespaces": {"source": true}, "allowedRepositories": listed});
    scene.rule(&rules, &json!({}));
    let slow = |number: usize| {
        let spec = format!("name: sample, source: {{artifact: '{}/p:{number}'}}", trap.address);
        tenants(&format!("a-{number:04}"), &spec)
    };
    let all: Vec<String> = (0..MANY).map(slow).collect();
    let ran = scene.try_as_tenant("create", &all.join("---")).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    // Some of them wait for the trap by then.
    scene.controller.until(|| trap.connections() > 0).await;

    let start = Instant::now();
    let source = format!("name: sample, source: {{artifact: '{}'}}", scene.place.plugin(":1.0.0"));
    let others = tenants("z", &source).replace("namespace: team", "namespace: other");
    scene.cluster.apply(&others).await;
    let is_active = |status: &Value| status["issuccess"] == true;
    let (cluster, controller) = (&scene.cluster, &scene.controller);
    let kind = "namespacedverifiers";
    super::until_in(cluster, controller, kind, Some(OTHER), "z", is_active).await;
    let of_the_cluster = tenants("z", "name: pass").replace("NamespacedVerifier", "Verifier");
    scene.cluster.apply(&of_the_cluster.replace(", namespace: team", "")).await;
    super::until(cluster, controller, "verifiers", "z", is_active).await;
    scene.decides(OTHER, true, "Sample verification success").await;
    scene.decides("", true, "guard").await;
    let took = start.elapsed();
    assert!(took < Duration::from_secs(25), "as long as one waits for the trap: {took:?}");
    // The namespace itself is denied, with a reason, from the first that was tried.
    scene.decides(TEAM, false, "").await;
}

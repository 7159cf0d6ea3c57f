//! A registry that is slow when a replica starts: what is to be pulled refuses until it is there,
//! for the cluster and for a namespace, though another verifier would have accepted meanwhile.

use std::time::{Duration, Instant};

use ratify_controller::dev::RegistryOptions;
use serde_json::json;

use super::{
    super::{YES, cluster::LOOKS},
    Fate, Lab, Proxy, Replica, program,
};

/// How long the registry keeps the plugin back.
const KEPT_BACK: Duration = Duration::from_secs(3);

/// A verdict, with what it says.
async fn verdict(replica: &Replica, key: &str) -> Result<String, String> {
    let item = replica.server().ask(key).await;
    let is_allowed = item["value"]["isSuccess"] == true;
    if is_allowed { Ok(item.to_string()) } else { Err(item.to_string()) }
}

/// A verifier of the cluster and one of a namespace that judge by a plugin, beside others that are
/// on the volume and accept: the first by name decides, and without it they would.
async fn fill(lab: &Lab, replica: &Replica, artifact: &str) {
    replica.home.script_plugin("pass", YES);
    let (repository, _) = artifact.rsplit_once(':').unwrap();
    let plugins = json!({"namespaces": {"source": true}, "allowedRepositories": [repository]});
    replica.home.configure(&json!({ "plugins": plugins }));
    let pass = json!({"name": "pass", "artifactTypes": "*"});
    lab.apply("verifiers", "z-pass", &pass).await;
    lab.apply("verifiers", "judge", &lab.judge(artifact)).await;
    for (name, spec) in [("z-pass", &pass), ("judge", &lab.judge(artifact))] {
        let object = json!({
            "apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": "NamespacedVerifier",
            "metadata": {"name": name, "namespace": "default"}, "spec": spec,
        });
        assert_eq!(lab.try_create("namespacedverifiers", &object).await, 201);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_at_a_start_refuses_until_its_plugin_arrived() {
    let Some(lab) = Lab::start_with(RegistryOptions::default()).await else { return };
    let slow = Proxy::plain(&lab.registry.host()).await;
    slow.rule(|asked| if asked.path.contains("/blobs/") { Fate::Hold } else { Fate::Pass });
    lab.push("v0", &program("v0", 0));
    let mut replica = lab.replica("pod-1");
    fill(&lab, &replica, &lab.plugin(slow.address(), "v0")).await;
    replica.start().await;
    let keys = [lab.image(), format!("[default]{}", lab.image())];
    let refuses = async |reason: &str| {
        for key in &keys {
            let verdict = verdict(&replica, key).await;
            let why = verdict.unwrap_err();
            assert!(reason.is_empty() || why.contains(reason), "{why}");
        }
    };
    // From the first answer on, for whichever reason; then for this one.
    tokio::select! {
        () = slow.held() => {}
        () = async { loop { refuses("").await } } => unreachable!(),
    }
    let end = Instant::now() + KEPT_BACK;
    let mut asked = 0;
    while Instant::now() < end {
        refuses("the verifier judge is not in force: ").await;
        assert!(!replica.is_ready().await, "{}", replica.log());
        asked += 1;
    }
    assert!(asked > 10, "{asked}");
    let why = verdict(&replica, &keys[0]).await.unwrap_err();
    assert!(why.contains("it was not tried yet"), "{why}");

    slow.rule(|_| Fate::Pass);
    slow.cut();
    for key in &keys {
        for look in 0.. {
            match verdict(&replica, key).await {
                Ok(item) => {
                    assert!(item.contains("\"v0\""), "{item}");
                    break;
                }
                Err(why) => assert!(why.contains("is not in force: "), "{why}"),
            }
            assert!(look < LOOKS, "{}", replica.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let end = Instant::now() + KEPT_BACK;
    while !replica.is_ready().await {
        assert!(Instant::now() < end, "{}", replica.log());
    }
}

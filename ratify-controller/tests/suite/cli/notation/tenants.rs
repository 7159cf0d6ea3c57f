//! Plugins of Notation that the verifiers of a namespace ask, on a real API server: the administrators',
//! which a lock file names, and those of a namespace.

use super::*;
use crate::cli::cluster::until_in;

const NAMESPACES: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: v1
kind: Namespace
metadata: {name: other}
";

/// A verifier's resource of a namespace.
fn resource_of(namespace: &str, name: &str, entry: &Value) -> String {
    let mut object: Value = serde_json::from_str(&resource(name, entry)).unwrap();
    object["kind"] = "NamespacedVerifier".into();
    object["metadata"]["namespace"] = namespace.into();
    object.to_string()
}

impl Place {
    /// The verifier for a namespace, which may name no files.
    fn verifier_by_provider(&self) -> Value {
        let mut entry = self.verifier();
        entry.as_object_mut().unwrap().remove("verificationCerts");
        entry["verificationCertStores"] = json!({"ca": {"certs": ["plugin-ca"]}});
        entry
    }
}

/// A cluster with namespaces, and what its administrators have.
async fn controlled(place: &Place, cluster: &Cluster) -> Controller {
    define(&place.home, cluster).await;
    let controller = Controller::start_configured(&place.home, cluster).await;
    apply_store_and_policy(cluster, &controller).await;
    cluster.apply(NAMESPACES).await;
    cluster.apply(&inline(&place.notary, "signer")).await;
    controller
}

fn is_active(status: &Value) -> bool {
    status["issuccess"] == true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_asks_the_plugin_that_is_locked_and_which_has_not_what_opens_ratifys_services()
{
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let Some(mut place) = Place::new().await else { return };
    let image = place.image("both-yes").await;
    let artifact = place.push("1", &place.program()).await;
    let lock = place.home.path().join("ratify.lock").display().to_string();
    place.home.must(&["plugin", "lock", &artifact, "--output", &lock]).await;
    // What the tag stands for by then is no such plugin.
    place.push("1", &sample()).await;
    // The plugin tells by its name whether it sees this.
    place.home.set("TEST_NOTATION_PLUGIN", "both-no");
    let rule = |lent: bool| {
        let namespaces = json!({"clusterCredentials": lent});
        let config = json!({"plugins": {"lockFile": lock}, "namespaces": namespaces});
        place.home.configure(&config);
    };
    rule(false);
    let controller = controlled(&place, &cluster).await;
    cluster.apply(&resource(PLUGIN, &Place::fake(&artifact))).await;
    let object = until(&cluster, &controller, "verifiers", PLUGIN, is_active).await;
    let locked: Value = serde_json::from_slice(&fs::read(&lock).unwrap()).unwrap();
    let digest = &object["status"]["plugin"]["digest"];
    assert_eq!(*digest, locked["plugins"][0]["digest"], "{object}");

    let entry = place.verifier_by_provider();
    cluster.apply(&resource_of("team", "signatures", &entry)).await;
    let (kind, team) = ("namespacedverifiers", Some("team"));
    until_in(&cluster, &controller, kind, team, "signatures", is_active).await;
    let key = format!("[team]{image}");
    controller.until_judged(&key, true, "Notation signature verification success").await;
    // The cluster's own verifier has all of it, as in v1.
    cluster.apply(&resource("verifier-notation", &place.verifier())).await;
    let misnamed = r#"must be \"notation-both-no\""#;
    controller.until_judged(&image, false, misnamed).await;
    rule(true);
    controller.until_judged(&key, false, misnamed).await;
    rule(false);
    controller.until_judged(&key, true, "").await;

    // What is not locked does not run, and what ran before does not either.
    let other = place.push("2", &place.program()).await;
    cluster.apply(&resource(PLUGIN, &Place::fake(&other))).await;
    let is_refused = |status: &Value| {
        let why = "the lock file that plugins.lockFile names does not have it";
        status["conditions"][0]["reason"] == "Refused" && status.to_string().contains(why)
    };
    until(&cluster, &controller, "verifiers", PLUGIN, is_refused).await;
    controller.until_judged(&key, false, "was installed for a resource that is not in force").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespaces_own_plugin_is_asked_by_that_namespace_alone() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let Some(place) = Place::new().await else { return };
    let image = place.image("both-yes").await;
    let artifact = place.push("1", &place.program()).await;
    let listed = json!([format!("{}/plugins/*", place.registry.host())]);
    let rules = json!({"namespaces": {"source": true}, "allowedRepositories": listed});
    place.home.configure(&json!({"plugins": rules}));
    let controller = controlled(&place, &cluster).await;
    let (kind, entry) = ("namespacedverifiers", place.verifier_by_provider());
    for namespace in ["team", "other"] {
        cluster.apply(&resource_of(namespace, "signatures", &entry)).await;
        let namespace = Some(namespace);
        until_in(&cluster, &controller, kind, namespace, "signatures", is_active).await;
    }
    let [team, other] = ["team", "other"].map(|namespace| format!("[{namespace}]{image}"));
    controller.until_judged(&team, false, MISSING).await;
    cluster.apply(&resource_of("team", PLUGIN, &Place::fake(&artifact))).await;
    until_in(&cluster, &controller, kind, Some("team"), PLUGIN, is_active).await;
    controller.until_judged(&team, true, "Notation signature verification success").await;
    controller.until_judged(&other, false, MISSING).await;

    cluster.must(&["delete", "namespacedverifiers", PLUGIN, "-n", "team"]).await;
    controller.until_judged(&team, false, MISSING).await;
}

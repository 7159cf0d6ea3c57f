//! What one namespace can do to another, and to the cluster's rule.

use std::time::{Duration, Instant};

use ratify_controller::dev::RegistryOptions;
use serde_json::{Value, json};

use super::{OTHER, Scene, TEAM, tenants};

/// A verifier that refuses, of the cluster's, and what a tenant sets against it.
const STRICT: &str = "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: Verifier
metadata: {name: a-strict-one}
spec: {name: fail, artifactTypes: '*'}
";

const ANY: &str = "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: NamespacedPolicy
metadata: {name: ratify-policy, namespace: team}
spec: {type: config-policy, parameters: {artifactVerificationPolicies: {default: any}}}
";

const NO: &str = r#"cat >/dev/null; echo '{"isSuccess":false,"message":"no"}'"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_weakens_the_clusters_rule_only_where_it_may_replace_it() {
    let Some(scene) = Scene::start(RegistryOptions::default()).await else { return };
    scene.place.home.script_plugin("fail", NO);
    scene.cluster.apply(STRICT).await;
    let is_active = |status: &Value| status["issuccess"] == true;
    super::until(&scene.cluster, &scene.controller, "verifiers", "a-strict-one", is_active).await;
    for namespace in ["", TEAM, OTHER] {
        scene.decides(namespace, false, "a-strict-one").await;
    }
    // As in v1, a namespace's own verifiers and policy take the place of the cluster's.
    scene.apply_as_tenant(ANY).await;
    scene.apply_as_tenant(&tenants("mild", "name: pass")).await;
    scene.decides(TEAM, true, "mild").await;
    scene.decides(OTHER, false, "a-strict-one").await;
    // Where it may only add, both must be fulfilled.
    scene.rule(&json!({}), &json!({"tightenOnly": true}));
    scene.decides(TEAM, false, "a-strict-one").await;
    scene.decides(TEAM, false, "mild").await;
    // A verifier of the same name does not shadow the cluster's.
    scene.apply_as_tenant(&tenants("a-strict-one", "name: pass")).await;
    scene.seen("a-strict-one", "Active", "").await;
    scene.decides(TEAM, false, r#""message":"no""#).await;
    scene.rule(&json!({}), &json!({"tightenOnly": false}));
    scene.decides(TEAM, true, "a-strict-one").await;
    // It may be stricter than the cluster.
    scene.rule(&json!({}), &json!({"tightenOnly": true}));
    scene.cluster.must(&["delete", "verifiers", "a-strict-one"]).await;
    scene.decides(TEAM, true, "guard").await;
    scene.apply_as_tenant(&tenants("a-strict-one", "name: fail")).await;
    scene.decides(TEAM, false, "a-strict-one").await;
    scene.leaves_others_alone("stricter").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_namespace_breaks_is_broken_for_itself_alone() {
    let Some(scene) = Scene::start(RegistryOptions::default()).await else { return };
    // A stand-in refuses in its own namespace, also under the name of the cluster's verifier.
    for name in ["broken", "guard"] {
        scene.apply_as_tenant(&tenants(name, "name: nowhere")).await;
        scene.seen(name, "Refused", "nowhere").await;
        scene.decides(TEAM, false, "nowhere").await;
        scene.leaves_others_alone(name).await;
        scene.delete_as_tenant("namespacedverifiers", name).await;
        scene.decides(TEAM, true, "guard").await;
    }
    // So does a policy that cannot be in force.
    scene.apply_as_tenant(&ANY.replace("any", "sometimes")).await;
    scene.decides(TEAM, false, "").await;
    scene.leaves_others_alone("policy").await;
    scene.delete_as_tenant("namespacedpolicies", "ratify-policy").await;
    // Another namespace's secret is not read.
    let foreign = "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: NamespacedStore
metadata: {name: foreign, namespace: team}
spec:
  name: oras
  parameters: {useHttp: true, authProvider: {name: k8Secrets, secrets: [{secretName: s, namespace: other}]}}
";
    scene.cluster.must(&["create", "secret", "generic", "s", "-n", OTHER]).await;
    scene.apply_as_tenant(foreign).await;
    let text = "of namespace team may not read the secret s";
    scene.seen_of("namespacedstores", "foreign", "Refused", text).await;
    scene.leaves_others_alone("secret").await;
    scene.delete_as_tenant("namespacedstores", "foreign").await;
    // A megabyte of parameters is the tenant's own affair, and what the status says stays small.
    for (name, type_) in [("large", "pass"), ("large-and-broken", "nowhere")] {
        let text = "x".repeat(1_000_000);
        let verifier = json!({
            "apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": "NamespacedVerifier",
            "metadata": {"name": name, "namespace": TEAM},
            "spec": {"name": type_, "artifactTypes": "*", "parameters": {"text": text}},
        });
        let ran = scene.try_as_tenant("create", &verifier.to_string()).await;
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let start = Instant::now();
        scene.leaves_others_alone(name).await;
        assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
        let reason = if type_ == "pass" { "Active" } else { "Refused" };
        let status = scene.seen(name, reason, "").await;
        assert!(status.to_string().len() < 20_000, "{}", status.to_string().len());
        scene.delete_as_tenant("namespacedverifiers", name).await;
    }
}

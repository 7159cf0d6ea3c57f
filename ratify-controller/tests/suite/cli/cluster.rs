//! The main job in a cluster, on a real API server: custom resources are applied, a dynamic plugin
//! is pulled and pinned, its verifier decides, and what is deleted decides no more.

use std::{process::Stdio, time::Duration};

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::{Home, main_job::Place};
use crate::cluster::server::{ADMIN, Cluster, ClusterOptions};

/// How often a state is looked for before a test gives up.
pub(super) const LOOKS: usize = 300;

/// Store and policy as v1's samples have them.
const BASICS: &str = "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: Store
metadata: {name: store-oras}
spec: {name: oras, parameters: {useHttp: true}}
---
apiVersion: config.ratify.deislabs.io/v1alpha1
kind: Policy
metadata: {name: configpolicy}
spec: {parameters: {artifactVerificationPolicies: {default: all}}}
";

fn verifier(artifact: &str) -> String {
    format!(
        "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: Verifier
metadata: {{name: verifier-dynamic}}
spec: {{name: sample, artifactTypes: '*', source: {{artifact: '{artifact}'}}}}
"
    )
}

/// A server in a cluster, ended with the test.
pub(super) struct Controller {
    _process: Child,
    address: String,
    log: std::path::PathBuf,
}

impl Controller {
    pub(super) async fn start(home: &Home, cluster: &Cluster) -> Self {
        home.configure(&serde_json::json!({}));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let log = home.path().join("controller.log");
        let arguments = ["serve", "--enable-crd-manager", "--http", &address];
        let mut command: Command = home.command(&arguments);
        command.env("KUBECONFIG", cluster.kubeconfig(ADMIN)).env("HOSTNAME", "pod-1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        command.stderr(std::fs::File::create(&log).unwrap());
        Self { _process: command.spawn().unwrap(), address, log }
    }

    pub(super) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The item of one key.
    pub(super) async fn ask(&self, key: &str) -> Value {
        let body = serde_json::json!({
            "apiVersion": "externaldata.gatekeeper.sh/v1beta1", "kind": "ProviderRequest",
            "request": {"keys": [key]},
        });
        let url = format!("http://{}/ratify/gatekeeper/v1/verify", self.address);
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let answer = reqwest::Client::builder()
            .tls_certs_only([])
            .build()
            .unwrap()
            .post(url)
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        answer["response"]["items"][0].clone()
    }
}

/// Waits until a resource's status is as wanted; the object is returned.
pub(super) async fn until(
    cluster: &Cluster,
    controller: &Controller,
    kind: &str,
    name: &str,
    is_wanted: impl Fn(&Value) -> bool,
) -> Value {
    for _ in 0..LOOKS {
        let object = cluster.get_json(kind, None, name).await;
        if is_wanted(&object["status"]) {
            return object;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{kind} {name} never was as wanted: {}", controller.said());
}

#[tokio::test]
async fn a_plugin_named_by_a_custom_resource_is_pinned_and_decides() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let mut home = Home::new();
    home.allow_sources();
    let place = Place { home, registry: registry.host().to_string(), is_tls: false };
    let digest = place.fill().await;
    let mut definitions = place.home.command(&["crds", "apply"]);
    definitions.env("KUBECONFIG", cluster.kubeconfig(ADMIN));
    assert!(definitions.status().await.unwrap().success());
    let established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
    cluster.must(&established).await;

    let controller = Controller::start(&place.home, &cluster).await;
    cluster.apply(BASICS).await;
    cluster.apply(&verifier(&place.plugin(":1.0.0"))).await;
    let is_active =
        |status: &Value| status["issuccess"] == true && !status["plugin"]["program"].is_null();
    let object = until(&cluster, &controller, "verifiers", "verifier-dynamic", is_active).await;
    let status = &object["status"];
    assert_eq!(status["plugin"]["digest"], digest.as_str());
    assert_eq!(status["plugin"]["loadedBy"], "pod-1");
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(status["conditions"][0]["reason"], "Active");
    let succeeded = |status: &Value| status["issuccess"] == true;
    until(&cluster, &controller, "stores", "store-oras", succeeded).await;
    until(&cluster, &controller, "policies", "configpolicy", succeeded).await;

    let item = controller.ask(&place.image()).await;
    assert_eq!(item["value"]["isSuccess"], true, "{item} {}", controller.said());
    let said = controller.said();
    let mut rest = said.as_str();
    for line in [
        "Feature flag EXPERIMENTAL_DYNAMIC_PLUGINS is enabled",
        "Setting log level to info",
        "starting crd manager",
        "initializing executor with config file at default config path",
        "reconciling verifier 'verifier-dynamic'",
        "Address was empty, setting to default path: ",
        "downloaded verifier plugin sample from ",
        "verifier 'verifier-dynamic' added to verifier map in namespace: ",
    ] {
        let at = rest.find(line).unwrap_or_else(|| panic!("{line} is not said in order: {said}"));
        rest = &rest[at..];
    }

    // A broken one is refused for what it would judge, and says so.
    cluster.apply(&verifier(&place.plugin(":none"))).await;
    let kept = |status: &Value| status["conditions"][0]["reason"] == "KeptLastGood";
    until(&cluster, &controller, "verifiers", "verifier-dynamic", kept).await;
    assert_eq!(controller.ask(&place.image()).await["value"]["isSuccess"], true);

    cluster.must(&["delete", "verifiers", "verifier-dynamic"]).await;
    for look in 0.. {
        let item = controller.ask(&place.image()).await;
        if item["error"].as_str().is_some_and(|error| error.contains("at least one verifier")) {
            break;
        }
        assert!(look < LOOKS, "{item} {}", controller.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_tenants_source_and_address_are_refused_and_its_namespace_is_denied_with_the_reason() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let mut home = Home::new();
    home.allow_sources();
    let mut definitions = home.command(&["crds", "apply"]);
    definitions.env("KUBECONFIG", cluster.kubeconfig(ADMIN));
    assert!(definitions.status().await.unwrap().success());
    cluster.must(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]).await;
    let controller = Controller::start(&home, &cluster).await;
    let attacks = [
        ("source", "source: {artifact: 'registry.example.com/p:1'}"),
        ("hidden", "parameters: {source: {artifact: 'registry.example.com/p:1'}}"),
        ("address", "address: /tmp"),
        ("upward", "address: /.ratify/plugins/../../tmp"),
    ];
    for (name, spec) in attacks {
        cluster
            .apply(&format!(
                "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: NamespacedVerifier
metadata: {{name: {name}, namespace: default}}
spec: {{name: sample, artifactTypes: '*', {spec}}}
"
            ))
            .await;
        let refused = |status: &Value| status["issuccess"] == false;
        let object = until(&cluster, &controller, "namespacedverifiers", name, refused).await;
        let error = object["status"]["error"].as_str().unwrap();
        assert!(error.contains("of a namespaced resource is not allowed"), "{name}: {error}");
    }
    assert!(!controller.said().contains("downloaded"), "{}", controller.said());
}

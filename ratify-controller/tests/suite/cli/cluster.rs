//! The main job in a cluster, on a real API server: custom resources are applied, a dynamic plugin
//! is pulled and pinned, its verifier decides, and what is deleted decides no more.

use std::{process::Stdio, time::Duration};

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::{Home, main_job::Place};
use crate::cluster::server::{ADMIN, Cluster, ClusterOptions};

/// How often a state is looked for before a test gives up.
const LOOKS: usize = 300;

/// Store and policy as v1's samples have them.
pub(super) const BASICS: &str = "
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

pub(super) fn verifier(artifact: &str) -> String {
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
    async fn start(home: &Home, cluster: &Cluster) -> Self {
        home.configure(&serde_json::json!({}));
        Self::start_configured(home, cluster).await
    }

    /// The same with the configuration file that is there.
    pub(super) async fn start_configured(home: &Home, cluster: &Cluster) -> Self {
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

/// Puts the definitions of the nine kinds on the API server.
pub(super) async fn define(home: &Home, cluster: &Cluster) {
    let mut definitions = home.command(&["crds", "apply"]);
    definitions.env("KUBECONFIG", cluster.kubeconfig(ADMIN));
    assert!(definitions.status().await.unwrap().success());
    cluster.must(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]).await;
}

/// Waits until a resource's status is as wanted; the object is returned.
pub(super) async fn until(
    cluster: &Cluster,
    controller: &Controller,
    kind: &str,
    name: &str,
    is_wanted: impl Fn(&Value) -> bool,
) -> Value {
    until_in(cluster, controller, kind, None, name, is_wanted).await
}

/// As [`until`], of a resource in a namespace.
pub(super) async fn until_in(
    cluster: &Cluster,
    controller: &Controller,
    kind: &str,
    namespace: Option<&str>,
    name: &str,
    is_wanted: impl Fn(&Value) -> bool,
) -> Value {
    for _ in 0..LOOKS {
        let object = cluster.get_json(kind, namespace, name).await;
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
    define(&place.home, &cluster).await;
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
    define(&home, &cluster).await;
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

/// The same secret pulls the plugin and reads the image; a namespace reads its own and no other.
const WITH_PASSWORD: &str = "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: Store
metadata: {name: store-oras}
spec:
  name: oras
  parameters: {useHttp: true, authProvider: {name: k8Secrets, secrets: [{secretName: pull}]}}
---
apiVersion: config.ratify.deislabs.io/v1beta1
kind: Policy
metadata: {name: ratify-policy}
spec: {type: config-policy, parameters: {artifactVerificationPolicies: {default: all}}}
---
apiVersion: config.ratify.deislabs.io/v1beta1
kind: Verifier
metadata: {name: verifier-dynamic}
spec:
  name: sample
  artifactTypes: '*'
  source: {artifact: ARTIFACT, authProvider: {name: k8Secrets, secrets: [{secretName: pull}]}}
---
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: config.ratify.deislabs.io/v1beta1
kind: NamespacedStore
metadata: {name: foreign, namespace: team}
spec:
  name: oras
  parameters:
    authProvider: {name: k8Secrets, secrets: [{secretName: pull, namespace: default}]}
";

#[tokio::test]
async fn a_secret_of_the_cluster_opens_the_registry_for_plugins_and_images() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let credentials = Some(("user".to_owned(), "word".to_owned()));
    let options = RegistryOptions { credentials, ..RegistryOptions::default() };
    let registry = RunningRegistry::start(options).await.unwrap();
    let mut home = Home::new();
    home.allow_sources();
    home.set("RATIFY_NAMESPACE", "default");
    let place = Place { home, registry: registry.host().to_string(), is_tls: false };
    let login = serde_json::json!({"auths": {&place.registry: {"auth": "dXNlcjp3b3Jk"}}});
    let folder = place.home.path().join(".docker");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.json"), login.to_string()).unwrap();
    place.fill().await;
    std::fs::remove_dir_all(folder).unwrap();
    define(&place.home, &cluster).await;
    let create = ["create", "secret", "docker-registry", "pull", "--docker-username=user"];
    let server = format!("--docker-server={}", place.registry);
    cluster.must(&[&create[..], &["--docker-password=word", &server]].concat()).await;

    let controller = Controller::start(&place.home, &cluster).await;
    cluster.apply(&WITH_PASSWORD.replace("ARTIFACT", &place.plugin(":1.0.0"))).await;
    let is_active = |status: &Value| status["issuccess"] == true;
    until(&cluster, &controller, "verifiers", "verifier-dynamic", is_active).await;
    until(&cluster, &controller, "stores", "store-oras", is_active).await;
    until(&cluster, &controller, "policies", "ratify-policy", is_active).await;
    let item = controller.ask(&place.image()).await;
    assert_eq!(item["value"]["isSuccess"], true, "{item} {}", controller.said());

    let kind = "namespacedstores";
    let is_refused = |status: &Value| status["issuccess"] == false;
    let refused = until_in(&cluster, &controller, kind, Some("team"), "foreign", is_refused).await;
    let error = refused["status"]["error"].as_str().unwrap();
    assert!(error.contains("of namespace team may not read the secret pull"), "{error}");
    assert!(!controller.said().contains("dXNlcjp3b3Jk") && !controller.said().contains("word\""));
}

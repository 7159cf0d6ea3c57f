//! The main job in a cluster, on a real API server: custom resources are applied, a dynamic plugin
//! is pulled and pinned, its verifier decides, and what is deleted decides no more.

use std::{process::Stdio, time::Duration};

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::{Home, main_job::Place, sample, this_platform};
use crate::cluster::server::{ADMIN, Cluster, ClusterOptions};

/// How often a state is looked for before a test gives up.
pub(super) const LOOKS: usize = 300;
/// How long it waits between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// A store that reads registries in clear, and a policy that wants every verifier to accept.
pub(super) const STORE: &str = "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: Store
metadata: {name: store-oras}
spec: {name: oras, parameters: {useHttp: true}}
";
pub(super) const POLICY: &str = "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: Policy
metadata: {name: ratify-policy}
spec: {type: config-policy, parameters: {artifactVerificationPolicies: {default: all}}}
";

/// Several documents as one.
pub(super) fn documents(documents: &[&str]) -> String {
    documents.join("---")
}

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
    pub(super) async fn start(home: &Home, cluster: &Cluster) -> Self {
        home.configure(&serde_json::json!({}));
        Self::start_configured(home, cluster).await
    }

    /// The same with the configuration file that is there.
    pub(super) async fn start_configured(home: &Home, cluster: &Cluster) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let log = home.path().join("controller.log");
        let arguments =
            ["serve", "--enable-crd-manager", "--http", &address, "--health-port", "127.0.0.1:0"];
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

    /// Waits until this comes of a key, with these words in its item.
    pub(super) async fn until_judged(&self, key: &str, is_success: bool, why: &str) {
        for look in 0.. {
            let item = self.ask(key).await;
            if item["value"]["isSuccess"] == is_success && item.to_string().contains(why) {
                return;
            }
            assert!(look < LOOKS, "{item} {}", self.said());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until it is so.
    pub(super) async fn until(&self, is_so: impl Fn() -> bool) {
        for look in 0.. {
            if is_so() {
                return;
            }
            assert!(look < LOOKS, "{}", self.said());
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Puts the definitions of the nine kinds on the API server.
pub(super) async fn define(home: &Home, cluster: &Cluster) {
    let mut definitions = home.command(&["crds", "apply"]);
    definitions.env("KUBECONFIG", cluster.kubeconfig(ADMIN));
    assert!(definitions.status().await.unwrap().success());
    cluster.must(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]).await;
}

/// Applies [`STORE`] and [`POLICY`], and waits until both are in force.
pub(super) async fn apply_store_and_policy(cluster: &Cluster, controller: &Controller) {
    cluster.apply(&documents(&[STORE, POLICY])).await;
    for (kind, name) in [("stores", "store-oras"), ("policies", "ratify-policy")] {
        until(cluster, controller, kind, name, |status| status["issuccess"] == true).await;
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
        tokio::time::sleep(LOOK).await;
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
    apply_store_and_policy(&cluster, &controller).await;
    cluster.apply(&verifier(&place.plugin(":1.0.0"))).await;
    let is_active =
        |status: &Value| status["issuccess"] == true && !status["plugin"]["program"].is_null();
    let object = until(&cluster, &controller, "verifiers", "verifier-dynamic", is_active).await;
    let status = &object["status"];
    assert_eq!(status["plugin"]["digest"], digest.as_str());
    assert_eq!(status["plugin"]["loadedBy"], "pod-1");
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(status["conditions"][0]["reason"], "Active");

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
        tokio::time::sleep(LOOK).await;
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
    let with_password = WITH_PASSWORD.replace("ARTIFACT", &place.plugin(":1.0.0"));
    cluster.apply(&documents(&[POLICY, &with_password])).await;
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
    let denied = controller.ask(&format!("[team]{}", place.image())).await;
    assert_eq!(denied["value"]["isSuccess"], false, "{denied}");
    assert!(controller.said().contains("the store foreign is not in force: "));
    assert!(!controller.said().contains("dXNlcjp3b3Jk") && !controller.said().contains("word\""));
}

/// The events of a resource, in words.
pub(super) async fn events(cluster: &Cluster, name: &str) -> Vec<String> {
    let selector = format!("--field-selector=involvedObject.name={name}");
    let output = "jsonpath={range .items[*]}{.reason}: {.message}{'\\n'}{end}";
    let said = cluster.must(&["get", "events", "-n", "default", &selector, "-o", output]).await;
    said.lines().map(str::to_owned).collect()
}

/// Pushes another artifact by the same tag; its digest.
async fn move_tag(place: &Place, version: &str) -> String {
    let program = format!("{}={}", this_platform(), sample().display());
    let plugin = place.plugin(":1.0.0");
    let push = ["plugin", "push", &plugin, "--type", "sample", "--version", version];
    let said = place.home.must(&[&push[..], &["--platform", &program]].concat()).await;
    said.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_moved_tag_is_reported_and_followed_only_where_that_is_asked_for() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let mut home = Home::new();
    home.allow_sources();
    let place = Place { home, registry: registry.host().to_string(), is_tls: false };
    let first = place.fill().await;
    define(&place.home, &cluster).await;
    let controller = Controller::start(&place.home, &cluster).await;
    apply_store_and_policy(&cluster, &controller).await;
    cluster.apply(&verifier(&place.plugin(":1.0.0"))).await;
    let runs = |digest: String| {
        move |status: &Value| {
            status["plugin"]["digest"] == digest && !status["plugin"]["program"].is_null()
        }
    };
    let name = "verifier-dynamic";
    until(&cluster, &controller, "verifiers", name, runs(first.clone())).await;
    let second = move_tag(&place, "2.0.0").await;

    // A new process on an empty volume runs what the status says, and tells that the tag moved.
    drop(controller);
    std::fs::remove_dir_all(place.home.plugins()).unwrap();
    let controller = Controller::start(&place.home, &cluster).await;
    let is_told = |status: &Value| status["conditions"][1]["reason"] == "TagMoved";
    let object = until(&cluster, &controller, "verifiers", name, is_told).await;
    assert!(runs(first.clone())(&object["status"]), "{object}");
    let message = object["status"]["conditions"][1]["message"].as_str().unwrap();
    assert!(message.contains(&format!("stands for {second} now; {first} runs")), "{message}");
    let record = place.home.plugins().join(".store/sources/verifier-verifier-dynamic.json");
    let record: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    assert_eq!(record["root"]["digest"], first.as_str(), "{record}");
    assert_eq!(controller.ask(&place.image()).await["value"]["isSuccess"], true);

    // Who asks for it follows: by the change itself, and then by every later move.
    let spec = serde_json::json!({"spec": {"source": {"refreshInterval": "5s"}}}).to_string();
    cluster.must(&["patch", "verifiers", name, "--type=merge", "-p", &spec]).await;
    until(&cluster, &controller, "verifiers", name, runs(second.clone())).await;
    let third = move_tag(&place, "3.0.0").await;
    let object = until(&cluster, &controller, "verifiers", name, runs(third.clone())).await;
    assert_eq!(object["status"]["conditions"][1]["reason"], "AsResolved");
    assert_eq!(object["metadata"]["generation"], 2);

    // What cannot be had is not followed; what was agreed on stays.
    let broken = ["dev", "image", &place.plugin(":1.0.0")];
    place.home.must(&broken).await;
    let kept = |status: &Value| status["conditions"][0]["reason"] == "KeptLastGood";
    let object = until(&cluster, &controller, "verifiers", name, kept).await;
    assert_eq!(object["status"]["plugin"]["digest"], third.as_str());
    assert_eq!(controller.ask(&place.image()).await["value"]["isSuccess"], true);
    let fourth = move_tag(&place, "4.0.0").await;
    until(&cluster, &controller, "verifiers", name, runs(fourth.clone())).await;

    let said = events(&cluster, name).await.join("\n");
    for wanted in [
        &format!("PluginInstalled: {first} runs"),
        &format!("TagMoved: {}", place.plugin(":1.0.0")),
        &format!("PluginUpdated: {second} runs in the place of {first}"),
        &format!("PluginUpdated: {third} runs in the place of {second}"),
        "KeptLastGood: what was in force before still is: ",
        &format!("PluginUpdated: {fourth} runs in the place of {third}"),
    ] {
        assert!(said.contains(wanted), "{wanted} is not among {said} {}", controller.said());
    }

    // The record goes with the resource.
    let sources = place.home.plugins().join(".store/sources");
    assert_eq!(std::fs::read_dir(&sources).unwrap().count(), 1);
    cluster.must(&["delete", "verifiers", name]).await;
    let is_gone = || {
        let is_shown = place.home.plugins().join("sample").is_symlink();
        std::fs::read_dir(&sources).unwrap().count() == 0 && !is_shown
    };
    controller.until(is_gone).await;
}

#[tokio::test]
async fn a_pin_that_the_registry_has_lost_is_told_with_what_to_do() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let mut home = Home::new();
    home.allow_sources();
    let place = Place { home, registry: registry.host().to_string(), is_tls: false };
    let first = place.fill().await;
    define(&place.home, &cluster).await;
    let controller = Controller::start(&place.home, &cluster).await;
    cluster.apply(&verifier(&place.plugin(":1.0.0"))).await;
    let name = "verifier-dynamic";
    let runs = |status: &Value| !status["plugin"]["program"].is_null();
    until(&cluster, &controller, "verifiers", name, runs).await;
    drop(controller);
    std::fs::remove_dir_all(place.home.plugins()).unwrap();
    let second = move_tag(&place, "2.0.0").await;
    assert!(registry.delete_manifest("plugins/sample", &first.parse().unwrap()));

    let controller = Controller::start(&place.home, &cluster).await;
    let is_told = |status: &Value| {
        let message = status["conditions"][0]["message"].as_str().unwrap_or_default();
        message.contains(&format!("the registry has {first} no more, which "))
            && message.contains("change the spec to use another: name a tag or, better, a digest")
    };
    until(&cluster, &controller, "verifiers", name, is_told).await;
    // Any other spec is a new first use.
    let patch = r#"{"spec":{"parameters":{"touched":"yes"}}}"#;
    cluster.must(&["patch", "verifiers", name, "--type=merge", "-p", patch]).await;
    let is_second = |status: &Value| {
        status["plugin"]["digest"] == second && !status["plugin"]["program"].is_null()
    };
    until(&cluster, &controller, "verifiers", name, is_second).await;
}

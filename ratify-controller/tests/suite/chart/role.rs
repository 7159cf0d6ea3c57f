//! The controller with exactly the rights that a chart gives it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::{
    cluster::{list, start},
    helm::{Helm, NAMESPACE, base},
};
use crate::cluster::server::{Cluster, ClusterOptions, User};

/// How often a state is looked for before a test gives up.
const LOOKS: usize = 300;

const GROUPS: &[&str] = &["system:serviceaccounts", "system:serviceaccounts:gatekeeper-system"];
/// Who the pod is, who the hook's job is, and who Gatekeeper is.
pub(crate) const POD: &str = "pod";
pub(crate) const JOB: &str = "job";
pub(crate) const GATEKEEPER: &str = "gatekeeper";

pub(crate) fn users() -> ClusterOptions {
    let account = "system:serviceaccount:gatekeeper-system:ratify-admin";
    let hook = "system:serviceaccount:gatekeeper-system:ratify-admin-upgrade-crds";
    let gatekeeper = "system:serviceaccount:gatekeeper-system:gatekeeper-admin";
    let users = [(POD, account), (JOB, hook), (GATEKEEPER, gatekeeper)];
    ClusterOptions { users: users.map(|(handle, name)| User::new(handle, name, GROUPS)).into() }
}

/// What the chart is told: what this test needs to run on loopback, and certificates.
fn values(certificates: &Path) -> Value {
    crate::parity::machines::certificates(certificates);
    let [authority, certificate, key] = ["ca.pem", "cert.pem", "key.pem"]
        .map(|name| std::fs::read_to_string(certificates.join(name)).unwrap());
    json!({
        "oras": {"useHttp": true}, "registries": {"allowedAddresses": ["127.0.0.1"]}, "notation": {"enabled": false}, "cosign": {"enabled": false},
        "provider": {"tls": {"crt": certificate, "key": key, "caCert": authority, "caKey": "none",
            "cabundle": STANDARD.encode(&authority)}},
    })
}

/// The same, with certificates that the controller has to make.
fn rotated() -> Value {
    json!({"featureFlags": {"RATIFY_CERT_ROTATION": true}, "provider": {"tls": {"crt": ""}}})
}

fn is_of(object: &Value, kinds: &[&str]) -> bool {
    kinds.contains(&object["kind"].as_str().unwrap())
}

/// Only what gives rights.
fn is_right(object: &Value) -> bool {
    is_of(object, &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount"])
}

/// The roles of the pod.
fn roles_of_pod(objects: &[Value]) -> Vec<&Value> {
    let is_wanted = |object: &&Value| {
        let is_jobs = object["metadata"]["name"].as_str().unwrap().contains("crds");
        is_of(object, &["ClusterRole", "Role"]) && !is_jobs
    };
    objects.iter().filter(is_wanted).collect()
}

/// A cluster in which a chart's rights and resources are, and a registry with a plugin.
struct Lab {
    cluster: Cluster,
    registry: RunningRegistry,
    helm: Helm,
    objects: Vec<Value>,
}

/// The controller; it ends with the test.
pub(crate) struct Controller {
    pub(crate) process: Child,
    pub(crate) log: PathBuf,
    pub(crate) health: String,
}

impl Controller {
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The lines that tell of a right that is missing.
    pub(crate) fn refused(&self) -> Vec<String> {
        let said = self.said();
        let is_refusal = |line: &&str| line.contains("forbidden") || line.contains("the right to");
        said.lines().filter(is_refusal).map(str::to_owned).collect()
    }

    /// Waits until the pod would be ready.
    pub(crate) async fn until_ready(&self) {
        until_ready(&self.health, || self.said()).await;
    }
}

/// Waits until a server says so at this address; where it never does, tells what it said.
pub(crate) async fn until_ready(health: &str, said: impl Fn() -> String) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap();
    let url = format!("http://{health}/readyz");
    for _ in 0..2 * LOOKS {
        if client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never ready: {}", said());
}

impl Lab {
    async fn new(helm: Helm, chart: &Path, given: &Value, weaken: impl Fn(&mut Value)) -> Self {
        let cluster = start(&helm, users(), &chart.join("crds")).await;
        let values = values(&helm.folder().join("certificates"));
        let mut objects = helm.render(chart, &[&base(), &values, given]).await;
        objects.iter_mut().for_each(weaken);
        let kinds = ["Store", "Policy", "Provider", "Secret"];
        let installed = objects.iter().filter(|object| is_right(object) || is_of(object, &kinds));
        let installed = installed.cloned().map(|mut object| {
            if is_of(&object, &["ServiceAccount", "Role", "RoleBinding", "Secret"]) {
                object["metadata"]["namespace"] = NAMESPACE.into();
            }
            object
        });
        cluster.apply(&list(installed.collect())).await;
        cluster.until_in_force(POD, &roles_of_pod(&objects), NAMESPACE).await;
        let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
        let lab = Self { cluster, registry, helm, objects };
        lab.push_plugin().await;
        lab.sync_secret().await;
        lab
    }

    /// Does the kubelet's part: the Secret's data become files.
    async fn sync_secret(&self) {
        let folder = self.helm.folder().join("tls");
        std::fs::create_dir_all(&folder).unwrap();
        let secret = self.cluster.get_json("secret", Some(NAMESPACE), "ratify-tls").await;
        for (name, value) in secret["data"].as_object().into_iter().flatten() {
            let bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }

    fn artifact(&self) -> String {
        format!("{}/plugins/sample:1", self.registry.host())
    }

    async fn push_plugin(&self) {
        let program = self.helm.plugin();
        let artifact = self.artifact();
        let platform = format!("linux/amd64={}", program.display());
        let mut push = Command::new(env!("CARGO_BIN_EXE_ratify"));
        push.args(["plugin", "push", &artifact, "--type", "sample", "--version", "1"]);
        push.args(["--platform", &platform]).env("HOME", self.helm.folder());
        let pushed = push.output().await.unwrap();
        assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    }

    /// Starts the controller as the chart's pod: with its arguments, environment, configuration and
    /// account, in another place.
    fn run(&self) -> Controller {
        let find = |kind: &str| self.objects.iter().find(|object| object["kind"] == kind).unwrap();
        let folder = self.helm.folder();
        let config = folder.join("config.json");
        // v1's chart knows nothing of `registries`.
        let text = find("ConfigMap")["data"]["config.json"].as_str().unwrap();
        let text = crate::cli::with_loopback(&serde_json::from_str(text).unwrap()).to_string();
        std::fs::write(&config, text).unwrap();
        let log = folder.join("controller.log");
        let [address, health] = [(); 2].map(|()| crate::parity::machines::free_address());
        let container = &find("Deployment")["spec"]["template"]["spec"]["containers"][0];
        let tls = folder.join("tls").display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ratify"));
        for word in container["args"].as_array().unwrap() {
            let word = word.as_str().unwrap();
            let word = word.replace("/usr/local/ratify/config.json", &config.display().to_string());
            let word = word.replace(":6001", &address).replace(":9099", &health);
            let word = word.replace("metrics-port=8888", "metrics-port=0");
            command.arg(word.replace("/usr/local/tls", &tls));
        }
        command.env_clear();
        for variable in container["env"].as_array().unwrap() {
            let value = variable["value"].as_str().unwrap_or(NAMESPACE);
            command.env(variable["name"].as_str().unwrap(), value);
        }
        command.env("HOME", folder).env("TMPDIR", folder).env("HOSTNAME", "ratify-1");
        command.env("RATIFY_CONFIG", folder.join("ratify"));
        command.env("KUBECONFIG", self.cluster.kubeconfig(POD));
        command.env("RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        command.stderr(File::create(&log).unwrap());
        Controller { process: command.spawn().unwrap(), log, health }
    }

    /// Names the plugin by a Verifier, as the guide does.
    async fn apply_verifier(&self) {
        let verifier = json!({
            "apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": "Verifier",
            "metadata": {"name": "verifier-dynamic"},
            "spec": {"name": "sample", "artifactTypes": "application/vnd.example.x",
                "source": {"artifact": self.artifact()}},
        });
        self.cluster.apply(&verifier.to_string()).await;
    }

    /// Waits until the status of the Verifier is as wanted.
    async fn until(&self, controller: &Controller, is_wanted: impl Fn(&Value) -> bool) {
        for _ in 0..LOOKS {
            let verifier = self.cluster.get_json("verifier", None, "verifier-dynamic").await;
            if is_wanted(&verifier["status"]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the verifier never was as wanted: {}", controller.said());
    }
}

#[tokio::test]
async fn the_charts_role_is_enough() {
    let Some(helm) = Helm::find() else { return };
    let lab = Lab::new(helm, &Helm::ours(), &json!({}), |_| {}).await;
    let controller = lab.run();
    lab.apply_verifier().await;
    let active =
        |status: &Value| status["issuccess"] == true && status["plugin"]["loadedBy"] == "ratify-1";
    lab.until(&controller, active).await;
    for (kind, name) in [("store", "store-oras"), ("policy", "ratify-policy")] {
        let object = lab.cluster.get_json(kind, None, name).await;
        assert_eq!(object["status"]["issuccess"], true, "{kind}");
    }
    controller.until_ready().await;
    let events = lab.cluster.must(&["get", "events.events.k8s.io", "-A", "-o", "json"]).await;
    assert!(events.contains("PluginInstalled"), "{events}");
    assert_eq!(controller.refused(), [""; 0], "{}", controller.said());

    // And it is not more: nothing of what it lists may be changed, no Secret read.
    for (verb, what) in [("delete", "verifiers"), ("update", "stores"), ("patch", "policies")] {
        let may = lab.cluster.kubectl_as(POD, &["auth", "can-i", verb, what]).await;
        assert_eq!(may.stdout.trim(), "no", "{verb} {what}");
    }
    let may =
        lab.cluster.kubectl_as(POD, &["auth", "can-i", "get", "secrets", "-n", NAMESPACE]).await;
    assert_eq!(may.stdout.trim(), "no");
}

#[tokio::test]
async fn v1s_role_and_definitions_are_enough_too() {
    let Some(helm) = Helm::find() else { return };
    let chart = helm.v1();
    let lab = Lab::new(helm, &chart, &json!({}), |_| {}).await;
    let controller = lab.run();
    lab.apply_verifier().await;
    lab.until(&controller, |status| status["issuccess"] == true).await;
    controller.until_ready().await;
    let refused = controller.refused();
    assert_eq!(refused.len(), 2, "{refused:?}");
    for line in ["events are not written", "how long Gatekeeper waits for an answer is not known"] {
        assert!(refused.iter().any(|refused| refused.contains(line)), "{line}: {refused:?}");
    }
}

#[tokio::test]
async fn a_missing_right_is_one_line() {
    let Some(helm) = Helm::find() else { return };
    let weaken = |object: &mut Value| {
        if object["metadata"]["name"] == "ratify-manager-cluster-role" {
            let rules = object["rules"].as_array_mut().unwrap();
            rules.retain(|rule| rule["resources"][0] != "certificatestores/status");
        }
    };
    let lab = Lab::new(helm, &Helm::ours(), &json!({}), weaken).await;
    let controller = lab.run();
    lab.apply_verifier().await;
    let added = "verifier 'verifier-dynamic' added to verifier map in namespace: ";
    for look in 0.. {
        if controller.said().contains(added) {
            break;
        }
        assert!(look < LOOKS, "{}", controller.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // It runs on, and what was said is not said again.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let refused = controller.refused();
    for kind in ["verifiers/status", "stores/status", "policies/status"] {
        let lines = refused.iter().filter(|line| line.contains(kind)).count();
        assert_eq!(lines, 1, "{kind}: {refused:#?}");
    }
}

#[tokio::test]
async fn the_charts_role_is_enough_to_rotate_certificates() {
    let Some(helm) = Helm::find() else { return };
    let lab = Lab::new(helm, &Helm::ours(), &rotated(), |_| {}).await;
    let controller = lab.run();
    for look in 0.. {
        let secret = lab.cluster.get_json("secret", Some(NAMESPACE), "ratify-tls").await;
        let authority = &secret["data"]["ca.crt"];
        let mut bundles = Vec::new();
        for name in ["ratify-provider", "ratify-mutation-provider"] {
            let provider = lab.cluster.get_json("provider", None, name).await;
            bundles.push(provider["spec"]["caBundle"].clone());
        }
        if authority.is_string() && bundles.iter().all(|bundle| bundle == authority) {
            break;
        }
        assert!(look < LOOKS, "{}", controller.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    lab.sync_secret().await;
    controller.until_ready().await;
    assert_eq!(controller.refused(), [""; 0], "{}", controller.said());
    let other = ["auth", "can-i", "get", "secret/other", "-n", NAMESPACE];
    assert_eq!(lab.cluster.kubectl_as(POD, &other).await.stdout.trim(), "no");
}

#[tokio::test]
async fn the_hooks_role_is_enough_to_apply_the_definitions() {
    let Some(helm) = Helm::find() else { return };
    let cluster = Cluster::start(users()).await.unwrap();
    cluster.must(&["create", "namespace", NAMESPACE]).await;
    let mut objects = helm.render(&Helm::ours(), &[&base()]).await;
    objects.retain(is_right);
    let log = helm.folder().join("job.log");
    let mut early = Command::new(env!("CARGO_BIN_EXE_ratify"));
    early.args(["crds", "apply"]).env("KUBECONFIG", cluster.kubeconfig(JOB)).kill_on_drop(true);
    let mut early = early.stderr(File::create(&log).unwrap()).spawn().unwrap();
    for look in 0.. {
        if std::fs::read_to_string(&log).unwrap().contains("is not in force yet") {
            break;
        }
        assert!(look < LOOKS, "it waits for its rights");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster.apply(&list(objects)).await;
    assert!(early.wait().await.unwrap().success(), "{}", std::fs::read_to_string(&log).unwrap());
    for _ in ["install", "upgrade"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ratify"));
        command.args(["crds", "apply"]).env("KUBECONFIG", cluster.kubeconfig(JOB));
        let applied = command.output().await.unwrap();
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    }
    let definitions = cluster.must(&["get", "crd", "-o", "name"]).await;
    assert_eq!(definitions.lines().count(), 9, "{definitions}");
}

//! The controller with exactly the rights that a chart gives it.

use std::{fs::File, path::PathBuf, process::Stdio, time::Duration};

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
/// Who the pod is, and who the hook's job is.
const POD: &str = "pod";
const JOB: &str = "job";

fn users() -> ClusterOptions {
    let account = "system:serviceaccount:gatekeeper-system:ratify-admin";
    let hook = "system:serviceaccount:gatekeeper-system:ratify-admin-upgrade-crds";
    ClusterOptions { users: vec![User::new(POD, account, GROUPS), User::new(JOB, hook, GROUPS)] }
}

/// What the chart is told: nothing but what this test needs to run on loopback.
fn values() -> Value {
    json!({"oras": {"useHttp": true}, "notation": {"enabled": false}, "cosign": {"enabled": false}})
}

/// Only what gives rights.
fn is_right(object: &Value) -> bool {
    object["apiVersion"] == "rbac.authorization.k8s.io/v1" || object["kind"] == "ServiceAccount"
}

/// A cluster in which a chart's rights, store and policy are, and a registry with a plugin.
struct Lab {
    cluster: Cluster,
    registry: RunningRegistry,
    helm: Helm,
    objects: Vec<Value>,
}

/// The controller; it ends with the test.
struct Controller {
    _process: Child,
    log: PathBuf,
}

impl Controller {
    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The lines that tell of a right that is missing.
    fn refused(&self) -> Vec<String> {
        let said = self.said();
        let is_refusal = |line: &&str| line.contains("forbidden") || line.contains("the right to");
        said.lines().filter(is_refusal).map(str::to_owned).collect()
    }
}

impl Lab {
    async fn new(helm: Helm, chart: &std::path::Path, weaken: impl Fn(&mut Value)) -> Self {
        let cluster = start(&helm, users(), &chart.join("crds")).await;
        let mut objects = helm.render(chart, &[&base(), &values()]).await;
        objects.iter_mut().for_each(weaken);
        let given = objects.iter().filter(|object| {
            is_right(object) || ["Store", "Policy"].contains(&object["kind"].as_str().unwrap())
        });
        let given = given.cloned().map(|mut object| {
            if ["ServiceAccount", "Role", "RoleBinding"].contains(&object["kind"].as_str().unwrap())
            {
                object["metadata"]["namespace"] = NAMESPACE.into();
            }
            object
        });
        cluster.apply(&list(given.collect())).await;
        let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
        let lab = Self { cluster, registry, helm, objects };
        lab.push_plugin().await;
        lab
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

    /// Starts the controller as the chart's pod, with the chart's configuration.
    fn run(&self) -> Controller {
        let map = self.objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
        let config = self.helm.folder().join("config.json");
        std::fs::write(&config, map["data"]["config.json"].as_str().unwrap()).unwrap();
        let log = self.helm.folder().join("controller.log");
        let address = crate::parity::machines::free_address();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ratify"));
        command.args(["serve", "--enable-crd-manager", "--http", &address, "-c"]).arg(config);
        command.env_clear().env("HOME", self.helm.folder());
        command.env("KUBECONFIG", self.cluster.kubeconfig(POD));
        command.env("RATIFY_CONFIG", self.helm.folder().join("ratify"));
        command.env("RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS", "1").env("HOSTNAME", "ratify-1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        command.stderr(File::create(&log).unwrap());
        Controller { _process: command.spawn().unwrap(), log }
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
    let lab = Lab::new(helm, &Helm::ours(), |_| {}).await;
    let controller = lab.run();
    lab.apply_verifier().await;
    let active =
        |status: &Value| status["issuccess"] == true && status["plugin"]["loadedBy"] == "ratify-1";
    lab.until(&controller, active).await;
    for (kind, name) in [("store", "store-oras"), ("policy", "ratify-policy")] {
        let object = lab.cluster.get_json(kind, None, name).await;
        assert_eq!(object["status"]["issuccess"], true, "{kind}");
    }
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
    let lab = Lab::new(helm, &chart, |_| {}).await;
    let controller = lab.run();
    lab.apply_verifier().await;
    lab.until(&controller, |status| status["issuccess"] == true).await;
    assert!(controller.refused().len() <= 1, "{:?}", controller.refused());
}

#[tokio::test]
async fn a_missing_right_is_one_line() {
    let Some(helm) = Helm::find() else { return };
    // A Verifier's status is where replicas agree on a digest; the others' only tell.
    let weaken = |object: &mut Value| {
        if object["metadata"]["name"] == "ratify-manager-cluster-role" {
            object["rules"][1]["resources"] = json!(["verifiers/status"]);
        }
    };
    let lab = Lab::new(helm, &Helm::ours(), weaken).await;
    let controller = lab.run();
    lab.apply_verifier().await;
    lab.until(&controller, |status| status["issuccess"] == true).await;
    // It runs on, and what was said is not said again.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let refused = controller.refused();
    assert_eq!(refused.len(), 2, "{refused:#?}");
    for kind in ["stores/status", "policies/status"] {
        let lines = refused.iter().filter(|line| line.contains(kind)).count();
        assert_eq!(lines, 1, "{kind}: {refused:#?}");
    }
}

#[tokio::test]
async fn the_hooks_role_is_enough_to_apply_the_definitions() {
    let Some(helm) = Helm::find() else { return };
    let cluster = Cluster::start(users()).await.unwrap();
    cluster.must(&["create", "namespace", NAMESPACE]).await;
    let mut objects = helm.render(&Helm::ours(), &[&base()]).await;
    objects.retain(is_right);
    cluster.apply(&list(objects)).await;
    for _ in ["install", "upgrade"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ratify"));
        command.args(["crds", "apply"]).env("KUBECONFIG", cluster.kubeconfig(JOB));
        let applied = command.output().await.unwrap();
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    }
    let definitions = cluster.must(&["get", "crd", "-o", "name"]).await;
    assert_eq!(definitions.lines().count(), 9, "{definitions}");
}

//! An installation in the words of a document: a cluster, a registry, the chart that `helm` installs,
//! and the pod. What a node would do is done here: the hook's job and the Deployment's pod are run as
//! they are in the cluster, each as its own account.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::{Map, Value, json};
use tokio::process::Command;

use super::{
    cluster::{end_job, start},
    documents::{INSTALL, blocks, executable},
    helm::{Helm, NAMESPACE, Ran},
    role::{Controller, JOB, POD, users},
};
use crate::{
    cluster::server::{ADMIN, Cluster},
    parity::machines::{PASSWORD, USER, free_address},
    tls::parts::{Authority, Identity},
};

/// Whom the server's certificate is for.
pub(crate) const NAME: &str = "ratify.gatekeeper-system";
/// What the plugin judges.
pub(crate) const ARTIFACT_TYPE: &str = "application/vnd.example.statement.v1+json";

/// How long a script may take.
const LONGEST: Duration = Duration::from_secs(300);

/// Does as it is told but does not wait for pods, which nothing starts before helm has ended.
/// Gatekeeper's chart is on this machine, and is only rendered.
const HELM: &str = r#"#!/bin/sh
[ "$1" = repo ] && exit 0
for word in "$@"; do
  shift
  case $word in
    --atomic) ;;
    gatekeeper/gatekeeper) set -- "$@" "$GATEKEEPER_CHART" ;;
    *) set -- "$@" "$word" ;;
  esac
done
if [ "$1 $2" = "install gatekeeper" ]; then
  shift
  exec "$REAL_HELM" template "$@" --no-hooks > gatekeeper.yaml
fi
exec "$REAL_HELM" "$@"
"#;

/// What the document's reader does not need: a password, and a registry on this machine.
const MORE: &str = " --set-file dockerConfig=docker.json \
                    --set 'registries.allowedAddresses={127.0.0.1}'";

/// A cluster in which Gatekeeper is, and nothing of Ratify, with a registry that wants a password.
pub(crate) struct Site {
    pub(crate) helm: Helm,
    pub(crate) cluster: Cluster,
    pub(crate) registry: RunningRegistry,
    /// What else this registry is called.
    pub(crate) other_hosts: Vec<String>,
    /// Whose signatures are trusted: certificates in PEM. The server's authority signs nothing.
    pub(crate) signers: Option<String>,
}

/// The pod of the Deployment; it ends with the test.
pub(crate) struct Pod {
    pub(crate) controller: Controller,
    pub(crate) address: String,
    /// Where its files are.
    pub(crate) root: PathBuf,
}

impl Site {
    /// Gatekeeper's authority of clients is in its Secret.
    pub(crate) async fn new(helm: Helm, gatekeeper: &Authority) -> Self {
        let definition = "charts/gatekeeper/crds/assignmetadata-customresourcedefinition.yaml";
        let definition = helm.tool("gatekeeper-module").join(definition);
        let cluster = start(&helm, users(), &definition).await;
        let authority = format!("--from-literal=ca.crt={}", gatekeeper.pem());
        let create = ["create", "secret", "generic", "gatekeeper-webhook-server-cert"];
        let namespace = format!("--namespace={NAMESPACE}");
        cluster.must(&[&create[..], &[&authority, &namespace]].concat()).await;
        let credentials = Some((USER.to_owned(), PASSWORD.to_owned()));
        let options = RegistryOptions { tls: true, credentials, ..RegistryOptions::default() };
        let registry = RunningRegistry::start(options).await.unwrap();
        let site = Self { helm, cluster, registry, other_hosts: Vec::new(), signers: None };
        site.prepare_shell();
        site
    }

    pub(crate) fn artifact(&self) -> String {
        format!("{}/test/sample-verifier-plugin:v1", self.registry.host())
    }

    /// As the guide pushes it.
    pub(crate) async fn push_plugin(&self) {
        let authority = self.helm.folder().join("registry-ca.pem");
        self.registry.write_ca(&authority).unwrap();
        let program = self.helm.plugin();
        let mut oras = Command::new(self.helm.tool("oras"));
        oras.args(["push", "--username", USER, "--password", PASSWORD, "--ca-file"]);
        oras.arg(authority).args([&self.artifact(), "./sample"]);
        oras.current_dir(program.parent().unwrap()).env("HOME", self.helm.folder());
        succeeded(&mut oras).await;
    }

    /// An image that something is attached to, and one that nothing is.
    pub(crate) fn push_images(&self) -> [String; 2] {
        let image = self.registry.put_image("app", "v1", "layer").unwrap();
        let statement = ("application/json", Bytes::from_static(br#"{"says":"built here"}"#));
        self.registry.put_artifact("app", &image, ARTIFACT_TYPE, &[statement]).unwrap();
        self.registry.put_image("app", "bare", "another layer").unwrap();
        ["v1", "bare"].map(|tag| format!("{}/app:{tag}", self.registry.host()))
    }

    /// Types the document's commands for who brings certificates, and runs the jobs meanwhile.
    pub(crate) async fn install(&self, server: &Identity, authority: &Authority) {
        let folder = self.helm.folder();
        let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let hosts = self.other_hosts.iter().cloned().chain([self.registry.host()]);
        let auths: Map<_, _> = hosts.map(|host| (host, json!({"auth": auth}))).collect();
        let docker = json!({"auths": auths}).to_string();
        let signers = self.signers.clone().unwrap_or_else(|| authority.pem());
        for (name, text) in [
            ("server.crt", &server.certificate),
            ("server.key", &server.key),
            ("ca.crt", &authority.pem()),
            ("notation.crt", &signers),
            ("docker.json", &docker),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        tokio::select! {
            () = self.type_block("provider.tls.crt", MORE) => (),
            () = self.run_jobs() => unreachable!("jobs are run until helm ends"),
        }
    }

    /// Types the commands of the document's block that has this word, and more at their end.
    pub(crate) async fn type_block(&self, word: &str, more: &str) {
        let block = blocks(INSTALL, "console").into_iter().find(|block| block.contains(word));
        let script = block.unwrap().replace("\n$ ", "\n");
        let script = script.strip_prefix("$ ").unwrap().trim_end().to_owned() + more;
        let ran = self.shell(&script).await;
        assert!(ran.is_success, "{script}: {}", ran.stderr);
    }

    /// What an operator has at hand: the programs, and this tree.
    fn prepare_shell(&self) {
        let folder = self.helm.folder();
        let tree = Helm::ours().parent().unwrap().parent().unwrap().canonicalize().unwrap();
        for name in ["charts", "docs"] {
            symlink(tree.join(name), folder.join(name)).unwrap();
        }
        symlink(self.helm.tool("kubectl"), folder.join("kubectl")).unwrap();
        executable(&folder.join("helm"), HELM);
    }

    /// Types commands, to whatever end; the first that fails is the last.
    pub(crate) async fn shell(&self, script: &str) -> Ran {
        let folder = self.helm.folder();
        let mut shell = Command::new("sh");
        shell.arg("-ec").arg(script).current_dir(folder).kill_on_drop(true).stdin(Stdio::null());
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        shell.env("PATH", path).env("REAL_HELM", self.helm.tool("helm"));
        let gatekeeper = self.helm.tool("gatekeeper-module").join("charts/gatekeeper");
        shell.env("GATEKEEPER_CHART", gatekeeper);
        shell.env("HOME", folder).env("KUBECONFIG", self.cluster.kubeconfig(ADMIN));
        let ran = tokio::time::timeout(LONGEST, shell.output()).await;
        Ran::of(&ran.unwrap_or_else(|_| panic!("it does not end: {script}")).unwrap())
    }

    /// Runs each job that appears, and says so when it has succeeded.
    async fn run_jobs(&self) {
        loop {
            let jobs = ["get", "jobs", "-o", "json", "-n", NAMESPACE];
            let jobs: Value = serde_json::from_str(&self.cluster.must(&jobs).await).unwrap();
            for job in jobs["items"].as_array().unwrap() {
                // Helm removes a job a while after it has ended, and its rights with it.
                if job["status"]["succeeded"] == 1 {
                    continue;
                }
                let container = &job["spec"]["template"]["spec"]["containers"][0];
                // The image's entrypoint is `/app/ratify crds`.
                let mut command = Command::new(env!("CARGO_BIN_EXE_ratify"));
                command.arg("crds").args(words(&container["args"])).env_clear();
                succeeded(command.env("KUBECONFIG", self.cluster.kubeconfig(JOB))).await;
                let name = format!("jobs/{}", job["metadata"]["name"].as_str().unwrap());
                end_job(&self.cluster, &name).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Does the kubelet's part: each volume becomes files below `root`.
    pub(crate) async fn mount(&self, pod: &Value, root: &Path) {
        for mount in pod["containers"][0]["volumeMounts"].as_array().unwrap() {
            let path = placed(root, mount["mountPath"].as_str().unwrap());
            fs::create_dir_all(&path).unwrap();
            let mut volumes = pod["volumes"].as_array().unwrap().iter();
            let volume = volumes.find(|volume| volume["name"] == mount["name"]).unwrap();
            let (kind, name) = match (&volume["configMap"], &volume["secret"]) {
                (Value::Null, Value::Null) => continue,
                (Value::Null, secret) => ("secret", &secret["secretName"]),
                (config, _) => ("configmap", &config["name"]),
            };
            let object = self.cluster.get_json(kind, Some(NAMESPACE), name.as_str().unwrap()).await;
            let items = volume[kind]["items"].as_array();
            // What is made later is empty until then.
            for (key, value) in object["data"].as_object().into_iter().flatten() {
                let item = items.and_then(|items| items.iter().find(|item| item["key"] == **key));
                let name = item.map_or(key.as_str(), |item| item["path"].as_str().unwrap());
                let text = value.as_str().unwrap();
                let is_secret = kind == "secret";
                let bytes = if is_secret { STANDARD.decode(text).unwrap() } else { text.into() };
                fs::write(path.join(name), bytes).unwrap();
            }
        }
    }

    /// Runs the Deployment's pod, with a root and ports of its own.
    pub(crate) async fn run_pod(&self) -> Pod {
        let deployment = self.cluster.get_json("deployment", Some(NAMESPACE), "ratify").await;
        let spec = &deployment["spec"]["template"]["spec"];
        assert_eq!(spec["serviceAccountName"], "ratify-admin");
        let root = self.helm.folder().join("root");
        self.mount(spec, &root).await;
        let [address, health] = [(); 2].map(|()| free_address());
        let container = &spec["containers"][0];
        let mut command = Command::new(env!("CARGO_BIN_EXE_ratify"));
        let local = placed(&root, "/usr/local").display().to_string();
        for word in words(&container["args"]) {
            let word = word.replace("/usr/local", &local);
            let word = word.replace(":6001", &address).replace(":9099", &health);
            command.arg(word.replace("metrics-port=8888", "metrics-port=0"));
        }
        command.env_clear().env("HOSTNAME", "ratify-1");
        for variable in container["env"].as_array().unwrap() {
            let value = variable["value"].as_str().unwrap_or(NAMESPACE);
            let is_path = value.starts_with('/');
            let value = if is_path { placed(&root, value) } else { value.into() };
            command.env(variable["name"].as_str().unwrap(), value);
        }
        // In the place of the token that the kubelet mounts.
        command.env("KUBECONFIG", self.cluster.kubeconfig(POD)).current_dir(&root);
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let log = self.helm.folder().join("controller.log");
        command.stderr(File::create(&log).unwrap());
        let role = self.cluster.get_json("clusterrole", None, "ratify-manager-cluster-role").await;
        self.cluster.until_in_force(POD, &[&role], NAMESPACE).await;
        let process = command.spawn().unwrap();
        Pod { controller: Controller { process, log, health }, address, root }
    }
}

/// A path of the pod, below its root.
pub(crate) fn placed(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

pub(crate) fn words(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

pub(crate) async fn succeeded(command: &mut Command) {
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

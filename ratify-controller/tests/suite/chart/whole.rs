//! The whole of it, in the words of `docs/INSTALL.md`: from an empty API server to a verdict over
//! mutual TLS. What a node would do is done here: the hook's job and the Deployment's pod are run
//! as they are in the cluster, each as its own account.

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    cluster::{end_job, start},
    documents::{blocks, executable},
    helm::{Helm, NAMESPACE},
    role::{Controller, JOB, POD, users},
};
use crate::{
    cluster::server::{ADMIN, Cluster},
    parity::machines::{PASSWORD, USER, free_address},
    tls::parts::{Authority, Identity},
};

/// Whom the server's certificate is for.
const NAME: &str = "ratify.gatekeeper-system";
/// What the plugin judges.
const ARTIFACT_TYPE: &str = "application/vnd.example.statement.v1+json";

/// Does as it is told but does not wait for pods, which nothing starts before helm has ended.
const HELM: &str = r#"#!/bin/sh
for word in "$@"; do
  shift
  [ "$word" = --atomic ] || set -- "$@" "$word"
done
exec "$REAL_HELM" "$@"
"#;

/// What an operator sees in `kubectl logs`, in this order.
const LINES: [&str; 9] = [
    "Feature flag EXPERIMENTAL_DYNAMIC_PLUGINS is enabled",
    "Setting log level to info",
    "starting crd manager",
    "initializing executor with config file at default config path",
    "reconciling verifier 'verifier-dynamic'",
    "Address was empty, setting to default path: ",
    "selected auth provider: dockerConfig",
    "downloaded verifier plugin sample from ",
    "verifier 'verifier-dynamic' added to verifier map in namespace: ",
];

/// What the document's reader does not need: a password, and a registry on this machine.
const MORE: &str = " --set-file dockerConfig=docker.json \
                    --set 'registries.allowedAddresses={127.0.0.1}'";

/// A cluster in which Gatekeeper is, and nothing of Ratify, with a registry that wants a password.
struct Site {
    helm: Helm,
    cluster: Cluster,
    registry: RunningRegistry,
}

/// The pod of the Deployment; it ends with the test.
struct Pod {
    controller: Controller,
    address: String,
}

impl Site {
    async fn new(helm: Helm, gatekeeper: &Authority) -> Self {
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
        Self { helm, cluster, registry }
    }

    fn artifact(&self) -> String {
        format!("{}/test/sample-verifier-plugin:v1", self.registry.host())
    }

    /// As the guide pushes it.
    async fn push_plugin(&self) {
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
    fn push_images(&self) -> [String; 2] {
        let image = self.registry.put_image("app", "v1", "layer").unwrap();
        let statement = ("application/json", Bytes::from_static(br#"{"says":"built here"}"#));
        self.registry.put_artifact("app", &image, ARTIFACT_TYPE, &[statement]).unwrap();
        self.registry.put_image("app", "bare", "another layer").unwrap();
        ["v1", "bare"].map(|tag| format!("{}/app:{tag}", self.registry.host()))
    }

    /// Types the document's commands for who brings certificates, and runs the jobs meanwhile.
    async fn install(&self, server: &Identity, authority: &Authority) {
        let folder = self.helm.folder();
        let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let docker = json!({"auths": {self.registry.host(): {"auth": auth}}}).to_string();
        for (name, text) in [
            ("server.crt", &server.certificate),
            ("server.key", &server.key),
            ("ca.crt", &authority.pem()),
            ("notation.crt", &authority.pem()),
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
    async fn type_block(&self, word: &str, more: &str) {
        let folder = self.helm.folder();
        std::os::unix::fs::symlink(Helm::ours().parent().unwrap(), folder.join("charts")).unwrap();
        std::os::unix::fs::symlink(self.helm.tool("kubectl"), folder.join("kubectl")).unwrap();
        executable(&folder.join("helm"), HELM);
        let block = blocks("console").into_iter().find(|block| block.contains(word)).unwrap();
        let script = block.strip_prefix("$ ").unwrap().trim_end().replace("\n$ ", "\n");
        let mut shell = Command::new("sh");
        shell.arg("-ec").arg(script + more).current_dir(folder).kill_on_drop(true);
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        shell.env("PATH", path).env("REAL_HELM", self.helm.tool("helm"));
        shell.env("HOME", folder).env("KUBECONFIG", self.cluster.kubeconfig(ADMIN));
        succeeded(&mut shell).await;
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
                let account = job["spec"]["template"]["spec"]["serviceAccountName"].as_str();
                let role = self.cluster.get_json("clusterrole", None, account.unwrap()).await;
                self.cluster.until_in_force(JOB, &[&role], NAMESPACE).await;
                succeeded(command.env("KUBECONFIG", self.cluster.kubeconfig(JOB))).await;
                let name = format!("jobs/{}", job["metadata"]["name"].as_str().unwrap());
                end_job(&self.cluster, &name).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Does the kubelet's part: each volume becomes files below `root`.
    async fn mount(&self, pod: &Value, root: &Path) {
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
            for (key, value) in object["data"].as_object().unwrap() {
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
    async fn run_pod(&self) -> Pod {
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
        Pod { controller: Controller { _process: process, log, health }, address }
    }

    /// Names the plugin, as the guide does, and waits as an operator would.
    async fn apply_verifier(&self, pod: &Pod) -> Value {
        let source = json!({"artifact": self.artifact(), "authProvider": {"name": "dockerConfig"}});
        let verifier = json!({
            "apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": "Verifier",
            "metadata": {"name": "verifier-dynamic"},
            "spec": {"name": "sample", "artifactTypes": ARTIFACT_TYPE, "source": source},
        });
        self.cluster.apply(&verifier.to_string()).await;
        let wait = ["wait", "verifier/verifier-dynamic", "--timeout=60s"];
        let is_active = "--for=jsonpath={.status.issuccess}=true";
        let waited = self.cluster.kubectl(&[&wait[..], &[is_active]].concat()).await;
        assert_eq!(waited.code, Some(0), "{} {}", waited.stderr, pod.controller.said());
        self.cluster.get_json("verifier", None, "verifier-dynamic").await["status"].clone()
    }

    /// Asks as Gatekeeper does, by what the Provider says; the item of the key, or why there is none.
    async fn ask(&self, pod: &Pod, own: Option<&Identity>, key: &str) -> Result<Value, String> {
        let provider = self.cluster.get_json("provider", None, "ratify-provider").await;
        let bundle = STANDARD.decode(provider["spec"]["caBundle"].as_str().unwrap()).unwrap();
        let trusted = reqwest::Certificate::from_pem_bundle(&bundle).unwrap();
        let address = pod.address.parse().unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only(trusted);
        let mut client = client.resolve(NAME, address).timeout(Duration::from_secs(30));
        if let Some(own) = own {
            let pem = format!("{}{}", own.certificate, own.key);
            client = client.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        }
        let url = provider["spec"]["url"].as_str().unwrap();
        assert!(url.contains(&format!("://{NAME}:6001/")), "{url}");
        let url = url.replace(":6001", &format!(":{}", address.port()));
        let body = json!({
            "apiVersion": "externaldata.gatekeeper.sh/v1beta1", "kind": "ProviderRequest",
            "request": {"keys": [key]},
        });
        let answer = client.build().unwrap().post(url).body(body.to_string()).send().await;
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        let answer = answer.bytes().await.map_err(|error| format!("{error:?}"))?;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        Ok(answer["response"]["items"][0].clone())
    }
}

/// A path of the pod, below its root.
fn placed(root: &Path, path: &str) -> std::path::PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn words(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

async fn succeeded(command: &mut Command) {
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_empty_api_server_to_a_verdict_over_mutual_tls() {
    let Some(helm) = Helm::find() else { return };
    let [ours, gatekeeper, stranger] = ["ours", "gatekeeper", "stranger"].map(Authority::new);
    let site = Site::new(helm, &gatekeeper).await;
    site.push_plugin().await;
    let [image, bare] = site.push_images();
    site.install(&ours.issue_named(NAME, vec![ServerAuth]), &ours).await;
    let pod = site.run_pod().await;
    pod.controller.until_ready().await;

    let status = site.apply_verifier(&pod).await;
    assert_eq!(status["plugin"]["loadedBy"], "ratify-1", "{status}");
    assert_eq!(status["conditions"][0]["reason"], "Active", "{status}");
    let said = pod.controller.said();
    let mut rest = said.as_str();
    for line in LINES {
        let at = rest.find(line).unwrap_or_else(|| panic!("{line} is not said in order: {said}"));
        rest = &rest[at..];
    }

    let webhook = gatekeeper.issue_for(vec![ClientAuth]);
    let item = site.ask(&pod, Some(&webhook), &image).await.unwrap();
    assert_eq!(item["value"]["isSuccess"], true, "{item} {}", pod.controller.said());
    let report = &item["value"]["verifierReports"][0];
    assert_eq!(report["message"], "Sample verification success", "{item}");
    assert_eq!(report["verifierName"], "verifier-dynamic", "{item}");
    let item = site.ask(&pod, Some(&webhook), &bare).await.unwrap();
    assert_ne!(item["value"]["isSuccess"], true, "{item}");

    let of_a_stranger = stranger.issue_for(vec![ClientAuth]);
    for own in [None, Some(&of_a_stranger)] {
        let refused = site.ask(&pod, own, &image).await.unwrap_err();
        assert!(refused.contains("AlertReceived"), "{refused}");
    }
    assert_eq!(pod.controller.refused(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_helm_prints_is_installed_by_kubectl_as_the_document_tells() {
    let Some(helm) = Helm::find() else { return };
    let site = Site::new(helm, &Authority::new("gatekeeper")).await;
    site.type_block("helm template", "").await;
    let definitions = site.cluster.must(&["get", "crd", "-o", "name"]).await;
    let ours = definitions.lines().filter(|name| name.ends_with(".config.ratify.deislabs.io"));
    assert_eq!(ours.count(), 9, "{definitions}");
    for (kind, namespace, name) in [
        ("deployment", Some(NAMESPACE), "ratify"),
        ("secret", Some(NAMESPACE), "ratify-tls"),
        ("store", None, "store-oras"),
        ("policy", None, "ratify-policy"),
        ("provider", None, "ratify-provider"),
    ] {
        site.cluster.get_json(kind, namespace, name).await;
    }
}

//! Gatekeeper as its own chart installs it, with the values that the document has. What a node and a
//! cluster's network would do is done here: the pods are one process, under the webhook pod's
//! arguments, and webhooks are called at its address.

use std::{fs, path::PathBuf, process::Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::page;
use crate::{
    chart::{
        cluster::list,
        helm::{NAMESPACE, objects},
        role::{GATEKEEPER, until_ready},
        site::Site,
    },
    parity::machines::free_address,
    tls::parts::{Authority, Identity},
};

/// What calls Gatekeeper, applied when it can be called.
const WEBHOOKS: [&str; 2] = ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"];
/// What the second pod does beside the audit. There is one process here.
const OF_THE_OTHER_POD: [&str; 3] = ["generate", "status", "mutation-status"];

/// A running Gatekeeper; it ends with the test.
pub(super) struct Gatekeeper {
    process: Child,
    address: String,
    health: String,
    log: PathBuf,
}

impl Gatekeeper {
    /// Installs it as the document tells, with a certificate of this authority for its server and for
    /// itself as a client.
    pub(super) async fn install(site: &Site, authority: &Authority) -> Self {
        let definitions = site.helm.tool("gatekeeper-module").join("charts/gatekeeper/crds");
        let definitions = definitions.display().to_string();
        site.cluster.must(&["apply", "--server-side", "-f", &definitions]).await;
        let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
        site.cluster.must(&wait).await;
        page::Page::new(site, &[]).succeed("helm install gatekeeper").await;
        let rendered = fs::read_to_string(site.helm.folder().join("gatekeeper.yaml")).unwrap();
        let mut rendered = objects(&rendered);
        // The authority of this Secret is there already.
        rendered.retain(|object| object["kind"] != "Secret");
        let is_webhook = |object: &Value| WEBHOOKS.iter().any(|kind| object["kind"] == *kind);
        let (webhooks, others): (Vec<Value>, Vec<Value>) =
            rendered.into_iter().partition(is_webhook);
        let is_pod =
            |object: &&Value| object["metadata"]["name"] == "gatekeeper-controller-manager";
        let pod = others.iter().filter(is_pod).find(|object| object["kind"] == "Deployment");
        let arguments = &pod.unwrap()["spec"]["template"]["spec"]["containers"][0]["args"];
        let arguments = arguments.as_array().unwrap().iter();
        let arguments = arguments.map(|word| word.as_str().unwrap().to_owned()).collect();
        site.cluster.apply(&list(others)).await;

        let identity = authority.issue_named("localhost", vec![ServerAuth, ClientAuth]);
        let gatekeeper = Self::start(site, arguments, &identity);
        gatekeeper.until_ready().await;
        let called = webhooks.into_iter().map(|object| gatekeeper.called(object, authority));
        site.cluster.apply(&list(called.collect())).await;
        gatekeeper
    }

    fn start(site: &Site, mut arguments: Vec<String>, identity: &Identity) -> Self {
        let folder = site.helm.folder();
        let certificates = folder.join("gatekeeper-certificates");
        identity.write(&certificates);
        let [address, health] = [(); 2].map(|()| free_address());
        // Its metrics would be served to the whole network: they are pushed to nobody instead.
        let mine = ["port", "health-addr", "prometheus-port", "metrics-backend", "logtostderr"];
        let is_mine = |word: &str| mine.iter().any(|name| word.starts_with(&format!("--{name}")));
        let is_rotation = |word: &str| word.starts_with("--disable-cert-rotation");
        arguments.retain(|word| !is_mine(word) && !is_rotation(word));
        let is_default = |word: &String| word == "--external-data-provider-response-cache-ttl=3m";
        assert!(arguments.iter().any(is_default), "the default cache: {arguments:?}");
        let port = address.rsplit_once(':').unwrap().1;
        let mut command = Command::new(site.cluster.tool("gatekeeper"));
        command.args(arguments).args(["--host=127.0.0.1", &format!("--port={port}")]);
        command.args([&format!("--health-addr={health}"), "--metrics-backend=opentelemetry"]);
        command.args(["--otlp-endpoint=127.0.0.1:1", "--otlp-metric-interval=24h"]);
        command.args(["--debug-use-fake-pod", "--disable-cert-rotation"]);
        command.args(OF_THE_OTHER_POD.map(|name| format!("--operation={name}")));
        command.arg("--cert-dir").arg(&certificates);
        command.arg("--kubeconfig").arg(site.cluster.kubeconfig(GATEKEEPER));
        command.env_clear().env("HOME", folder).env("POD_NAMESPACE", NAMESPACE);
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let log = folder.join("gatekeeper.log");
        command.stderr(fs::File::create(&log).unwrap());
        let process = command.spawn().unwrap();
        Self { process, address, health, log }
    }

    /// A webhook configuration that leads here.
    fn called(&self, mut object: Value, authority: &Authority) -> Value {
        for webhook in object["webhooks"].as_array_mut().unwrap() {
            let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap();
            let port = self.address.rsplit_once(':').unwrap().1;
            let url = format!("https://localhost:{port}{path}");
            let authority = STANDARD.encode(authority.pem());
            webhook["clientConfig"] = json!({"url": url, "caBundle": authority});
        }
        object
    }

    async fn until_ready(&self) {
        until_ready(&self.health, || self.said()).await;
    }

    /// The end of its log, without the traces of Go.
    pub(super) fn said(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap();
        let lines: Vec<&str> =
            log.lines().map(|line| line.split(",\"stacktrace\"").next().unwrap()).collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Ends it without a goodbye.
    pub(super) async fn end(&mut self) {
        self.process.kill().await.unwrap();
    }
}

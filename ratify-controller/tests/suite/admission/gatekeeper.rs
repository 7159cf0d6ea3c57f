//! Gatekeeper as its own chart installs it, with the values that the document has. What nodes and a
//! cluster's network would do is done here: its two pods are a process each, under the arguments of
//! their Deployments, and webhooks are called at the address of theirs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

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
    tls::parts::Authority,
};

/// What calls Gatekeeper, applied when it can be called.
const WEBHOOKS: [&str; 2] = ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"];
/// Its Deployments: what answers the webhooks, and what audits and writes each status.
const DEPLOYMENTS: [&str; 2] = ["gatekeeper-controller-manager", "gatekeeper-audit"];
/// How often what is there is audited, in seconds. The chart's own minute is longer than a test.
const AUDIT_INTERVAL: u32 = 2;

/// A running Gatekeeper; it ends with the test.
pub(super) struct Gatekeeper {
    /// Of the [`DEPLOYMENTS`].
    pods: [Pod; 2],
    address: String,
}

/// A pod's process.
struct Pod {
    process: Child,
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
        site.cluster.apply(&list(others)).await;

        let certificates = site.helm.folder().join("gatekeeper-certificates");
        authority.issue_named("localhost", vec![ServerAuth, ClientAuth]).write(&certificates);
        let address = free_address();
        let [webhook, audit] = DEPLOYMENTS;
        let pods = [
            Pod::start(site, webhook, &certificates, &address).await,
            Pod::start(site, audit, &certificates, &address).await,
        ];
        let gatekeeper = Self { pods, address };
        for pod in &gatekeeper.pods {
            until_ready(&pod.health, || gatekeeper.said()).await;
        }
        let called = webhooks.into_iter().map(|object| gatekeeper.called(object, authority));
        site.cluster.apply(&list(called.collect())).await;
        gatekeeper
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

    /// The end of its logs, without the traces of Go.
    pub(super) fn said(&self) -> String {
        self.pods.each_ref().map(Pod::said).join("\n")
    }

    /// Ends it without a goodbye.
    pub(super) async fn end(&mut self) {
        for pod in &mut self.pods {
            pod.process.kill().await.unwrap();
        }
    }
}

impl Pod {
    /// A pod of this Deployment, with its server, where it has one, at this address.
    async fn start(site: &Site, deployment: &str, certificates: &Path, address: &str) -> Self {
        let name = format!("{deployment}-1");
        let object = site.cluster.get_json("deployment", Some(NAMESPACE), deployment).await;
        let template = &object["spec"]["template"];
        // It is what the statuses belong to that this pod writes.
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
            "metadata": {"name": name, "namespace": NAMESPACE}});
        site.cluster.apply(&pod.to_string()).await;

        let arguments = template["spec"]["containers"][0]["args"].as_array().unwrap();
        let mut arguments: Vec<&str> =
            arguments.iter().map(|word| word.as_str().unwrap()).collect();
        assert!(
            arguments.contains(&"--external-data-provider-response-cache-ttl=3m"),
            "the default cache: {arguments:?}"
        );
        // Its metrics would be served to the whole network: they are pushed to nobody instead.
        let mine = ["port", "health-addr", "prometheus-port", "metrics-backend", "logtostderr"];
        let is_mine = |word: &str| mine.iter().any(|name| word.starts_with(&format!("--{name}")));
        let is_rotation = |word: &str| word.starts_with("--disable-cert-rotation");
        arguments.retain(|word| !is_mine(word) && !is_rotation(word));
        let audit = format!("--audit-interval={AUDIT_INTERVAL}");
        for word in arguments.iter_mut().filter(|word| **word == "--audit-interval=60") {
            *word = &audit;
        }
        let folder = site.helm.folder();
        let health = free_address();
        let port = address.rsplit_once(':').unwrap().1;
        let mut command = Command::new(site.cluster.tool("gatekeeper"));
        command.args(arguments).args(["--host=127.0.0.1", &format!("--port={port}")]);
        command.args([&format!("--health-addr={health}"), "--metrics-backend=opentelemetry"]);
        command.args(["--otlp-endpoint=127.0.0.1:1", "--otlp-metric-interval=24h"]);
        command.arg("--disable-cert-rotation").arg("--cert-dir").arg(certificates);
        command.arg("--kubeconfig").arg(site.cluster.kubeconfig(GATEKEEPER));
        // In the place of the volume at `/tmp/audit`, without which nothing is audited.
        let scratch = folder.join(format!("{name}-scratch"));
        fs::create_dir(&scratch).unwrap();
        command.arg("--api-cache-dir").arg(scratch);
        command.env_clear().env("HOME", folder).env("POD_NAMESPACE", NAMESPACE);
        command.env("POD_NAME", &name);
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let log = folder.join(format!("{name}.log"));
        command.stderr(fs::File::create(&log).unwrap());
        let process = command.spawn().unwrap();
        Self { process, health, log }
    }

    fn said(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap();
        let lines: Vec<&str> =
            log.lines().map(|line| line.split(",\"stacktrace\"").next().unwrap()).collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

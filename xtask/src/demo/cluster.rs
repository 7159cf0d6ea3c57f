//! `cargo xtask demo --cluster`: the same in a cluster, as `docs/INSTALL.md` tells it, from an empty
//! API server to Gatekeeper's question over mutual TLS. The API server, its store, `helm` and
//! `kubectl` are real; what a node does, run the pod, is done by `pod`, and Gatekeeper is played.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::pod::Pod;
use super::server::Cluster;
use super::{ARTIFACT_TYPE, PLUGIN, Stage, say};
use crate::{tools, workspace};

/// Where Gatekeeper is, and Ratify beside it.
pub(super) const NAMESPACE: &str = "gatekeeper-system";
/// Whom Ratify's certificate is for.
const NAME: &str = "ratify.gatekeeper-system";
/// The account of the chart.
const ACCOUNT: &str = "system:serviceaccount:gatekeeper-system:ratify-admin";
/// The resource that names the plugin.
const VERIFIER: &str = "verifier-dynamic";

/// Runs the demo.
///
/// # Errors
/// When a tool is missing, something does not come to be, or the verdict is not the expected one.
pub(super) fn run() -> Result<()> {
    let tools = tools::known()?;
    let stage = Stage::set()?;
    say("an empty API server, and what is there of Gatekeeper: its definitions, its authority");
    let cluster = Cluster::start(tools, &stage.folder.0, &[("admin", "admin"), ("pod", ACCOUNT)])?;
    play_gatekeeper(&cluster)?;
    install(&cluster, &stage)?;
    let mut pod = Pod::start(&cluster, &stage.ratify)?;
    let activated = activate(&cluster, &stage, &mut pod);
    // Where it failed, this says why.
    say("what the pod logged");
    println!("{}", pod.said().trim_end());
    activated?;
    judge(&cluster, &stage, &pod)?;
    say("the image passed: installed, active, asked over mutual TLS; now everything is ended");
    Ok(())
}

/// What Ratify finds in a cluster that has Gatekeeper, and a certificate to ask with.
fn play_gatekeeper(cluster: &Cluster) -> Result<()> {
    let definitions = cluster.tool("gatekeeper-module")?.join("charts/gatekeeper/crds");
    for name in ["provider", "assign"] {
        let file = definitions.join(format!("{name}-customresourcedefinition.yaml"));
        cluster.run(cluster.kubectl()?.args(["apply", "--server-side", "-f"]).arg(file))?;
    }
    cluster.kubectl_shown(&["create", "namespace", NAMESPACE])?;
    fs::write(cluster.folder().join("client.ext"), "extendedKeyUsage=clientAuth\n")?;
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for line in [
        format!("req -x509 {new} -keyout ca.key -out ca.crt -subj /CN=gatekeeper-ca -days 1"),
        format!("req {new} -keyout client.key -out client.csr -subj /CN=gatekeeper"),
        "x509 -req -in client.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 1 \
         -extfile client.ext -out client.crt"
            .to_owned(),
    ] {
        let mut openssl = cluster.command("openssl")?;
        cluster.run(openssl.args(line.split_whitespace()))?;
    }
    let secret = ["create", "secret", "generic", "gatekeeper-webhook-server-cert"];
    cluster.kubectl_shown(&[&secret[..], &["--from-file=ca.crt", "-n", NAMESPACE]].concat())
}

/// The definitions as the chart's hook applies them, and what the chart renders.
fn install(cluster: &Cluster, stage: &Stage) -> Result<()> {
    say("install the definitions, as the chart's hook does, and what the chart renders");
    let mut definitions = Command::new(&stage.ratify);
    definitions.args(["crds", "apply"]).env("KUBECONFIG", cluster.kubeconfig("admin"));
    cluster.shown(&mut definitions)?;
    let established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
    cluster.run(cluster.kubectl()?.args(established).stdout(Stdio::null()))?;
    let chart = workspace::root()?.join("charts/ratify");
    let mut helm = cluster.command("helm")?;
    helm.args(["template", "ratify"]).arg(chart).args(["--namespace", NAMESPACE]);
    for value in [
        "featureFlags.RATIFY_CERT_ROTATION=true",
        "featureFlags.RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS=true",
        "hooks.enabled=false",
        "upgradeCRDs.enabled=false",
        // The registry of this demo has no certificate.
        "oras.useHttp=true",
        // It is on this machine, where a server asks none that is not listed.
        "registries.allowedAddresses={127.0.0.1}",
    ] {
        helm.args(["--set", value]);
    }
    let rendered = cluster.captured(&mut helm)?;
    fs::write(cluster.folder().join("ratify.yaml"), rendered)?;
    let apply = ["apply", "--server-side", "--namespace", NAMESPACE, "-f", "ratify.yaml"];
    cluster.kubectl_shown(&apply)
}

/// From the running pod to the active Verifier.
fn activate(cluster: &Cluster, stage: &Stage, pod: &mut Pod) -> Result<()> {
    say("Ratify makes its certificates, and hands their authority to the Provider");
    pod.until("certificates", |pod| {
        let bundle = provider(cluster)?["spec"]["caBundle"].clone();
        let secret = cluster.get("secret", "ratify-tls")?;
        let is_made = secret["data"]["ca.crt"].is_string() && secret["data"]["ca.crt"] == bundle;
        if is_made {
            pod.mount(cluster)?;
        }
        Ok(is_made)
    })?;
    pod.until("readiness", |pod| Ok(pod.is_ready()))?;
    cluster.kubectl_shown(&["get", "providers,stores,policies"])?;

    say("name the plugin by a Verifier, and wait until it is active");
    let verifier = verifier(stage);
    println!("{verifier}");
    fs::write(cluster.folder().join("verifier.yaml"), verifier)?;
    cluster.kubectl_shown(&["apply", "-f", "verifier.yaml"])?;
    let active = "--for=jsonpath={.status.issuccess}=true";
    cluster.kubectl_shown(&["wait", "verifier", VERIFIER, active, "--timeout=60s"])?;
    cluster.kubectl_shown(&["get", "verifiers", "-o", "wide"])?;
    let status = ["get", "verifier", VERIFIER, "-o", "jsonpath={.status}"];
    let status: Value = serde_json::from_str(&cluster.captured(cluster.kubectl()?.args(status))?)?;
    println!("{status:#}");
    cluster.kubectl_shown(&["get", "events", "--all-namespaces"])
}

fn provider(cluster: &Cluster) -> Result<Value> {
    cluster.get("provider", "ratify-provider")
}

fn verifier(stage: &Stage) -> String {
    format!(
        "apiVersion: config.ratify.deislabs.io/v1beta1
kind: Verifier
metadata:
  name: {VERIFIER}
spec:
  name: {PLUGIN}
  artifactTypes: {ARTIFACT_TYPE}
  source:
    artifact: {}",
        stage.plugin
    )
}

/// Asks with Gatekeeper's certificate, and without one.
fn judge(cluster: &Cluster, stage: &Stage, pod: &Pod) -> Result<()> {
    say("ask as Gatekeeper does, over mutual TLS, trusting what the Provider says");
    let bundle = provider(cluster)?["spec"]["caBundle"].clone();
    let bundle = STANDARD.decode(bundle.as_str().unwrap_or_default())?;
    fs::write(cluster.folder().join("bundle.crt"), bundle)?;
    fs::write(cluster.folder().join("request.http"), request(&stage.image))?;
    let verdict = ask(cluster, pod, &["-cert", "client.crt", "-key", "client.key"])?;
    let (_, verdict) = verdict.split_once("\r\n\r\n").context("there is no answer")?;
    let verdict: Value = serde_json::from_str(verdict).context("the answer is no JSON")?;
    println!("{verdict:#}");
    if verdict["response"]["items"][0]["value"]["isSuccess"] != true {
        bail!("the verdict is not a success");
    }
    say("ask without a certificate");
    let refused = ask(cluster, pod, &[])?;
    let said = refused.lines().find(|line| line.contains("alert certificate required"));
    println!("{}", said.context("who has no certificate is not refused")?);
    Ok(())
}

/// All that `openssl` prints, the answer and what it says of the connection.
fn ask(cluster: &Cluster, pod: &Pod, own: &[&str]) -> Result<String> {
    let mut openssl = cluster.command("openssl")?;
    openssl.args(["s_client", "-quiet", "-connect", &pod.address, "-servername", NAME]);
    openssl.args(["-verify_return_error", "-verify_quiet", "-verify_hostname", NAME]);
    openssl.args(["-CAfile", "bundle.crt"]).args(own);
    println!("$ {} < request.http", cluster.line(&openssl));
    openssl.stdin(File::open(cluster.folder().join("request.http"))?);
    // A refusal is an answer too: what it is, is in the text.
    let output = openssl.output().context("cannot start openssl")?;
    let all = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&all).into_owned())
}

fn request(image: &str) -> String {
    let body = json!({
        "apiVersion": "externaldata.gatekeeper.sh/v1beta1",
        "kind": "ProviderRequest",
        "request": {"keys": [image]},
    })
    .to_string();
    let length = body.len();
    format!(
        "POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

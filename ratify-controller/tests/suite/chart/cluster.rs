//! What is rendered, given to a real API server, and installed by the real `helm` over v1's chart.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    helm::{Helm, NAMESPACE, Ran, base},
    keys::parsed,
};
use crate::cluster::server::{ADMIN, Cluster, ClusterOptions};

/// Everything that can be on at once.
const EVERYTHING: &str = r#"{
    "notationCerts":["pem"], "cosignKeys":["pem"], "cosign":{"key":"pem"}, "dockerConfig":"{}",
    "vulnerabilityreport":{"enabled":true}, "sbom":{"enabled":true}, "policy":{"useRego":true},
    "azurekeyvault":{"enabled":true,"vaultURI":"https://v.example.com","tenantId":"t","keys":[{"name":"k"}]},
    "azureWorkloadIdentity":{"clientId":"id"}, "oras":{"authProviders":{"k8secretsEnabled":true}},
    "rbac":{"readSecretsIn":["default"],"doctor":true}, "upgradeCRDs":{"extraRules":[]}, "hooks":{"enabled":false},
    "featureFlags":{"RATIFY_CERT_ROTATION":true}, "imagePullSecrets":["a"],
    "image":{"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000"},
    "tolerations":{"key":"k","operator":"Exists"}, "nodeSelector":{"a":"b"},
    "affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[
        {"matchExpressions":[{"key":"a","operator":"Exists"}]}]}}},
    "priorityClassName":"system-cluster-critical", "podSecurityContext":{"fsGroup":65532},
    "topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"ScheduleAnyway",
        "labelSelector":{"matchLabels":{"a":"b"}}}],
    "volume":{"medium":"Memory"}, "plugins":{"requireDigest":true}, "namespaces":{"tightenOnly":true},
    "registries":{"hosts":{"files":[{"registry":"a.example.com:5000","secretName":"a"},{"registry":"_default","configMapName":"b"}]},
        "credentialProviders":{"secretName":"c","programs":{"volume":{"persistentVolumeClaim":{"claimName":"d"}},"subPath":"bin"}}},
    "podDisruptionBudget":{"enabled":true}, "autoscaling":{"enabled":true},
    "networkPolicy":{"enabled":true,"egress":[{"to":[{"ipBlock":{"cidr":"192.0.2.0/24"}}]}]},
    "serviceMonitor":{"enabled":true}, "prometheusRule":{"enabled":true}
}"#;

/// An API server with the definitions of Gatekeeper that the chart needs, those of this folder, and
/// the namespace of the release.
pub(super) async fn start(helm: &Helm, options: ClusterOptions, definitions: &Path) -> Cluster {
    let cluster = Cluster::start(options).await.unwrap();
    let gatekeeper = helm.tool("gatekeeper-module").join("charts/gatekeeper/crds");
    let [provider, assign] = ["provider", "assign"].map(|name| {
        gatekeeper.join(format!("{name}-customresourcedefinition.yaml")).display().to_string()
    });
    let ours = definitions.display().to_string();
    let apply = ["apply", "--server-side", "-f", &provider, "-f", &assign, "-f", &ours];
    cluster.must(&apply).await;
    cluster.must(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).await;
    cluster.must(&["create", "namespace", NAMESPACE]).await;
    cluster
}

/// Objects as one document.
pub(crate) fn list(objects: Vec<Value>) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

/// Its definitions are not brought: the Prometheus operator's are its own.
fn is_of_prometheus(object: &Value) -> bool {
    object["apiVersion"] == "monitoring.coreos.com/v1"
}

#[tokio::test]
async fn an_api_server_accepts_every_object() {
    let Some(helm) = Helm::find() else { return };
    let definitions = Helm::ours().join("crds");
    let cluster = start(&helm, ClusterOptions::default(), &definitions).await;
    let old = json!({"hooks": {"enabled": true}, "provider": {"clientCA": {"configMapName": "ca"}},
            "registries": {"hosts": {"volume": {"configMap": {"name": "hosts"}}}},
            "oras": {"authProviders": {"rules": [{"match": ["a.example.com"], "anonymous": true}]}}});
    for values in [json!({}), parsed(EVERYTHING), old] {
        let mut objects = helm.render(&Helm::ours(), &[&base(), &values]).await;
        objects.retain(|object| !is_of_prometheus(object));
        let path = helm.folder().join("objects.json");
        std::fs::write(&path, list(objects)).unwrap();
        let path = path.display().to_string();
        let dry = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", &path];
        let ran = cluster.kubectl(&dry).await;
        assert!(ran.code == Some(0) && !ran.stderr.contains("would violate"), "{}", ran.stderr);
        let applied = "deployment.apps/ratify serverside-applied";
        assert!(ran.stdout.contains(applied), "{}", ran.stdout);
    }
}

/// Ends a job as a cluster would that has run it.
pub(super) async fn end_job(cluster: &Cluster, job: &str) {
    let now = "2026-01-01T00:00:00Z";
    let condition = |name: &str| {
        json!({"type": name, "status": "True", "reason": "x",
        "message": "", "lastProbeTime": now, "lastTransitionTime": now})
    };
    let status = json!({"status": {"startTime": now, "completionTime": now, "succeeded": 1,
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]}});
    let status = status.to_string();
    let patch = ["patch", job, "--subresource=status", "--type=merge", "-p", &status];
    // Helm may have removed it meanwhile.
    drop(cluster.kubectl(&[&patch[..], &["-n", NAMESPACE]].concat()).await);
}

/// Ends every job, until this is dropped.
async fn run_jobs(cluster: &Cluster) {
    loop {
        let jobs = cluster.must(&["get", "jobs", "-o", "name", "-n", NAMESPACE]).await;
        for job in jobs.lines() {
            end_job(cluster, job).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Runs helm against the cluster, in which jobs end.
async fn helm_in(helm: &Helm, cluster: &Cluster, command: &str, flags: &[&str]) -> Ran {
    let namespace = format!("--namespace={NAMESPACE}");
    let kubeconfig = cluster.kubeconfig(ADMIN);
    let arguments = [&[command, "ratify", &namespace, "--timeout=120s"], flags].concat();
    tokio::select! {
        ran = helm.run(&arguments, Some(&kubeconfig)) => ran,
        () = run_jobs(cluster) => unreachable!("jobs are run until helm ends"),
    }
}

/// What a rotation leaves behind: certificates in the Secret, its authorities in the Providers.
async fn rotate(cluster: &Cluster) -> Value {
    let data =
        json!({"tls.crt": "Yw==", "tls.key": "aw==", "ca.crt": "TkVXCk9MRAo=", "ca.key": "aw=="});
    let namespace = format!("--namespace={NAMESPACE}");
    let patch = json!({"data": data}).to_string();
    let secret = ["patch", "secret", "ratify-tls", "--type=merge", "-p", &patch, &namespace];
    cluster.must(&secret).await;
    let bundle = json!({"spec": {"caBundle": data["ca.crt"]}}).to_string();
    cluster.must(&["patch", "provider", "ratify-provider", "--type=merge", "-p", &bundle]).await;
    cluster.get_json("secret", Some(NAMESPACE), "ratify-tls").await
}

async fn bundle_of(cluster: &Cluster) -> Value {
    cluster.get_json("provider", None, "ratify-provider").await["spec"]["caBundle"].clone()
}

/// Renders as `helm install` does, with a look at the cluster.
async fn dry_run(helm: &Helm, cluster: &Cluster, flags: &[&str]) -> Ran {
    let ours = Helm::ours().display().to_string();
    let namespace = format!("--namespace={NAMESPACE}");
    let command = ["template", "ratify", &ours, "--dry-run=server", &namespace];
    helm.run(&[&command[..], flags].concat(), Some(&cluster.kubeconfig(ADMIN))).await
}

#[tokio::test]
async fn certificates_may_be_in_a_secret_that_something_else_keeps() {
    let Some(helm) = Helm::find() else { return };
    let definitions = Helm::ours().join("crds");
    let cluster = start(&helm, ClusterOptions::default(), &definitions).await;
    let namespace = format!("--namespace={NAMESPACE}");
    let create = ["create", "secret", "generic", "ratify-tls", "--from-literal=tls.crt=c"];
    cluster.must(&[&create[..], &[&namespace]].concat()).await;

    let ran = dry_run(&helm, &cluster, &[]).await;
    assert!(ran.stderr.contains("Secret ratify-tls has no ca.crt"), "{}", ran.stderr);
    let patch =
        ["patch", "secret", "ratify-tls", &namespace, "-p", r#"{"data":{"ca.crt":"Y2E="}}"#];
    cluster.must(&patch).await;
    // v1's name for it is found without a word; under another name it is said.
    let named =
        ["--set=provider.tls.existingSecret=ratify-tls", "--set=provider.tls.cabundle=Y2E="];
    for flags in [&[][..], &named[..]] {
        let ran = dry_run(&helm, &cluster, flags).await;
        assert!(ran.is_success, "{}", ran.stderr);
        assert!(ran.stdout.contains(r#"caBundle: "Y2E=""#), "{}", ran.stdout);
        assert!(ran.stdout.contains("secretName: ratify-tls"), "{}", ran.stdout);
        assert!(!ran.stdout.contains("kind: Secret"), "it is left alone: {}", ran.stdout);
    }
}

#[tokio::test]
async fn an_installed_v1_is_upgraded_and_keeps_its_certificates() {
    let Some(helm) = Helm::find() else { return };
    let cluster = start(&helm, ClusterOptions::default(), &helm.v1().join("crds")).await;
    let (v1, ours) = (helm.v1().display().to_string(), Helm::ours().display().to_string());
    let rotation = "--set=featureFlags.RATIFY_CERT_ROTATION=true";
    let ran = helm_in(&helm, &cluster, "install", &[&v1, rotation, "--set=replicaCount=3"]).await;
    assert!(ran.is_success, "{}", ran.stderr);
    let secret = rotate(&cluster).await;

    // The guide's second way, with v1's images among the values that are reused.
    let flag = "--set=featureFlags.RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS=true";
    let refused = helm_in(&helm, &cluster, "upgrade", &[&ours, "--reuse-values", flag]).await;
    assert!(!refused.is_success);
    assert!(refused.stderr.contains("an image of Ratify v1, probably reused"), "{refused:?}");

    let images = "--set=image.repository=registry.example.com/r,image.tag=2,\
                  image.crdRepository=registry.example.com/c";
    let reuse: &[&str] = &[&ours, "--reuse-values", flag, images];
    let reset: &[&str] = &[&ours, "--reset-then-reuse-values", flag];
    let hooks: &[&str] = &[&ours, "--reuse-values", "--set=hooks.enabled=true"];
    let plain: &[&str] =
        &[&ours, "--reuse-values", "--set=hooks.enabled=false", "--take-ownership"];
    for (flags, image) in [
        (reuse, "registry.example.com/r:2"),
        (reuse, "registry.example.com/r:2"),
        // What the operator once set stays set.
        (reset, "registry.example.com/r:2"),
        (plain, "registry.example.com/r:2"),
        (hooks, "registry.example.com/r:2"),
        (plain, "registry.example.com/r:2"),
    ] {
        let ran = helm_in(&helm, &cluster, "upgrade", flags).await;
        assert!(ran.is_success, "{flags:?}: {}", ran.stderr);
        let deployment = cluster.get_json("deployment", Some(NAMESPACE), "ratify").await;
        let spec = &deployment["spec"];
        assert_eq!(spec["replicas"], 3);
        assert_eq!(spec["template"]["spec"]["containers"][0]["image"], image);
        let now = cluster.get_json("secret", Some(NAMESPACE), "ratify-tls").await;
        for kept in ["/metadata/uid", "/data"] {
            assert_eq!(now.pointer(kept), secret.pointer(kept), "{kept} {flags:?}");
        }
        assert_eq!(bundle_of(&cluster).await, "TkVXCk9MRAo=", "{flags:?}");
        cluster.get_json("store", None, "store-oras").await;
    }

    let back = helm_in(&helm, &cluster, "rollback", &["1"]).await;
    assert!(back.is_success, "{}", back.stderr);
    let deployment = cluster.get_json("deployment", Some(NAMESPACE), "ratify").await;
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, "ghcr.io/ratify-project/ratify:v1.4.0");
    let now = cluster.get_json("secret", Some(NAMESPACE), "ratify-tls").await;
    assert_eq!(now["data"], secret["data"]);
    cluster.get_json("store", None, "store-oras").await;
    assert_eq!(bundle_of(&cluster).await, "TkVXCk9MRAo=");
}

#[tokio::test]
async fn a_fresh_install_trusts_nobody_until_certificates_are_made() {
    let Some(helm) = Helm::find() else { return };
    let definitions = Helm::ours().join("crds");
    let cluster = start(&helm, ClusterOptions::default(), &definitions).await;
    let ours = Helm::ours().display().to_string();
    let flags = [&ours, "--set=featureFlags.RATIFY_CERT_ROTATION=true"];
    let ran = helm_in(&helm, &cluster, "install", &flags).await;
    assert!(ran.is_success, "{}", ran.stderr);
    assert!(ran.stdout.contains("It makes and renews its certificates by itself."), "{ran:?}");
    assert!(ran.stdout.contains("notation has no certificates"), "{ran:?}");

    use base64::Engine as _;
    let bundle = bundle_of(&cluster).await;
    let bundle = base64::engine::general_purpose::STANDARD.decode(bundle.as_str().unwrap());
    let path = helm.folder().join("bundle.pem");
    std::fs::write(&path, bundle.unwrap()).unwrap();
    let mut openssl = tokio::process::Command::new(helm.tool("openssl"));
    openssl.args(["x509", "-noout", "-checkend", "0", "-in"]).arg(path);
    let checked = openssl.output().await.unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(said.contains("Certificate will expire"), "{said}");
}

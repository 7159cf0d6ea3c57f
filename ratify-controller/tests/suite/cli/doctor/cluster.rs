//! The doctor before a real API server, with Gatekeeper's definitions and webhooks as its chart makes
//! them: a clean installation has no finding, and each fault in turn has its own.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Expected, Found, assert_found, examine, settled};
use crate::{
    cli::{Home, Ran},
    cluster::server::{ADMIN, Cluster, ClusterOptions, User},
    tls::parts::Authority,
};

pub(super) const NAMESPACE: &str = "gatekeeper-system";
const ACCOUNT: &str = "system:serviceaccount:gatekeeper-system:ratify-admin";
const NAMESPACED: [&str; 2] = ["-n", NAMESPACE];

/// What the server may do, as the chart has it.
const ROLE: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: ratify-manager-cluster-role}
rules:
  - {apiGroups: [config.ratify.deislabs.io], resources: ["*"], verbs: [get, list, watch]}
  - apiGroups: [config.ratify.deislabs.io]
    resources: ["*/status"]
    verbs: [patch]
  - {apiGroups: [events.k8s.io], resources: [events], verbs: [create]}
  - {apiGroups: [externaldata.gatekeeper.sh], resources: [providers], verbs: [get]}
  - apiGroups: [admissionregistration.k8s.io]
    resources: [validatingwebhookconfigurations, mutatingwebhookconfigurations]
    verbs: [get]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: ratify-manager-cluster-rolebinding}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ratify-manager-cluster-role}
subjects: [{kind: ServiceAccount, name: ratify-admin, namespace: gatekeeper-system}]
"#;

/// What Gatekeeper would make of the template.
pub(super) const CONSTRAINTS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ratifyverification.constraints.gatekeeper.sh}
spec:
  group: constraints.gatekeeper.sh
  names: {kind: RatifyVerification, plural: ratifyverification, singular: ratifyverification, listKind: RatifyVerificationList}
  scope: Cluster
  versions:
    - name: v1beta1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

/// An installation in which everything is as it should be.
pub(super) struct Lab {
    pub(super) cluster: Cluster,
    home: Home,
}

impl Lab {
    pub(super) async fn start() -> Option<Self> {
        let users = vec![User::new("pod", ACCOUNT, &[]), User::new("nobody", "nobody", &[])];
        let cluster = Cluster::start(ClusterOptions { users }).await?;
        let lab = Self { cluster, home: Home::new() };
        lab.define().await;
        lab.install().await;
        Some(lab)
    }

    async fn define(&self) {
        let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/ratify/crds");
        let gatekeepers = self.cluster.tool("gatekeeper-module").join("charts/gatekeeper/crds");
        let gatekeepers = gatekeepers.display().to_string();
        let apply = ["apply", "--server-side", "-f", ours, "-f", &gatekeepers];
        self.cluster.must(&apply).await;
        self.cluster.apply(CONSTRAINTS).await;
        let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
        self.cluster.must(&wait).await;
    }

    async fn install(&self) {
        let cluster = &self.cluster;
        cluster.must(&["create", "namespace", NAMESPACE]).await;
        cluster.apply(ROLE).await;
        let template = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/gatekeeper/verification.yaml");
        cluster.must(&["apply", "-f", template]).await;
        let authority = STANDARD.encode(Authority::new("ratify").pem());
        let objects: Vec<Value> = [
            vec![
                webhook("Validating", "validation", 7),
                webhook("Mutating", "mutation", 3),
                provider("ratify-provider", "verify", 5, &authority),
                provider("ratify-mutation-provider", "mutate", 2, &authority),
                assign(),
                constraint(),
                configuration(),
                deployment(
                    "ratify",
                    &["/app/ratify"],
                    &["serve", "--http", ":6001", "--enable-crd-manager"],
                ),
                deployment(
                    "gatekeeper-controller-manager",
                    &["/manager"],
                    &["--external-data-provider-response-cache-ttl=3m"],
                ),
            ],
            resources(),
        ]
        .concat();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        cluster.apply(&list.to_string()).await;
        self.status("constrainttemplate", "ratifyverification", &json!({"created": true})).await;
        self.is_ready().await;
        for (kind, name) in
            [("store", "store-oras"), ("policy", "ratify-policy"), ("verifier", "sbom")]
        {
            self.status(kind, name, &json!({"issuccess": true, "observedGeneration": 1})).await;
        }
    }

    /// Says what the cluster's own controllers would say of Ratify's Deployment.
    pub(super) async fn is_ready(&self) {
        let ready = json!({"replicas": 2, "readyReplicas": 2, "updatedReplicas": 2});
        self.status("deployment", "ratify", &ready).await;
    }

    async fn status(&self, kind: &str, name: &str, status: &Value) {
        self.patch_part(kind, name, &json!({"status": status}), true).await;
    }

    async fn patch(&self, kind: &str, name: &str, patch: &Value) {
        self.patch_part(kind, name, patch, false).await;
    }

    async fn patch_part(&self, kind: &str, name: &str, patch: &Value, is_status: bool) {
        let patch = patch.to_string();
        let mut line = vec!["patch", kind, name, "--type=merge", "-p", &patch];
        line.extend(is_status.then_some("--subresource=status"));
        line.extend(
            ["deployment", "configmap"].contains(&kind).then_some(NAMESPACED).into_iter().flatten(),
        );
        self.cluster.must(&line).await;
    }

    pub(super) async fn examine_as(&self, user: &str) -> (Ran, Found) {
        let kubeconfig = self.cluster.kubeconfig(user).display().to_string();
        examine(&self.home, &["--kubeconfig", &kubeconfig, "-n", NAMESPACE]).await
    }
}

/// As Gatekeeper's chart makes it with the values of the document, and kube-system exempt.
pub(super) fn webhook(kind: &str, name: &str, seconds: u32) -> Value {
    let expressions = json!([
        {"key": "admission.gatekeeper.sh/ignore", "operator": "DoesNotExist"},
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", NAMESPACE]},
    ]);
    // It leads nowhere, and is about nothing here.
    let rules = json!([{"apiGroups": ["none.example.com"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["*"]}]);
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": format!("{kind}WebhookConfiguration"),
        "metadata": {"name": format!("gatekeeper-{}-webhook-configuration", kind.to_lowercase())},
        "webhooks": [{
            "name": format!("{name}.gatekeeper.sh"), "admissionReviewVersions": ["v1"],
            "sideEffects": "None", "timeoutSeconds": seconds, "failurePolicy": "Fail", "rules": rules,
            "clientConfig": {"url": "https://127.0.0.1:1/v1/admit"},
            "namespaceSelector": {"matchExpressions": expressions},
        }],
    })
}

fn provider(name: &str, path: &str, seconds: u32, authority: &str) -> Value {
    let url = format!("https://ratify.gatekeeper-system:6001/ratify/gatekeeper/v1/{path}");
    json!({
        "apiVersion": "externaldata.gatekeeper.sh/v1beta1", "kind": "Provider",
        "metadata": {"name": name},
        "spec": {"url": url, "timeout": seconds, "caBundle": authority},
    })
}

fn assign() -> Value {
    json!({
        "apiVersion": "mutations.gatekeeper.sh/v1", "kind": "Assign",
        "metadata": {"name": "ratify-mutate-image-containers"},
        "spec": {
            "applyTo": [{"groups": [""], "kinds": ["Pod"], "versions": ["v1"]}],
            "location": "spec.containers[name:*].image",
            "match": {"scope": "Namespaced"},
            "parameters": {"assign": {"externalData": {"provider": "ratify-mutation-provider", "dataSource": "ValueAtLocation"}}},
        },
    })
}

pub(super) fn constraint() -> Value {
    json!({
        "apiVersion": "constraints.gatekeeper.sh/v1beta1", "kind": "RatifyVerification",
        "metadata": {"name": "ratify-constraint"},
        "spec": {"match": {"kinds": [{"apiGroups": [""], "kinds": ["Pod"]}]}},
    })
}

fn configuration() -> Value {
    let config =
        json!({"executor": {"verificationRequestTimeout": 4900, "mutationRequestTimeout": 1950}});
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "ratify-configuration", "namespace": NAMESPACE},
        "data": {"config.json": config.to_string()},
    })
}

pub(super) fn deployment(name: &str, command: &[&str], arguments: &[&str]) -> Value {
    let labels = json!({"app": name});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "serviceAccountName": "ratify-admin",
                    "containers": [{"name": name, "image": "registry.example.com/x:1", "command": command, "args": arguments}],
                    "volumes": [{"name": "config", "configMap": {"name": "ratify-configuration"}}],
                },
            },
        },
    })
}

fn resources() -> Vec<Value> {
    let of = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    vec![
        of("Store", "store-oras", json!({"name": "oras"})),
        of(
            "Policy",
            "ratify-policy",
            json!({"type": "configpolicy", "parameters": {"artifactVerificationPolicies": {"default": "all"}}}),
        ),
        of("Verifier", "sbom", json!({"name": "sbom", "artifactTypes": "application/spdx+json"})),
    ]
}

/// What is wrong, with which object, by which change, and what is found then.
type Fault = (&'static str, &'static str, &'static str, Value, Expected);
/// The same of a status, which is then what it was before.
type StatusFault = (&'static str, &'static str, &'static str, Value, Value, Expected);

/// Faults of objects that are there.
fn faults() -> Vec<Fault> {
    let validating = "gatekeeper-validating-webhook-configuration";
    let of_webhook = |change: Value| {
        let mut object = webhook("Validating", "validation", 7);
        let changes = change.as_object().unwrap().clone();
        object["webhooks"][0].as_object_mut().unwrap().extend(changes);
        json!({"webhooks": object["webhooks"]})
    };
    let executor = |text: &str| json!({"data": {"config.json": text}});
    let bundle = |bundle: &str| json!({"spec": {"caBundle": bundle}});
    let other = STANDARD.encode("no certificate");
    vec![
        (
            "it admits what nobody judged",
            "validatingwebhookconfiguration",
            validating,
            of_webhook(json!({"failurePolicy": "Ignore"})),
            &[("gatekeeper.webhook", "warning")],
        ),
        (
            "kube-system is not exempt",
            "validatingwebhookconfiguration",
            validating,
            of_webhook(json!({"namespaceSelector": {}})),
            &[("gatekeeper.exemptions", "note")],
        ),
        (
            "the webhook waits no longer than the Provider",
            "validatingwebhookconfiguration",
            validating,
            of_webhook(json!({"timeoutSeconds": 5})),
            &[("timeouts.verification", "warning")],
        ),
        (
            "the server takes longer than the Provider waits",
            "configmap",
            "ratify-configuration",
            executor(
                r#"{"executor":{"verificationRequestTimeout":5000,"mutationRequestTimeout":1950}}"#,
            ),
            &[("timeouts.verification", "warning")],
        ),
        (
            "a bundle that is none",
            "provider",
            "ratify-provider",
            bundle(&other),
            &[("gatekeeper.provider", "failure")],
        ),
        (
            "a constraint that only warns",
            "ratifyverification",
            "ratify-constraint",
            json!({"spec": {"enforcementAction": "warn"}}),
            &[("gatekeeper.constraint", "warning")],
        ),
        (
            "another cache",
            "deployment",
            "gatekeeper-controller-manager",
            deployment(
                "gatekeeper-controller-manager",
                &["/manager"],
                &["--external-data-provider-response-cache-ttl=1h"],
            ),
            &[("gatekeeper.cache", "note")],
        ),
    ]
}

#[tokio::test]
async fn a_clean_installation_has_no_finding_and_each_fault_of_a_cluster_has_its_own() {
    let Some(lab) = Lab::start().await else { return };
    let (ran, found) = lab.examine_as(ADMIN).await;
    assert_found("clean", &ran, &found, &[]);
    let kubeconfig = lab.cluster.kubeconfig(ADMIN).display().to_string();
    let text = lab.home.run(&["doctor", "--kubeconfig", &kubeconfig]).await.stdout;
    insta::assert_snapshot!("cluster", settled(&lab.home, &text));

    for (what, kind, name, patch, expected) in faults() {
        let namespace = ["deployment", "configmap"].contains(&kind).then_some(NAMESPACE);
        let before = lab.cluster.get_json(kind, namespace, name).await;
        lab.patch(kind, name, &patch).await;
        let (ran, found) = lab.examine_as(ADMIN).await;
        assert_found(what, &ran, &found, expected);
        lab.restore(kind, name, &before).await;
    }
    lab.statuses().await;
    lab.secrets().await;
    lab.absences().await;
}

impl Lab {
    /// Puts back what was there.
    async fn restore(&self, kind: &str, name: &str, before: &Value) {
        let mut spec = json!({});
        for part in ["spec", "data", "webhooks"] {
            if !before[part].is_null() {
                spec[part] = before[part].clone();
            }
        }
        // A merge patch leaves what it does not name.
        if kind == "ratifyverification" {
            spec["spec"]["enforcementAction"] = Value::Null;
        }
        self.patch(kind, name, &spec).await;
    }

    async fn statuses(&self) {
        let broken =
            json!({"issuccess": false, "brieferror": "no such plugin", "error": "no such plugin"});
        let table: [StatusFault; 3] = [
            (
                "a verifier that failed",
                "verifier",
                "sbom",
                broken,
                json!({"issuccess": true, "brieferror": null, "error": null}),
                &[("cluster.resource", "failure")],
            ),
            (
                "a replica that is not ready",
                "deployment",
                "ratify",
                json!({"readyReplicas": 1}),
                json!({"readyReplicas": 2}),
                &[("cluster.replicas", "warning")],
            ),
            (
                "a template that Gatekeeper does not take",
                "constrainttemplate",
                "ratifyverification",
                json!({"byPod": [{"id": "pod", "observedGeneration": 1, "errors": [{"code": "rego", "message": "rego_parse_error"}]}]}),
                json!({"byPod": null}),
                &[("gatekeeper.template", "failure")],
            ),
        ];
        for (what, kind, name, status, before, expected) in table {
            self.status(kind, name, &status).await;
            let (ran, found) = self.examine_as(ADMIN).await;
            assert_found(what, &ran, &found, expected);
            self.status(kind, name, &before).await;
        }
    }

    /// A Store whose credentials the account may not read, until it may.
    async fn secrets(&self) {
        let before = self.cluster.get_json("store", None, "store-oras").await;
        let secrets = json!([{"secretName": "a", "namespace": "default"}, {"secretName": "b"}]);
        let provider = json!({"name": "k8Secrets", "secrets": secrets});
        let parameters = json!({"authProvider": provider});
        self.patch("store", "store-oras", &json!({"spec": {"parameters": parameters}})).await;
        self.status("store", "store-oras", &json!({"observedGeneration": 2})).await;
        let (ran, found) = self.examine_as(ADMIN).await;
        let (right, failure) = ("cluster.rights", "failure");
        assert_found("secrets", &ran, &found, &[(right, failure), (right, failure)]);
        assert!(ran.stdout.contains("missing: get secrets a"), "{}", ran.stdout);
        assert!(ran.stdout.contains(&format!("'rbac.readSecretsIn={{default,{NAMESPACE}}}'")));
        for namespace in ["default", NAMESPACE] {
            let place = ["-n", namespace];
            let role =
                ["create", "role", "read", "--verb=get", "--resource=secrets,serviceaccounts"];
            self.cluster.must(&[&place[..], &role].concat()).await;
            let account = format!("--serviceaccount={NAMESPACE}:ratify-admin");
            let binding = ["create", "rolebinding", "read", "--role=read", &account];
            self.cluster.must(&[&place[..], &binding].concat()).await;
        }
        let (ran, found) = self.examine_as(ADMIN).await;
        assert_found("secrets that may be read", &ran, &found, &[]);
        self.patch("store", "store-oras", &json!({"spec": {"parameters": null}})).await;
        self.restore("store", "store-oras", &before).await;
        self.status("store", "store-oras", &json!({"observedGeneration": 3})).await;
    }

    /// What is missing, one thing after another.
    async fn absences(&self) {
        let cluster = &self.cluster;
        cluster.must(&["delete", "assign", "ratify-mutate-image-containers"]).await;
        let (ran, found) = self.examine_as(ADMIN).await;
        assert_found("tags stay", &ran, &found, &[("gatekeeper.mutation", "note")]);
        cluster.must(&["delete", "constrainttemplate", "ratifyverification"]).await;
        let (ran, found) = self.examine_as(ADMIN).await;
        let nobody_asks = [("gatekeeper.template", "warning"), ("gatekeeper.mutation", "note")];
        assert_found("nobody asks", &ran, &found, &nobody_asks);
        cluster.must(&["delete", "clusterrolebinding", "ratify-manager-cluster-rolebinding"]).await;
        cluster.must(&["delete", "provider", "ratify-provider"]).await;
        let (ran, found) = self.examine_as(ADMIN).await;
        let without = [
            ("cluster.rights", "failure"),
            ("gatekeeper.provider", "failure"),
            nobody_asks[0],
            nobody_asks[1],
        ];
        assert_found("no Provider and no rights", &ran, &found, &without);
        cluster.must(&["delete", "crd", "verifiers.config.ratify.deislabs.io"]).await;
        let (ran, found) = self.examine_as(ADMIN).await;
        assert_eq!(
            found[0],
            ("cluster.definitions".to_owned(), "failure".to_owned()),
            "{}",
            ran.stdout
        );

        let (ran, found) = self.examine_as("nobody").await;
        assert_eq!(found, [], "what may not be read is no finding: {}", ran.stdout);
        assert!(ran.stdout.contains("the right to read it is missing"), "{}", ran.stdout);
    }
}

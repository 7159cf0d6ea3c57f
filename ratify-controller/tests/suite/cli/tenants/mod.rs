//! T10, T11: the attacks of a namespace administrator, with all the rights that one has in its own
//! namespace and none elsewhere, on a real API server with RBAC. Each row says what must be seen,
//! and where a switch stands between it and the attack, the same with the switch open.
//!
//! - `table`: what a resource may say, switch by switch; `sources`: what a source of its own may
//!   reach and whom it may pretend to be; `views`: what one namespace can do to another and to the
//!   cluster's rule; `lent`: whose credentials it reads with; `many`: a thousand resources.

mod lent;
mod many;
mod sources;
mod table;
mod views;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    Home, YES,
    cluster::{Controller, POLICY, STORE, define, documents, until, until_in},
    main_job::Place,
};
use crate::cluster::{
    kubectl::Ran,
    server::{Cluster, ClusterOptions, User},
};

const TENANT: &str = "tenant";
/// The tenant's namespace.
const TEAM: &str = "team";
/// Somebody else's.
const OTHER: &str = "other";

/// Everything in one namespace, status and secrets too, and nothing elsewhere.
const RIGHTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: v1
kind: Namespace
metadata: {name: other}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: administrator, namespace: team}
rules: [{apiGroups: ['*'], resources: ['*'], verbs: ['*']}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: administrator, namespace: team}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: administrator}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: tenant}]
";

/// What the cluster's administrator has beside a store and a policy: everything passes by it.
const GUARD: &str = "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: Verifier
metadata: {name: guard}
spec: {name: pass, artifactTypes: '*'}
";

/// A cluster with a tenant in it, and Ratify.
struct Scene {
    // In the order in which they end.
    controller: Controller,
    cluster: Cluster,
    place: Place,
    registry: RunningRegistry,
    /// Of the index of the sample plugin.
    digest: String,
}

impl Scene {
    /// `None`, said aloud, where the programs of a cluster were not brought.
    async fn start(options: RegistryOptions) -> Option<Self> {
        let users = vec![User::new(TENANT, TENANT, &[])];
        let cluster = Cluster::start(ClusterOptions { users }).await?;
        let credentials = options.credentials.clone();
        let registry = RunningRegistry::start(options).await.unwrap();
        let mut home = Home::new();
        home.allow_sources();
        home.set("RATIFY_NAMESPACE", "default");
        home.script_plugin("pass", YES);
        if let Some((user, password)) = credentials {
            home.log_in(&registry.host(), &user, &password);
        }
        let place = Place { home, registry: registry.host(), is_tls: false };
        let digest = place.fill().await;
        define(&place.home, &cluster).await;
        cluster.apply(RIGHTS).await;
        place.home.configure(&json!({}));
        let controller = Controller::start_configured(&place.home, &cluster).await;
        cluster.apply(&documents(&[STORE, POLICY, GUARD])).await;
        let is_active = |status: &Value| status["issuccess"] == true;
        until(&cluster, &controller, "verifiers", "guard", is_active).await;
        until(&cluster, &controller, "stores", "store-oras", is_active).await;
        until(&cluster, &controller, "policies", "ratify-policy", is_active).await;
        Some(Self { controller, cluster, place, registry, digest })
    }

    /// The administrators' sections `plugins` and `namespaces`, watched by the controller.
    fn rule(&self, plugins: &Value, namespaces: &Value) {
        self.place.home.configure(&json!({"plugins": plugins, "namespaces": namespaces}));
    }

    fn plugins(&self) -> PathBuf {
        self.place.home.plugins()
    }

    /// Runs `kubectl` with a document as the tenant, to whatever end.
    async fn try_as_tenant(&self, verb: &str, document: &str) -> Ran {
        let file = self.place.home.write("tenant.yaml", document);
        self.cluster.kubectl_as(TENANT, &[verb, "-f", file.to_str().unwrap()]).await
    }

    /// Applies what the API server lets a tenant apply.
    async fn apply_as_tenant(&self, document: &str) {
        let ran = self.try_as_tenant("apply", document).await;
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }

    async fn delete_as_tenant(&self, kind: &str, name: &str) {
        let ran = self.cluster.kubectl_as(TENANT, &["delete", kind, name, "-n", TEAM]).await;
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }

    /// Writes the status of a verifier of the tenant's, as the tenant.
    async fn forge_status(&self, name: &str, status: &Value) {
        let patch = json!({"status": status}).to_string();
        let target = ["patch", "namespacedverifiers", name, "-n", TEAM, "--subresource=status"];
        let rest = ["--type=merge", "-p", &patch];
        let ran = self.cluster.kubectl_as(TENANT, &[&target[..], &rest].concat()).await;
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }

    /// Waits for what is seen of a tenant's resource: the reason of its condition `Ready`, and a
    /// text in its error. The status is returned.
    async fn seen_of(&self, kind: &str, name: &str, reason: &str, text: &str) -> Value {
        let is_so = |status: &Value| {
            let error = status["error"].as_str().unwrap_or_default();
            status["conditions"][0]["reason"] == reason && error.contains(text)
        };
        let (cluster, controller) = (&self.cluster, &self.controller);
        let object = until_in(cluster, controller, kind, Some(TEAM), name, is_so).await;
        object["status"].clone()
    }

    async fn seen(&self, name: &str, reason: &str, text: &str) -> Value {
        self.seen_of("namespacedverifiers", name, reason, text).await
    }

    /// The answer about the image in a namespace; the empty name stands for none.
    async fn ask(&self, namespace: &str) -> Value {
        let image = self.place.image();
        let in_namespace = format!("[{namespace}]{image}");
        self.controller.ask(if namespace.is_empty() { &image } else { &in_namespace }).await
    }

    /// Asks until the verdict is as wanted and a text is in the answer.
    async fn decides(&self, namespace: &str, is_success: bool, text: &str) {
        let mut item = Value::Null;
        for _ in 0..300 {
            item = self.ask(namespace).await;
            let is_so = (item["value"]["isSuccess"] == true) == is_success;
            if is_so && item.to_string().contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("[{namespace}] never {is_success} {text}: {item} {}", self.controller.said());
    }

    /// Nobody else suffers: the cluster and another namespace are judged by `guard`, and pass.
    async fn leaves_others_alone(&self, attack: &str) {
        for namespace in ["", OTHER] {
            let item = self.ask(namespace).await;
            assert_eq!(item["value"]["isSuccess"], true, "{attack} [{namespace}]: {item}");
            let reports = item["value"]["verifierReports"].as_array().unwrap();
            assert!(reports.iter().all(|report| report["name"] == "guard"), "{attack}: {item}");
        }
    }
}

/// A verifier of the tenant's with this spec beside its artifact types.
fn tenants(name: &str, spec: &str) -> String {
    format!(
        "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: NamespacedVerifier
metadata: {{name: {name}, namespace: {TEAM}}}
spec: {{artifactTypes: '*', {spec}}}
"
    )
}

/// Listens on loopback and never answers.
struct Trap {
    address: String,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Trap {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                held.push(stream);
            }
        });
        Self { address, connections, task }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

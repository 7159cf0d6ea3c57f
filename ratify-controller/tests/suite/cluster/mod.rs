//! A Kubernetes API server of a test's own, the real one over a real etcd: resource definitions,
//! RBAC, status, watches and admission webhooks are what they are in production. Nothing else of
//! a cluster runs, so that a pod is stored and never started, an object outlives its owner, and
//! a deleted namespace stays `Terminating`.
//!
//! - `server`: [`server::Cluster`], which starts, stops and ends;
//! - `kubectl`: what a test does with it;
//! - `schemas`: our definitions beside v1's, as values;
//! - `stored`: objects that were stored under the other side's definitions.
//! - `replica`: a controller on it, ours or v1's; `rotation`, `health`,
//!   `openness`, `waits`: what it does there.

// What a test's helper cannot do fails the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod health;
pub(crate) mod kubectl;
mod openness;
pub(crate) mod replica;
mod rotation;
mod schemas;
pub(crate) mod server;
mod stored;
mod waits;

use std::path::Path;

use serde_json::json;

use server::{ADMIN, Cluster, ClusterOptions, User};

/// Lets whoever is in the group `readers` read config maps.
const READERS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: readers}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kept, namespace: default}
data: {key: value}
";

/// The processes whose arguments name this folder.
fn processes_in(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let all = std::fs::read_dir("/proc").unwrap();
    let commands = all.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    let commands = commands.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
    commands.filter(|command| command.contains(folder)).collect()
}

#[tokio::test]
async fn the_test_cluster_accepts_a_namespace_and_ends_without_a_trace() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    cluster.must(&["create", "namespace", "team"]).await;
    let namespace = cluster.get_json("namespace", None, "team").await;
    assert_eq!(namespace["status"]["phase"], "Active");
    let folder = cluster.folder().to_owned();
    assert_eq!(processes_in(&folder).len(), 2, "etcd and the API server");
    drop(cluster);
    assert_eq!(processes_in(&folder), [""; 0]);
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_user_of_the_test_cluster_may_do_what_its_role_says_and_nothing_is_lost_in_an_outage() {
    let users = vec![User::new("ratify", "system:serviceaccount:team:ratify", &["readers"])];
    let Some(mut cluster) = Cluster::start(ClusterOptions { users }).await else { return };
    cluster.apply(READERS).await;
    let read = ["get", "configmap", "kept", "-o", "jsonpath={.data.key}"];
    let write = ["create", "configmap", "other"];
    assert_eq!(cluster.kubectl_as("ratify", &read).await.stdout, "value");
    let refused = cluster.kubectl_as("ratify", &write).await;
    assert!(refused.stderr.contains("cannot create resource \"configmaps\""), "{refused:?}");

    let (url, before) = (cluster.url(), cluster.get_json("cm", Some("default"), "kept").await);
    cluster.stop_api_server();
    let away = cluster.kubectl(&read).await;
    assert!(away.code != Some(0) && away.stderr.contains("refused"), "{away:?}");
    cluster.start_api_server().await;
    assert_eq!(cluster.url(), url);
    assert_eq!(cluster.get_json("cm", Some("default"), "kept").await, before);
}

#[tokio::test]
async fn a_token_and_the_authority_are_all_that_a_client_needs() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let authority = std::fs::read(cluster.ca_path()).unwrap();
    let authority = reqwest::Certificate::from_pem(&authority).unwrap();
    // Another test of this binary may have been first: the provider is the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([authority]);
    let client = client.build().unwrap();
    let version = client.get(cluster.url() + "/version").bearer_auth(cluster.token(ADMIN));
    let version: serde_json::Value = version.send().await.unwrap().json().await.unwrap();
    assert_eq!([&version["major"], &version["minor"]], [&json!("1"), &json!("34")]);
    let unknown = client.get(cluster.url() + "/version").bearer_auth("guessed");
    assert_eq!(unknown.send().await.unwrap().status(), 401);
}

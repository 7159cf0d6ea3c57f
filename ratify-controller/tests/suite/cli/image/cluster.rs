//! The image on a real API server: v1's hook, and verifiers whose plugin the image ships with.

use std::{fs, process::Stdio, time::Duration};

use serde_json::Value;

use super::{Home, Image};
use crate::cluster::server::{ADMIN, Cluster, ClusterOptions};

/// How often a state is looked for before a test gives up.
const LOOKS: usize = 300;

/// A verifier of the cluster and one of a namespace, both of a plugin that nothing downloads.
const VERIFIERS: &str = "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: Verifier
metadata: {name: of-the-cluster}
spec: {name: sample, artifactTypes: '*'}
---
apiVersion: config.ratify.deislabs.io/v1beta1
kind: NamespacedVerifier
metadata: {name: of-a-team, namespace: default}
spec: {name: sample, artifactTypes: '*'}
";

/// Lets commands of a container reach the API server: by files on its volume.
fn log_in(home: &mut Home, cluster: &Cluster) {
    let config = fs::read(cluster.kubeconfig(ADMIN)).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    config["clusters"][0]["cluster"]["certificate-authority"] = "/.ratify/ca.pem".into();
    fs::copy(cluster.ca_path(), home.path().join(".ratify/ca.pem")).unwrap();
    home.write(".ratify/kubeconfig", config.to_string());
    home.set("KUBECONFIG", "/.ratify/kubeconfig");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v1s_hook_applies_the_definitions_and_plugins_of_the_image_are_found() {
    let Some(image) = Image::find() else { return };
    let Some(mut home) = image.container().await else { return };
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    log_in(&mut home, &cluster);

    // The arguments of v1's job, behind the entrypoint of the image that it runs.
    let entrypoint = image.config(&image.crds()).await["config"]["Entrypoint"].clone();
    let entrypoint: Vec<String> = serde_json::from_value(entrypoint).unwrap();
    let mut arguments: Vec<&str> = entrypoint.iter().skip(1).map(String::as_str).collect();
    arguments.extend(["apply", "-f", "crds/"]);
    for _ in ["install", "upgrade"] {
        let applied = home.must(&arguments).await;
        assert_eq!(applied.lines().count(), 9, "{applied}");
    }
    let established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
    cluster.must(&established).await;

    home.configure(&serde_json::json!({}));
    let mut server = home.command(&["serve", "--enable-crd-manager", "--http", "127.0.0.1:0"]);
    server.env("HOSTNAME", "pod-1").stdin(Stdio::null()).stdout(Stdio::null());
    let log = home.path().join("server.log");
    let _server = server.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    cluster.apply(VERIFIERS).await;
    for (kind, name) in [("verifier", "of-the-cluster"), ("namespacedverifier", "of-a-team")] {
        let mut status = Value::Null;
        for _ in 0..LOOKS {
            status = cluster.get_json(kind, None, name).await["status"].clone();
            if status["issuccess"].is_boolean() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log = || fs::read_to_string(&log).unwrap();
        assert_eq!(status["issuccess"], true, "{name}: {status} {}", log());
    }
}

//! That anybody may ask is said where one looks for who may do what: in the cluster's policy, for as
//! long as it is so, and without a write more than that takes.

use std::time::Duration;

use rcgen::ExtendedKeyUsagePurpose;

use super::{
    replica::{Replica, until},
    server::{ADMIN, Cluster, ClusterOptions},
};
use crate::tls::parts::Authority;

const POLICY: &str = "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: Policy
metadata: {name: ratify-policy}
spec: {type: configpolicy, parameters: {artifactVerificationPolicies: {default: all}}}
";
const FLAGS: [&str; 4] = ["--cert-dir", "tls", "--ca-cert-file", "client.crt"];

/// The policy's version and what it says of being in force.
async fn policy(cluster: &Cluster) -> (String, String) {
    let policy = cluster.get_json("policy", None, "ratify-policy").await;
    let ready = &policy["status"]["conditions"][0];
    let is_ready = ready["type"] == "Ready" && ready["status"] == "True";
    let text = ready["message"].as_str().filter(|_| is_ready).unwrap_or("not ready");
    (policy["metadata"]["resourceVersion"].to_string(), text.to_owned())
}

/// Waits until the policy says so, and says nothing else for a while.
async fn until_says(cluster: &Cluster, is_said: impl Fn(&str) -> bool) {
    assert!(until(async || is_said(&policy(cluster).await.1)).await, "{:?}", policy(cluster).await);
    let before = policy(cluster).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(policy(cluster).await, before, "it is written again");
}

#[tokio::test]
async fn the_clusters_policy_says_open_until_there_is_an_authority_of_clients() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let definitions = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/ratify/crds");
    cluster.must(&["apply", "-f", definitions]).await;
    cluster.must(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).await;
    cluster.apply(POLICY).await;
    let authority = Authority::new("clients");
    let served = authority.issue_for(vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let start = || {
        let replica = Replica::start(&cluster, ADMIN, &FLAGS);
        replica.write("tls/tls.key", &served.key);
        replica.write("tls/tls.crt", &served.certificate);
        replica
    };
    let is_open = |text: &str| text.starts_with("open: whoever") && text.contains("--ca-cert-file");
    let first = start();
    until_says(&cluster, is_open).await;
    let second = start();
    second.until_ready().await;
    until_says(&cluster, is_open).await;
    // They do not see it at the same time.
    first.write("client.crt", &authority.pem());
    until_says(&cluster, str::is_empty).await;
    second.write("client.crt", &authority.pem());
    second.until_said("client certificates are required from now on").await;
    until_says(&cluster, str::is_empty).await;

    drop((first, second));
    let _in_clear = Replica::start(&cluster, ADMIN, &[]);
    until_says(&cluster, |text| text.contains("in clear, since --cert-dir is not set")).await;
}

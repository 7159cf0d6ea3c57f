//! A policy that leaves the decision to Gatekeeper, and a constraint that takes it.

use serde_json::json;

use super::lab::{FORBIDDEN, Lab};
use crate::{chart::site::ARTIFACT_TYPE, cluster::kubectl::Ran};

/// Decides nothing, and must not have to.
const POLICY: &str = "package ratify.policy\n\ndefault valid := false\n";

pub(super) async fn a_constraint_decides_by_the_reports(lab: &Lab) {
    let cluster = &lab.site.cluster;
    cluster.must(&["create", "namespace", "evidence"]).await;
    let exclude = json!({"spec": {"match": {"excludedNamespaces": ["evidence"]}}});
    lab.patch("ratifyverification", "ratify-constraint", &exclude).await;
    lab.page(&[]).succeed("kubectl apply -f docs/gatekeeper/reports.yaml").await;
    let require = json!([{"artifactType": ARTIFACT_TYPE, "verifier": "verifier-statement"}]);
    let constraint = json!({"spec": {"match": {"namespaces": ["evidence"]},
        "parameters": {"require": require}}});
    lab.patch("ratifyreports", "ratify-reports", &constraint).await;

    lab.until_judged("evidence", ARTIFACT_TYPE, |ran| {
        ran.stderr.contains("the policy is no Rego policy")
    })
    .await;
    let policy = cluster.get_json("policy", None, "ratify-policy").await["spec"].clone();
    let parameters = json!({"passthroughEnabled": true, "policy": POLICY,
        "artifactVerificationPolicies": null});
    let passed_on = json!({"spec": {"type": "rego-policy", "parameters": parameters}});
    lab.patch("policy", "ratify-policy", &passed_on).await;
    lab.until_judged("evidence", ARTIFACT_TYPE, |ran| ran.code == Some(0)).await;
    let lacks = format!("it lacks what is required of {ARTIFACT_TYPE}; verifier verifier-recall: ");
    lab.until_judged("evidence", FORBIDDEN, |ran| ran.stderr.contains(&lacks)).await;
    let refused = "no report is against it, and the policy does not admit it";
    lab.until_judged("default", ARTIFACT_TYPE, |ran| ran.stderr.contains(refused)).await;

    let parameters = json!({"passthroughEnabled": null, "policy": null,
        "artifactVerificationPolicies": policy["parameters"]["artifactVerificationPolicies"]});
    let before = json!({"spec": {"type": policy["type"], "parameters": parameters}});
    lab.patch("policy", "ratify-policy", &before).await;
    lab.until_judged("default", ARTIFACT_TYPE, |ran| ran.code == Some(0)).await;
}

impl Lab {
    /// Until this comes of a pod of an image that nobody has asked about, with such an artifact.
    async fn until_judged(&self, namespace: &str, artifact: &str, is_so: impl Fn(&Ran) -> bool) {
        let judged = async || {
            let repository = format!("reports/{}", uuid::Uuid::new_v4().simple());
            let [_, image] = self.push(&repository, artifact);
            let image = format!("--image={image}");
            let run = ["run", "pod", &image, "--dry-run=server", "-n", namespace];
            is_so(&self.site.cluster.kubectl(&run).await)
        };
        self.until(&format!("judged so in {namespace}"), judged).await;
    }
}

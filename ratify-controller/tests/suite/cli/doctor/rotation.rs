//! The rights that a server needs which makes its own certificates, before a real API server: without
//! them each part is found, what the report says mends it, and the chart's roles are enough.

use serde_json::{Value, json};

use super::{
    Expected, assert_found,
    cluster::{Lab, NAMESPACE},
};
use crate::{
    chart::{
        cluster::list,
        helm::{Helm, base},
    },
    cluster::server::ADMIN,
};

/// The roles of the pod, with who has them, and its Deployment, as the chart renders them.
async fn rendered(helm: &Helm) -> (Vec<Value>, Value) {
    let rotated = json!({"replicaCount": 2, "featureFlags": {"RATIFY_CERT_ROTATION": true},
        "provider": {"tls": {"crt": ""}}});
    let objects = helm.render(&Helm::ours(), &[&base(), &rotated]).await;
    let is_role = |object: &&Value| {
        let is_hooks = object["metadata"]["name"].as_str().unwrap().contains("crds");
        object["kind"].as_str().unwrap().contains("Role") && !is_hooks
    };
    let roles = objects.iter().filter(is_role).cloned().collect();
    let mut deployments = objects.into_iter().filter(|object| object["kind"] == "Deployment");
    let mut deployment = deployments.next().unwrap();
    deployment["metadata"]["namespace"] = NAMESPACE.into();
    (roles, deployment)
}

impl Lab {
    /// Looks until that is found: an API server learns of rights a moment later.
    async fn until_found(&self, what: &str, expected: Expected) -> String {
        for _ in 0..20 {
            let (ran, found) = self.examine_as(ADMIN).await;
            if found.len() == expected.len() {
                assert_found(what, &ran, &found, expected);
                return ran.stdout;
            }
        }
        let (ran, found) = self.examine_as(ADMIN).await;
        assert_found(what, &ran, &found, expected);
        ran.stdout
    }
}

/// What the findings of rotation say that is to be typed.
fn commands(report: &str) -> Vec<String> {
    let report: Value = serde_json::from_str(report).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let fixes = findings.filter(|finding| finding["id"] == "cluster.rotation");
    let typed = |finding: &Value| {
        let (_, commands) = finding["fix"].as_str().unwrap().split_once("or else: ").unwrap();
        commands.split("; ").map(str::to_owned).collect::<Vec<_>>()
    };
    fixes.flat_map(typed).collect()
}

#[tokio::test]
async fn rights_that_certificates_need_are_found_missing_and_the_fix_and_the_chart_give_them() {
    let Some(helm) = Helm::find() else { return };
    let Some(lab) = Lab::start().await else { return };
    let (roles, deployment) = rendered(&helm).await;
    let cluster = &lab.cluster;
    cluster.must(&["delete", "deployment", "ratify", "-n", NAMESPACE]).await;
    cluster.apply(&deployment.to_string()).await;
    lab.is_ready().await;
    let both: Expected = &[("cluster.rotation", "failure"), ("cluster.rotation", "failure")];
    let report = lab.until_found("nothing is given", both).await;
    let secret = "missing: get secrets ratify-tls, list secrets ratify-tls, watch secrets ratify-tls, update secrets ratify-tls";
    assert!(report.contains(secret), "{report}");

    let commands = commands(&report);
    assert_eq!(commands.len(), 4, "{report}");
    for command in &commands {
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        cluster.must(&words).await;
    }
    let report = lab.until_found("as the fix has it", &[]).await;
    assert_eq!(report.matches("cluster.rotation").count(), 2, "{report}");
    cluster.must(&["delete", "role", "ratify-rotation", "-n", NAMESPACE]).await;
    cluster.must(&["delete", "clusterrole", "ratify-rotation"]).await;
    lab.until_found("nothing is given any more", both).await;

    cluster.apply(&list(roles)).await;
    lab.until_found("as the chart has it", &[]).await;
    cluster.must(&["delete", "role", "ratify-manager-role", "-n", NAMESPACE]).await;
    let report = lab.until_found("no Secret", &[("cluster.rotation", "failure")]).await;
    assert!(report.contains(secret), "{report}");

    // Its environment says that it makes them, and its command line does not.
    let mut without = deployment;
    let container = &mut without["spec"]["template"]["spec"]["containers"][0];
    container["args"].as_array_mut().unwrap().retain(|word| word != "--enable-crd-manager");
    cluster.apply(&without.to_string()).await;
    let (ran, _) = lab.examine_as(ADMIN).await;
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let mut found = report["findings"].as_array().unwrap().clone();
    found.retain(|finding| finding["id"] == "cluster.rotation");
    let seen = found[0]["seen"].as_str().unwrap();
    assert!(found.len() == 1 && found[0]["state"] == "warning", "{found:?}");
    assert!(seen.ends_with("without --enable-crd-manager"), "{seen}");
}

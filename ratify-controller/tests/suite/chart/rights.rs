//! The rights that are rendered, word for word: more than these is a decision.

use serde_json::{Value, json};

use super::helm::{Helm, base};

/// Each rule on a line.
async fn rights(helm: &Helm, values: &Value) -> String {
    let mut lines = Vec::new();
    for object in helm.render(&Helm::ours(), &[&base(), values]).await {
        let name = object["metadata"]["name"].as_str().unwrap();
        if !["ClusterRole", "Role"].contains(&object["kind"].as_str().unwrap()) {
            continue;
        }
        for rule in object["rules"].as_array().unwrap() {
            let words = |key: &str| match rule[key].as_array() {
                Some(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
                None => "*".to_owned(),
            };
            lines.push(format!(
                "{name}: {} {}/{} named {}",
                words("verbs"),
                words("apiGroups"),
                words("resources"),
                words("resourceNames")
            ));
        }
    }
    lines.join("\n")
}

#[tokio::test]
async fn the_rights_are_these_and_no_more() {
    let Some(helm) = Helm::find() else { return };
    insta::assert_snapshot!(rights(&helm, &json!({})).await, @r"
    ratify-manager-cluster-role: get,list,watch config.ratify.deislabs.io/certificatestores,keymanagementproviders,namespacedkeymanagementproviders,namespacedpolicies,namespacedstores,namespacedverifiers,policies,stores,verifiers named *
    ratify-manager-cluster-role: patch config.ratify.deislabs.io/certificatestores/status,keymanagementproviders/status,namespacedkeymanagementproviders/status,namespacedpolicies/status,namespacedstores/status,namespacedverifiers/status,policies/status,stores/status,verifiers/status named *
    ratify-manager-cluster-role: create events.k8s.io/events named *
    ratify-manager-cluster-role: get externaldata.gatekeeper.sh/providers named ratify-provider,ratify-mutation-provider
    ratify-manager-cluster-role: get admissionregistration.k8s.io/validatingwebhookconfigurations named gatekeeper-validating-webhook-configuration
    ratify-manager-cluster-role: get admissionregistration.k8s.io/mutatingwebhookconfigurations named gatekeeper-mutating-webhook-configuration
    ratify-admin-upgrade-crds: get,create,patch apiextensions.k8s.io/customresourcedefinitions named *
    ");
}

#[tokio::test]
async fn rotation_and_secrets_need_more_where_they_are_used() {
    let Some(helm) = Helm::find() else { return };
    let values = json!({
        "featureFlags": {"RATIFY_CERT_ROTATION": true}, "upgradeCRDs": {"enabled": false},
        "oras": {"authProviders": {"k8secretsEnabled": true}}, "rbac": {"readSecretsIn": ["team"]},
    });
    insta::assert_snapshot!(rights(&helm, &values).await, @r"
    ratify-manager-cluster-role: get,list,watch config.ratify.deislabs.io/certificatestores,keymanagementproviders,namespacedkeymanagementproviders,namespacedpolicies,namespacedstores,namespacedverifiers,policies,stores,verifiers named *
    ratify-manager-cluster-role: patch config.ratify.deislabs.io/certificatestores/status,keymanagementproviders/status,namespacedkeymanagementproviders/status,namespacedpolicies/status,namespacedstores/status,namespacedverifiers/status,policies/status,stores/status,verifiers/status named *
    ratify-manager-cluster-role: create events.k8s.io/events named *
    ratify-manager-cluster-role: list,watch externaldata.gatekeeper.sh/providers named *
    ratify-manager-cluster-role: patch externaldata.gatekeeper.sh/providers named ratify-provider,ratify-mutation-provider
    ratify-manager-cluster-role: get externaldata.gatekeeper.sh/providers named ratify-provider,ratify-mutation-provider
    ratify-manager-cluster-role: get admissionregistration.k8s.io/validatingwebhookconfigurations named gatekeeper-validating-webhook-configuration
    ratify-manager-cluster-role: get admissionregistration.k8s.io/mutatingwebhookconfigurations named gatekeeper-mutating-webhook-configuration
    ratify-manager-role: get,list,watch,update /secrets named ratify-tls
    ratify-secret-reader: get /secrets,serviceaccounts named *
    ratify-secret-reader: get /secrets,serviceaccounts named *
    ");
}

#[tokio::test]
async fn what_the_doctor_reads_in_the_pod_is_read_and_no_more_where_that_is_wanted() {
    let Some(helm) = Helm::find() else { return };
    let plain = rights(&helm, &json!({})).await;
    let more = rights(&helm, &json!({"rbac": {"doctor": true}})).await;
    let more: Vec<&str> =
        more.lines().filter(|line| !plain.lines().any(|plain| plain == *line)).collect();
    insta::assert_snapshot!(more.join("\n"), @r"
    ratify-manager-cluster-role: get apiextensions.k8s.io/customresourcedefinitions named certificatestores.config.ratify.deislabs.io,keymanagementproviders.config.ratify.deislabs.io,namespacedkeymanagementproviders.config.ratify.deislabs.io,namespacedpolicies.config.ratify.deislabs.io,namespacedstores.config.ratify.deislabs.io,namespacedverifiers.config.ratify.deislabs.io,policies.config.ratify.deislabs.io,stores.config.ratify.deislabs.io,verifiers.config.ratify.deislabs.io
    ratify-manager-cluster-role: list templates.gatekeeper.sh/constrainttemplates named *
    ratify-manager-cluster-role: list constraints.gatekeeper.sh/* named *
    ratify-manager-cluster-role: list mutations.gatekeeper.sh/assign named *
    ratify-doctor: get,list apps/deployments named *
    ");
}

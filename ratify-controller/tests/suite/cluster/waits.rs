//! How long Gatekeeper waits is read from the API server, where that is allowed.

use super::{
    replica::Replica,
    server::{ADMIN, Cluster, ClusterOptions, User},
};

/// Gatekeeper's webhook, which is about nothing here, and a Provider of v1's chart.
const WAITING: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: gatekeeper-validating-webhook-configuration}
webhooks:
  - name: check-ignore-label.gatekeeper.sh
    admissionReviewVersions: [v1]
    sideEffects: None
    timeoutSeconds: 1
    clientConfig: {url: 'https://127.0.0.1:1/v1/admitlabel'}
    rules: [{apiGroups: [none.example.com], apiVersions: ['*'], operations: [CREATE], resources: ['*']}]
  - name: validation.gatekeeper.sh
    admissionReviewVersions: [v1]
    sideEffects: None
    timeoutSeconds: 3
    failurePolicy: Ignore
    clientConfig: {url: 'https://127.0.0.1:1/v1/admit'}
    rules: [{apiGroups: [none.example.com], apiVersions: ['*'], operations: [CREATE], resources: ['*']}]
---
apiVersion: externaldata.gatekeeper.sh/v1beta1
kind: Provider
metadata: {name: ratify-mutation-provider}
spec: {url: 'https://ratify.gatekeeper-system/ratify/gatekeeper/v1/mutate', timeout: 1, caBundle: Y2E=}
";

#[tokio::test]
async fn answers_are_given_in_time_for_who_waits_or_it_is_said_that_nobody_knows() {
    let users = vec![User::new("nobody", "nobody", &[])];
    let Some(cluster) = Cluster::start(ClusterOptions { users }).await else { return };
    let definitions = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/ratify/crds");
    let provider = "charts/gatekeeper/crds/provider-customresourcedefinition.yaml";
    let provider = cluster.tool("gatekeeper-module").join(provider);
    cluster.must(&["apply", "-f", definitions, "-f", provider.to_str().unwrap()]).await;
    cluster.must(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).await;
    cluster.apply(WAITING).await;

    let knows = Replica::start(&cluster, ADMIN, &[]);
    for said in [
        "answers are given within 2.85s, since timeoutSeconds of the webhook validation.gatekeeper.sh in gatekeeper-validating-webhook-configuration is 3s; executor.verificationRequestTimeout says 2.9s",
        "failurePolicy is Ignore, and timeoutSeconds of the webhook validation.gatekeeper.sh",
    ] {
        knows.until_said(said).await;
    }
    // What leaves time enough is not spoken of.
    assert!(!knows.said().contains("ratify-mutation-provider is"), "{}", knows.said());

    let may_not = Replica::start(&cluster, "nobody", &[]);
    may_not.until_said("how long Gatekeeper waits for an answer is not known").await;
    let said = may_not.said();
    let line = said.lines().find(|line| line.contains("how long Gatekeeper waits")).unwrap();
    for right in ["validatingwebhookconfigurations", "mutatingwebhookconfigurations", "providers"] {
        assert!(line.contains(right), "{line}");
    }
    assert_eq!(said.matches("how long Gatekeeper waits").count(), 1, "{said}");
}

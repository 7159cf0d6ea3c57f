//! The constraint templates of Ratify v1 as they are, over our server.

use serde_json::{Value, json};

use super::lab::{FORBIDDEN, Lab, assert_done, assert_refused};

/// What a namespace's own verifier says of what the cluster's refuses.
const LENIENT: &str = "cat >/dev/null; echo '{\"isSuccess\":true,\"message\":\"ours\"}'";

pub(super) async fn v1s_templates_work(lab: &Lab) {
    for namespace in ["stock", "team", "tenant"] {
        lab.site.cluster.must(&["create", "namespace", namespace]).await;
    }
    per_namespace(lab).await;
    // It takes the place of ours, whose constraint stays.
    lab.put_template("default").await;
    let [good, _] = lab.push_good("stock/good");
    let [_, recalled] = lab.push("stock/recalled", FORBIDDEN);
    assert_done(&lab.run("stock", "good", &good).await);
    let refused = lab.run("stock", "recalled", &recalled).await;
    assert_refused(&refused, &format!("failed to verify the artifact: {recalled}, trace-id: "));

    lab.put_template("multi-tenancy").await;
    assert_done(&lab.run("tenant", "good", &good).await);
    let refused = lab.run("tenant", "recalled", &recalled).await;
    assert_refused(&refused, &format!("failed to verify the artifact: [tenant]{recalled}"));
    lab.put_template("ours").await;
}

/// The constraint of the document has a namespace's own verifier decide.
async fn per_namespace(lab: &Lab) {
    let plugins = crate::chart::site::placed(&lab.pod.root, "/.ratify/plugins");
    crate::host::script(&plugins, "lenient", LENIENT);
    let verifier = json!({
        "apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": "NamespacedVerifier",
        "metadata": {"name": "verifier-lenient", "namespace": "team"},
        "spec": {"name": "lenient", "artifactTypes": FORBIDDEN},
    });
    lab.site.cluster.apply(&verifier.to_string()).await;
    let is_active = "--for=jsonpath={.status.issuccess}=true";
    let wait = ["wait", is_active, "--timeout=60s", "-n", "team"];
    lab.site.cluster.must(&[&wait[..], &["namespacedverifier/verifier-lenient"]].concat()).await;
    let [_, recalled] = lab.push("stock/lenient", FORBIDDEN);
    assert_refused(&lab.run("team", "recalled", &recalled).await, "verifier verifier-recall: ");
    let exclude = json!({"spec": {"match": {"excludedNamespaces": ["team"]}}});
    lab.patch("ratifyverification", "ratify-constraint", &exclude).await;
    let tenants = lab.site.helm.folder().join("tenants.yaml");
    lab.site.cluster.must(&["apply", "-f", tenants.to_str().unwrap()]).await;
    let is_created = async || lab.run("team", "recalled", &recalled).await.code == Some(0);
    lab.until("created", is_created).await;
    assert_refused(&lab.run("default", "recalled2", &recalled).await, "verifier verifier-recall: ");
}

impl Lab {
    /// Puts a template in force, in the place of another of its name.
    async fn put_template(&self, which: &str) {
        let cluster = &self.site.cluster;
        let library = self.site.helm.tool("ratify-v1-module").join("library");
        let path = match which {
            "ours" => self.site.helm.folder().join("docs/gatekeeper/verification.yaml"),
            "multi-tenancy" => library.join("multi-tenancy-validation/template.yaml"),
            other => library.join(other).join("template.yaml"),
        };
        cluster.must(&["apply", "-f", path.to_str().unwrap()]).await;
        let template: Value =
            cluster.get_json("constrainttemplate", None, "ratifyverification").await;
        let generation = &template["metadata"]["generation"];
        let is_in_force = async || {
            let template = cluster.get_json("constrainttemplate", None, "ratifyverification").await;
            let pods = template["status"]["byPod"].as_array().cloned().unwrap_or_default();
            pods.len() == 2 && pods.iter().all(|pod| pod["observedGeneration"] == *generation)
        };
        self.until("in force", is_in_force).await;
    }
}

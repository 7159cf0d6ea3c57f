//! [`Judge`]: real Gatekeeper over a provider that answers anything.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};

use super::{
    answers::{answer, image},
    gatekeeper::Gatekeeper,
    provider::Provider,
};
use crate::{
    chart::{
        helm::{Helm, NAMESPACE, objects},
        site::Site,
    },
    cluster::server::ADMIN,
    tls::parts::Authority,
};

/// How often a state is looked for before a test gives up, and how soon again.
const LOOKS: usize = 1200;
const INTERVAL: Duration = Duration::from_millis(50);

/// A cluster with Gatekeeper, and with a provider in place of Ratify.
pub(super) struct Judge {
    client: reqwest::Client,
    site: Site,
    gatekeeper: Gatekeeper,
    _provider: Provider,
}

impl Judge {
    pub(super) async fn start() -> Option<Self> {
        let helm = Helm::find()?;
        let authority = Authority::new("gatekeeper");
        let site = Site::new(helm, &authority).await;
        let gatekeeper = Gatekeeper::install(&site, &authority).await;
        call_for_less(&site).await;
        let provider = Provider::start(answer).await;
        for name in ["ratify-provider", "other-provider", "reports-provider"] {
            site.cluster.apply(&provider.object(name).to_string()).await;
        }
        let client = site.cluster.client();
        Some(Self { client, site, gatekeeper, _provider: provider })
    }

    /// Applies a template, and a constraint of it for a namespace of the same name.
    pub(super) async fn apply(&self, template: &str, namespace: &str, parameters: &Value) {
        let object = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace}});
        self.put("/api/v1/namespaces", &object).await.unwrap();
        let template: Value = serde_saphyr::from_str(template).unwrap();
        let path =
            format!("/apis/{}/constrainttemplates", template["apiVersion"].as_str().unwrap());
        let generation =
            self.put(&path, &template).await.unwrap()["metadata"]["generation"].clone();
        // Another of the same name may have been there.
        let name = template["metadata"]["name"].as_str().unwrap();
        let observed = "/status/byPod/1/observedGeneration";
        self.until(&format!("{path}/{name}"), observed, &generation).await;
        let kind = template["spec"]["crd"]["spec"]["names"]["kind"].as_str().unwrap();
        let path = format!("/apis/constraints.gatekeeper.sh/v1beta1/{}", kind.to_lowercase());
        let constraint = json!({
            "apiVersion": "constraints.gatekeeper.sh/v1beta1", "kind": kind,
            "metadata": {"name": namespace},
            "spec": {"match": {"kinds": [{"apiGroups": ["*"], "kinds": ["*"]}],
                "namespaces": [namespace]}, "parameters": parameters},
        });
        for look in 0.. {
            // Its kind may not be served yet.
            match self.put(&path, &constraint).await {
                Ok(_) => break,
                Err(answer) => assert!(look < LOOKS, "{answer} {}", self.gatekeeper.said()),
            }
            tokio::time::sleep(INTERVAL).await;
        }
        let enforced = "/status/byPod/1/enforced";
        self.until(&format!("{path}/{namespace}"), enforced, &json!(true)).await;
    }

    /// Creates an object or changes it to this.
    async fn put(&self, path: &str, object: &Value) -> Result<Value, Value> {
        let name = object["metadata"]["name"].as_str().unwrap();
        let url = format!("{}{path}/{name}?fieldManager=judge&force=true", self.site.cluster.url());
        let request = self.client.patch(url).header("content-type", "application/apply-patch+yaml");
        let answer = self.ask(request.body(object.to_string())).await;
        if answer["kind"] == "Status" { Err(answer) } else { Ok(answer) }
    }

    /// Waits until an object has this value there.
    async fn until(&self, path: &str, pointer: &str, value: &Value) {
        let url = format!("{}{path}", self.site.cluster.url());
        for _ in 0..LOOKS {
            if self.ask(self.client.get(&url)).await.pointer(pointer) == Some(value) {
                return;
            }
            tokio::time::sleep(INTERVAL).await;
        }
        panic!("{path} is never {value} at {pointer}: {}", self.gatekeeper.said());
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Value {
        let request = request.bearer_auth(self.site.cluster.token(ADMIN));
        let request = request.timeout(Duration::from_secs(60));
        request.send().await.unwrap().json().await.unwrap()
    }

    /// What would come of a pod of this image, as the API server says it; nothing is stored.
    pub(super) async fn judge(&self, namespace: &str, name: &str) -> Result<(), String> {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"},
            "spec": {"containers": [{"name": "c", "image": image(name)}]}});
        let cluster = &self.site.cluster;
        let url = format!("{}/api/v1/namespaces/{namespace}/pods?dryRun=All", cluster.url());
        let request = self.client.post(url).header("content-type", "application/json");
        let answer = self.ask(request.body(pod.to_string())).await;
        if answer["kind"] == "Pod" {
            return Ok(());
        }
        Err(answer["message"].as_str().unwrap().to_owned())
    }

    /// Each of these is admitted, and each of those refused, for its reason.
    pub(super) async fn expect(
        &self,
        namespace: &str,
        admitted: &[&str],
        refused: &[(&str, &str)],
    ) {
        for name in admitted {
            assert_eq!(self.judge(namespace, name).await, Ok(()), "{namespace}: {name}");
        }
        for (name, reason) in refused {
            let denied = "admission webhook \"validation.gatekeeper.sh\" denied the request: ";
            let said = self.judge(namespace, name).await.expect_err(name);
            assert!(said.starts_with(denied) && said.contains(reason), "{reason:?}: {said}");
        }
    }

    /// The template of v1's library, as it is.
    pub(super) fn of_v1(&self, path: &str) -> String {
        fs::read_to_string(self.folder_of_v1().join(path)).unwrap()
    }

    /// The paths of all of them.
    pub(super) fn library(&self) -> BTreeSet<String> {
        let library = self.folder_of_v1();
        let folders = fs::read_dir(&library).unwrap();
        let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
        let paths = files.map(|file| file.unwrap().path());
        let paths = paths.map(|path| path.strip_prefix(&library).unwrap().display().to_string());
        paths.filter(|path| path.contains("/template.")).collect()
    }

    fn folder_of_v1(&self) -> PathBuf {
        self.site.helm.tool("ratify-v1-module").join("library")
    }
}

/// Has Gatekeeper called by the rules of the document.
async fn call_for_less(site: &Site) {
    let chart = site.helm.tool("gatekeeper-module").join("charts/gatekeeper");
    let values = site.helm.folder().join("gatekeeper-values.yaml");
    let name = "gatekeeper-validating-webhook-configuration";
    let template = format!("templates/{name}-validatingwebhookconfiguration.yaml");
    let [chart, values] = [&chart, &values].map(|path| path.to_str().unwrap());
    let render = ["template", "gatekeeper", chart, "--namespace", NAMESPACE, "--values", values];
    let ran = site.helm.run(&[&render[..], &["--show-only", &template]].concat(), None).await;
    let rendered = objects(&ran.stdout);
    let rules = &rendered[0]["webhooks"][0]["rules"];
    let patch = json!([{"op": "replace", "path": "/webhooks/0/rules", "value": rules}]).to_string();
    let webhook = format!("validatingwebhookconfiguration/{name}");
    site.cluster.must(&["patch", &webhook, "--type=json", "-p", &patch]).await;
}

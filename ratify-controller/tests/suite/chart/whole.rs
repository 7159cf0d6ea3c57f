//! The whole of it, in the words of `docs/INSTALL.md`: from an empty API server to a verdict over
//! mutual TLS.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use serde_json::{Value, json};

use super::{
    helm::{Helm, NAMESPACE},
    site::{ARTIFACT_TYPE, NAME, Pod, Site},
};
use crate::tls::parts::{Authority, Identity};

/// What an operator sees in `kubectl logs`, in this order.
const LINES: [&str; 9] = [
    "Feature flag EXPERIMENTAL_DYNAMIC_PLUGINS is enabled",
    "Setting log level to info",
    "starting crd manager",
    "initializing executor with config file at default config path",
    "reconciling verifier 'verifier-dynamic'",
    "Address was empty, setting to default path: ",
    "selected auth provider: dockerConfig",
    "downloaded verifier plugin sample from ",
    "verifier 'verifier-dynamic' added to verifier map in namespace: ",
];

/// What a scrape shows that only a pod with TLS and custom resources has.
const SERIES: [&str; 8] = [
    r#"ratify_certificate_expiration_timestamp_seconds{certificate="server"} "#,
    r#"ratify_certificate_expiration_timestamp_seconds{certificate="client_ca"} "#,
    // That of the test, notation and cosign.
    r#"ratify_resources{kind="Verifier",state="in_force"} 3"#,
    r#"ratify_resource_reconciles_total{kind="Verifier",outcome="in_force"} "#,
    r#"ratify_plugin_pins{state="pinned"} 1"#,
    r#"ratify_configuration_parts{part="policies"} 1"#,
    r#"ratify_configuration_info{fingerprint=""#,
    r#"ratify_plugin_info{kind="verifier",workload_namespace="",name="verifier-dynamic","#,
];

/// The metrics of a server, at the address that its log says.
async fn scrape(log: &str) -> String {
    let (_, address) = log.split_once("metrics backend: prometheus on ").unwrap();
    let address = address.split_whitespace().next().unwrap().trim_matches('"');
    reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap()
}

impl Site {
    /// Names the plugin, as the guide does, and waits as an operator would.
    async fn apply_verifier(&self, pod: &Pod) -> Value {
        let source = json!({"artifact": self.artifact(), "authProvider": {"name": "dockerConfig"}});
        let verifier = json!({
            "apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": "Verifier",
            "metadata": {"name": "verifier-dynamic"},
            "spec": {"name": "sample", "artifactTypes": ARTIFACT_TYPE, "source": source},
        });
        self.cluster.apply(&verifier.to_string()).await;
        let wait = ["wait", "verifier/verifier-dynamic", "--timeout=60s"];
        let is_active = "--for=jsonpath={.status.issuccess}=true";
        let waited = self.cluster.kubectl(&[&wait[..], &[is_active]].concat()).await;
        assert_eq!(waited.code, Some(0), "{} {}", waited.stderr, pod.controller.said());
        self.cluster.get_json("verifier", None, "verifier-dynamic").await["status"].clone()
    }

    /// Asks as Gatekeeper does, by what the Provider says; the item of the key, or why there is none.
    async fn ask(&self, pod: &Pod, own: Option<&Identity>, key: &str) -> Result<Value, String> {
        let provider = self.cluster.get_json("provider", None, "ratify-provider").await;
        let bundle = STANDARD.decode(provider["spec"]["caBundle"].as_str().unwrap()).unwrap();
        let trusted = reqwest::Certificate::from_pem_bundle(&bundle).unwrap();
        let address = pod.address.parse().unwrap();
        // Of a connection with several streams at once a refusal is seen as an end, too.
        let client = reqwest::Client::builder().http1_only().no_proxy().tls_certs_only(trusted);
        let mut client = client.resolve(NAME, address).timeout(Duration::from_secs(30));
        if let Some(own) = own {
            let pem = format!("{}{}", own.certificate, own.key);
            client = client.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        }
        let url = provider["spec"]["url"].as_str().unwrap();
        assert!(url.contains(&format!("://{NAME}:6001/")), "{url}");
        let url = url.replace(":6001", &format!(":{}", address.port()));
        let body = json!({
            "apiVersion": "externaldata.gatekeeper.sh/v1beta1", "kind": "ProviderRequest",
            "request": {"keys": [key]},
        });
        let answer = client.build().unwrap().post(url).body(body.to_string()).send().await;
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        let answer = answer.bytes().await.map_err(|error| format!("{error:?}"))?;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        Ok(answer["response"]["items"][0].clone())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_empty_api_server_to_a_verdict_over_mutual_tls() {
    let Some(helm) = Helm::find() else { return };
    let [ours, gatekeeper, stranger] = ["ours", "gatekeeper", "stranger"].map(Authority::new);
    let site = Site::new(helm, &gatekeeper).await;
    site.push_plugin().await;
    let [image, bare] = site.push_images();
    site.install(&ours.issue_named(NAME, vec![ServerAuth]), &ours).await;
    let pod = site.run_pod().await;
    pod.controller.until_ready().await;

    let status = site.apply_verifier(&pod).await;
    assert_eq!(status["plugin"]["loadedBy"], "ratify-1", "{status}");
    assert_eq!(status["conditions"][0]["reason"], "Active", "{status}");
    let said = pod.controller.said();
    let mut rest = said.as_str();
    for line in LINES {
        let at = rest.find(line).unwrap_or_else(|| panic!("{line} is not said in order: {said}"));
        rest = &rest[at..];
    }

    let webhook = gatekeeper.issue_for(vec![ClientAuth]);
    let item = site.ask(&pod, Some(&webhook), &image).await.unwrap();
    assert_eq!(item["value"]["isSuccess"], true, "{item} {}", pod.controller.said());
    let report = &item["value"]["verifierReports"][0];
    assert_eq!(report["message"], "Sample verification success", "{item}");
    assert_eq!(report["verifierName"], "verifier-dynamic", "{item}");
    let item = site.ask(&pod, Some(&webhook), &bare).await.unwrap();
    assert_ne!(item["value"]["isSuccess"], true, "{item}");

    let scraped = scrape(&pod.controller.said()).await;
    for series in SERIES {
        let is_there = scraped.lines().any(|line| line.starts_with(series));
        assert!(is_there, "{series}: {scraped}");
    }

    let of_a_stranger = stranger.issue_for(vec![ClientAuth]);
    for own in [None, Some(&of_a_stranger)] {
        let refused = site.ask(&pod, own, &image).await.unwrap_err();
        assert!(refused.contains("AlertReceived"), "{refused}");
    }
    assert_eq!(pod.controller.refused(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_helm_prints_is_installed_by_kubectl_as_the_document_tells() {
    let Some(helm) = Helm::find() else { return };
    let site = Site::new(helm, &Authority::new("gatekeeper")).await;
    site.type_block("helm template", "").await;
    let definitions = site.cluster.must(&["get", "crd", "-o", "name"]).await;
    let ours = definitions.lines().filter(|name| name.ends_with(".config.ratify.deislabs.io"));
    assert_eq!(ours.count(), 9, "{definitions}");
    for (kind, namespace, name) in [
        ("deployment", Some(NAMESPACE), "ratify"),
        ("secret", Some(NAMESPACE), "ratify-tls"),
        ("store", None, "store-oras"),
        ("policy", None, "ratify-policy"),
        ("provider", None, "ratify-provider"),
    ] {
        site.cluster.get_json(kind, namespace, name).await;
    }
}

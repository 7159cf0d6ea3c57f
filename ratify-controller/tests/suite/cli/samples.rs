//! Every sample resource of Ratify v1.4.0, applied unchanged, and v1alpha1: each is accepted, takes
//! effect where this build can do it, and otherwise says in its status what is missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::Value;

use super::{
    Home,
    cluster::{Controller, LOOKS, until},
    main_job::Place,
};
use crate::{
    cluster::server::{Cluster, ClusterOptions},
    parity::machines::Machines,
};

/// The plugins that are in v1's image.
const PLUGINS: [&str; 4] = ["licensechecker", "sbom", "schemavalidator", "vulnerabilityreport"];

/// A cluster with our definitions, installed as Helm and v1's upgrade hook do it.
async fn cluster_with_definitions() -> Option<Cluster> {
    let cluster = Cluster::start(ClusterOptions::default()).await?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/ratify/crds");
    cluster.must(&["apply", "-f", folder.to_str().unwrap()]).await;
    cluster.must(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).await;
    Some(cluster)
}

/// Where v1 has resources: its samples, and what its own end-to-end tests apply.
const FOLDERS: [&str; 2] = ["config/samples", "test/bats/tests/config"];

/// A file of one resource.
struct Sample {
    path: PathBuf,
    /// Its path in v1's source.
    shown: String,
    /// Its kind, as the stored version is asked for.
    kind: String,
    name: String,
}

fn samples(module: &Path) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut folders = FOLDERS.map(|folder| module.join(folder)).to_vec();
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|end| end != "yaml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let object: Value = serde_saphyr::from_str(&text).unwrap();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            samples.push(Sample {
                shown: path.strip_prefix(module).unwrap().display().to_string(),
                kind: format!("{}.v1beta1.config.ratify.deislabs.io", text(&object["kind"])),
                name: text(&object["metadata"]["name"]),
                path,
            });
        }
    }
    samples.sort_by(|a, b| a.shown.cmp(&b.shown));
    samples
}

/// Groups of samples in which no two are the same object.
fn rounds(samples: Vec<Sample>) -> Vec<Vec<Sample>> {
    let mut rounds: Vec<Vec<Sample>> = Vec::new();
    let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
    for sample in samples {
        let count = seen.entry((sample.kind.clone(), sample.name.clone())).or_default();
        if rounds.len() == *count {
            rounds.push(Vec::new());
        }
        rounds[*count].push(sample);
        *count += 1;
    }
    rounds
}

/// The objects of some samples, once the status of each is about it as it is now.
async fn told(cluster: &Cluster, controller: &Controller, round: &[Sample]) -> Vec<Value> {
    let mut kinds: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for _ in 0..LOOKS {
        let of_round: BTreeSet<&str> = round.iter().map(|sample| sample.kind.as_str()).collect();
        for kind in of_round {
            let listed = cluster.must(&["get", kind, "-A", "-o", "json"]).await;
            let mut listed: Value = serde_json::from_str(&listed).unwrap();
            let items = listed["items"].take().as_array().unwrap().clone();
            kinds.insert(kind, items);
        }
        let found = |sample: &Sample| {
            let of_kind = kinds[sample.kind.as_str()].iter();
            let mut named = of_kind.filter(|object| object["metadata"]["name"] == *sample.name);
            named.next().unwrap_or_else(|| panic!("{} is not there", sample.shown)).clone()
        };
        let objects: Vec<Value> = round.iter().map(found).collect();
        let is_told = |object: &Value| {
            object["status"]["observedGeneration"] == object["metadata"]["generation"]
        };
        if objects.iter().all(is_told) {
            return objects;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("a sample's status says nothing: {}", controller.said());
}

/// What a status comes to. Success and error exclude each other, and the brief text is there
/// exactly where the full one is.
fn verdict(object: &Value) -> String {
    let status = &object["status"];
    let ready = &status["conditions"][0];
    match (&status["issuccess"], &status["error"], &status["brieferror"]) {
        (Value::Bool(true), Value::Null, Value::Null) => {
            assert_eq!((&ready["type"], &ready["status"]), (&"Ready".into(), &"True".into()));
            "in force".to_owned()
        }
        (Value::Bool(false), Value::String(error), Value::String(brief)) => {
            assert!(brief.len() <= 103, "{brief}");
            assert_eq!((&ready["type"], &ready["status"]), (&"Ready".into(), &"False".into()));
            error.clone()
        }
        _ => panic!("a status in parts: {status}"),
    }
}

// Long because: it is a table.
#[tokio::test]
async fn each_sample_of_v1_is_accepted_and_its_status_says_how_it_stands() {
    let Some(cluster) = cluster_with_definitions().await else { return };
    let machines = Machines::find().unwrap();
    let mut home = Home::new();
    home.set("RATIFY_NAMESPACE", "gatekeeper-system");
    for plugin in PLUGINS {
        home.link_plugin(plugin, &machines.tool(&format!("v1-{plugin}")));
    }
    let controller = Controller::start(&home, &cluster).await;
    let samples = samples(&machines.tool("ratify-v1-module"));
    let mut lines = Vec::new();
    for round in rounds(samples) {
        let mut files = Vec::new();
        for sample in &round {
            files.extend(["-f", sample.path.to_str().unwrap()]);
        }
        cluster.must(&[&["apply"], &files[..]].concat()).await;
        let objects = told(&cluster, &controller, &round).await;
        let lines_of_round = round.iter().zip(&objects).map(|(sample, object)| {
            let home = home.path().display().to_string();
            format!("{}: {}", sample.shown, verdict(object).replace(&home, "<home>"))
        });
        lines.extend(lines_of_round);
        cluster.must(&[&["delete"], &files[..]].concat()).await;
    }
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    config/samples/clustered/kmp/config_v1beta1_keymanagementprovider_akv.yaml: CONFIG_INVALID: Failed to create key management provider from CR: tenantID is not set
    config/samples/clustered/kmp/config_v1beta1_keymanagementprovider_akv_refresh_enabled.yaml: CONFIG_INVALID: Failed to create key management provider from CR: tenantID is not set
    config/samples/clustered/kmp/config_v1beta1_keymanagementprovider_inline.yaml: in force
    config/samples/clustered/policy/config_v1alpha1_policy_json.yaml: in force
    config/samples/clustered/policy/config_v1alpha1_policy_rego.yaml: in force
    config/samples/clustered/policy/config_v1beta1_policy_json.yaml: in force
    config/samples/clustered/policy/config_v1beta1_policy_rego.yaml: in force
    config/samples/clustered/store/config_v1beta1_store_dynamic.yaml: PLUGIN_NOT_FOUND: Unable to create store from store CR: plugin not found: failed to find plugin "dynamic" in paths [<home>/.ratify/plugins]
    config/samples/clustered/store/config_v1beta1_store_oras.yaml: in force
    config/samples/clustered/store/config_v1beta1_store_oras_http.yaml: in force
    config/samples/clustered/store/config_v1beta1_store_oras_k8secretAuth.yaml: in force
    config/samples/clustered/verifier/config_v1alpha1_store_oras_http.yaml: in force
    config/samples/clustered/verifier/config_v1alpha1_verifier_notation.yaml: in force
    config/samples/clustered/verifier/config_v1beta1_verifier_complete_licensechecker.yaml: in force
    config/samples/clustered/verifier/config_v1beta1_verifier_cosign.yaml: in force
    config/samples/clustered/verifier/config_v1beta1_verifier_cosign_keyless_legacy.yaml: in force
    config/samples/clustered/verifier/config_v1beta1_verifier_cosign_legacy.yaml: in force
    config/samples/clustered/verifier/config_v1beta1_verifier_dynamic.yaml: PLUGIN_NOT_FOUND: Unable to create verifier from verifier CR: Verifier plugin dynamic not found: failed to find plugin "dynamic" in paths [<home>/.ratify/plugins]: Please ensure that the correct type is specified for the built-in Verifier configuration or the custom Verifier plugin is configured.
    config/samples/clustered/verifier/config_v1beta1_verifier_notation.yaml: in force
    config/samples/clustered/verifier/config_v1beta1_verifier_notation_kmprovider.yaml: in force
    config/samples/clustered/verifier/config_v1beta1_verifier_notation_specificnskmprovider.yaml: in force
    config/samples/clustered/verifier/config_v1beta1_verifier_partial_licensechecker.yaml: in force
    config/samples/clustered/verifier/config_v1beta1_verifier_sbom.yaml: in force
    config/samples/clustered/verifier/config_v1beta1_verifier_sbom_deny.yaml: in force
    config/samples/clustered/verifier/config_v1beta1_verifier_schemavalidator.yaml: in force
    config/samples/clustered/verifier/config_v1beta1_verifier_schemavalidator_bad.yaml: in force
    config/samples/clustered/verifier/config_v1beta1_verifier_vulnerabilityreport.yaml: in force
    config/samples/clustered/verifier/config_v1beta1_verifier_vulnerabilityreport2.yaml: in force
    config/samples/config_v1beta1_certstore_akv.yaml: CONFIG_INVALID: tenantID is not set: https://learn.microsoft.com/en-us/azure/key-vault/general/overview
    config/samples/config_v1beta1_certstore_inline.yaml: in force
    config/samples/namespaced/kmp/config_v1beta1_keymanagementprovider_akv.yaml: CONFIG_INVALID: Failed to create key management provider from CR: tenantID is not set
    config/samples/namespaced/kmp/config_v1beta1_keymanagementprovider_akv_refresh_enabled.yaml: CONFIG_INVALID: Failed to create key management provider from CR: tenantID is not set
    config/samples/namespaced/kmp/config_v1beta1_keymanagementprovider_inline.yaml: in force
    config/samples/namespaced/policy/config_v1beta1_policy_json.yaml: in force
    config/samples/namespaced/policy/config_v1beta1_policy_rego.yaml: in force
    config/samples/namespaced/store/config_v1beta1_store_dynamic.yaml: CONFIG_INVALID: Unable to create store from store CR: the source of a namespaced resource is not allowed: its plugin would run inside Ratify; an administrator can set plugins.namespaces.source in the configuration
    config/samples/namespaced/store/config_v1beta1_store_oras.yaml: in force
    config/samples/namespaced/store/config_v1beta1_store_oras_http.yaml: in force
    config/samples/namespaced/store/config_v1beta1_store_oras_k8secretAuth.yaml: in force
    config/samples/namespaced/verifier/config_v1beta1_verifier_complete_licensechecker.yaml: in force
    config/samples/namespaced/verifier/config_v1beta1_verifier_cosign.yaml: in force
    config/samples/namespaced/verifier/config_v1beta1_verifier_cosign_keyless.yaml: in force
    config/samples/namespaced/verifier/config_v1beta1_verifier_cosign_legacy.yaml: OPERATION_FORBIDDEN: Unable to create verifier from verifier CR: Failed to create the Cosign Verifier: key [/usr/local/ratify-certs/cosign/cosign.pub] names a file of Ratify's, which a namespace may not choose: Please use a key management provider, or ask the cluster's administrator for a verifier.
    config/samples/namespaced/verifier/config_v1beta1_verifier_dynamic.yaml: CONFIG_INVALID: Unable to create verifier from verifier CR: the source of a namespaced resource is not allowed: its plugin would run inside Ratify; an administrator can set plugins.namespaces.source in the configuration
    config/samples/namespaced/verifier/config_v1beta1_verifier_notation.yaml: in force
    config/samples/namespaced/verifier/config_v1beta1_verifier_notation_kmprovider.yaml: in force
    config/samples/namespaced/verifier/config_v1beta1_verifier_notation_specificnskmprovider.yaml: in force
    config/samples/namespaced/verifier/config_v1beta1_verifier_partial_licensechecker.yaml: in force
    config/samples/namespaced/verifier/config_v1beta1_verifier_sbom.yaml: in force
    config/samples/namespaced/verifier/config_v1beta1_verifier_sbom_deny.yaml: in force
    config/samples/namespaced/verifier/config_v1beta1_verifier_schemavalidator.yaml: in force
    config/samples/namespaced/verifier/config_v1beta1_verifier_schemavalidator_bad.yaml: in force
    config/samples/namespaced/verifier/config_v1beta1_verifier_vulnerabilityreport.yaml: in force
    config/samples/namespaced/verifier/config_v1beta1_verifier_vulnerabilityreport2.yaml: in force
    test/bats/tests/config/config_v1beta1_certstore_inline.yaml: CERT_INVALID: no certificates found in the pem block
    test/bats/tests/config/config_v1beta1_certstore_inline_invalid.yaml: CERT_INVALID: failed to decode pem block
    test/bats/tests/config/config_v1beta1_keymanagementprovider_inline.yaml: CONFIG_INVALID: Failed to create key management provider from CR: value parameter is not set
    test/bats/tests/config/config_v1beta1_verifier_cosign_akv.yaml: in force
    test/bats/tests/config/config_v1beta1_verifier_cosign_keyless.yaml: in force
    test/bats/tests/config/config_v1beta1_verifier_notation.yaml: in force
    test/bats/tests/config/config_v1beta1_verifier_notation_akv.yaml: in force
    test/bats/tests/config/config_v1beta1_verifier_notation_audit_crl.yaml: in force
    test/bats/tests/config/config_v1beta1_verifier_notation_kmprovider.yaml: in force
    test/bats/tests/config/config_v1beta1_verifier_notation_tsa.yaml: in force
    "#);
}

/// The cluster's four kinds as v1alpha1 has them: no version, no type, and a policy that is called
/// what it is.
fn legacy(plugin_type: &str) -> String {
    format!(
        "
apiVersion: config.ratify.deislabs.io/v1alpha1
kind: Store
metadata: {{name: store-oras}}
spec: {{name: oras, parameters: {{useHttp: true}}}}
---
apiVersion: config.ratify.deislabs.io/v1alpha1
kind: Verifier
metadata: {{name: verifier-legacy}}
spec: {{name: {plugin_type}, artifactTypes: '*'}}
---
apiVersion: config.ratify.deislabs.io/v1alpha1
kind: CertificateStore
metadata: {{name: certstore-legacy, namespace: default}}
spec: {{provider: inline, parameters: {{value: none}}}}
"
    )
}

fn policy(name: &str, parameters: &str) -> String {
    format!(
        "
apiVersion: config.ratify.deislabs.io/v1alpha1
kind: Policy
metadata: {{name: {name}}}
spec: {{parameters: {parameters}}}
"
    )
}

#[tokio::test]
async fn each_kind_of_v1alpha1_takes_effect() {
    let Some(cluster) = cluster_with_definitions().await else { return };
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let place = Place { home: Home::new(), registry: registry.host(), is_tls: false };
    place.fill().await;
    place.home.link_plugin("sample", &super::sample());
    let controller = Controller::start(&place.home, &cluster).await;
    let warned = ["apply", "-f", "-"];
    let warned = cluster.kubectl_with(&warned, &legacy("sample")).await;
    for kind in ["Store", "Verifier", "CertificateStore"] {
        let warning = format!("v1alpha1 of the {kind} API has been deprecated.");
        assert!(warned.stderr.contains(&warning), "{warned:?}");
    }
    let succeeded = |status: &Value| status["issuccess"] == true;
    until(&cluster, &controller, "stores", "store-oras", succeeded).await;
    until(&cluster, &controller, "verifiers", "verifier-legacy", succeeded).await;
    let failed = |status: &Value| status["issuccess"] == false;
    let object =
        until(&cluster, &controller, "certificatestores", "certstore-legacy", failed).await;
    insta::assert_snapshot!(object["status"]["error"].as_str().unwrap(), @"CERT_INVALID: failed to decode pem block");

    let no_policy = controller.ask(&place.image()).await;
    insta::assert_snapshot!(no_policy["error"].as_str().unwrap(), @"CONFIG_INVALID: policy provider config is not provided");
    cluster.apply(&policy("configpolicy", "{artifactVerificationPolicies: {default: all}}")).await;
    until(&cluster, &controller, "policies", "configpolicy", succeeded).await;
    let item = controller.ask(&place.image()).await;
    assert_eq!(item["value"]["isSuccess"], true, "{item}");
    assert_eq!(item["value"]["verifierReports"][0]["name"], "verifier-legacy", "{item}");

    // A rule that cannot be kept is no reason to fall back on a weaker one.
    cluster.must(&["delete", "policies", "configpolicy"]).await;
    cluster
        .apply(&policy(
            "regopolicy",
            "{policy: \"package ratify.policy\\nvalid { http.send({}) }\"}",
        ))
        .await;
    let object = until(&cluster, &controller, "policies", "regopolicy", failed).await;
    insta::assert_snapshot!(object["status"]["error"].as_str().unwrap(), @"PLUGIN_INIT_FAILURE: Unable to create policy from policy CR: failed to create policy provider: failed to create OPA engine: failed to create policy engine: failed to create policy query, err: failed to prepare rego query, err: 1 error occurred: policy.rego:2: rego_unproven_error: the function http.send: https://ratify.dev/docs/reference/providers");
    let denied = controller.ask(&place.image()).await;
    insta::assert_snapshot!(denied["error"].as_str().unwrap(), @"CONFIG_INVALID: policy provider config is not provided: PLUGIN_INIT_FAILURE: PLUGIN_INIT_FAILURE: Unable to create policy from policy CR: failed to create policy provider: failed to create OPA engine: failed to create policy engine: failed to create policy query, err: failed to prepare rego query, err: 1 error occurred: policy.rego:2: rego_unproven_error: the function http.send: https://ratify.dev/docs/reference/providers");
}

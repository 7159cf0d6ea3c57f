//! What is found in a cluster, on plain objects.

use kube::api::DynamicObject;

use super::*;
use crate::k8s::kind::Kind;

const CLUSTER: [&str; 1] = [""];

fn of(kind: &str, namespace: &str, name: &str, spec: Value) -> Resource {
    with_status(kind, namespace, name, spec, json!({"issuccess": true}))
}

fn with_status(kind: &str, namespace: &str, name: &str, spec: Value, status: Value) -> Resource {
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).unwrap();
    let object = json!({
        "metadata": {"name": name, "namespace": namespace, "uid": "u", "generation": 1},
        "spec": spec, "status": status,
    });
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    Resource::read(kind, object)
}

fn lines(sources: &[Source]) -> String {
    let line = |finding: &Finding| {
        let row = finding
            .row
            .map(|row| format!(" [{}]", row.split(' ').take(4).collect::<Vec<_>>().join(" ")));
        format!("{:?} {}: {}{}", finding.level, finding.at, finding.what, row.unwrap_or_default())
    };
    let of_source = |source: &Source| {
        let lines: Vec<String> = source.findings.iter().map(line).collect();
        format!("{}\n{}", source.name, lines.join("\n"))
    };
    sources.iter().map(of_source).collect::<Vec<_>>().join("\n\n")
}

// Long because: it is a table.
#[test]
fn each_resource_is_judged_by_whose_it_is() {
    let pinned = format!("registry.example.com/p@sha256:{}", "a".repeat(64));
    let resources = vec![
        of("Store", "", "oras", json!({"name": "oras", "parameters": {"useHttp": true}})),
        of("Store", "", "cached", json!({"name": "oras", "parameters": {"cacheEnabled": true}})),
        of("Store", "", "broken", json!({"name": 7})),
        of("Verifier", "", "notation", json!({"name": "notation", "artifactTypes": "a"})),
        of("Verifier", "", "by-type", json!({"name": "n", "type": "cosign", "artifactTypes": "a"})),
        of("NamespacedVerifier", "team", "signatures", signatures()),
        of("Verifier", "", "sbom", json!({"name": "sbom", "artifactTypes": "a"})),
        of(
            "Verifier",
            "",
            "tag",
            json!({"name": "p", "artifactTypes": "a", "address": "/plugins",
            "source": {"artifact": "registry.example.com/p:1", "authProvider": {"name": "awsEcrBasic"}}}),
        ),
        of(
            "Verifier",
            "",
            "pinned",
            json!({"name": "p", "artifactTypes": "a",
            "source": {"artifact": pinned}}),
        ),
        of(
            "NamespacedVerifier",
            "team",
            "hidden",
            json!({"name": "p", "artifactTypes": "a",
            "parameters": {"source": {"artifact": "registry.example.com/p:1"}}}),
        ),
        of(
            "NamespacedVerifier",
            "team",
            "address",
            json!({"name": "p", "artifactTypes": "a", "address": "/tmp"}),
        ),
        of(
            "NamespacedStore",
            "team",
            "secrets",
            json!({"name": "oras", "parameters": {"authProvider":
            {"name": "k8Secrets", "secrets": [{"secretName": "own"}, {"secretName": "s", "namespace": "other"}]}}}),
        ),
        of("NamespacedStore", "team", "lent", json!({"name": "oras"})),
        of(
            "Policy",
            "",
            "ratify-policy",
            json!({"type": "config-policy", "parameters": {"artifactVerificationPolicies": {"default": "all"}}}),
        ),
        of("Policy", "", "regopolicy", json!({"parameters": {"policy": "package x"}})),
        of("Policy", "", "other", json!({"type": "config-policy", "parameters": {}})),
        of(
            "NamespacedPolicy",
            "team",
            "ratify-policy",
            json!({"type": "rego-policy", "parameters": {"policy": "package x"}}),
        ),
        of("KeyManagementProvider", "", "inline", json!({"type": "inline", "parameters": {}})),
        of("KeyManagementProvider", "", "akv", key_vault()),
        of("NamespacedKeyManagementProvider", "team", "akv", key_vault()),
        of("CertificateStore", "team", "akv", json!({"provider": "azurekeyvault"})),
        with_status(
            "Store",
            "",
            "failing",
            json!({"name": "oras"}),
            json!({"issuccess": false, "brieferror": "CODE: why"}),
        ),
    ];
    let seen = Seen { resources, deployments: vec![deployment()], ..Seen::default() };
    let sources = sources(&seen);
    insta::assert_snapshot!(lines(&sources[..CLUSTER.len()]), @r"
    custom resources
    Same Store oras: the built-in store oras
    Same Store cached: the built-in store oras
    Change Store broken: CONFIG_INVALID: spec.name of Store broken must be a string
    Change Verifier notation: PLUGIN_INIT_FAILURE: Failed to create the Notation Verifier: Failed to create the Notation Verifier: trust policy document has empty version, version must be specified
    Same Verifier by-type: the built-in verifier cosign
    Change NamespacedVerifier team/signatures: OPERATION_FORBIDDEN: Failed to create the Cosign Verifier: key [/keys/cosign.pub] names a file of Ratify's, which a namespace may not choose: Please use a key management provider, or ask the cluste... [a verifier `cosign` of]
    Change Verifier sbom: v1's image has the plugin sbom, and this one has not [sbom, licensechecker, schemavalidator, vulnerabilityreport]
    Same Verifier tag spec.address: /plugins
    Look Verifier tag spec.source: the digest that registry.example.com/p:1 stands for at first use stays in force [a tag is resolved]
    Same Verifier tag spec.source.authProvider: the auth provider awsEcrBasic
    Same Verifier pinned spec.source: registry.example.com/p@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa is pulled and proven, where RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS is 1
    Change NamespacedVerifier team/hidden spec.source: the source of the verifier plugin p is refused [`source` of a namespaced]
    Change NamespacedVerifier team/address spec.address: the address /tmp is refused [`address` of a namespaced]
    Look NamespacedVerifier team/address: the verifier plugin p is run from the plugin directory, as it is
    Same NamespacedStore team/secrets: the built-in store oras
    Change NamespacedStore team/secrets spec.parameters.authProvider.secrets: the secret own is looked for in the namespace team, and by v1 in Ratify's own [a secret of a]
    Change NamespacedStore team/secrets spec.parameters.authProvider.secrets: the secret s of the namespace other is not read [`k8Secrets` of a namespaced]
    Change NamespacedStore team/secrets spec.parameters.authProvider: the secrets of team are not read without the right to [the role may create]
    Same NamespacedStore team/lent: the built-in store oras
    Change NamespacedStore team/lent spec.parameters.authProvider: Ratify's own docker configuration is not used for it: registries are asked without credentials [a namespaced store without]
    Same Policy ratify-policy: the policy configpolicy
    Same Policy regopolicy: the policy regopolicy
    Look Policy regopolicy: it takes effect, unless there is one of the name ratify-policy [a v1alpha1 policy named]
    Look Policy other: it is not in force
    Same NamespacedPolicy team/ratify-policy: the policy regopolicy
    Change KeyManagementProvider inline: CONFIG_INVALID: contentType parameter is not set
    Same KeyManagementProvider akv: the provider azurekeyvault
    Same NamespacedKeyManagementProvider team/akv: the provider azurekeyvault
    Change NamespacedKeyManagementProvider team/akv: the key vault is not asked, unless this is Ratify's own namespace [a NamespacedKeyManagementProvider or a]
    Change CertificateStore team/akv: CONFIG_INVALID: received empty parameters
    Same Store failing: the built-in store oras
    Look Store failing: its status says that it is not in force today
    ");
}

/// A verifier of signatures that reads a file of the pod.
fn signatures() -> Value {
    let parameters = json!({"key": "/keys/cosign.pub"});
    json!({"name": "cosign", "artifactTypes": "a", "parameters": parameters})
}

fn key_vault() -> Value {
    let parameters = json!({
        "vaultURI": "https://v.vault.azure.net/", "tenantID": "t", "clientID": "c",
        "keys": [{"name": "k"}],
    });
    json!({"type": "azurekeyvault", "parameters": parameters})
}

/// A Deployment as v1's chart renders it, with what is not v1's beside it.
fn deployment() -> Deployment {
    let env = json!([
        {"name": "RATIFY_LOG_LEVEL", "value": "info"},
        {"name": "RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS", "value": "1"},
        {"name": "RATIFY_EXPERIMENTAL_HIGH_AVAILABILITY", "value": "1"},
        {"name": "RATIFY_MISSPELT", "value": "1"},
        {"name": "HTTPS_PROXY", "value": "x"},
        {"name": "TUF_ROOT", "value": "/sigstore"},
    ]);
    let args = [
        "serve",
        "--http",
        ":6001",
        "-c",
        "/usr/local/ratify/config.json",
        "--enable-crd-manager",
        "--cert-dir=/usr/local/tls",
        "--cache-enabled=true",
        "--cache-type=dapr",
        "--metrics-enabled=false",
        "--leader-elect",
    ];
    serde_json::from_value(json!({
        "metadata": {"name": "ratify"},
        "spec": {"selector": {}, "template": {"spec": {
            "containers": [
                {"name": "proxy", "image": "registry.example.com/proxy:1"},
                {"name": "ratify", "image": "ghcr.io/ratify-project/ratify:v1.4.0",
                 "command": ["/app/ratify"], "args": args, "env": env, "volumeMounts": [
                     {"name": "t", "mountPath": "/tmp"}, {"name": "s", "mountPath": "/.sigstore/root"}]},
            ],
            "volumes": [{"name": "c", "configMap": {"name": "ratify-configuration"}}, {"name": "t"}],
        }}},
    }))
    .unwrap()
}

#[test]
fn a_deployment_is_judged_by_image_arguments_and_variables() {
    assert_eq!(config_maps(&deployment()), ["ratify-configuration"]);
    let seen = Seen {
        namespace: "gatekeeper-system".to_owned(),
        deployments: vec![deployment()],
        configurations: vec![
            ("ConfigMap a".to_owned(), json!({"crl": {}, "x": 1}).to_string()),
            ("ConfigMap b".to_owned(), "{".to_owned()),
        ],
        unread: vec![("ConfigMap c".to_owned(), "the right to read it is missing".to_owned())],
        ..Seen::default()
    };
    insta::assert_snapshot!(lines(&sources(&seen)), @"
    custom resources
    Same the cluster: there is no custom resource

    Deployment gatekeeper-system/ratify
    Change container ratify image: ghcr.io/ratify-project/ratify:v1.4.0 is v1's image
    Look container ratify --cache-type: each replica keeps its verdicts in memory: no sidecar is asked [`RATIFY_EXPERIMENTAL_HIGH_AVAILABILITY` allows the cache]
    Same container ratify --metrics-enabled: the same value
    Change container ratify --leader-elect: there is no such flag
    Same container ratify arguments: -c --cache-enabled --cert-dir --enable-crd-manager --http
    Same container ratify RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS: on
    Look container ratify RATIFY_EXPERIMENTAL_HIGH_AVAILABILITY: accepted without effect [`RATIFY_EXPERIMENTAL_HIGH_AVAILABILITY` allows the cache]
    Look container ratify RATIFY_MISSPELT: there is no such feature flag
    Change container ratify TUF_ROOT: what cosign initialize wrote is not read: a verifier cosign that needs it is refused [`TUF_ROOT`, or `~/.sigstore/root` as]
    Change container ratify /.sigstore/root: what cosign initialize wrote is not read: a verifier cosign that needs it is refused [`TUF_ROOT`, or `~/.sigstore/root` as]

    ConfigMap a
    Look x: nobody reads this key
    Same the configuration: no store, verifier or policy: custom resources decide, as in v1

    ConfigMap b
    Change the configuration: it is no JSON: EOF while parsing an object at line 1 column 1

    not looked at
    Look ConfigMap c: it could not be read
    ");
}

#[test]
fn what_is_not_there_is_told() {
    let undefined = Kind::ALL.map(Kind::plural).to_vec();
    let seen = Seen { undefined, namespace: "elsewhere".to_owned(), ..Seen::default() };
    insta::assert_snapshot!(lines(&sources(&seen)), @r"
    custom resources
    Same the cluster: there is no custom resource
    Look the definitions: the cluster does not define keymanagementproviders, namespacedkeymanagementproviders, certificatestores, stores, namespacedstores, policies, namespacedpolicies, verifiers, namespacedverifiers

    not looked at
    Look the namespace elsewhere: no Deployment in it runs Ratify
    ");
}

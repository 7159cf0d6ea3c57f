//! `ratify migrate` on what Ratify v1.4.0 ships: its configurations, its chart's values, and a
//! cluster with its chart's objects on a real API server.

use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use super::{Home, Ran};
use crate::{
    cluster::server::{ADMIN, Cluster, ClusterOptions, User},
    parity::machines::Machines,
};

/// Where v1 has configurations.
const CONFIGURATIONS: [&str; 3] = ["config", "test/bats/tests/config", ".devcontainer"];
/// Files beside them that are none: a policy of Azure, a registry's configuration.
const OTHERS: [&str; 3] = ["akvpolicy.json", "zot-config.json", "devcontainer.json"];

/// The findings of a report that ask for something, a line each.
fn lines(ran: &Ran) -> String {
    let report: Value = serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|error| panic!("{error}: {} {}", ran.stdout, ran.stderr));
    let sources = report["sources"].as_array().unwrap();
    let findings = sources.iter().flat_map(|source| source["findings"].as_array().unwrap());
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let lines = findings.filter(|finding| finding["level"] != "same").map(|finding| {
        let level = text(finding, "level");
        assert!(!text(finding, "why").is_empty() && !text(finding, "do").is_empty(), "{finding}");
        format!("  {level} {}: {}\n", text(finding, "at"), text(finding, "what"))
    });
    lines.collect()
}

async fn migrate(home: &Home, arguments: &[&str]) -> Ran {
    home.run(&[&["migrate", "--output", "json"], arguments].concat()).await
}

// Long because: it is a table.
#[tokio::test]
async fn each_configuration_of_v1_is_judged() {
    let Some(machines) = Machines::find() else { return };
    let (home, module) = (Home::new(), machines.tool("ratify-v1-module"));
    let mut shown = Vec::new();
    for folder in CONFIGURATIONS {
        for entry in std::fs::read_dir(module.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !name.ends_with(".json") || OTHERS.contains(&name.as_str()) {
                continue;
            }
            let ran = migrate(&home, &["--config", path.to_str().unwrap()]).await;
            let code = ran.code.unwrap();
            shown.push(format!("{folder}/{name}: exit {code}\n{}", lines(&ran)));
        }
    }
    shown.sort();
    insta::assert_snapshot!(shown.concat(), @r"
    .devcontainer/config.default.json: exit 0
    config/config.json: exit 1
      change verifier.plugins[1]: v1's image has the plugin sbom, and this one has not
      change verifier.plugins[2]: v1's image has the plugin licensechecker, and this one has not
      change verifier.plugins[3]: v1's image has the plugin vulnerabilityreport, and this one has not
    config/config_cli.json: exit 0
    test/bats/tests/config/complete_licensechecker_config.json: exit 1
      change verifier.plugins[0]: v1's image has the plugin licensechecker, and this one has not
    test/bats/tests/config/config.json: exit 1
      change verifier.plugins[0]: v1's image has the plugin schemavalidator, and this one has not
      change verifier.plugins[1]: v1's image has the plugin sbom, and this one has not
      change verifier.plugins[4]: v1's image has the plugin schemavalidator, and this one has not
      change verifier.plugins[5]: v1's image has the plugin licensechecker, and this one has not
    test/bats/tests/config/config_external_verifier_with_type.json: exit 1
      change verifier.plugins[0]: v1's image has the plugin licensechecker, and this one has not
    test/bats/tests/config/config_multiple_notation_verifiers.json: exit 0
    test/bats/tests/config/config_notation_crl.json: exit 0
    test/bats/tests/config/config_notation_crl_cache_disabled.json: exit 0
    test/bats/tests/config/config_notation_leaf_cert.json: exit 0
    test/bats/tests/config/config_notation_root_cert.json: exit 0
    test/bats/tests/config/config_notation_verifier_with_type.json: exit 0
    test/bats/tests/config/config_rego_policy_notation_leaf_cert.json: exit 0
    test/bats/tests/config/config_rego_policy_notation_root_cert.json: exit 0
    test/bats/tests/config/config_tsa.json: exit 1
      change verifier.plugins[0]: v1's image has the plugin schemavalidator, and this one has not
      change verifier.plugins[1]: v1's image has the plugin sbom, and this one has not
      change verifier.plugins[4]: v1's image has the plugin schemavalidator, and this one has not
      change verifier.plugins[5]: v1's image has the plugin licensechecker, and this one has not
    test/bats/tests/config/cosign_keyless_config.json: exit 1
      change verifier.plugins[0]: v1's image has the plugin schemavalidator, and this one has not
      change verifier.plugins[1]: v1's image has the plugin sbom, and this one has not
      change verifier.plugins[4]: v1's image has the plugin schemavalidator, and this one has not
      change verifier.plugins[5]: v1's image has the plugin licensechecker, and this one has not
    test/bats/tests/config/dynamic_plugins_config.json: exit 0
    test/bats/tests/config/partial_licensechecker_config.json: exit 1
      change verifier.plugins[0]: v1's image has the plugin licensechecker, and this one has not
    test/bats/tests/config/sbom_denylist_config_licensematch.json: exit 1
      change verifier.plugins[0]: v1's image has the plugin sbom, and this one has not
    test/bats/tests/config/sbom_denylist_config_nomatch.json: exit 1
      change verifier.plugins[0]: v1's image has the plugin sbom, and this one has not
    test/bats/tests/config/sbom_denylist_config_packagematch.json: exit 1
      change verifier.plugins[0]: v1's image has the plugin sbom, and this one has not
    test/bats/tests/config/sbom_version_mismatch.json: exit 1
      change verifier.plugins[0]: v1's image has the plugin sbom, and this one has not
    test/bats/tests/config/schemavalidator_config.json: exit 1
      change verifier.plugins[0]: v1's image has the plugin schemavalidator, and this one has not
    test/bats/tests/config/vulnerabilityreport_config.json: exit 1
      change verifier.plugins[0]: v1's image has the plugin vulnerabilityreport, and this one has not
    ");
}

#[tokio::test]
async fn every_value_of_v1s_chart_is_known_and_the_report_reads_well() {
    let Some(machines) = Machines::find() else { return };
    let home = Home::new();
    let values = machines.tool("ratify-v1-module").join("charts/ratify/values.yaml");
    std::fs::copy(values, home.path().join("values.yaml")).unwrap();
    let ran = home.run(&["migrate", "--values", "values.yaml"]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(!ran.stdout.contains("no such value"), "{}", ran.stdout);
    insta::assert_snapshot!(ran.stdout, @r#"
    values.yaml: 3 must change, 2 to look at, 50 carry over
      CHANGE  image.crdRepository
              ghcr.io/ratify-project/ratify-crds is v1's image
              why: the chart refuses it by name: a reused default would run v1
              do: take it away, or name the registry that you keep this image in
              see COMPATIBILITY.md: the chart's values name the images on ghcr.io
      CHANGE  image.repository
              ghcr.io/ratify-project/ratify is v1's image
              why: the chart refuses it by name: a reused default would run v1
              do: take it away, or name the registry that you keep this image in
              see COMPATIBILITY.md: the chart's values name the images on ghcr.io
      CHANGE  image.tag
              the tag "v1.4.0" goes with the image
              why: it is one of v1's image: this version has tags of its own
              do: take it away for the chart's own, or name this version's
              see COMPATIBILITY.md: the chart's values name the images on ghcr.io
      LOOK    instrumentation.metricsEnabled
              metrics with other labels
              why: v1's names are there, without `subject` of `ratify_verifier_duration` and `otel_scope_*`; `error` is `timeout` or `failure`; `ratify_akv_certificate_duration` comes with the key providers
              do: look at what your dashboards and alerts read
              see COMPATIBILITY.md: `--metrics-enabled`
      LOOK    provider.tls
              no certificate is given and RATIFY_CERT_ROTATION is off: the chart refuses, as v1's
              why: Gatekeeper asks over TLS only
              do: give crt, key and cabundle as you do on the command line, or set featureFlags.RATIFY_CERT_ROTATION
      SAME    affinity, akvCertConfig.enabled, azurekeyvault.enabled, cosign.enabled, cosign.key,
              cosignKeys, crds, enableRuntimeDefaultSeccompProfile, env,
              featureFlags.RATIFY_CERT_ROTATION, featureFlags.RATIFY_EXPERIMENTAL_HIGH_AVAILABILITY,
              fullnameOverride, gatekeeper.version, healthPort, image.pullPolicy, logger.formatter,
              logger.level, logger.requestHeaders.traceIDHeaderName, nameOverride, notation.enabled,
              notationCert, notationCerts, oras.authProviders.alibabacloudAcrBasicEnabled,
              oras.authProviders.awsEcrBasicEnabled, oras.authProviders.azureManagedIdentityEnabled,
              oras.authProviders.azureWorkloadIdentityEnabled, oras.authProviders.k8secretsEnabled,
              oras.cache.enabled, oras.useHttp, podAnnotations, podLabels, policy.useRego,
              provider.cache.cacheSizeMb, provider.cache.enabled, provider.cache.ttl,
              provider.cache.type, provider.enableMutation, provider.timeout.mutationTimeoutSeconds,
              provider.timeout.validationTimeoutSeconds, rbac.create, replicaCount, resources,
              sbom.enabled, serviceAccount.annotations, serviceAccount.create, serviceAccount.name,
              tolerations, upgradeCRDs.enabled, upgradeCRDs.extraRules, vulnerabilityreport.enabled

    Something must change first.
    "#);
}

#[tokio::test]
async fn what_carries_over_exits_with_0_and_what_cannot_be_read_with_2() {
    let home = Home::new();
    home.write("good.json", r#"{"store": {"plugins": [{"name": "oras"}]}, "policy": {"plugin": {"name": "configPolicy"}}}"#);
    let good = home.run(&["migrate", "-c", "good.json"]).await;
    insta::assert_snapshot!(good.shown(&home), @r"
    [0] good.json: 0 must change, 0 to look at, 2 carry over
      SAME    store.plugins[0], policy.plugin

    Everything carries over.
    ");
    home.write("bad.json", "{");
    home.write("bad.yaml", "- a");
    home.write("large.yaml", " ".repeat((4 << 20) + 1));
    let mut shown = String::new();
    for arguments in [
        &["--config", "nowhere.json"][..],
        &["--config", "bad.json"],
        &["--config", "."],
        &["--config", "/dev/zero"],
        &["--values", "bad.yaml"],
        &["--values", "large.yaml"],
        &["--config", "good.json", "--values", "nowhere.yaml"],
        &["--cluster"],
        &[],
        &["--config", "good.json", "--namespace", "x"],
    ] {
        let ran = home.run(&[&["migrate"], arguments].concat()).await;
        assert_eq!(ran.stdout, "", "{arguments:?}");
        shown.push_str(&format!(
            "$ ratify migrate {}\n{}\n",
            arguments.join(" "),
            ran.shown(&home)
        ));
    }
    insta::assert_snapshot!(shown, @r#"
    $ ratify migrate --config nowhere.json
    [2] Error: cannot read nowhere.json: No such file or directory (os error 2)
    $ ratify migrate --config bad.json
    [2] Error: bad.json is no configuration: EOF while parsing an object at line 1 column 1
    $ ratify migrate --config .
    [2] Error: cannot read .: it is not a regular file
    $ ratify migrate --config /dev/zero
    [2] Error: cannot read /dev/zero: it is not a regular file
    $ ratify migrate --values bad.yaml
    [2] Error: bad.yaml holds no values of a chart: they are a map of keys
    $ ratify migrate --values large.yaml
    [2] Error: cannot read large.yaml: it has more than 4194304 bytes
    $ ratify migrate --config good.json --values nowhere.yaml
    [2] Error: cannot read nowhere.yaml: No such file or directory (os error 2)
    $ ratify migrate --cluster
    [2] Error: cannot reach a cluster: Failed to infer configuration: failed to infer config: in-cluster: (failed to read an incluster environment variable: environment variable not found), kubeconfig: (failed to read kubeconfig from '"<home>/.kube/config"': No such file or directory (os error 2))
    $ ratify migrate 
    [1] Error: the following required arguments were not provided:
      <--config <FILE>|--values <FILE>|--cluster>

    Usage: ratify migrate <--config <FILE>|--values <FILE>|--cluster>

    For more information, try '--help'.
    $ ratify migrate --config good.json --namespace x
    [1] Error: the following required arguments were not provided:
      --cluster

    Usage: ratify migrate --namespace <NAMESPACE> <--config <FILE>|--values <FILE>|--cluster>

    For more information, try '--help'.
    "#);
}

/// What a person may see who looks after Ratify's resources and nothing else.
const READERS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: resources}
rules: [{apiGroups: [config.ratify.deislabs.io], resources: ['*'], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: resources}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: resources}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: readers}]
";

/// A tenant's resources, and v1alpha1.
const MORE: &str = "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: NamespacedVerifier
metadata: {name: tenant, namespace: default}
spec: {name: check, artifactTypes: '*', parameters: {source: {artifact: 'registry.example.com/check:1'}}}
---
apiVersion: config.ratify.deislabs.io/v1alpha1
kind: Policy
metadata: {name: configpolicy}
spec: {parameters: {artifactVerificationPolicies: {default: any}}}
";

/// What v1's chart renders of these kinds.
async fn rendered(machines: &Machines) -> String {
    let mut helm = Command::new(machines.tool("helm"));
    let chart = machines.tool("ratify-v1-module").join("charts/ratify");
    helm.args(["template", "ratify"]).arg(chart).args(["--namespace", "gatekeeper-system"]);
    helm.args(["--set", "featureFlags.RATIFY_CERT_ROTATION=true,sbom.enabled=true"]);
    helm.args(["--set", "notationCerts[0]=certificate,policy.useRego=true"]);
    let output = helm.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let wanted = |document: &&str| {
        let of_kind = |kind: &&str| document.contains(&format!("\nkind: {kind}\n"));
        document.contains("config.ratify.deislabs.io/") && !document.contains("kind: ClusterRole")
            || ["Deployment", "ConfigMap"].iter().any(of_kind)
    };
    text.split("\n---").filter(wanted).collect::<Vec<_>>().join("\n---")
}

async fn migrate_cluster(home: &Home, cluster: &Cluster, user: &str, arguments: &[&str]) -> Ran {
    let kubeconfig = cluster.kubeconfig(user);
    let mut command = home.command(&[&["migrate", "--cluster"], arguments].concat());
    let output = command.env("KUBECONFIG", kubeconfig).output().await.unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn folder(path: &Path) -> &str {
    path.to_str().unwrap()
}

// Long because: the reports are part of it.
#[tokio::test]
async fn a_cluster_with_v1s_chart_is_judged_as_far_as_it_may_be_read() {
    let users =
        vec![User::new("reader", "reader", &["readers"]), User::new("stranger", "stranger", &[])];
    let Some(mut cluster) = Cluster::start(ClusterOptions { users }).await else { return };
    let machines = Machines::find().unwrap();
    let home = Home::new();
    let nothing = migrate_cluster(&home, &cluster, ADMIN, &[]).await;
    assert_eq!(nothing.code, Some(1), "{}", nothing.stderr);
    assert!(nothing.stdout.contains("the cluster does not define"), "{}", nothing.stdout);

    let definitions = machines.tool("ratify-v1-module").join("charts/ratify/crds");
    cluster.must(&["apply", "-f", folder(&definitions)]).await;
    cluster.must(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).await;
    cluster.must(&["create", "namespace", "gatekeeper-system"]).await;
    let objects = rendered(&machines).await;
    cluster.feed(&["apply", "-n", "gatekeeper-system", "-f", "-"], &objects).await;
    cluster.apply(&[READERS, MORE].join("---")).await;

    let all = migrate_cluster(&home, &cluster, ADMIN, &[]).await;
    assert_eq!(all.code, Some(1), "{}", all.stderr);
    insta::assert_snapshot!(all.stdout, @"
    custom resources: 3 must change, 1 to look at, 5 carry over
      CHANGE  KeyManagementProvider ratify-notation-inline-cert-0
              CERT_INVALID: failed to decode pem block
              why: it is accepted, and its status says that it is not in force
              do: mend it
      CHANGE  Verifier verifier-sbom
              v1's image has the plugin sbom, and this one has not
              why: v1's own plugins are not rebuilt yet; v1's programs run unchanged
              do: push v1's program with `ratify plugin push` and name it as the source, or put the file sbom into the plugin directory
              see COMPATIBILITY.md: sbom, licensechecker, schemavalidator, vulnerabilityreport
      CHANGE  NamespacedVerifier default/tenant spec.source
              the source of the verifier plugin check is refused
              why: a tenant must not run code in the controller
              do: make it a resource of the whole cluster, or set plugins.namespaces.source in the configuration
              see COMPATIBILITY.md: `source` of a namespaced resource runs a program in Ratify's pod, also from `parameters.source`
      LOOK    Policy configpolicy
              it takes effect, unless there is one of the name ratify-policy
              why: what v1's conversion intended; v1 refuses it
              do: delete it, if what v1 does today is what you want
              see COMPATIBILITY.md: a v1alpha1 policy named `configpolicy` or `regopolicy` is refused
      SAME    Store store-oras, Policy configpolicy, Policy ratify-policy, Verifier verifier-cosign,
              Verifier verifier-notation

    Deployment gatekeeper-system/ratify: 1 must change, 1 to look at, 5 carry over
      CHANGE  container ratify image
              ghcr.io/ratify-project/ratify:v1.4.0 is v1's image
              why: it is what is replaced
              do: upgrade the release with this version's chart, or put this version's image in its place
      LOOK    container ratify --metrics-enabled
              metrics with other labels
              why: v1's names are there, without `subject` of `ratify_verifier_duration` and `otel_scope_*`; `error` is `timeout` or `failure`; `ratify_akv_certificate_duration` comes with the key providers
              do: look at what your dashboards and alerts read
              see COMPATIBILITY.md: `--metrics-enabled`
      SAME    container ratify --cache-type, container ratify --cache-ttl,
              container ratify arguments, container ratify RATIFY_CERT_ROTATION,
              container ratify RATIFY_EXPERIMENTAL_HIGH_AVAILABILITY

    ConfigMap gatekeeper-system/ratify-configuration: 0 must change, 0 to look at, 5 carry over
      SAME    the configuration, executor.verificationRequestTimeout,
              executor.mutationRequestTimeout, logger.formatter, crl.cache.enabled

    Something must change first.
    ");

    // The same resources, and no word about what this user may not see.
    let in_part = migrate_cluster(&home, &cluster, "reader", &["-o", "json"]).await;
    assert_eq!(in_part.code, Some(1), "{}", in_part.stderr);
    let report: Value = serde_json::from_str(&in_part.stdout).unwrap();
    assert_eq!(report["sources"].as_array().unwrap().len(), 2, "{report}");
    assert_eq!(report["sources"][1]["findings"][0]["at"], "Deployments of gatekeeper-system");
    assert_eq!(report["sources"][1]["findings"][0]["why"], "the right to read it is missing");
    let elsewhere = migrate_cluster(&home, &cluster, ADMIN, &["--namespace", "default"]).await;
    assert!(elsewhere.stdout.contains("no Deployment in it runs Ratify"), "{}", elsewhere.stdout);

    let refused = migrate_cluster(&home, &cluster, "stranger", &[]).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{}", refused.stderr);
    insta::assert_snapshot!(refused.error(), @r#"Error: cannot list keymanagementproviders: ApiError: keymanagementproviders.config.ratify.deislabs.io is forbidden: User "stranger" cannot list resource "keymanagementproviders" in API group "config.ratify.deislabs.io" at the cluster scope: Forbidden (Status { status: Some(Failure), code: 403, message: "keymanagementproviders.config.ratify.deislabs.io is forbidden: User \"stranger\" cannot list resource \"keymanagementproviders\" in API group \"config.ratify.deislabs.io\" at the cluster scope", metadata: Some(ListMeta { continue_: None, remaining_item_count: None, resource_version: None, self_link: None }), reason: "Forbidden", details: Some(StatusDetails { name: "", group: "config.ratify.deislabs.io", kind: "keymanagementproviders", uid: "", causes: [], retry_after_seconds: 0 }) })"#);
    cluster.stop_api_server();
    let away = migrate_cluster(&home, &cluster, ADMIN, &[]).await;
    assert_eq!((away.code, away.stdout.as_str()), (Some(2), ""), "{}", away.stderr);
    assert!(away.error().starts_with("Error: cannot list keymanagementproviders"), "{away:?}");
}

//! Values as operators have them: those of an installed release of v1, those of the guides, wrong
//! ones; and that nothing is left to chance.

use serde_json::{Value, json};

use super::{
    compare::{differences, straighten},
    helm::{Helm, NAMESPACE, base, objects},
    intended::INTENDED,
    keys::keys_of,
};

/// Certificates are rotated.
pub(super) fn rotated() -> Value {
    json!({"featureFlags": {"RATIFY_CERT_ROTATION": true}})
}

#[tokio::test]
async fn two_renders_are_the_same_bytes() {
    let Some(helm) = Helm::find() else { return };
    for values in [rotated(), base()] {
        let [first, second] = [
            helm.try_render(&Helm::ours(), &[&values]).await,
            helm.try_render(&Helm::ours(), &[&values]).await,
        ];
        assert!(first.is_success, "{}", first.stderr);
        assert_eq!(first.stdout, second.stdout);
    }
}

#[tokio::test]
async fn the_defaults_are_v1s_but_for_the_images() {
    let Some(helm) = Helm::find() else { return };
    let ours = keys_of(&Helm::ours());
    for (key, value) in keys_of(&helm.v1()) {
        if !["image>repository", "image>crdRepository", "image>tag"].contains(&key.as_str()) {
            assert_eq!(ours.get(&key), Some(&value), "{key}");
        }
    }
}

#[test]
fn the_chart_is_of_this_version() {
    let text = std::fs::read_to_string(Helm::ours().join("Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn the_values_of_an_installed_v1_make_what_v1_made() {
    let Some(helm) = Helm::find() else { return };
    let text = std::fs::read_to_string(helm.v1().join("values.yaml")).unwrap();
    let reused: Value = serde_saphyr::from_str(&text).unwrap();
    // As the operator's own values over our defaults, and as `--reuse-values` has them: in place of
    // ours.
    for chart in [Helm::ours(), helm.with_v1s_values()] {
        let v1 = straighten(helm.render(&helm.v1(), &[&reused, &base()]).await);
        let ours = straighten(helm.render(&chart, &[&reused, &base()]).await);
        for difference in differences(&v1, &ours) {
            assert!(INTENDED.iter().any(|row| row.covers(&difference)), "{difference:?}");
        }
    }
}

#[tokio::test]
async fn rotated_certificates_are_as_in_v1_but_that_no_authority_is_made_up() {
    let Some(helm) = Helm::find() else { return };
    let image = json!({"image": base()["image"]});
    let v1 = straighten(helm.render(&helm.v1(), &[&image, &rotated()]).await);
    let ours = straighten(helm.render(&Helm::ours(), &[&image, &rotated()]).await);
    assert_eq!(ours["Secret/ratify-tls"].get("data"), None);
    for difference in differences(&v1, &ours) {
        let is_bundle = difference.at == "/spec/caBundle";
        let is_role = difference.object.starts_with("Role/ratify-manager-role");
        let is_intended = INTENDED.iter().any(|row| row.covers(&difference));
        assert!(is_bundle || is_role || is_intended, "{difference:?}");
    }
}

#[tokio::test]
async fn v1s_images_are_refused_by_name() {
    let Some(helm) = Helm::find() else { return };
    for (key, value) in [
        ("repository", "ghcr.io/ratify-project/ratify"),
        ("repository", "ghcr.io/deislabs/ratify"),
        ("crdRepository", "ghcr.io/ratify-project/ratify-crds"),
        ("tag", "v1.4.0"),
    ] {
        let why = helm.refusal(&[&base(), &json!({"image": {key: value}})]).await;
        assert!(why.contains(&format!("image.{key} is {value}")), "{why}");
        assert!(why.contains("--reset-then-reuse-values"), "{why}");
    }
    // By digest, no tag counts.
    let digest = format!("sha256:{}", "0".repeat(64));
    let values = json!({"image": {"tag": "v1.4.0", "digest": digest, "crdDigest": digest}});
    helm.render(&Helm::ours(), &[&base(), &values]).await;
}

#[tokio::test]
async fn three_tls_values_are_enough_and_fewer_are_not() {
    let Some(helm) = Helm::find() else { return };
    let why = "You must provide a TLS certificate for Ratify to use or enable RATIFY_CERT_ROTATION";
    assert!(helm.refusal(&[]).await.contains(why));
    let given = json!({"crt": "c", "key": "k", "cabundle": "Y2E="});
    for missing in ["crt", "key", "cabundle"] {
        let mut tls = given.clone();
        tls[missing] = "".into();
        let refused = helm.refusal(&[&json!({"provider": {"tls": tls}})]).await;
        assert!(refused.contains(why) && refused.contains("all three are needed"), "{refused}");
    }
    let values = json!({"provider": {"tls": given}});
    assert!(!helm.try_render(&helm.v1(), &[&values]).await.is_success, "v1 wants five");
    let all = straighten(helm.render(&Helm::ours(), &[&values]).await);
    let secret = json!({"tls.crt": "Yw==", "tls.key": "aw==", "ca.crt": "Y2E="});
    assert_eq!(all["Secret/ratify-tls"]["data"], secret);
    assert_eq!(all["Provider/ratify-provider"]["spec"]["caBundle"], "Y2E=");
    // Rotation signs with the CA's key: without it, values do not count, as in v1.
    let all = straighten(helm.render(&Helm::ours(), &[&values, &rotated()]).await);
    assert_eq!(all["Secret/ratify-tls"].get("data"), None);
}

#[tokio::test]
async fn the_guides_flags_install() {
    let Some(helm) = Helm::find() else { return };
    let write = |name: &str| {
        let path = helm.folder().join(name);
        std::fs::write(&path, name).unwrap();
        path.display().to_string()
    };
    let (certificate, key, notation) = (write("server.crt"), write("server.key"), write("n.crt"));
    let chart = Helm::ours().display().to_string();
    let flags = [
        "template",
        "ratify",
        &chart,
        "--atomic",
        &format!("--namespace={NAMESPACE}"),
        &format!("--set-file=notationCerts={{{notation}}}"),
        "--set=featureFlags.RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS=true",
        &format!("--set-file=provider.tls.crt={certificate}"),
        &format!("--set-file=provider.tls.key={key}"),
        "--set=provider.tls.cabundle=Y2E=",
    ];
    let ran = helm.run(&flags, None).await;
    assert!(ran.is_success, "{}", ran.stderr);
    let all = straighten(objects(&ran.stdout));
    let pod = &all["Deployment/ratify"]["spec"]["template"]["spec"];
    let environment = &pod["containers"]["ratify"]["env"];
    assert_eq!(environment["RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS"]["value"], "1");
    let keys = &all["KeyManagementProvider/ratify-notation-inline-cert-0"]["spec"]["parameters"];
    assert_eq!(keys["value"], "n.crt");
}

#[tokio::test]
async fn a_flag_is_a_boolean_or_what_the_shell_makes_of_one() {
    let Some(helm) = Helm::find() else { return };
    for (given, made) in [(json!("true"), "1"), (json!("false"), "0"), (json!(1), "1")] {
        let flags = json!({"featureFlags": {"RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS": given}});
        let all = straighten(helm.render(&Helm::ours(), &[&base(), &flags]).await);
        let pod = &all["Deployment/ratify"]["spec"]["template"]["spec"];
        let environment = &pod["containers"]["ratify"]["env"];
        assert_eq!(environment["RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS"]["value"], made);
    }
}

#[tokio::test]
async fn an_empty_allow_list_forbids_and_an_absent_one_does_not() {
    let Some(helm) = Helm::find() else { return };
    for (given, made) in [(Value::Null, Value::Null), (json!([]), json!([]))] {
        let values = json!({"plugins": {"allowedRepositories": given, "requireDigest": true}});
        let rendered = helm.render(&Helm::ours(), &[&base(), &values]).await;
        let map = rendered.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
        let config = map["data"]["config.json"].as_str().unwrap();
        let config: Value = serde_json::from_str(config).unwrap();
        assert_eq!(config["plugins"]["allowedRepositories"], made);
        ratify_core::config::Config::from_json(config.to_string().as_bytes()).unwrap();
    }
}

#[tokio::test]
async fn the_chart_passes_helms_own_checks() {
    let Some(helm) = Helm::find() else { return };
    let values = helm.folder().join("values.json");
    std::fs::write(&values, base().to_string()).unwrap();
    let (chart, values) = (Helm::ours().display().to_string(), values.display().to_string());
    let ran = helm.run(&["lint", "--strict", &chart, "--values", &values], None).await;
    assert!(ran.is_success, "{}{}", ran.stdout, ran.stderr);
    // What is packed is what is here, the files outside of templates too.
    let target = helm.folder().display().to_string();
    let packed = helm.run(&["package", &chart, "--destination", &target], None).await;
    assert!(packed.is_success, "{}", packed.stderr);
    let archive = packed.stdout.trim().rsplit(' ').next().unwrap().to_owned();
    let [from_archive, from_folder] = [
        helm.try_render(std::path::Path::new(&archive), &[&base(), &rotated()]).await,
        helm.try_render(&Helm::ours(), &[&base(), &rotated()]).await,
    ];
    assert!(from_archive.is_success, "{}", from_archive.stderr);
    assert_eq!(from_archive.stdout, from_folder.stdout);
}

#[tokio::test]
async fn what_v1_reads_amiss_counts_as_it_is_meant() {
    let Some(helm) = Helm::find() else { return };
    for spelling in ["certificateOIDCIssuerRegExp", "certificateOIDCIssuerExp"] {
        let values = json!({"cosign": {"keyless": {spelling: ".*"}}});
        let all = straighten(helm.render(&Helm::ours(), &[&base(), &values]).await);
        let policy = &all["Verifier/verifier-cosign"]["spec"]["parameters"]["trustPolicies"][0];
        assert_eq!(policy["keyless"]["certificateOIDCIssuerRegExp"], ".*", "{spelling}");
    }
    let vault = json!({"enabled": true, "vaultURI": "u", "tenantId": "t",
        "keys": [{"name": "k", "version": "1234"}]});
    let values = json!({"azurekeyvault": vault, "azureWorkloadIdentity": {"clientId": "i"}});
    let all = straighten(helm.render(&Helm::ours(), &[&base(), &values]).await);
    let keys = &all["KeyManagementProvider/kmprovider-akv"]["spec"]["parameters"]["keys"];
    assert_eq!(keys[0]["version"], "1234");
}

/// What of the values is wrong, and what the refusal names.
#[rustfmt::skip]
const WRONG: &[(&str, &str)] = &[
    (r#"{"cosign":{"enabled":"false"}}"#, "/cosign/enabled"),
    (r#"{"replicaCount":"many"}"#, "/replicaCount"),
    (r#"{"replicaCount":-1}"#, "/replicaCount"),
    (r#"{"healthPort":0}"#, "/healthPort"),
    (r#"{"tolerations":"all"}"#, "/tolerations"),
    (r#"{"tolerations":[{"kye":"a"}]}"#, "/tolerations"),
    (r#"{"image":{"digest":"latest"}}"#, "/image/digest"),
    (r#"{"image":{"pullPolicy":"Sometimes"}}"#, "/image/pullPolicy"),
    (r#"{"provider":{"timeout":{"validationTimeoutSeconds":0}}}"#, "/provider/timeout/validationTimeoutSeconds"),
    (r#"{"provider":{"tls":{"cabundle":"-----BEGIN CERTIFICATE-----"}}}"#, "/provider/tls/cabundle"),
    (r#"{"featureFlags":{"RATIFY_CERT_ROTATION":"yes"}}"#, "/featureFlags/RATIFY_CERT_ROTATION"),
    (r#"{"notation":{"trustPolicies":[{"level":"strictest"}]}}"#, "/notation/trustPolicies/0/level"),
    (r#"{"plugins":{"allowedRepository":[]}}"#, "allowedRepository"),
    (r#"{"plugins":{"maxSizeBytes":0}}"#, "/plugins/maxSizeBytes"),
    (r#"{"plugins":{"namespaces":{"sources":true}}}"#, "sources"),
    (r#"{"namespaces":{"tightenonly":true}}"#, "tightenonly"),
    (r#"{"registries":{"timeouts":{"minBytesPerSecond":0}}}"#, "/registries/timeouts/minBytesPerSecond"),
    (r#"{"registries":{"hostsPath":"/etc/containerd/certs.d"}}"#, "hostsPath"),
    (r#"{"registries":{"hosts":{"files":[{"registry":"a/b","secretName":"s"}]}}}"#, "/registries/hosts/files/0/registry"),
    (r#"{"registries":{"hosts":{"files":[{"registry":"a"}]}}}"#, "registries.hosts.files: a: secretName or configMapName must say where it is"),
    (r#"{"registries":{"hosts":{"files":[{"registry":"a","secretName":"s","configMapName":"c"}]}}}"#, "registries.hosts.files: a: secretName and configMapName exclude"),
    (r#"{"registries":{"hosts":{"files":[{"registry":"A","secretName":"s"},{"registry":"a:443","secretName":"s"}]}}}"#, "a:443 is given twice"),
    (r#"{"registries":{"hosts":{"files":[{"registry":"a","secretName":"s"}],"volume":{"emptyDir":{}}}}}"#, "files and volume exclude each other"),
    (r#"{"registries":{"credentialProviders":{"secretName":"s"}}}"#, "programs.volume must say where the programs are"),
    (r#"{"registries":{"credentialProviders":{"programs":{"volume":{"emptyDir":{}}}}}}"#, "registries.credentialProviders: secretName or configMapName must"),
    (r#"{"registries":{"credentialProviders":{"binDir":"/bin"}}}"#, "binDir"),
    (r#"{"oras":{"authProviders":{"rules":[{"match":["a"]}]}}}"#, "/oras/authProviders/rules/0"),
    (r#"{"oras":{"authProviders":{"rules":[{"match":["a"],"anonymous":true,"provider":{"name":"dockerConfig"}}]}}}"#, "/oras/authProviders/rules/0"),
    (r#"{"oras":{"authProviders":{"rules":[{"match":["a"],"anonymous":true}],"k8secretsEnabled":true}}}"#, "rules and k8secretsEnabled exclude each other"),
    (r#"{"volume":{"size":"1Gi"}}"#, "size"),
    (r#"{"networkPolicy":{"enable":true}}"#, "enable"),
    (r#"{"oras":{"authProviders":{"k8secretsEnabled":true,"awsEcrBasicEnabled":true}}}"#, "only one of awsEcrBasicEnabled, k8secretsEnabled"),
    (r#"{"notation":{"trustPolicies":[{"trustStores":["ca:vault"]}]}}"#, "Unknown trust store reference: vault"),
    (r#"{"notation":{"trustPolicies":[{"trustStores":["x:azurekeyvault"]}]}}"#, "Unknown certificate type: x"),
    (r#"{"notationCert":"a","notationCerts":["b"]}"#, "single certificate .Values.notationCert has been deprecated"),
    (r#"{"azurekeyvault":{"enabled":true}}"#, "vaultURI must be provided"),
    (r#"{"azurekeyvault":{"enabled":true,"vaultURI":"u"}}"#, "tenantID must be provided"),
    (r#"{"azurekeyvault":{"enabled":true,"vaultURI":"u","tenantId":"t"}}"#, "clientID must be provided"),
    (r#"{"provider":{"tls":{"existingSecret":"s"}}}"#, "exclude each other"),
    (r#"{"serviceMonitor":{"enabled":true},"instrumentation":{"metricsEnabled":false}}"#, "instrumentation.metricsEnabled"),
];

#[tokio::test]
async fn wrong_values_are_refused_by_name() {
    let Some(helm) = Helm::find() else { return };
    for (values, named) in WRONG {
        let why = helm.refusal(&[&base(), &serde_json::from_str(values).unwrap()]).await;
        assert!(why.contains(named), "{values}: {why}");
    }
}

#[tokio::test]
async fn v1s_spellings_are_accepted() {
    let Some(helm) = Helm::find() else { return };
    for values in [
        json!({"notation": {"trustPolicies": [{"name": "p", "verificatonLevel": "audit", "registryScopes": ["*"]}]}}),
        json!({"cosign": {"keyless": {"certificateOIDCIssuerExp": ".*"}}}),
        json!({"oras": {"authProviders": {"azureContainerRegistryEndpoints": []}}}),
        json!({"logger": {"requestHeaders": {"traceIDHeaderName": "x-trace"}}}),
        json!({"image": {"tag": 1.5}, "provider": {"cache": {"cacheSizeMb": "128"}}, "oras": {"cache": {"ttl": "20"}}}),
    ] {
        helm.render(&Helm::ours(), &[&base(), &values]).await;
    }
}

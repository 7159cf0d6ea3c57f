//! Key management providers and certificate stores, as resources on a real API server: what their
//! status says, what they are given, and what becomes of them when their vault fails.

mod vault;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    Home,
    cluster::{Controller, define, until, until_in},
};
use crate::{
    cluster::server::{Cluster, ClusterOptions},
    parity::machines::Machines,
};
use vault::{ASSERTION, CLIENT, FakeVault, TENANT};

const PROVIDERS: &str = "keymanagementproviders";
const NAMESPACED: &str = "namespacedkeymanagementproviders";

/// A resource of keys, as a document.
fn document(kind: &str, namespace: Option<&str>, name: &str, spec: Value) -> String {
    let mut metadata = json!({"name": name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    json!({
        "apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": kind,
        "metadata": metadata, "spec": spec,
    })
    .to_string()
}

/// A certificate, in PEM.
fn certificate() -> String {
    rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem()
}

fn inline(value: &str) -> Value {
    let parameters = json!({"contentType": "certificate", "value": value});
    json!({"type": "inline", "parameters": parameters})
}

fn key_vault(vault: &FakeVault, interval: &str) -> Value {
    let parameters = json!({
        "vaultURI": vault.url, "tenantID": TENANT, "clientID": CLIENT,
        "certificates": [{"name": "release"}, {"name": "off"}], "keys": [{"name": "signing"}],
    });
    json!({"type": "azurekeyvault", "refreshInterval": interval, "parameters": parameters})
}

fn secret(version: &str, pem: &str) -> Value {
    let id = format!("https://v.vault.azure.net/secrets/release/{version}");
    json!({
        "value": pem, "contentType": "application/x-pem-file", "id": id,
        "attributes": {"enabled": true},
    })
}

/// Who the controller is to Entra.
fn be_somebody(home: &mut Home, vault: &FakeVault) {
    let token = home.write("token", ASSERTION);
    home.set("AZURE_FEDERATED_TOKEN_FILE", token.to_str().unwrap());
    home.set("AZURE_AUTHORITY_HOST", format!("{}/", vault.url));
}

/// A vault with a certificate, one that is disabled, and a key.
async fn filled() -> FakeVault {
    let vault = FakeVault::start().await;
    vault.put("/secrets/release", 200, secret("1f30", &certificate()));
    let disabled = json!({"code": "Forbidden", "innererror": {"code": "SecretDisabled"}});
    vault.put("/secrets/off", 403, json!({"error": disabled}));
    let off = json!({"kid": "https://v/keys/off/77", "attributes": {"enabled": false}});
    vault.put("/certificates/off", 200, off);
    let x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    let y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    let key =
        json!({"kid": "https://v/keys/signing/88", "kty": "EC", "crv": "P-256", "x": x, "y": y});
    vault.put("/keys/signing", 200, json!({"key": key, "attributes": {"enabled": true}}));
    vault
}

/// What a status says of keys, without the times.
fn properties(object: &Value) -> Value {
    let mut properties = object["status"]["properties"].clone();
    for told in properties.as_object_mut().into_iter().flatten() {
        for one in told.1.as_array_mut().unwrap() {
            let at = one.as_object_mut().unwrap().remove("LastRefreshed").unwrap();
            assert!(at.as_str().unwrap().ends_with('Z'), "{at}");
        }
    }
    properties
}

#[tokio::test]
async fn inline_keys_are_in_force_at_once_and_what_is_wrong_is_said() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let mut home = Home::new();
    home.set("RATIFY_NAMESPACE", "default");
    define(&home, &cluster).await;
    let controller = Controller::start(&home, &cluster).await;
    let pem = certificate();
    cluster.apply(&document("KeyManagementProvider", None, "ca", inline(&pem))).await;
    let of_namespace =
        document("NamespacedKeyManagementProvider", Some("default"), "ca", inline(&pem));
    cluster.apply(&of_namespace).await;
    let parameters = json!({"value": pem});
    let store = json!({"provider": "inline", "parameters": parameters});
    cluster.apply(&document("CertificateStore", Some("default"), "certs", store)).await;
    let is_in_force = |status: &Value| status["issuccess"] == true;
    let object = until(&cluster, &controller, PROVIDERS, "ca", is_in_force).await;
    let status = &object["status"];
    assert!(status["lastfetchedtime"].is_string() && status["properties"].is_null(), "{status}");
    let own = Some("default");
    until_in(&cluster, &controller, NAMESPACED, own, "ca", is_in_force).await;
    until_in(&cluster, &controller, "certificatestores", own, "certs", is_in_force).await;
    let said = controller.said();
    for line in [
        "reconciling cluster key management provider 'ca'",
        "1 certificate(s) & 0 key(s) fetched for key management provider ca",
        "1 certificate(s) & 0 key(s) fetched for key management provider default/ca",
        "reconciling certificate store 'default/certs'",
        "1 certificates fetched for certificate store default/certs",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }

    // What was in force before still is.
    cluster.apply(&document("KeyManagementProvider", None, "ca", inline("no PEM"))).await;
    let is_kept = |status: &Value| status["conditions"][0]["reason"] == "KeptLastGood";
    let object = until(&cluster, &controller, PROVIDERS, "ca", is_kept).await;
    assert_eq!(object["status"]["brieferror"], "CERT_INVALID: failed to decode pem block");
    cluster.apply(&document("KeyManagementProvider", None, "none", inline("no PEM"))).await;
    let is_refused = |status: &Value| status["conditions"][0]["reason"] == "Refused";
    let object = until(&cluster, &controller, PROVIDERS, "none", is_refused).await;
    assert_eq!(
        object["status"]["error"],
        "CERT_INVALID: Failed to create key management provider from CR: failed to decode pem block"
    );
    let warning = "Certificate Store already exists. Key management provider and certificate store should not be configured together.";
    assert!(controller.said().contains(warning), "{}", controller.said());
    cluster.must(&["delete", PROVIDERS, "ca"]).await;
    let is_said = "deletion detected, removing key management provider ca";
    controller.until(|| controller.said().contains(is_said)).await;
}

#[tokio::test]
async fn a_vault_is_asked_again_and_what_it_gave_last_outlives_its_faults() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let (vault, mut home) = (filled().await, Home::new());
    be_somebody(&mut home, &vault);
    define(&home, &cluster).await;
    let controller = Controller::start(&home, &cluster).await;
    cluster.apply(&document("KeyManagementProvider", None, "akv", key_vault(&vault, "5s"))).await;
    let is_in_force = |status: &Value| status["issuccess"] == true;
    let object = until(&cluster, &controller, PROVIDERS, "akv", is_in_force).await;
    insta::assert_snapshot!(properties(&object), @r#"{"Certificates":[{"Enabled":"true","Name":"release","Version":"1f30"},{"Enabled":"false","Name":"off","Version":"77"}],"Keys":[{"Enabled":"true","Name":"signing","Version":"88"}]}"#);

    // Another version, which is the latest now.
    vault.put("/secrets/release", 200, secret("2a40", &certificate()));
    let is_new = |status: &Value| status["properties"]["Certificates"][0]["Version"] == "2a40";
    until(&cluster, &controller, PROVIDERS, "akv", is_new).await;

    // A fault leaves what there is.
    vault.put("/secrets/release", 403, json!({"error": {"code": "Forbidden"}}));
    let is_kept = |status: &Value| status["conditions"][0]["reason"] == "KeptLastGood";
    let object = until(&cluster, &controller, PROVIDERS, "akv", is_kept).await;
    let error = object["status"]["error"].as_str().unwrap().replace(&vault.url, "VAULT");
    insta::assert_snapshot!(error, @"KEY_MANAGEMENT_PROVIDER_FAILURE: Failed to refresh key management provider: Unable to fetch certificates from key management provider [akv] of type [azurekeyvault]: failed to get secret objectName:release, objectVersion:, error: VAULT/secrets/release: response status code 403: Forbidden");
    assert!(is_new(&object["status"]), "what was told last: {object}");
    vault.put("/secrets/release", 200, secret("3b50", &certificate()));
    let is_mended = |status: &Value| {
        status["issuccess"] == true && status["properties"]["Certificates"][0]["Version"] == "3b50"
    };
    until(&cluster, &controller, PROVIDERS, "akv", is_mended).await;
    let said = controller.said();
    assert!(said.contains("1 certificate(s) & 1 key(s) fetched for key management provider akv"));
    assert!(!said.contains("hunter2") && !said.contains(ASSERTION), "{said}");
}

/// What `openssl` makes of a chain and its key: an archive without a password.
async fn archive(openssl: &std::path::Path, home: &Home, options: &[&str]) -> Vec<u8> {
    let [leaf, root] =
        [(); 2].map(|()| rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap());
    let all = [leaf.signing_key.serialize_pem(), leaf.cert.pem(), root.cert.pem()].concat();
    let file = home.write("chain.pem", all);
    let mut command = tokio::process::Command::new(openssl);
    command.args(["pkcs12", "-export", "-passout", "pass:", "-in"]).arg(file).args(options);
    let made = command.output().await.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

#[tokio::test]
async fn a_chain_in_pkcs12_is_read_as_others_write_it() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let openssl = Machines::find().unwrap().tool("openssl");
    let (vault, mut home) = (filled().await, Home::new());
    let forms: [(&str, &[&str]); 3] = [
        ("modern", &[]),
        ("legacy", &["-legacy"]),
        ("plain", &["-certpbe", "NONE", "-keypbe", "NONE", "-nomac"]),
    ];
    for (name, options) in forms {
        let value = STANDARD.encode(archive(&openssl, &home, options).await);
        vault.put(
            &format!("/secrets/{name}"),
            200,
            json!({
                "value": value, "contentType": "application/x-pkcs12",
                "id": format!("https://v.vault.azure.net/secrets/{name}/1f30"),
                "attributes": {"enabled": true},
            }),
        );
    }
    be_somebody(&mut home, &vault);
    define(&home, &cluster).await;
    let controller = Controller::start(&home, &cluster).await;
    let mut spec = key_vault(&vault, "");
    spec["parameters"]["certificates"] =
        json!([{"name": "modern"}, {"name": "legacy"}, {"name": "plain"}]);
    cluster.apply(&document("KeyManagementProvider", None, "akv", spec)).await;
    let is_told = |status: &Value| !status["issuccess"].is_null();
    let object = until(&cluster, &controller, PROVIDERS, "akv", is_told).await;
    let told = properties(&object);
    let names: Vec<_> =
        told["Certificates"].as_array().into_iter().flatten().map(|one| &one["Name"]).collect();
    // A chain of two in each.
    assert_eq!(names, ["modern", "modern", "legacy", "legacy", "plain", "plain"], "{object}");
    let said = controller.said();
    assert!(said.contains("certificate modern, version 1f30 private key skipped"), "{said}");
}

#[tokio::test]
async fn a_tenant_asks_no_vault_as_ratify_unless_that_is_lent() {
    let Some(cluster) = Cluster::start(ClusterOptions::default()).await else { return };
    let (vault, mut home) = (filled().await, Home::new());
    be_somebody(&mut home, &vault);
    home.set("RATIFY_NAMESPACE", "ratify");
    define(&home, &cluster).await;
    for namespace in ["ratify", "team"] {
        cluster.must(&["create", "namespace", namespace]).await;
    }
    let controller = Controller::start(&home, &cluster).await;
    let kind = "NamespacedKeyManagementProvider";
    cluster.apply(&document(kind, Some("team"), "akv", key_vault(&vault, ""))).await;
    let is_refused = |status: &Value| status["conditions"][0]["reason"] == "Refused";
    let object = until_in(&cluster, &controller, NAMESPACED, Some("team"), "akv", is_refused).await;
    insta::assert_snapshot!(object["status"]["error"].as_str().unwrap(), @"AUTH_DENIED: Failed to create key management provider from CR: failed to create keyvault client: failed to create workload identity credential: a resource of namespace team may not use the identity of Ratify, unless namespaces.clusterCredentials of the configuration allows it: https://learn.microsoft.com/en-us/azure/aks/workload-identity-overview");
    assert_eq!(vault.asked(), Vec::<String>::new(), "it was asked");

    // Ratify's own namespace is its administrators'.
    cluster.apply(&document(kind, Some("ratify"), "akv", key_vault(&vault, ""))).await;
    let is_in_force = |status: &Value| status["issuccess"] == true;
    until_in(&cluster, &controller, NAMESPACED, Some("ratify"), "akv", is_in_force).await;

    home.configure(&json!({"namespaces": {"clusterCredentials": true}}));
    until_in(&cluster, &controller, NAMESPACED, Some("team"), "akv", is_in_force).await;
}

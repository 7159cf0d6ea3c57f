//! What v1.4.0 and ours say, in the status, of one and the same key management providers and certificate
//! stores, good and bad, on one API server one after the other.

use std::{collections::BTreeMap, time::Duration};

use ratify_controller::dev::RegistryOptions;
use serde_json::{Value, json};

use super::{Lab, Replica};
use crate::cluster::replica::V1;

/// How often statuses are looked for before the test gives up.
const LOOKS: usize = 600;
const LOOK: Duration = Duration::from_millis(100);

const PROVIDER: &str = "KeyManagementProvider";
const OF_NAMESPACE: &str = "NamespacedKeyManagementProvider";
const STORE: &str = "CertificateStore";
/// What v1's statuses have.
const FIELDS: [&str; 4] = ["issuccess", "error", "brieferror", "properties"];

struct Case {
    kind: &'static str,
    name: &'static str,
    spec: Value,
}

fn inline(content: &str, value: &str) -> Value {
    json!({"type": "inline", "parameters": {"contentType": content, "value": value}})
}

fn cases() -> Vec<Case> {
    let certified = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.public_key_pem());
    let store = |value: &str| json!({"provider": "inline", "parameters": {"value": value}});
    let vault = |parameters: Value| json!({"type": "azurekeyvault", "parameters": parameters});
    let parameters = |parameters: Value| json!({"type": "inline", "parameters": parameters});
    let named = json!([{"name": "a"}]);
    let case = |kind, name, spec| Case { kind, name, spec };
    vec![
        case(PROVIDER, "certificate", inline("certificate", &certificate)),
        case(PROVIDER, "two", inline("certificate", &format!("{certificate}{certificate}"))),
        case(PROVIDER, "key", inline("key", &key)),
        case(PROVIDER, "no-pem", inline("certificate", "-")),
        case(PROVIDER, "no-key", inline("key", "-")),
        case(PROVIDER, "key-for-certificate", inline("certificate", &key)),
        case(PROVIDER, "other-content", inline("secret", &key)),
        case(PROVIDER, "no-content", parameters(json!({"value": key}))),
        case(PROVIDER, "no-value", parameters(json!({"contentType": "key"}))),
        case(PROVIDER, "no-parameters", json!({"type": "inline"})),
        case(PROVIDER, "other-type", json!({"type": "vault", "parameters": {"a": "b"}})),
        case(PROVIDER, "no-vault", vault(json!({"tenantID": "t"}))),
        case(PROVIDER, "no-tenant", vault(json!({"vaultURI": "https://v.example.com"}))),
        case(
            PROVIDER,
            "no-client",
            vault(json!({"vaultURI": "https://v.example.com", "tenantID": "t"})),
        ),
        case(
            PROVIDER,
            "no-names",
            vault(json!({"vaultURI": "https://v.example.com", "tenantID": "t", "clientID": "c"})),
        ),
        case(
            PROVIDER,
            "no-identity",
            vault(json!({
                "vaultURI": "https://v.vault.azure.net", "tenantID": "t", "clientID": "c",
                "certificates": named,
            })),
        ),
        case(OF_NAMESPACE, "certificate", inline("certificate", &certificate)),
        case(OF_NAMESPACE, "key", inline("key", &key)),
        case(OF_NAMESPACE, "no-pem", inline("certificate", "-")),
        case(STORE, "certificate", store(&certificate)),
        case(STORE, "no-pem", store("-")),
        case(STORE, "no-value", json!({"provider": "inline", "parameters": {"a": "b"}})),
        case(STORE, "other", json!({"provider": "vault", "parameters": {"a": "b"}})),
        case(STORE, "empty-parameters", json!({"provider": "inline", "parameters": {}})),
        case(STORE, "no-parameters", json!({"provider": "inline"})),
        case(STORE, "no-vault", json!({"provider": "azurekeyvault", "parameters": {}})),
    ]
}

impl Case {
    fn namespace(&self) -> Option<&'static str> {
        (self.kind != PROVIDER).then_some("default")
    }

    fn document(&self) -> String {
        let mut metadata = json!({"name": self.name});
        if let Some(namespace) = self.namespace() {
            metadata["namespace"] = namespace.into();
        }
        json!({
            "apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": self.kind,
            "metadata": metadata, "spec": self.spec,
        })
        .to_string()
    }
}

/// What a controller says of each.
async fn statuses(
    lab: &Lab,
    cases: &[Case],
    mut replica: Replica,
) -> BTreeMap<String, [Value; FIELDS.len() + 1]> {
    replica.start().await;
    for case in cases {
        lab.cluster.apply(&case.document()).await;
    }
    let mut said = BTreeMap::new();
    for case in cases {
        let mut status = Value::Null;
        for look in 0.. {
            let object = lab.cluster.get_json(case.kind, case.namespace(), case.name).await;
            status = object["status"].clone();
            if status["issuccess"].is_boolean() {
                break;
            }
            assert!(look < LOOKS, "no status of {} {}: {}", case.kind, case.name, replica.log());
            tokio::time::sleep(LOOK).await;
        }
        let [succeeded, error, brief, properties] = FIELDS.map(|field| match &status[field] {
            Value::String(text) if text.is_empty() => Value::Null,
            other => other.clone(),
        });
        let fetched = json!(status["lastfetchedtime"].is_string());
        said.insert(
            format!("{} {}", case.kind, case.name),
            [succeeded, error, brief, properties, fetched],
        );
    }
    replica.kill().await;
    for case in cases {
        let mut delete = vec!["delete", case.kind, case.name];
        delete.extend(case.namespace().into_iter().flat_map(|namespace| ["-n", namespace]));
        lab.cluster.must(&delete).await;
    }
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_of_keys_are_v1s_but_for_what_is_told() {
    let options = RegistryOptions::default();
    let Some(lab) = Lab::start_with_v1s_definitions(options).await else { return };
    let _alone = V1.lock().await;
    let (cases, url) = (cases(), lab.cluster.url());
    let v1 = statuses(&lab, &cases, lab.v1_by(&url)).await;
    let ours = statuses(&lab, &cases, lab.replica_by("pod-1", &url)).await;
    let mut different = String::new();
    for (what, v1) in &v1 {
        let names = FIELDS.iter().chain(&["lastfetchedtime"]);
        for ((name, v1), ours) in names.zip(v1).zip(&ours[what]) {
            if v1 != ours {
                different.push_str(&format!("{what}: {name}\n  v1: {v1}\n  ours: {ours}\n"));
            }
        }
    }
    insta::assert_snapshot!(different, @r#"
    CertificateStore no-parameters: error
      v1: "received empty parameters"
      ours: "CONFIG_INVALID: received empty parameters"
    CertificateStore no-parameters: brieferror
      v1: "received empty parameters"
      ours: "CONFIG_INVALID: received empty parameters"
    CertificateStore no-pem: error
      v1: "CERT_INVALID: "
      ours: "CERT_INVALID: failed to decode pem block"
    CertificateStore no-pem: brieferror
      v1: "CERT_INVALID: "
      ours: "CERT_INVALID: failed to decode pem block"
    CertificateStore other: error
      v1: "Unknown provider value '<nil>' defined"
      ours: "CONFIG_INVALID: Unknown provider value '<nil>' defined"
    CertificateStore other: brieferror
      v1: "Unknown provider value '<nil>' defined"
      ours: "CONFIG_INVALID: Unknown provider value '<nil>' defined"
    KeyManagementProvider no-identity: error
      v1: "AUTH_DENIED: Failed to create key management provider from CR: failed to create keyvault client: failed to create workload identity credential: no token file specified. Check pod configuration or set TokenFilePath in the options"
      ours: "AUTH_DENIED: Failed to create key management provider from CR: failed to create keyvault client: failed to create workload identity credential: required environment variables not set, AZURE_FEDERATED_TOKEN_FILE: , AZURE_AUTHORITY_HOST: : https://learn.microsoft.com/en-us/azure/aks/workload-identity-overview"
    KeyManagementProvider no-identity: brieferror
      v1: "AUTH_DENIED: no token file specified. Check pod configuration or set TokenFilePath in the options"
      ours: "AUTH_DENIED: required environment variables not set, AZURE_FEDERATED_TOKEN_FILE: , AZURE_AUTHORIT..."
    "#);
}

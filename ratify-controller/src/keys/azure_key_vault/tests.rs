//! A vault that is a map, and what is made of its answers.

use std::collections::HashMap;

use rcgen::PublicKeyData as _;
use serde_json::json;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;

const PKCS12: &str = "application/x-pkcs12";
const PEM: &str = "application/x-pem-file";

/// A vault that is a map from paths to answers.
#[derive(Default)]
struct Memory(HashMap<String, (u16, Value)>);

impl Memory {
    fn with(mut self, path: &str, status: u16, body: Value) -> Self {
        self.0.insert(path.to_owned(), (status, body));
        self
    }
}

impl Vault for Memory {
    fn get<'a>(&'a self, path: [&'a str; 3]) -> BoxFuture<'a, Result<VaultAnswer, String>> {
        let path = path.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        let answer = match self.0.get(&path) {
            Some((status, body)) => Ok(VaultAnswer {
                status: *status,
                body: body.to_string().into(),
                reason: format!("https://v: response status code {status}: Code"),
            }),
            None => Err(format!("nobody answers for {path}")),
        };
        Box::pin(std::future::ready(answer))
    }
}

fn parameters(certificates: Value, keys: Value) -> Value {
    json!({
        "vaultURI": " https://v.vault.azure.net/ ", "tenantID": "t", "clientID": "c",
        "certificates": certificates, "keys": keys,
    })
}

fn vault(certificates: Value, keys: Value) -> KeyVault {
    KeyVault::read(&parameters(certificates, keys)).unwrap()
}

fn certificate() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap()
}

fn secret(content_type: &str, value: &str, enabled: bool) -> Value {
    json!({
        "value": value, "contentType": content_type, "attributes": {"enabled": enabled},
        "id": "https://v.vault.azure.net/secrets/a/1f30",
    })
}

async fn fetched(vault: &KeyVault, of: &Memory) -> Fetched {
    let mut fetched = vault.fetch(of, "kmp").await.unwrap();
    for told in fetched.properties.iter_mut().flat_map(Map::values_mut) {
        for one in told.as_array_mut().unwrap() {
            let at = one["LastRefreshed"].take();
            at.as_str().unwrap().parse::<Timestamp>().unwrap();
        }
    }
    fetched
}

async fn refused(vault: &KeyVault, of: &Memory) -> Error {
    vault.fetch(of, "kmp").await.unwrap_err()
}

#[test]
fn the_parameters_are_v1s_and_so_is_what_is_said_of_wrong_ones() {
    let read = vault(json!([{"name": "a"}]), json!([]));
    assert_eq!((read.uri.as_str(), read.tenant.as_str()), ("https://v.vault.azure.net", "t"));
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut parameters =
            parameters(json!([{"name": "a", "version": "1"}]), json!([{"name": "k"}]));
        change(&mut parameters);
        KeyVault::read(&parameters).unwrap_err().to_string()
    };
    insta::assert_snapshot!(refused(&|of| { of["certificates"] = json!([]); of["keys"] = json!([]); }), @"CONFIG_INVALID: no keyvault certificates or keys configured");
    insta::assert_snapshot!(refused(&|of| of["vaultURI"] = json!(" ")), @"CONFIG_INVALID: vaultURI is not set");
    insta::assert_snapshot!(refused(&|of| of["tenantID"] = json!("")), @"CONFIG_INVALID: tenantID is not set");
    insta::assert_snapshot!(refused(&|of| of["clientID"] = json!("")), @"CONFIG_INVALID: clientID is not set");
    insta::assert_snapshot!(refused(&|of| of["certificates"] = json!([{"name": "a"}, {}])), @"CONFIG_INVALID: name is not set for the 2 th certificate");
    insta::assert_snapshot!(refused(&|of| of["keys"] = json!([{"version": "1"}])), @"CONFIG_INVALID: name is not set for the 1 th key");
    insta::assert_snapshot!(refused(&|of| of["keys"] = json!([{"name": "../secrets/x"}])), @"CONFIG_INVALID: the 1 th key is named by letters, digits and hyphens, and so is its version");
    assert!(refused(&|of| of["keys"] = json!("k")).starts_with("CONFIG_INVALID: failed to parse"));
}

#[tokio::test]
async fn a_chain_is_read_from_its_secret_in_either_form() {
    let (leaf, root) = (certificate(), certificate());
    let pem = format!("{}{}{}", leaf.signing_key.serialize_pem(), leaf.cert.pem(), root.cert.pem());
    let of_pem = Memory::default().with("secrets/a/1f", 200, secret(PEM, &pem, true));
    let read = fetched(&vault(json!([{"name": "a", "version": "1f"}]), json!([])), &of_pem).await;
    let ders: Vec<_> = read.ring.certificates.iter().map(|one| one.der.clone()).collect();
    assert_eq!(ders, [leaf.cert.der().to_vec(), root.cert.der().to_vec()]);
    let first = &read.ring.certificates[0];
    assert_eq!((first.name.as_str(), first.version.as_str()), ("a", "1f"), "as configured");
    insta::assert_snapshot!(json!(read.properties), @r#"{"Certificates":[{"Enabled":"true","LastRefreshed":null,"Name":"a","Version":"1f30"},{"Enabled":"true","LastRefreshed":null,"Name":"a","Version":"1f30"}],"Keys":[]}"#);

    let archive = archive_of(&[&leaf, &root]);
    let of_pkcs12 =
        Memory::default().with("secrets/a", 200, secret(PKCS12, &STANDARD.encode(archive), true));
    let read = fetched(&vault(json!([{"name": "a"}]), json!([])), &of_pkcs12).await;
    assert_eq!(read.ring.certificates.len(), 2);
    let found = |der: &[u8]| read.ring.certificates.iter().any(|one| one.der == der);
    assert!(found(leaf.cert.der()) && found(root.cert.der()));
}

/// An archive without a password.
fn archive_of(chain: &[&rcgen::CertifiedKey<rcgen::KeyPair>]) -> Vec<u8> {
    use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
    let key = PrivateKey::from_der(&chain[0].signing_key.serialize_der()).unwrap();
    let certificates = chain.iter().map(|one| Certificate::from_der(one.cert.der()).unwrap());
    let entry = PrivateKeyChain::new(b"id".to_vec(), key, certificates.collect::<Vec<_>>());
    let mut store = KeyStore::new();
    store.add_entry("a", KeyStoreEntry::PrivateKeyChain(entry));
    store.writer("").write().unwrap()
}

#[tokio::test]
async fn what_is_disabled_is_told_and_left_out() {
    let disabled = json!({"error": {
        "code": "Forbidden", "message": "m", "innererror": {"code": "SecretDisabled"},
    }});
    let told = json!({"kid": "https://v/keys/a/77", "attributes": {"enabled": false}});
    let key = json!({"key": {"kid": "https://v/keys/k/88", "kty": "EC"}, "attributes": {"enabled": false}});
    let memory = Memory::default()
        .with("secrets/a", 403, disabled)
        .with("certificates/a", 200, told)
        .with("keys/k", 200, key);
    let of = vault(json!([{"name": "a"}]), json!([{"name": "k"}]));
    let read = fetched(&of, &memory).await;
    assert_eq!(read.ring, KeyRing::default());
    insta::assert_snapshot!(json!(read.properties), @r#"{"Certificates":[{"Enabled":"false","LastRefreshed":null,"Name":"a","Version":"77"}],"Keys":[{"Enabled":"false","LastRefreshed":null,"Name":"k","Version":"88"}]}"#);

    let forbidden = json!({"error": {"code": "Forbidden", "innererror": {"code": "AccessDenied"}}});
    let memory = memory.with("secrets/a", 403, forbidden);
    let error = refused(&of, &memory).await;
    assert!(!error.is_transient(), "{error}");
    insta::assert_snapshot!(error, @"KEY_MANAGEMENT_PROVIDER_FAILURE: Unable to fetch certificates from key management provider [kmp] of type [azurekeyvault]: failed to get secret objectName:a, objectVersion:, error: https://v: response status code 403: Code");
}

#[tokio::test]
async fn a_key_has_the_version_that_the_vault_gave() {
    let pair = rcgen::KeyPair::generate().unwrap();
    let spki = pair.subject_public_key_info();
    let b64 = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let (x, y) = spki[spki.len() - 64..].split_at(32);
    let key = json!({
        "key": {"kid": "https://v/keys/k/88", "kty": "EC-HSM", "crv": "P-256", "x": b64(x), "y": b64(y), "key_ops": ["sign"]},
        "attributes": {"enabled": true},
    });
    let memory = Memory::default().with("keys/k", 200, key);
    let read = fetched(&vault(json!([]), json!([{"name": "k"}])), &memory).await;
    let key = &read.ring.keys[0];
    let told = (key.name.as_str(), key.version.as_str(), key.provider_type.as_str());
    assert_eq!((told, &key.spki[..]), (("k", "88", NAME), &spki[..]));
}

#[tokio::test]
async fn what_the_vault_should_not_say_is_refused_and_nothing_of_it_is_shown() {
    let good = certificate().cert.pem();
    let of = |body: Value| Memory::default().with("secrets/a", 200, body);
    let entry = vault(json!([{"name": "a"}]), json!([]));
    let error = async |memory: Memory| refused(&entry, &memory).await.to_string();
    insta::assert_snapshot!(error(of(secret("text/hunter2", "x", true))).await, @"CERT_INVALID: Unable to fetch certificates from key management provider [kmp] of type [azurekeyvault]: certificate a version 1f30, unsupported secret content type text/hunter2, supported type are application/x-pkcs12 and application/x-pem-file");
    insta::assert_snapshot!(error(of(json!({"value": "hunter2"}))).await, @"CERT_INVALID: Unable to fetch certificates from key management provider [kmp] of type [azurekeyvault]: found invalid secret bundle for certificate a, contentType, value, and id must not be nil");
    for (content_type, value) in [
        (PEM, format!("{good}hunter2")),
        (PKCS12, "hunter2".into()),
        (PKCS12, STANDARD.encode("hunter2")),
    ] {
        let text = error(of(secret(content_type, &value, true))).await;
        assert!(text.starts_with("CERT_INVALID: ") && !text.contains("hunter2"), "{text}");
    }
    for body in [json!("hunter2"), json!({"value": 7})] {
        let text = error(of(body)).await;
        assert!(text.starts_with("DATA_DECODING_FAILURE: ") && !text.contains("hunter2"), "{text}");
    }
    let key = vault(json!([]), json!([{"name": "k"}]));
    for body in
        [json!({}), json!({"key": {"kty": "oct", "k": "hunter2"}, "attributes": {"enabled": true}})]
    {
        let memory = Memory::default().with("keys/k", 200, body);
        let text = refused(&key, &memory).await.to_string();
        assert!(text.starts_with("KEY_INVALID: ") && !text.contains("hunter2"), "{text}");
    }
    let silent = refused(&entry, &Memory::default()).await;
    assert!(silent.is_transient(), "{silent}");
}

#[tokio::test]
async fn the_deprecated_resource_tells_less_and_takes_no_disabled_one() {
    let good = certificate();
    let memory = Memory::default().with("secrets/a", 200, secret(PEM, &good.cert.pem(), true));
    let of = vault(json!([{"name": "a"}]), json!([]));
    let (certificates, mut told) = of.fetch_for_store(&memory).await.unwrap();
    told["Certificates"][0]["LastRefreshed"].take();
    assert_eq!(certificates.len(), 1);
    insta::assert_snapshot!(json!(told), @r#"{"Certificates":[{"CertificateName":"a","LastRefreshed":null,"Version":"1f30"}]}"#);
    let disabled =
        json!({"error": {"code": "Forbidden", "innererror": {"code": "SecretDisabled"}}});
    let memory = memory.with("secrets/a", 403, disabled);
    assert!(of.fetch_for_store(&memory).await.is_err());
}

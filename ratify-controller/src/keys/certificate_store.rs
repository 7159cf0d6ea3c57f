//! [`CertificateStore`]: the deprecated resource that holds certificates alone, in v1's words for it.

use ratify_core::{ComponentType, Error, ErrorCode, Result, RingCertificate, link};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    azure_key_vault::{self, Entry, KeyVault},
    inline, pem,
};

/// A certificate store, as configured.
#[derive(Debug)]
pub(crate) enum CertificateStore {
    /// What the configuration holds.
    Inline(Vec<RingCertificate>),
    /// What a vault of Azure holds.
    AzureKeyVault(KeyVault),
}

/// A list in a text: YAML within YAML.
#[derive(Deserialize)]
struct Objects {
    #[serde(default)]
    array: Vec<String>,
}

/// One of them.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    certificate_name: String,
    certificate_version: String,
}

impl CertificateStore {
    /// A store of a provider with parameters.
    ///
    /// # Errors
    /// With v1's texts: there is no such provider, or a parameter is missing or wrong.
    pub(crate) fn new(provider: &str, parameters: Option<&Value>) -> Result<Self> {
        let parameters = texts(parameters)?;
        match provider.trim().to_ascii_lowercase().as_str() {
            inline::NAME => inline_certificates(&parameters).map(Self::Inline),
            azure_key_vault::NAME => key_vault(&parameters).map(Self::AzureKeyVault),
            _ => {
                // v1 prints its map's empty entry in place of what was written.
                let why = "Unknown provider value '<nil>' defined".to_owned();
                Err(ErrorCode::ConfigInvalid
                    .error()
                    .with_source(why)
                    .from_component(ComponentType::CertProvider, ""))
            }
        }
    }
}

/// The parameters, all of them texts.
fn texts(parameters: Option<&Value>) -> Result<Map<String, Value>> {
    let invalid = |why: &str| {
        ErrorCode::ConfigInvalid
            .error()
            .with_source(why.to_owned())
            .from_component(ComponentType::CertProvider, "")
    };
    match parameters {
        Some(Value::Object(map)) => match map.values().all(Value::is_string) {
            true => Ok(map.clone()),
            false => Err(invalid("every parameter of a certificate store is a text")),
        },
        None | Some(Value::Null) => Err(invalid("received empty parameters")),
        Some(_) => Err(invalid("the parameters of a certificate store are an object of texts")),
    }
}

fn inline_certificates(parameters: &Map<String, Value>) -> Result<Vec<RingCertificate>> {
    let Some(value) = parameters.get("value").and_then(Value::as_str) else {
        return Err(ErrorCode::ConfigInvalid
            .detail("value parameter is not set")
            .from_component(ComponentType::CertProvider, inline::NAME));
    };
    let unnamed = |der| RingCertificate { name: String::new(), version: String::new(), der };
    Ok(pem::certificates(value)?.into_iter().map(unnamed).collect())
}

fn key_vault(parameters: &Map<String, Value>) -> Result<KeyVault> {
    let invalid = |detail: &str| -> Error {
        ErrorCode::ConfigInvalid
            .detail(detail)
            .with_remediation(link::KEY_VAULT)
            .from_component(ComponentType::CertProvider, azure_key_vault::NAME)
    };
    let text = |name: &str| {
        parameters.get(name).and_then(Value::as_str).unwrap_or_default().trim().to_owned()
    };
    let (uri, tenant, client) = (text("vaultURI"), text("tenantID"), text("clientID"));
    for (value, detail) in [
        (&uri, "keyvaultUri is not set"),
        (&tenant, "tenantID is not set"),
        (&client, "clientID is not set"),
    ] {
        if value.is_empty() {
            return Err(invalid(detail));
        }
    }
    let listed = text("certificates");
    if listed.is_empty() {
        let why = ErrorCode::ConfigInvalid.detail("certificates is not set");
        let outer = "failed to get keyvault request object from provider attributes";
        return Err(invalid(outer).with_source(why));
    }
    let certificates = entries(&listed).map_err(|why| {
        invalid("failed to get keyvault request object from provider attributes").with_source(why)
    })?;
    if certificates.is_empty() {
        return Err(ErrorCode::ConfigInvalid
            .detail("no keyvault certificate configured")
            .from_component(ComponentType::CertProvider, azure_key_vault::NAME));
    }
    Ok(KeyVault::of_certificates(uri, tenant, client, certificates))
}

fn entries(listed: &str) -> Result<Vec<Entry>> {
    let undecodable = |detail: String, error: serde_saphyr::Error| {
        let why = ratify_core::capped_line(&error.to_string(), 200);
        ErrorCode::DataDecodingFailure.detail(detail).with_source(why)
    };
    let objects: Objects = serde_saphyr::from_str(listed)
        .map_err(|error| undecodable("failed to yaml unmarshal objects".into(), error))?;
    let read = |(index, text): (usize, &String)| {
        let object: Object = serde_saphyr::from_str(text).map_err(|error| {
            undecodable(format!("unmarshal failed for keyVaultCerts at index: {index}"), error)
        })?;
        Ok(Entry {
            name: object.certificate_name.trim().to_owned(),
            version: object.certificate_version.trim().to_owned(),
        })
    };
    objects.array.iter().enumerate().map(read).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(provider: &str, parameters: Value) -> String {
        CertificateStore::new(provider, Some(&parameters)).unwrap_err().to_string()
    }

    #[test]
    fn inline_holds_certificates_alone() {
        let made = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
        let parameters = json!({"value": made.cert.pem()});
        let store = CertificateStore::new(" Inline ", Some(&parameters)).unwrap();
        let CertificateStore::Inline(certificates) = store else { panic!("{store:?}") };
        assert_eq!(certificates[0].der, made.cert.der().as_ref());
        insta::assert_snapshot!(refused("inline", json!({"other": "x"})), @"CONFIG_INVALID: value parameter is not set");
        insta::assert_snapshot!(refused("inline", json!({"value": "x"})), @"CERT_INVALID: failed to decode pem block");
        insta::assert_snapshot!(refused("inline", json!({})), @"CONFIG_INVALID: value parameter is not set");
        insta::assert_snapshot!(refused("inline", Value::Null), @"CONFIG_INVALID: received empty parameters");
        insta::assert_snapshot!(refused("inline", json!({"value": 7})), @"CONFIG_INVALID: every parameter of a certificate store is a text");
        insta::assert_snapshot!(refused("vault", json!({"value": "x"})), @"CONFIG_INVALID: Unknown provider value '<nil>' defined");
    }

    #[test]
    fn a_vault_is_named_by_texts_in_texts() {
        let listed = "array:\n  - |\n    certificateName: a \n    certificateVersion: 1f\n  - |\n    certificateName: b\n";
        let with = |key: &str, value: &str| {
            let mut parameters = json!({
                "vaultURI": "https://v.vault.azure.net/", "tenantID": "t", "clientID": "c",
                "certificates": listed,
            });
            parameters[key] = value.into();
            parameters
        };
        let store = CertificateStore::new("azurekeyvault", Some(&with("x", "y"))).unwrap();
        let CertificateStore::AzureKeyVault(vault) = store else { panic!("{store:?}") };
        let names: Vec<_> = vault
            .certificates
            .iter()
            .map(|one| (one.name.as_str(), one.version.as_str()))
            .collect();
        assert_eq!(names, [("a", "1f"), ("b", "")]);
        let refused = |key: &str, value: &str| refused("azurekeyvault", with(key, value));
        insta::assert_snapshot!(refused("vaultURI", ""), @"CONFIG_INVALID: keyvaultUri is not set: https://learn.microsoft.com/en-us/azure/key-vault/general/overview");
        insta::assert_snapshot!(refused("tenantID", " "), @"CONFIG_INVALID: tenantID is not set: https://learn.microsoft.com/en-us/azure/key-vault/general/overview");
        insta::assert_snapshot!(refused("clientID", ""), @"CONFIG_INVALID: clientID is not set: https://learn.microsoft.com/en-us/azure/key-vault/general/overview");
        insta::assert_snapshot!(refused("certificates", ""), @"CONFIG_INVALID: failed to get keyvault request object from provider attributes: certificates is not set");
        insta::assert_snapshot!(refused("certificates", "array: []"), @"CONFIG_INVALID: no keyvault certificate configured");
        assert!(refused("certificates", "array: 7").starts_with("DATA_DECODING_FAILURE: "));
        assert!(refused("certificates", "array:\n - '['").starts_with("DATA_DECODING_FAILURE: "));
    }
}

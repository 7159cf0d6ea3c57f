//! Key management providers: what a resource says of keys becomes what verifiers may use, a
//! [`KeyRing`]. Configurations are read and answers are judged here, purely; `k8s` says when, and keeps
//! what was had last.
//!
//! - `inline`: what a resource holds itself; `azure_key_vault`: what a vault holds;
//! - `certificate_store`: the deprecated resource, in its own words;
//! - `pem`, `spki`: the forms that keys and certificates come in.
//!
//! Nothing here is a secret: certificates and public keys. A private key that comes along is not
//! looked at, and no text holds what was sent.

mod azure_key_vault;
mod certificate_store;
pub mod fuzzing;
mod inline;
pub(crate) mod pem;
mod pkcs12;
mod spki;

use ratify_core::{ComponentType, Error, ErrorCode, KeyRing, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub(crate) use azure_key_vault::{KeyVault, Vault, VaultAnswer};
pub(crate) use certificate_store::CertificateStore;

/// A key management provider, as configured.
#[derive(Debug)]
pub(crate) enum Provider {
    /// What the configuration holds.
    Inline(KeyRing),
    /// What a vault of Azure holds.
    AzureKeyVault(KeyVault),
}

/// What a provider gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) ring: KeyRing,
    /// What its status says of each; `None` where it says nothing.
    pub(crate) properties: Option<Map<String, Value>>,
}

impl Provider {
    /// A provider of a type with parameters. Nothing is asked yet.
    ///
    /// # Errors
    /// With v1's texts: there is no such type, or a parameter is missing or wrong.
    pub(crate) fn new(type_: &str, parameters: Option<&Value>) -> Result<Self> {
        let parameters = match parameters {
            None | Some(Value::Null) => {
                return Err(plain("no key management provider parameters provided".into()));
            }
            Some(parameters) => parameters,
        };
        if !parameters.is_object() {
            // It may hold what was meant to be a key; v1 shows it.
            return Err(config_invalid(
                "Unable to decode key management provider parameters.Raw: it is no object",
            ));
        }
        match type_ {
            "" => Err(plain("key management provider type cannot be empty".into())),
            inline::NAME => inline::read(parameters).map(Self::Inline),
            azure_key_vault::NAME => KeyVault::read(parameters).map(Self::AzureKeyVault),
            other => {
                let other = ratify_core::capped_line(other, 100);
                Err(plain(format!("key management provider factory with name {other} not found")))
            }
        }
    }

    /// Whether asking again may bring something else.
    pub(crate) fn is_refreshable(&self) -> bool {
        matches!(self, Self::AzureKeyVault(_))
    }
}

/// v1 gives these texts no code; the code is its callers'.
fn plain(text: String) -> Error {
    ErrorCode::KeyManagementProviderFailure
        .error()
        .with_source(text)
        .from_component(ComponentType::KeyManagementProvider, "")
}

fn config_invalid(detail: impl Into<String>) -> Error {
    ErrorCode::ConfigInvalid.detail(detail).from_component(ComponentType::KeyManagementProvider, "")
}

/// The parameters of a provider, of which it may know some only (v1).
fn parse<T: DeserializeOwned>(parameters: &Value) -> Result<T> {
    T::deserialize(parameters).map_err(|error| {
        // The library's text names a value that is of the wrong type where it is short.
        let why = ratify_core::capped_line(&error.to_string(), 200);
        config_invalid("failed to parse AKV key management provider configuration").with_source(why)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_provider_is_refused_in_v1s_words() {
        let of = |type_: &str, parameters: Option<Value>| {
            Provider::new(type_, parameters.as_ref()).unwrap_err().to_string()
        };
        insta::assert_snapshot!(of("inline", None), @"KEY_MANAGEMENT_PROVIDER_FAILURE: no key management provider parameters provided");
        insta::assert_snapshot!(of("", Some(json!({}))), @"KEY_MANAGEMENT_PROVIDER_FAILURE: key management provider type cannot be empty");
        insta::assert_snapshot!(of("Inline", Some(json!({}))), @"KEY_MANAGEMENT_PROVIDER_FAILURE: key management provider factory with name Inline not found");
        insta::assert_snapshot!(of("inline", Some(json!("-----BEGIN"))), @"CONFIG_INVALID: Unable to decode key management provider parameters.Raw: it is no object");
    }
}

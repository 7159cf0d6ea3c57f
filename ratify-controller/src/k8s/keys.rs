//! Resources that keys and certificates come from: what they are asked for here, with v1's words
//! around it, and when they are asked again.

use std::time::Duration;

use ratify_core::{BoxFuture, Error, ErrorCode, KeyRing, Result};
use ratify_store_oras::auth::{AzureVault, SecretScope};
use serde_json::{Map, Value};

use super::{
    build::{Built, Shared, scope},
    parts::Part,
    resource::Resource,
};
use crate::keys::{CertificateStore, Fetched, KeyVault, Provider, Vault, VaultAnswer};

/// A vault is not asked more often than this.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(5);

/// What came of a resource that keys come from, beside its part.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Told {
    /// What its status says of each key.
    pub(super) properties: Option<Map<String, Value>>,
    /// After which time it is asked again.
    pub(super) refresh: Option<Duration>,
}

/// A key management provider.
pub(super) async fn provider(shared: &Shared, resource: &Resource) -> Built {
    let name = resource.key.qualified_name();
    let (type_, interval) = (text(resource, "type"), text(resource, "refreshInterval"));
    let wrap = |detail: &str, error: Error| {
        ErrorCode::KeyManagementProviderFailure.detail(detail).with_source(error)
    };
    let provider = match Provider::new(type_, resource.spec.get("parameters")) {
        Ok(provider) => provider,
        Err(error) => {
            let error = wrap("Failed to create key management provider from CR", error);
            return Built::failed(error, false);
        }
    };
    let refresh = match refresh(&provider, interval, &name, type_) {
        Ok(refresh) => refresh,
        Err(error) => {
            let error = wrap("Failed to refresh key management provider", error);
            return Built::failed(error, false);
        }
    };
    let fetched = match &provider {
        Provider::Inline(ring) => Ok(Fetched { ring: ring.clone(), properties: None }),
        Provider::AzureKeyVault(of) => match vault(shared, resource, of) {
            Ok(vault) => of.fetch(&vault, &name).await,
            Err(error) => {
                let error = wrap("Failed to create key management provider from CR", error);
                return Built::failed(error, false);
            }
        },
    };
    match fetched {
        Ok(Fetched { ring, properties }) => {
            log_fetched(&ring, &name);
            if let Some(interval) = refresh {
                let seconds = interval.as_secs();
                tracing::info!(interval_seconds = seconds, "Reconciled KeyManagementProvider");
            }
            Built::of_keys(Part::Keys(Ok(ring)), Told { properties, refresh })
        }
        Err(error) => Built::failed(wrap("Failed to refresh key management provider", error), true),
    }
}

/// A certificate store, which is never asked again.
pub(super) async fn certificate_store(shared: &Shared, resource: &Resource) -> Built {
    let name = resource.key.qualified_name();
    let store = CertificateStore::new(text(resource, "provider"), resource.spec.get("parameters"));
    let (certificates, properties) = match store {
        Ok(CertificateStore::Inline(certificates)) => (certificates, None),
        Ok(CertificateStore::AzureKeyVault(of)) => match vault(shared, resource, &of) {
            Ok(vault) => match of.fetch_for_store(&vault).await {
                Ok((certificates, properties)) => (certificates, Some(properties)),
                Err(error) => return Built::failed(error, true),
            },
            Err(error) => return Built::failed(error, false),
        },
        Err(error) => return Built::failed(error, false),
    };
    let count = certificates.len();
    tracing::info!("{count} certificates fetched for certificate store {name}");
    Built::of_keys(Part::Certificates(Ok(certificates)), Told { properties, refresh: None })
}

/// After which time a provider is asked again; v1 says what is wrong with it after it has asked.
fn refresh(
    provider: &Provider,
    interval: &str,
    name: &str,
    type_: &str,
) -> Result<Option<Duration>> {
    if !provider.is_refreshable() || interval.is_empty() {
        return Ok(None);
    }
    let parsed = ratify_core::duration::parse(interval).and_then(|interval| {
        let is_too_short = interval < SHORTEST_INTERVAL;
        let shortest = SHORTEST_INTERVAL.as_secs();
        if is_too_short { Err(format!("it is less than {shortest} s")) } else { Ok(interval) }
    });
    parsed.map(Some).map_err(|why| {
        ErrorCode::KeyManagementProviderFailure
            .detail(format!(
                "Unable to parse interval duration for key management provider [{name}] of type [{type_}]"
            ))
            .with_source(ratify_core::capped_line(&why, 200))
    })
}

/// v1 counts what has a name and a version of its own: a chain is one.
fn log_fetched(ring: &KeyRing, name: &str) {
    let mut chains: Vec<_> =
        ring.certificates.iter().map(|one| (&one.name, &one.version)).collect();
    chains.dedup();
    let (certificates, keys) = (chains.len(), ring.keys.len());
    tracing::info!(
        "{certificates} certificate(s) & {keys} key(s) fetched for key management provider {name}"
    );
}

fn text<'a>(resource: &'a Resource, key: &str) -> &'a str {
    resource.spec.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The vault, asked as this process, or why it is not. What is in Ratify's own namespace is its
/// administrators'.
fn vault(shared: &Shared, resource: &Resource, of: &KeyVault) -> Result<AzureVault> {
    let is_own = shared.runtime.environment.namespace.as_deref() == Some(&resource.key.namespace);
    let scope = if is_own { SecretScope::Cluster } else { scope(resource) };
    shared.runtime.vault(&of.uri, &of.tenant, &of.client, &scope)
}

impl Vault for AzureVault {
    fn get<'a>(&'a self, path: [&'a str; 3]) -> BoxFuture<'a, Result<VaultAnswer, String>> {
        Box::pin(async move {
            let answer = AzureVault::get(self, &path).await?;
            Ok(VaultAnswer { status: answer.status, body: answer.body, reason: answer.reason })
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_can_change_is_asked_again_and_not_all_the_time() {
        let made = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
        let inline = json!({"contentType": "certificate", "value": made.cert.pem()});
        let inline = Provider::new("inline", Some(&inline)).unwrap();
        let vault = json!({
            "vaultURI": "https://v.vault.azure.net", "tenantID": "t", "clientID": "c",
            "keys": [{"name": "k"}],
        });
        let vault = Provider::new("azurekeyvault", Some(&vault)).unwrap();
        let of = |provider: &Provider, interval: &str| refresh(provider, interval, "n", "t");
        assert_eq!(of(&inline, "1h").unwrap(), None);
        assert_eq!(of(&vault, "").unwrap(), None);
        assert_eq!(of(&vault, "1m30s").unwrap(), Some(Duration::from_secs(90)));
        for interval in ["1s", "soon", "-1h"] {
            let error = of(&vault, interval).unwrap_err().to_string();
            assert!(error.starts_with("KEY_MANAGEMENT_PROVIDER_FAILURE: Unable to parse interval duration for key management provider [n] of type [t]: "), "{error}");
        }
    }
}

//! [`KeyVault`]: the provider `azurekeyvault`. What is asked of a vault, and what its answers come to;
//! who asks is the caller's [`Vault`]. `answers` reads what it says.

mod answers;

use bytes::Bytes;
use jiff::Timestamp;
use ratify_core::{
    BoxFuture, ComponentType, Error, ErrorCode, KeyRing, Result, RingCertificate, RingKey,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Fetched, config_invalid, parse};
use answers::{SecretRead, is_disabled, read_certificate, read_key, read_secret};

/// The type's name.
pub(super) const NAME: &str = "azurekeyvault";
/// More of them are no configuration.
const MAX_ENTRIES: usize = 256;

/// Reads from a vault: what is at a path of two or three parts.
pub(crate) trait Vault: Send + Sync {
    /// The answer, whatever its status.
    ///
    /// # Errors
    /// Where nobody answers, or there is nothing to ask with.
    fn get<'a>(&'a self, path: [&'a str; 3]) -> BoxFuture<'a, Result<VaultAnswer, String>>;
}

/// What a vault answered.
#[derive(Debug, Clone)]
pub(crate) struct VaultAnswer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// What went wrong, in words that hold nothing of the body.
    pub(crate) reason: String,
}

/// A vault, as configured.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeyVault {
    pub(crate) uri: String,
    pub(crate) tenant: String,
    pub(crate) client: String,
    pub(super) certificates: Vec<Entry>,
    keys: Vec<Entry>,
}

/// What is read of a vault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Empty for the latest.
    pub(super) version: String,
}

/// v1's parameters.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Parameters {
    #[serde(rename = "vaultURI")]
    vault_uri: String,
    #[serde(rename = "tenantID")]
    tenant_id: String,
    #[serde(rename = "clientID")]
    client_id: String,
    certificates: Vec<Entry>,
    keys: Vec<Entry>,
}

/// A kind of thing that a vault holds.
#[derive(Clone, Copy)]
enum Kind {
    Secret,
    Key,
    Certificate,
}

impl Kind {
    fn path(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::Key => "keys",
            Self::Certificate => "certificates",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Key => "key",
            Self::Certificate => "certificate",
        }
    }
}

impl KeyVault {
    /// A vault of these parameters.
    ///
    /// # Errors
    /// With v1's texts: one is missing, or names nothing that a vault could hold.
    pub(super) fn read(parameters: &Value) -> Result<Self> {
        let Parameters { vault_uri, tenant_id, client_id, certificates, keys } = parse(parameters)?;
        if certificates.is_empty() && keys.is_empty() {
            return Err(invalid("no keyvault certificates or keys configured"));
        }
        let trimmed = |text: String| text.trim().to_owned();
        let vault = Self {
            uri: trimmed(vault_uri).trim_end_matches('/').to_owned(),
            tenant: trimmed(tenant_id),
            client: trimmed(client_id),
            certificates,
            keys,
        };
        for (value, detail) in [
            (&vault.uri, "vaultURI is not set"),
            (&vault.tenant, "tenantID is not set"),
            (&vault.client, "clientID is not set"),
        ] {
            if value.is_empty() {
                return Err(invalid(detail));
            }
        }
        for (entries, what) in [(&vault.certificates, "certificate"), (&vault.keys, "key")] {
            check_entries(entries, what)?;
        }
        Ok(vault)
    }

    /// A vault of which certificates alone are read.
    pub(super) fn of_certificates(
        uri: String,
        tenant: String,
        client: String,
        certificates: Vec<Entry>,
    ) -> Self {
        Self {
            uri: uri.trim_end_matches('/').to_owned(),
            tenant,
            client,
            certificates,
            keys: Vec::new(),
        }
    }

    /// Reads all certificates and keys. One that is disabled is told in the properties and left out.
    ///
    /// # Errors
    /// With v1's texts, which of them could not be had and why. Nothing of it is taken then.
    pub(crate) async fn fetch(&self, vault: &dyn Vault, resource: &str) -> Result<Fetched> {
        let failed = |what: &str, error: Error| {
            ErrorCode::KeyManagementProviderFailure
                .detail(format!(
                    "Unable to fetch {what} from key management provider [{resource}] of type [{NAME}]"
                ))
                .with_source(error)
                .from_component(ComponentType::KeyManagementProvider, NAME)
        };
        let certificates = self.fetch_certificates(vault).await;
        let (certificates, told) = certificates.map_err(|error| failed("certificates", error))?;
        let keys = self.fetch_keys(vault).await;
        let (keys, told_of_keys) = keys.map_err(|error| failed("keys", error))?;
        let mut properties = Map::new();
        properties.insert("Certificates".into(), told.into());
        properties.insert("Keys".into(), told_of_keys.into());
        let ring = KeyRing { certificates: certificates.into(), keys: keys.into() };
        Ok(Fetched { ring, properties: Some(properties) })
    }

    /// Reads all certificates as the deprecated resource does: a disabled one is an error.
    ///
    /// # Errors
    /// As [`KeyVault::fetch`].
    pub(crate) async fn fetch_for_store(
        &self,
        vault: &dyn Vault,
    ) -> Result<(Vec<RingCertificate>, Map<String, Value>)> {
        let (mut all, mut told) = (Vec::new(), Vec::new());
        for entry in &self.certificates {
            let answer = ask(vault, Kind::Secret, entry).await?;
            let SecretRead { version, certificates, .. } = read_aside(answer.body, entry).await?;
            for der in certificates {
                told.push(json!({
                    "CertificateName": entry.name, "Version": version, "LastRefreshed": now(),
                }));
                all.push(named(entry, der));
            }
        }
        Ok((all, Map::from_iter([("Certificates".to_owned(), told.into())])))
    }

    async fn fetch_certificates(
        &self,
        vault: &dyn Vault,
    ) -> Result<(Vec<RingCertificate>, Vec<Value>)> {
        let (mut all, mut told) = (Vec::new(), Vec::new());
        for entry in &self.certificates {
            let began = now();
            let answer = vault.get([Kind::Secret.path(), &entry.name, &entry.version]).await;
            if answer.as_ref().is_ok_and(is_disabled) {
                let answer = ask(vault, Kind::Certificate, entry).await?;
                let (version, enabled) = read_certificate(&answer.body, entry)?;
                told.push(property(&entry.name, &version, enabled, &began));
                continue;
            }
            let answer = checked(Kind::Secret, entry, answer)?;
            let read = read_aside(answer.body, entry).await?;
            for der in read.certificates {
                told.push(property(&entry.name, &read.version, read.enabled, &began));
                all.push(named(entry, der));
            }
        }
        Ok((all, told))
    }

    async fn fetch_keys(&self, vault: &dyn Vault) -> Result<(Vec<RingKey>, Vec<Value>)> {
        let (mut all, mut told) = (Vec::new(), Vec::new());
        for entry in &self.keys {
            let answer = ask(vault, Kind::Key, entry).await?;
            let (version, enabled, spki) = read_key(&answer.body)?;
            told.push(property(&entry.name, &version, enabled, &now()));
            if let Some(spki) = spki {
                let (name, provider_type) = (entry.name.clone(), NAME.to_owned());
                all.push(RingKey { name, version, provider_type, spki });
            }
        }
        Ok((all, told))
    }
}

/// What a vault calls things: letters, digits and hyphens. Anything else would be another path.
fn check_entries(entries: &[Entry], what: &str) -> Result<()> {
    if entries.len() > MAX_ENTRIES {
        return Err(invalid(format!("more than {MAX_ENTRIES} of them: {what}")));
    }
    let is_word = |text: &str| {
        text.len() <= 127 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    for (index, entry) in entries.iter().enumerate() {
        let number = index + 1;
        if entry.name.is_empty() {
            return Err(invalid(format!("name is not set for the {number} th {what}")));
        }
        if !is_word(&entry.name) || !is_word(&entry.version) {
            return Err(invalid(format!(
                "the {number} th {what} is named by letters, digits and hyphens, and so is its version"
            )));
        }
    }
    Ok(())
}

async fn ask(vault: &dyn Vault, kind: Kind, entry: &Entry) -> Result<VaultAnswer> {
    let answer = vault.get([kind.path(), &entry.name, &entry.version]).await;
    checked(kind, entry, answer)
}

/// What a secret holds. An archive may take a while to compute, so that it is read on a thread on which
/// nobody else waits.
async fn read_aside(body: Bytes, entry: &Entry) -> Result<SecretRead> {
    let entry = entry.clone();
    let reading = tokio::task::spawn_blocking(move || read_secret(&body, &entry));
    reading.await.unwrap_or_else(|error| {
        Err(ErrorCode::KeyManagementProviderFailure
            .error()
            .with_source(error)
            .passing(true)
            .from_component(ComponentType::KeyManagementProvider, NAME))
    })
}

/// An answer that is one, or why there is none, in v1's words.
fn checked(kind: Kind, entry: &Entry, answer: Result<VaultAnswer, String>) -> Result<VaultAnswer> {
    let (why, is_passing) = match answer {
        Ok(answer) if answer.status == 200 => return Ok(answer),
        Ok(answer) => (answer.reason, matches!(answer.status, 408 | 429 | 500..)),
        Err(why) => (why, true),
    };
    let (noun, name, version) = (kind.noun(), &entry.name, &entry.version);
    let text =
        format!("failed to get {noun} objectName:{name}, objectVersion:{version}, error: {why}");
    Err(ErrorCode::KeyManagementProviderFailure
        .error()
        .with_source(text)
        .passing(is_passing)
        .from_component(ComponentType::KeyManagementProvider, NAME))
}

fn named(entry: &Entry, der: Bytes) -> RingCertificate {
    RingCertificate { name: entry.name.clone(), version: entry.version.clone(), der }
}

fn property(name: &str, version: &str, enabled: bool, at: &str) -> Value {
    json!({
        "Name": name, "Version": version, "Enabled": enabled.to_string(), "LastRefreshed": at,
    })
}

fn now() -> String {
    format!("{:.0}", Timestamp::now())
}

fn invalid(detail: impl Into<String>) -> Error {
    config_invalid(detail).from_component(ComponentType::KeyManagementProvider, NAME)
}

#[cfg(test)]
mod tests;

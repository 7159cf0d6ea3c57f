//! [`AzureVault`]: reads from a key vault of Azure, as the identity of this process.
//!
//! The token is good for every vault that the identity may read, so it is shown to Azure's vaults
//! alone, and to this machine where an administrator allows that.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use reqwest::{
    Method,
    header::{AUTHORIZATION, HeaderValue},
};
use serde::Deserialize;
use url::Url;

use super::{
    super::{
        Environment, SecretScope,
        cloud::{CloudCall, CloudHttp},
        kept::Kept,
    },
    AHEAD,
    aad::{AadToken, Identity},
    workload,
};
use crate::{Connections, counters::AzureCall, transport::is_loopback};

/// Where vaults are, in each of Azure's clouds; also what a token for them is for.
const CLOUDS: [&str; 4] =
    ["vault.azure.net", "vault.azure.cn", "vault.usgovcloudapi.net", "vault.microsoftazure.de"];
/// The version of the interface (Azure Key Vault REST API reference).
const API_VERSION: &str = "7.4";

/// Reads from one vault.
pub struct AzureVault {
    endpoint: Url,
    scope: String,
    identity: Identity,
    http: CloudHttp,
    tokens: Kept<(), AadToken, String>,
    /// Whose resource asks.
    of_tenant: Arc<str>,
}

/// Why a vault cannot be asked at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// Its URL is none of a vault.
    #[error("{0}")]
    Address(String),
    /// There is no identity to ask it with.
    #[error("{0}")]
    Identity(String),
}

/// What a vault answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VaultAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body, whatever the status.
    pub body: Bytes,
    /// What went wrong, without anything of the body but its code; empty where nothing did.
    pub reason: String,
}

/// An error of the interface.
#[derive(Deserialize)]
struct Refusal {
    error: Code,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

impl AzureVault {
    /// A vault, and the client of the tenant that this process may be. Nothing is asked.
    ///
    /// # Errors
    /// Where the URL is none of a vault of Azure, or the variables of workload identity are not set.
    pub fn new(
        uri: &str,
        tenant: &str,
        client: &str,
        environment: &Environment,
        connections: &Connections,
    ) -> Result<Self, VaultError> {
        let (endpoint, cloud) = endpoint(uri).map_err(VaultError::Address)?;
        if let SecretScope::Namespace(namespace) = &environment.scope
            && !environment.lends_credentials
        {
            return Err(VaultError::Identity(format!(
                "a resource of namespace {namespace} may not use the identity of Ratify, unless namespaces.clusterCredentials of the configuration allows it"
            )));
        }
        let set = |name: &str| environment.lookup.get(name).filter(|v| !v.is_empty()).cloned();
        let identity = workload(tenant, client.to_owned(), set).map_err(VaultError::Identity)?;
        Ok(Self {
            endpoint,
            scope: format!("https://{cloud}/.default"),
            identity,
            http: CloudHttp::new(connections.clone()),
            tokens: Kept::renewed_ahead(AHEAD),
            of_tenant: environment.scope.tenant(),
        })
    }

    /// Reads what is at a path, such as `["secrets", "name", "version"]`; empty parts are left out.
    ///
    /// # Errors
    /// Where there is no token, or nobody answers in time. It holds no secret.
    pub async fn get(&self, path: &[&str]) -> Result<VaultAnswer, String> {
        let mut url = self.endpoint.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.iter().filter(|part| !part.is_empty()));
        }
        url.query_pairs_mut().append_pair("api-version", API_VERSION);
        let token = self.tokens.get(&(), self.token()).await?;
        let header = HeaderValue::from_str(&format!("Bearer {}", token.secret.reveal()));
        let header = header.map_err(|_| "the token is no header".to_owned())?;
        let begun = Instant::now();
        let call = CloudCall::new(Method::GET, url).header(AUTHORIZATION, header);
        let answer = self.http.send(&call).await.map_err(|error| error.to_string())?;
        let status = answer.status.as_u16();
        if status == 401 {
            self.tokens.forget(&(), begun);
        }
        let code = serde_json::from_slice::<Refusal>(&answer.body).ok().map(|read| read.error.code);
        if let (200, [_, name, ..]) = (status, path) {
            self.http.count_azure(AzureCall::Akv, name, &self.of_tenant, begun.elapsed());
        }
        let reason = match status {
            200 => String::new(),
            _ => answer.refused(call.service(), code.as_deref()).to_string(),
        };
        Ok(VaultAnswer { status, body: answer.body, reason })
    }

    async fn token(&self) -> Result<(AadToken, Option<Instant>), String> {
        let token = self.identity.token(&self.http, &self.scope).await?;
        let good_until = token.good_until;
        Ok((token, Some(good_until)))
    }
}

impl std::fmt::Debug for AzureVault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AzureVault")
            .field("endpoint", &self.endpoint.as_str())
            .finish_non_exhaustive()
    }
}

/// The URL of a vault, and the cloud it is in.
fn endpoint(uri: &str) -> Result<(Url, &'static str), String> {
    let shown = ratify_core::capped_line(uri, 255);
    let url =
        Url::parse(uri).map_err(|error| format!("vaultURI {shown}: it is no URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err("vaultURI holds more than a host".into());
    }
    // What this machine is asked is up to the rules about addresses.
    if is_loopback(&url) {
        return Ok((url, CLOUDS[0]));
    }
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    let is_in = |cloud: &&str| {
        host.strip_suffix(*cloud).and_then(|rest| rest.strip_suffix('.')).is_some_and(|name| {
            let is_label = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            !name.is_empty() && name.bytes().all(is_label)
        })
    };
    match CLOUDS.into_iter().find(is_in) {
        Some(cloud) if url.scheme() == "https" => Ok((url, cloud)),
        Some(_) => Err(format!("vaultURI {shown}: it is not one of HTTPS")),
        None => Err(format!(
            "vaultURI {shown}: it is no key vault of Azure, and the token of Ratify's identity is shown to no other host"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_the_vaults_of_azure_alone() {
        for (uri, cloud) in [
            ("https://v.vault.azure.net", "vault.azure.net"),
            ("https://my-vault1.VAULT.azure.net/", "vault.azure.net"),
            ("https://v.vault.azure.cn/", "vault.azure.cn"),
            ("https://v.vault.usgovcloudapi.net./", "vault.usgovcloudapi.net"),
            ("https://127.0.0.1:8443", "vault.azure.net"),
        ] {
            assert_eq!(endpoint(uri).unwrap().1, cloud, "{uri}");
        }
        for uri in [
            "http://v.vault.azure.net",
            "https://vault.azure.net",
            "https://vvault.azure.net",
            "https://v.vault.azure.net.example.com",
            "https://a.b.vault.azure.net",
            "https://v.vault.azure.net@example.com",
            "https://v.vault.azure.net?x=y",
            "https://example.com/v.vault.azure.net",
            "https://10.0.0.1",
            "v.vault.azure.net",
            "",
        ] {
            assert!(endpoint(uri).is_err(), "{uri}");
        }
    }

    fn environment(scope: SecretScope) -> Environment {
        let set = [
            ("AZURE_FEDERATED_TOKEN_FILE", "/token"),
            ("AZURE_AUTHORITY_HOST", "https://login.example.com/"),
        ];
        let lookup = set.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Environment { scope, lookup: lookup.into(), ..Environment::default() }
    }

    #[test]
    fn a_namespace_is_not_ratify_unless_an_administrator_says_so() {
        let new = |environment: &Environment| {
            AzureVault::new(
                "https://v.vault.azure.net",
                "t",
                "c",
                environment,
                &Connections::default(),
            )
        };
        assert!(new(&environment(SecretScope::Cluster)).is_ok());
        let mut of_namespace = environment(SecretScope::Namespace("team".into()));
        let refused = new(&of_namespace).unwrap_err();
        assert!(matches!(refused, VaultError::Identity(why) if why.contains("clusterCredentials")));
        of_namespace.lends_credentials = true;
        assert!(new(&of_namespace).is_ok());
        let nobody = Environment::default();
        let refused = new(&nobody).unwrap_err().to_string();
        assert!(refused.contains("AZURE_FEDERATED_TOKEN_FILE"), "{refused}");
    }
}

//! [`Azure`]: the providers `azureWorkloadIdentity` and `azureManagedIdentity`. Entra's token for
//! the identity of this process is exchanged at the registry itself for a refresh token of the
//! registry, which is the password.

mod aad;
mod endpoints;
mod exchange;
mod vault;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use ratify_core::{BoxFuture, ComponentType, Error, ErrorCode, Result, capped_line, link};
use serde_json::{Map, Value};
use url::Url;

use crate::counters::AzureCall;

use super::{
    Asked, AuthProvider, Credential, Environment, Granted, RegistryHost, Secret, SecretScope,
    cloud::{CloudCall, CloudHttp, clock, token_file},
    kept::Kept,
    keys::{take, take_text},
};
use aad::{AadToken, Identity};
use endpoints::Endpoints;

pub use vault::{AzureVault, VaultAnswer, VaultError};

/// The names in `authProvider.name`.
pub(super) const WORKLOAD: &str = "azureWorkloadIdentity";
pub(super) const MANAGED: &str = "azureManagedIdentity";

/// What a registry of Azure calls who shows a token of its own.
const USERNAME: &str = "00000000-0000-0000-0000-000000000000";
/// A registry's refresh token is good for three hours; v1 takes off five minutes.
const REFRESH_TOKEN_LIFE: Duration = Duration::from_secs(3 * 3600 - 300);
/// As v1: so long before its end a token is renewed.
const AHEAD: Duration = Duration::from_secs(300);

/// Exchanges this process's identity for credentials of Azure's registries.
pub(super) struct Azure {
    kind: Kind,
    tenant: String,
    identity: Identity,
    endpoints: Endpoints,
    http: CloudHttp,
    /// Whose resource it is of.
    of_tenant: Arc<str>,
    aad: Kept<(), AadToken, String>,
    registries: Kept<String, RefreshToken, Failure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Workload,
    Managed,
}

#[derive(Clone)]
struct RefreshToken {
    secret: Secret,
    good_until: Instant,
}

#[derive(Debug, Clone)]
enum Failure {
    /// Entra, or the machine's endpoint, gave no token.
    Identity(String),
    /// The registry gave none for it.
    Exchange(String),
}

/// The keys of either provider.
#[derive(Debug, Default, PartialEq, Eq)]
struct Keys {
    client: Option<String>,
    endpoints: Vec<String>,
}

impl Azure {
    /// A provider. Nothing is read or asked before the first request: v1 gets a token at once, so
    /// that a resource that is made too early stays broken.
    ///
    /// # Errors
    /// With v1's texts: a key of the wrong type, a variable that is not set, an endpoint that is
    /// none. And where a resource of a namespace would show the token to hosts that are not Azure's.
    pub(super) fn new(
        name: &str,
        config: &Map<String, Value>,
        environment: &Environment,
        http: CloudHttp,
    ) -> Result<Self> {
        let kind = if name == MANAGED { Kind::Managed } else { Kind::Workload };
        let keys = Keys::from_config(config).map_err(|why| kind.parse_failure(&why))?;
        let set = |name: &str| environment.lookup.get(name).filter(|v| !v.is_empty()).cloned();
        let tenant = set("AZURE_TENANT_ID").ok_or_else(|| kind.not_set(kind.no_tenant()))?;
        let of_process = set("AZURE_CLIENT_ID");
        let client = match kind {
            Kind::Workload => keys.client.or(of_process),
            Kind::Managed => of_process.or(keys.client),
        };
        let client = client.ok_or_else(|| kind.not_set(kind.no_client()))?;
        let endpoints = Endpoints::parse(&keys.endpoints)
            .map_err(|why| kind.error(ErrorCode::ConfigInvalid).with_source(why))?;
        refuse_foreign(kind, &endpoints, &environment.scope)?;
        let identity = match kind {
            Kind::Managed => Identity::Managed { client },
            Kind::Workload => {
                workload(&tenant, client, set).map_err(|why| kind.denied().with_source(why))?
            }
        };
        Ok(Self {
            kind,
            tenant,
            identity,
            endpoints,
            http,
            of_tenant: environment.scope.tenant(),
            aad: Kept::renewed_ahead(AHEAD),
            registries: Kept::renewed_ahead(AHEAD),
        })
    }

    async fn find(&self, host: &RegistryHost) -> Result<Granted> {
        let host = host.to_string();
        if !self.endpoints.covers(&host) {
            return Err(self.kind.error(ErrorCode::HostNameInvalid).with_source(format!(
                "the artifact host {host} is not in the scope of the store auth provider"
            )));
        }
        let found = self.registries.get(&host, self.exchanged(&host)).await;
        let RefreshToken { secret, good_until } = found.map_err(|why| self.kind.failure(why))?;
        let credential = Credential::Basic { username: USERNAME.into(), password: secret };
        Ok(Granted { credential, good_until: Some(good_until) })
    }

    async fn exchanged(
        &self,
        host: &str,
    ) -> std::result::Result<(RefreshToken, Option<Instant>), Failure> {
        let aad = self.aad.get(&(), self.aad_token()).await.map_err(Failure::Identity)?;
        let begun = Instant::now();
        let exchanged = exchange::refresh_token(&self.http, host, &self.tenant, &aad.secret).await;
        let secret = exchanged.map_err(|refusal| {
            if refusal.is_about_the_token {
                self.aad.forget(&(), begun);
            }
            Failure::Exchange(refusal.why)
        })?;
        let took = begun.elapsed();
        self.http.count_azure(AzureCall::Acr, host, &self.of_tenant, took);
        let milliseconds = took.as_millis();
        tracing::info!("Metrics Report: Duration={milliseconds}ms, Host={host}");
        let good_until = aad.good_until.min(begun + REFRESH_TOKEN_LIFE);
        Ok((RefreshToken { secret, good_until }, Some(good_until)))
    }

    async fn aad_token(&self) -> std::result::Result<(AadToken, Option<Instant>), String> {
        let began = Instant::now();
        let token = self.identity.token(&self.http, aad::SCOPE).await;
        // As v1: whatever came of it.
        self.http.count_azure(AzureCall::Aad, aad::SCOPE, &self.of_tenant, began.elapsed());
        let token = token?;
        match self.kind {
            Kind::Workload => tracing::info!("successfully refreshed AAD token"),
            Kind::Managed => tracing::info!("successfully refreshed azure managed identity token"),
        }
        let good_until = token.good_until;
        Ok((token, Some(good_until)))
    }
}

impl AuthProvider for Azure {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn credential<'a>(&'a self, asked: &'a Asked<'a>) -> BoxFuture<'a, Result<Granted>> {
        Box::pin(self.find(asked.host))
    }

    fn forget(&self, host: &RegistryHost, before: Instant) -> bool {
        self.registries.forget(&host.to_string(), before);
        true
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Workload => WORKLOAD,
            Self::Managed => MANAGED,
        }
    }

    fn no_tenant(self) -> &'static str {
        match self {
            Self::Workload => "azure tenant id environment variable is empty",
            Self::Managed => "AZURE_TENANT_ID environment variable is empty",
        }
    }

    fn no_client(self) -> &'static str {
        match self {
            Self::Workload => {
                "no client ID provided and AZURE_CLIENT_ID environment variable is empty"
            }
            Self::Managed => "AZURE_CLIENT_ID environment variable is empty",
        }
    }

    fn failure(self, failure: Failure) -> Error {
        let (detail, why) = match (self, failure) {
            (Self::Workload, Failure::Identity(why)) => ("could not refresh AAD token", why),
            (Self::Managed, Failure::Identity(why)) => {
                ("could not refresh azure managed identity token", why)
            }
            (Self::Workload, Failure::Exchange(why)) => {
                ("failed to get refresh token for container registry", why)
            }
            (Self::Managed, Failure::Exchange(why)) => (
                "failed to get refresh token for container registry by azure managed identity token",
                why,
            ),
        };
        self.denied().with_detail(detail).with_source(why)
    }

    fn parse_failure(self, why: &str) -> Error {
        let error = self.error(ErrorCode::ConfigInvalid).with_source(why);
        match self {
            Self::Workload => error.with_detail("failed to parse auth provider configuration"),
            Self::Managed => error
                .with_detail("failed to parse azure managed identity auth provider configuration.")
                .with_remediation(link::AZURE_MANAGED_IDENTITY),
        }
    }

    fn denied(self) -> Error {
        self.error(ErrorCode::AuthDenied).with_remediation(match self {
            Self::Workload => link::AZURE_WORKLOAD_IDENTITY,
            Self::Managed => link::AZURE_MANAGED_IDENTITY,
        })
    }

    fn not_set(self, why: &str) -> Error {
        self.error(ErrorCode::EnvNotSet).with_detail(why)
    }

    fn error(self, code: ErrorCode) -> Error {
        code.error().from_component(ComponentType::AuthProvider, self.name())
    }
}

impl Keys {
    /// Reads the keys, in any case as v1 does; `null` and an empty text are absent.
    fn from_config(config: &Map<String, Value>) -> std::result::Result<Self, String> {
        let endpoints = match take(config, "endpoints")? {
            None => Vec::new(),
            Some(Value::Array(entries)) => {
                let text = |entry: &Value| entry.as_str().map(str::to_owned);
                let all: Option<_> = entries.iter().map(text).collect();
                all.ok_or("endpoints must be an array of strings")?
            }
            Some(_) => return Err("endpoints must be an array of strings".into()),
        };
        Ok(Self { client: take_text(config, "clientID")?, endpoints })
    }
}

/// The variables that the webhook of Azure Workload Identity sets.
fn workload(
    tenant: &str,
    client: String,
    set: impl Fn(&str) -> Option<String>,
) -> std::result::Result<Identity, String> {
    let token_file = set("AZURE_FEDERATED_TOKEN_FILE").unwrap_or_default();
    let authority = set("AZURE_AUTHORITY_HOST").unwrap_or_default();
    if token_file.is_empty() || authority.is_empty() {
        let (file, host) = (capped_line(&token_file, 255), capped_line(&authority, 255));
        return Err(format!(
            "required environment variables not set, AZURE_FEDERATED_TOKEN_FILE: {file}, \
             AZURE_AUTHORITY_HOST: {host}"
        ));
    }
    let authority = Url::parse(&authority).ok().filter(|url| url.scheme() == "https");
    let authority = authority.ok_or(
        "failed to create confidential client app: AZURE_AUTHORITY_HOST is no URL of HTTPS",
    )?;
    Ok(Identity::Workload {
        tenant: tenant.to_owned(),
        client,
        authority,
        token_file: PathBuf::from(token_file),
    })
}

/// A tenant that may use this process's identity may not say who gets to see its token.
fn refuse_foreign(kind: Kind, endpoints: &Endpoints, scope: &SecretScope) -> Result<()> {
    let SecretScope::Namespace(namespace) = scope else { return Ok(()) };
    let Some(endpoint) = endpoints.first_foreign() else { return Ok(()) };
    let endpoint = capped_line(endpoint, 255);
    Err(kind.error(ErrorCode::AuthDenied).with_detail(format!(
        "a resource of namespace {namespace} may not show Ratify's identity to {endpoint}: only to \
         registries of Azure"
    )))
}

//! [`AuthProvider`]: where credentials for a registry come from, and how they become the header a
//! registry asks for.
//!
//! [`from_config`] picks the provider that `authProvider` names, [`from_entry`] those that
//! `authProviders` does, by `rules`. `program` is how programs are run that give out credentials:
//! docker's helpers (`helper`) and those of the kubelet's contract (`credential_provider`).
//! `challenge` reads what a registry asks for, `bearer` asks its token service, `tokens` keeps what
//! was granted. `host` and `scope` say what a provider covers, `kept` keeps what a provider was
//! given, `cloud` is how clouds are asked.

#[cfg(feature = "alibaba")]
mod alibaba;
#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
pub(crate) mod bearer;
pub(crate) mod challenge;
#[cfg(any(feature = "aws", feature = "azure", feature = "alibaba"))]
#[cfg_attr(
    not(all(feature = "aws", feature = "azure", feature = "alibaba")),
    allow(dead_code, reason = "each cloud has need of a part of it")
)]
mod cloud;
mod credential_provider;
mod docker_config;
mod environment;
mod helper;
mod host;
mod k8_secrets;
mod kept;
mod keys;
mod program;
mod rules;
mod scope;
mod secrets;
pub(crate) mod tokens;

use std::{fmt, path::PathBuf, sync::Arc, time::Instant};

use ratify_core::{BoxFuture, ComponentType, Error, ErrorCode, Result, capped_line};
use serde_json::{Map, Value};

use crate::Connections;
use credential_provider::CredentialProvider;
use k8_secrets::K8Secrets;
use rules::Rules;

#[cfg(feature = "azure")]
pub use azure::{AzureVault, VaultAnswer, VaultError};
pub use credential_provider::{CredentialProviders, ProvidersError};
pub use docker_config::DockerConfig;
pub use environment::Environment;
pub(crate) use host::DOCKER_HUB;
pub use host::{HostError, HostPattern, RegistryHost};
pub use k8_secrets::NamedSecrets;
pub use program::{CredentialPrograms, ProgramCall, ProgramEnd, ProgramFailure, ProgramName};
pub use secrets::{ClusterSecret, ObjectName, SecretError, SecretScope, SecretSource};

const DEFAULT_PROVIDER: &str = "dockerConfig";
/// v1's providers for clouds, each with the cargo feature it is part of, and whether it is on.
const CLOUDS: [(&str, &str, bool); 4] = [
    ("awsEcrBasic", "aws", cfg!(feature = "aws")),
    ("azureManagedIdentity", "azure", cfg!(feature = "azure")),
    ("azureWorkloadIdentity", "azure", cfg!(feature = "azure")),
    ("alibabacloudAcrBasic", "alibaba", cfg!(feature = "alibaba")),
];

/// The variables of a process environment that the providers for clouds read:
/// [`Environment::lookup`]. None of them is a secret; what they name may be one.
pub const VARIABLES: [&str; 20] = [
    "ALIBABA_CLOUD_ACR_INSTANCE_ID",
    "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
    "ALIBABA_CLOUD_OIDC_TOKEN_FILE",
    "ALIBABA_CLOUD_ROLE_ARN",
    "ALIBABA_CLOUD_STS_REGION",
    "AWS_API_OVERRIDE_ENDPOINT",
    "AWS_API_OVERRIDE_PARTITION",
    "AWS_API_OVERRIDE_REGION",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_STS",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_TENANT_ID",
];

/// Finds credentials for a registry.
pub trait AuthProvider: Send + Sync {
    /// The name in `authProvider.name`.
    fn name(&self) -> &str;

    /// The credentials for a host. [`Credential::Anonymous`] where there are none. Asked each time
    /// a registry demands something and no granted token is left, so changed credentials are seen.
    fn credential<'a>(&'a self, asked: &'a Asked<'a>) -> BoxFuture<'a, Result<Granted>>;

    /// A host refused what was given out for it: whatever of it was read before that instant is not
    /// given out again; what is of other hosts alone stays. Whether the provider keeps anything at all, so that asking again may help.
    fn forget(&self, _host: &RegistryHost, _before: Instant) -> bool {
        false
    }
}

/// For what credentials are asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Who is to be shown them.
    pub host: &'a RegistryHost,
    /// What the repository is called on that host.
    pub repository: &'a str,
    /// The whole reference, for what is said.
    pub artifact: &'a str,
    /// When nobody waits for them any more.
    pub give_up_at: Option<Instant>,
}

/// What a provider gives out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// What to show.
    pub credential: Credential,
    /// Until when it is good, where that is known.
    pub good_until: Option<Instant>,
}

/// What a registry is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// Nothing.
    Anonymous,
    /// A user and a password, for Basic, and for the token service of a Bearer challenge.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// An OAuth2 refresh token (docker's `identitytoken`), for a token service only.
    RefreshToken(Secret),
}

/// What happens when the provider fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CredentialUse {
    /// A warning, and the registry is asked without credentials: the oras store, as v1.
    #[default]
    BestEffort,
    /// As [`CredentialUse::Required`], and the provider is given the host as it was written: a store
    /// with `authProviders`.
    ByRule,
    /// The operation fails, also where the registry would have asked for none; the provider is
    /// given the host on the wire: dynamic plugins, as v1.
    Required,
}

/// A text that never shows in logs: `Debug` says `<redacted>`, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Only for what is sent to a registry.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<redacted>")
    }
}

/// No credentials at all, whatever a registry asks for.
#[derive(Debug, Clone, Copy)]
pub struct NoCredentials;

impl AuthProvider for NoCredentials {
    fn name(&self) -> &str {
        "none"
    }

    fn credential<'a>(&'a self, _: &'a Asked<'a>) -> BoxFuture<'a, Result<Granted>> {
        Box::pin(async { Ok(Granted { credential: Credential::Anonymous, good_until: None }) })
    }
}

/// How this version stands to an auth provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// It is there.
    BuiltIn,
    /// It belongs to a cargo feature that is off in this build.
    NotInThisBuild,
    /// Nobody knows it.
    Unknown,
}

/// Whether there is an auth provider of this name, without making one.
pub fn availability(name: &str) -> Availability {
    match name {
        DEFAULT_PROVIDER | k8_secrets::NAME | credential_provider::NAME => Availability::BuiltIn,
        _ => match CLOUDS.iter().find(|(known, _, _)| *known == name) {
            Some((_, _, true)) => Availability::BuiltIn,
            Some((_, _, false)) => Availability::NotInThisBuild,
            None => Availability::Unknown,
        },
    }
}

/// The provider of a store or a source: the one that `authProvider` names, or those that
/// `authProviders` does, by scope.
///
/// # Errors
/// When both are given, and as [`from_config`]; a rule that could mean something else, with its place.
pub fn from_entry(
    auth_provider: Option<&Map<String, Value>>,
    auth_providers: Option<&Value>,
    environment: &Environment,
    connections: &Connections,
) -> Result<Arc<dyn AuthProvider>> {
    match (auth_provider, auth_providers) {
        (_, None) => from_config(auth_provider, environment, connections),
        (None, Some(rules)) => {
            let rules = Rules::from_config(rules, environment, connections)?;
            tracing::info!("selected auth providers by registry");
            Ok(Arc::new(rules))
        }
        (Some(_), Some(_)) => Err(rules::invalid(
            "authProviders",
            "authProvider is given, too: one of the two counts",
        )),
    }
}

/// The provider that a store's or a source's `authProvider` names; docker's configuration where
/// it is absent. A namespace gets none of what is not its own: no credentials where it names no
/// provider, and an error where it names docker's configuration or a cloud. Clouds are asked over
/// `connections`.
///
/// # Errors
/// With v1's texts: no name, or one that nobody knows. A provider for a cloud that this build has not
/// is refused by name.
pub fn from_config(
    config: Option<&Map<String, Value>>,
    environment: &Environment,
    connections: &Connections,
) -> Result<Arc<dyn AuthProvider>> {
    let Some(config) = config else {
        if environment.is_borrower() {
            tracing::info!(
                "selected no auth provider: Ratify's own credentials are no namespace's"
            );
            return Ok(Arc::new(NoCredentials));
        }
        tracing::info!("selected default auth provider: {DEFAULT_PROVIDER}");
        return Ok(Arc::new(DockerConfig::new(None, environment)));
    };
    let denied = |detail: String| {
        ErrorCode::AuthDenied.detail(detail).from_component(ComponentType::AuthProvider, "")
    };
    let name = match config.get("name") {
        Some(Value::String(name)) => name.as_str(),
        None => {
            return Err(denied(
                "failed to find auth provider name in the auth providers config with key name"
                    .into(),
            ));
        }
        Some(_) => return Err(denied("the name of an auth provider must be a string".into())),
    };
    let provider: Arc<dyn AuthProvider> = match name {
        _ if environment.is_borrower() && is_of_this_process(name) => {
            return Err(denied(format!(
                "a namespace may not use {name}, which has Ratify's own credentials, \
                 only {} of its own",
                k8_secrets::NAME
            )));
        }
        DEFAULT_PROVIDER => Arc::new(docker_config_from(config, environment)?),
        k8_secrets::NAME => Arc::new(K8Secrets::new(config, environment)?),
        credential_provider::NAME => Arc::new(CredentialProvider::new(environment)?),
        _ => match cloud_from(name, config, environment, connections)? {
            Some(provider) => provider,
            None => return Err(denied(unavailable(name))),
        },
    };
    tracing::info!("selected auth provider: {name}");
    Ok(provider)
}

/// The provider for a cloud of that name, where this build has it.
#[cfg_attr(
    not(any(feature = "alibaba", feature = "aws", feature = "azure")),
    expect(unused_variables, reason = "there is none in this build")
)]
fn cloud_from(
    name: &str,
    config: &Map<String, Value>,
    environment: &Environment,
    connections: &Connections,
) -> Result<Option<Arc<dyn AuthProvider>>> {
    #[cfg(any(feature = "alibaba", feature = "aws", feature = "azure"))]
    let http = cloud::CloudHttp::new(connections.clone());
    Ok(match name {
        #[cfg(feature = "alibaba")]
        alibaba::NAME => Some(Arc::new(alibaba::Alibaba::new(config, environment, http)?)),
        #[cfg(feature = "aws")]
        aws::NAME => Some(Arc::new(aws::AwsEcrBasic::new(environment, http))),
        #[cfg(feature = "azure")]
        azure::WORKLOAD | azure::MANAGED => {
            Some(Arc::new(azure::Azure::new(name, config, environment, http)?))
        }
        _ => None,
    })
}

/// Whether a provider gives out what belongs to this process rather than to a namespace.
fn is_of_this_process(name: &str) -> bool {
    [DEFAULT_PROVIDER, credential_provider::NAME].contains(&name)
        || CLOUDS.iter().any(|(cloud, _, _)| *cloud == name)
}

/// Why there is no provider of a name.
fn unavailable(name: &str) -> String {
    match CLOUDS.iter().find(|(known, _, _)| *known == name) {
        Some((_, feature, _)) => {
            format!("the auth provider {name} is not part of this build: feature {feature}")
        }
        None => {
            let name = capped_line(name, 100);
            format!("failed to find auth provider implementation with name {name}")
        }
    }
}

fn docker_config_from(
    config: &Map<String, Value>,
    environment: &Environment,
) -> Result<DockerConfig> {
    let path = match config.get("configPath") {
        None | Some(Value::Null) => None,
        Some(Value::String(path)) if path.is_empty() => None,
        Some(Value::String(path)) => Some(PathBuf::from(path)),
        Some(_) => return Err(parse_failure("configPath must be a string")),
    };
    Ok(DockerConfig::new(path, environment))
}

fn parse_failure(why: &str) -> Error {
    ErrorCode::ConfigInvalid
        .detail("failed to parse auth provider configuration")
        .with_source(why)
        .with_remediation(ratify_core::link::AUTH_PROVIDER)
        .from_component(ComponentType::AuthProvider, DEFAULT_PROVIDER)
}

#[cfg(test)]
mod tests;

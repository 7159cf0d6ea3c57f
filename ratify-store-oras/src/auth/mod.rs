//! [`AuthProvider`]: where credentials for a registry come from, and how they become the header a
//! registry asks for.
//!
//! [`from_config`] picks the provider that `authProvider` names. `challenge` reads what a registry
//! asks for, `tokens` keeps what was granted.

pub(crate) mod challenge;
mod docker_config;
mod k8_secrets;
mod secrets;
pub(crate) mod tokens;

use std::{fmt, path::PathBuf, sync::Arc, time::Instant};

use ratify_core::{BoxFuture, ComponentType, Error, ErrorCode, Result, capped_line};
use serde_json::{Map, Value};

use k8_secrets::K8Secrets;

pub use docker_config::DockerConfig;
pub use secrets::{ClusterSecret, ObjectName, SecretError, SecretScope, SecretSource};

const DEFAULT_PROVIDER: &str = "dockerConfig";
/// v1's other providers. They are known by name, so that the error can say what is the matter.
const NOT_BUILT_YET: [&str; 4] =
    ["azureWorkloadIdentity", "azureManagedIdentity", "awsEcrBasic", "alibabacloudAcrBasic"];

/// Finds credentials for a registry.
pub trait AuthProvider: Send + Sync {
    /// The name in `authProvider.name`.
    fn name(&self) -> &str;

    /// The credentials for `host` (with its port where one is given); `artifact` is the whole
    /// reference. [`Credential::Anonymous`] where there are none. Asked each time a registry
    /// demands something and no granted token is left, so changed credentials are seen.
    fn credential<'a>(
        &'a self,
        host: &'a str,
        artifact: &'a str,
    ) -> BoxFuture<'a, Result<Credential>>;

    /// A registry refused what was given out: whatever was read before that instant is not given
    /// out again. Whether the provider keeps anything at all, so that asking again may help.
    fn forget(&self, _before: Instant) -> bool {
        false
    }
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
    /// The operation fails, also where the registry would have asked for none; the provider is
    /// given the host on the wire: dynamic plugins, as v1.
    Required,
}

/// A text that never shows in logs: `Debug` says `<redacted>`, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What providers read from, as values: the environment, the cluster, and for whom they do it.
#[derive(Clone, Default)]
pub struct Environment {
    /// The home directory (`HOME`).
    pub home: Option<PathBuf>,
    /// Docker's configuration directory (`DOCKER_CONFIG`).
    pub docker_config: Option<PathBuf>,
    /// The secrets of the cluster; `None` outside of one.
    pub secrets: Option<Arc<dyn SecretSource>>,
    /// The namespace this process runs in (`RATIFY_NAMESPACE`).
    pub ratify_namespace: Option<String>,
    /// Whose secrets may be read.
    pub scope: SecretScope,
    /// Whether a namespace may use the credentials of this process, too: docker's configuration.
    pub lends_credentials: bool,
}

impl Environment {
    /// The same for a resource of a namespace, which reads that namespace's secrets alone.
    #[must_use]
    pub fn for_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.scope = SecretScope::Namespace(namespace.into());
        self
    }

    /// Whether docker's configuration is somebody else's.
    fn is_borrower(&self) -> bool {
        matches!(self.scope, SecretScope::Namespace(_)) && !self.lends_credentials
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Environment")
            .field("home", &self.home)
            .field("docker_config", &self.docker_config)
            .field("has_secrets", &self.secrets.is_some())
            .field("ratify_namespace", &self.ratify_namespace)
            .field("scope", &self.scope)
            .field("lends_credentials", &self.lends_credentials)
            .finish()
    }
}

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

    fn credential<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Credential>> {
        Box::pin(async { Ok(Credential::Anonymous) })
    }
}

/// How this version stands to an auth provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// It is there.
    BuiltIn,
    /// v1 has it, and this version has it not yet.
    NotBuiltYet,
    /// Nobody knows it.
    Unknown,
}

/// Whether there is an auth provider of this name, without making one.
pub fn availability(name: &str) -> Availability {
    match name {
        DEFAULT_PROVIDER | k8_secrets::NAME => Availability::BuiltIn,
        _ if NOT_BUILT_YET.contains(&name) => Availability::NotBuiltYet,
        _ => Availability::Unknown,
    }
}

/// The provider that a store's or a source's `authProvider` names; docker's configuration where
/// it is absent. A namespace gets none of what is not its own: no credentials where it names no
/// provider, and an error where it names docker's configuration.
///
/// # Errors
/// With v1's texts: no name, or one that nobody knows. A provider that v1 has and this version has
/// not yet is refused by name.
pub fn from_config(
    config: Option<&Map<String, Value>>,
    environment: &Environment,
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
        DEFAULT_PROVIDER if environment.is_borrower() => {
            return Err(denied(format!(
                "a namespace may not use {DEFAULT_PROVIDER}, which has Ratify's own credentials, \
                 only {} of its own",
                k8_secrets::NAME
            )));
        }
        DEFAULT_PROVIDER => Arc::new(docker_config_from(config, environment)?),
        k8_secrets::NAME => Arc::new(K8Secrets::new(config, environment)?),
        _ if NOT_BUILT_YET.contains(&name) => {
            return Err(denied(format!("the auth provider {name} is not built yet")));
        }
        _ => {
            let name = capped_line(name, 100);
            return Err(denied(format!(
                "failed to find auth provider implementation with name {name}"
            )));
        }
    };
    tracing::info!("selected auth provider: {name}");
    Ok(provider)
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
mod tests {
    use serde_json::json;

    use super::*;

    fn select(config: &Value) -> Result<String> {
        from_config(config.as_object(), &Environment::default()).map(|p| p.name().to_owned())
    }

    #[test]
    fn the_default_is_dockers_configuration() {
        assert_eq!(select(&Value::Null).unwrap(), "dockerConfig");
        assert_eq!(select(&json!({"name": "dockerConfig", "x": 1})).unwrap(), "dockerConfig");
    }

    #[test]
    fn a_namespace_gets_dockers_configuration_only_where_it_is_lent() {
        let select = |config: &Value, lends_credentials: bool| {
            let environment = Environment { lends_credentials, ..Environment::default() };
            from_config(config.as_object(), &environment.for_namespace("team"))
                .map_or_else(|error| error.to_string(), |provider| provider.name().to_owned())
        };
        let named = json!({"name": "dockerConfig", "configPath": "/etc/docker/config.json"});
        assert_eq!(select(&Value::Null, false), "none");
        assert_eq!(
            select(&named, false),
            "AUTH_DENIED: a namespace may not use dockerConfig, which has Ratify's own credentials, only k8Secrets of its own"
        );
        assert_eq!(select(&Value::Null, true), "dockerConfig");
        assert_eq!(select(&named, true), "dockerConfig");
    }

    #[test]
    fn an_unknown_provider_is_refused_with_v1s_text() {
        let text = |config: &Value| select(config).unwrap_err().to_string();
        assert_eq!(
            text(&json!({})),
            "AUTH_DENIED: failed to find auth provider name in the auth providers config with key name"
        );
        assert_eq!(
            text(&json!({"name": "dockerconfig"})),
            "AUTH_DENIED: failed to find auth provider implementation with name dockerconfig"
        );
        assert_eq!(
            text(&json!({"name": "awsEcrBasic"})),
            "AUTH_DENIED: the auth provider awsEcrBasic is not built yet"
        );
        assert_eq!(
            text(&json!({"name": 1})),
            "AUTH_DENIED: the name of an auth provider must be a string"
        );
        assert!(text(&json!({"name": "dockerConfig", "configPath": 1})).starts_with(
            "CONFIG_INVALID: failed to parse auth provider configuration: configPath must be"
        ));
    }

    #[test]
    fn what_is_available_is_what_can_be_made() {
        for (name, expected) in [
            ("dockerConfig", Availability::BuiltIn),
            ("k8Secrets", Availability::BuiltIn),
            ("awsEcrBasic", Availability::NotBuiltYet),
            ("dockerconfig", Availability::Unknown),
        ] {
            assert_eq!(availability(name), expected);
            let error = select(&json!({"name": name})).err().map(|error| error.to_string());
            let error = error.unwrap_or_default();
            let is_refused_by_name = error.starts_with("AUTH_DENIED: ");
            assert_eq!(is_refused_by_name, expected != Availability::BuiltIn, "{error}");
        }
    }

    #[test]
    fn a_secret_does_not_show() {
        let credential =
            Credential::Basic { username: "u".into(), password: Secret::new("hunter2") };
        assert_eq!(format!("{credential:?}"), r#"Basic { username: "u", password: <redacted> }"#);
    }
}

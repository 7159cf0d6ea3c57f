//! [`AuthProvider`]: where credentials for a registry come from, and how they become the header a
//! registry asks for.
//!
//! [`from_config`] picks the provider that `authProvider` names. `challenge` reads what a registry
//! asks for, `tokens` keeps what was granted.

pub(crate) mod challenge;
mod docker_config;
pub(crate) mod tokens;

use std::{fmt, path::PathBuf, sync::Arc};

use ratify_core::{BoxFuture, ComponentType, Error, ErrorCode, Result, capped_line};
use serde_json::{Map, Value};

pub use docker_config::DockerConfig;

const DEFAULT_PROVIDER: &str = "dockerConfig";
/// v1's other providers. They are known by name, so that the error can say what is the matter.
const NOT_BUILT_YET: [&str; 5] = [
    "k8Secrets",
    "azureWorkloadIdentity",
    "azureManagedIdentity",
    "awsEcrBasic",
    "alibabacloudAcrBasic",
];

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

/// The parts of the environment that providers read, as values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// The home directory (`HOME`).
    pub home: Option<PathBuf>,
    /// Docker's configuration directory (`DOCKER_CONFIG`).
    pub docker_config: Option<PathBuf>,
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

/// The provider that a store's or a source's `authProvider` names; docker's configuration where
/// it is absent.
///
/// # Errors
/// With v1's texts: no name, or one that nobody knows. A provider that v1 has and this version has
/// not yet is refused by name.
pub fn from_config(
    config: Option<&Map<String, Value>>,
    environment: &Environment,
) -> Result<Arc<dyn AuthProvider>> {
    let Some(config) = config else {
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
        DEFAULT_PROVIDER => Arc::new(docker_config_from(config, environment)?),
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
            text(&json!({"name": "k8Secrets"})),
            "AUTH_DENIED: the auth provider k8Secrets is not built yet"
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
    fn a_secret_does_not_show() {
        let credential =
            Credential::Basic { username: "u".into(), password: Secret::new("hunter2") };
        assert_eq!(format!("{credential:?}"), r#"Basic { username: "u", password: <redacted> }"#);
    }
}

//! What the entries of stores and verifiers have in common.

use serde_json::{Map, Value};

use crate::{ErrorCode, Result};

use super::{Section, TrustPolicy};

/// Where a dynamic plugin is pulled from (`source` of an entry).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PluginSource {
    /// The OCI reference, with a tag or a digest.
    pub artifact: String,
    /// Which credentials to use; `None` for the default, `dockerConfig`.
    pub auth_provider: Option<Map<String, Value>>,
    /// Which credentials to use by registry, in place of that; an addition to v1. It is read where
    /// it is used.
    pub auth_providers: Option<Value>,
    /// How often a tag is asked for again and followed, as a duration in Go's notation; an addition
    /// to v1 for custom resources.
    pub refresh_interval: Option<String>,
    /// What the plugin has to prove before it may run; an addition to v1.
    pub trust_policy: Option<TrustPolicy>,
    /// Whether a version that is older than the one before may take its place; an addition to v1.
    pub allow_downgrade: bool,
}

impl PluginSource {
    /// Reads `source` of an entry; absent or `null` is `None`. Keys match in any case, as v1's do.
    ///
    /// # Errors
    /// The text says what was expected; the caller adds v1's words.
    pub fn from_entry(entry: &Map<String, Value>) -> Result<Option<Self>, super::ConfigError> {
        let Some(value) = entry.get("source").filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let mut section = Section::from_value("source", value.clone())?;
        let artifact = section.string("artifact")?.unwrap_or_default();
        let auth_provider = section.section("authProvider")?.map(|section| section.values);
        let auth_providers = section.take("authProviders")?;
        let refresh_interval = section.string("refreshInterval")?;
        let trust_policy = match section.take("trustPolicy")? {
            None => None,
            Some(value) => Some(TrustPolicy::from_value(section.key_path("trustPolicy"), value)?),
        };
        let allow_downgrade = section.boolean("allowDowngrade")?.unwrap_or_default();
        Ok(Some(Self {
            artifact,
            auth_provider,
            auth_providers,
            refresh_interval,
            trust_policy,
            allow_downgrade,
        }))
    }
}

/// Which environment an exec plugin gets (`pluginEnv` of an entry; an addition to v1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PluginEnv {
    /// The host's whole environment, as v1 does.
    #[default]
    Inherit,
    /// The protocol's variables, HOME, PATH and the proxies only.
    Minimal,
}

impl PluginEnv {
    /// Reads `pluginEnv` of an entry.
    ///
    /// # Errors
    /// When it is neither `inherit` nor `minimal`.
    pub fn from_entry(entry: &Map<String, Value>) -> Result<Self> {
        match entry.get("pluginEnv") {
            None | Some(Value::Null) => Ok(Self::Inherit),
            Some(Value::String(text)) if text == "inherit" => Ok(Self::Inherit),
            Some(Value::String(text)) if text == "minimal" => Ok(Self::Minimal),
            Some(_) => {
                Err(ErrorCode::ConfigInvalid.detail("pluginEnv must be \"inherit\" or \"minimal\""))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_source_is_read_in_any_case_and_null_is_none() {
        let source = PluginSource::from_entry(&entry(
            &json!({"source": {"Artifact": "r/p:1", "AUTHPROVIDER": {"name": "x"}}}),
        ));
        let source = source.unwrap().unwrap();
        assert_eq!(
            (source.artifact.as_str(), source.auth_provider.unwrap()["name"].as_str()),
            ("r/p:1", Some("x"))
        );
        assert_eq!(PluginSource::from_entry(&entry(&json!({"source": null}))).unwrap(), None);
        assert!(PluginSource::from_entry(&entry(&json!({"source": "r/p:1"}))).is_err());
        assert!(PluginSource::from_entry(&entry(&json!({"source": {"artifact": 1}}))).is_err());
    }

    #[test]
    fn an_environment_nobody_knows_is_refused() {
        assert_eq!(PluginEnv::from_entry(&entry(&json!({}))).unwrap(), PluginEnv::Inherit);
        assert_eq!(
            PluginEnv::from_entry(&entry(&json!({"pluginEnv": "minimal"}))).unwrap(),
            PluginEnv::Minimal
        );
        assert!(PluginEnv::from_entry(&entry(&json!({"pluginEnv": "minimum"}))).is_err());
    }
}

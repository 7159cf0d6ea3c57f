//! The `store` section: where artifacts are kept.

use serde_json::{Map, Value};

use crate::{ComponentType, ErrorCode, Result};

use super::{ConfigError, DEFAULT_VERSION, PluginEnv, PluginSource, Section};

/// The `store` section.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct StoresConfig {
    /// The version plugins are told.
    pub version: String,
    /// Where binaries are, before the default directory; `None` where the key is missing.
    pub plugin_bin_dirs: Option<Vec<String>>,
    /// The entries, as written.
    pub plugins: Vec<Map<String, Value>>,
}

impl StoresConfig {
    pub(super) fn from_section(mut section: Section) -> Result<Self, ConfigError> {
        Ok(Self {
            version: section
                .string("version")?
                .filter(|v| !v.is_empty())
                .unwrap_or_else(|| DEFAULT_VERSION.into()),
            plugin_bin_dirs: section.strings("pluginBinDirs")?.filter(|dirs| !dirs.is_empty()),
            plugins: section.objects("plugins")?,
        })
    }

    /// The entries, each checked.
    ///
    /// # Errors
    /// When there is none, or one of them is wrong.
    pub fn entries(&self) -> Result<Vec<StorePluginConfig>> {
        if self.plugins.is_empty() {
            return Err(ErrorCode::ConfigInvalid
                .detail("referrer store config should have at least one store")
                .from_component(ComponentType::ReferrerStore, ""));
        }
        self.plugins.iter().map(|raw| StorePluginConfig::from_entry(raw, &self.version)).collect()
    }
}

/// One store's entry.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StorePluginConfig {
    /// The name, which is also what the binary is called; `oras` is the built-in.
    pub name: String,
    /// The protocol version the plugin is asked to speak: the section's.
    pub version: String,
    /// Where the binary is pulled from.
    pub source: Option<PluginSource>,
    /// The environment the plugin gets.
    pub plugin_env: PluginEnv,
    /// The entry as written: what the plugin is sent.
    pub raw: Map<String, Value>,
}

impl StorePluginConfig {
    /// Checks an entry.
    ///
    /// # Errors
    /// When a known key is missing or wrong; the texts are v1's.
    pub fn from_entry(raw: &Map<String, Value>, version: &str) -> Result<Self> {
        let invalid = |detail: String| {
            ErrorCode::ConfigInvalid.detail(detail).from_component(ComponentType::ReferrerStore, "")
        };
        let name = match raw.get("name") {
            Some(Value::String(name)) => name.clone(),
            None | Some(Value::Null) => {
                return Err(invalid(
                    "failed to find store name in the stores config with key name".into(),
                ));
            }
            Some(_) => return Err(invalid("the name of a store must be a string".into())),
        };
        if !is_plugin_name(&name) {
            return Err(invalid(format!(
                "invalid plugin name for a store: {}",
                crate::capped_line(&name, 100)
            )));
        }
        let source = PluginSource::from_entry(raw)
            .map_err(|error| invalid("failed to parse plugin source".into()).with_source(error))?;
        Ok(Self {
            name,
            version: version.to_owned(),
            source,
            plugin_env: PluginEnv::from_entry(raw)?,
            raw: raw.clone(),
        })
    }
}

/// Whether a text may name a plugin's file: no separator, no NUL or other control character, no
/// leading dot (`..`, and the installer's own `.store`), not empty, at most 255 bytes.
pub(super) fn is_plugin_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && !name.starts_with('.')
        && !name.contains(['/', '\\'])
        && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(value: &Value) -> String {
        StorePluginConfig::from_entry(value.as_object().unwrap(), "1.0.0").unwrap_err().to_string()
    }

    #[test]
    fn refuses_names_that_are_none_with_v1s_texts() {
        assert_eq!(
            error(&json!({})),
            "CONFIG_INVALID: failed to find store name in the stores config with key name"
        );
        for name in ["a/b", "..", ".store", "", "a\u{0}b", "a\\b"] {
            assert!(
                error(&json!({ "name": name }))
                    .starts_with("CONFIG_INVALID: invalid plugin name for a store: "),
                "{name}"
            );
        }
        assert_eq!(
            error(&json!({"name": 1})),
            "CONFIG_INVALID: the name of a store must be a string"
        );
        assert!(error(&json!({"name": "a", "source": 1})).starts_with(
            "CONFIG_INVALID: failed to parse plugin source: source: expected an object"
        ));
    }

    #[test]
    fn a_section_without_stores_is_refused() {
        let error = StoresConfig::default().entries().unwrap_err();
        assert_eq!(
            error.to_string(),
            "CONFIG_INVALID: referrer store config should have at least one store"
        );
    }
}

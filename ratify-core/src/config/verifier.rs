//! The `verifier` section: who judges.

use serde_json::{Map, Value};

use crate::{ComponentType, Error, ErrorCode, Result};

use super::{
    ConfigError, DEFAULT_VERSION, PluginEnv, PluginSource, Section, store::is_plugin_name,
};

/// The `verifier` section.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct VerifiersConfig {
    /// The protocol version of entries that name none.
    pub version: String,
    /// Where binaries are, instead of the default directory; `None` where the key is missing.
    pub plugin_bin_dirs: Option<Vec<String>>,
    /// The entries, as written.
    pub plugins: Vec<Map<String, Value>>,
}

impl VerifiersConfig {
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
    pub fn entries(&self) -> Result<Vec<VerifierPluginConfig>> {
        if self.plugins.is_empty() {
            return Err(invalid(
                "The configuration for verifier.plugins must include at least one plugin",
            ));
        }
        self.plugins
            .iter()
            .map(|raw| VerifierPluginConfig::from_entry(raw, &self.version))
            .collect()
    }
}

/// One verifier's entry.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VerifierPluginConfig {
    /// The configured name, which reports carry.
    pub name: String,
    /// The configured type; empty where only a name is given.
    pub type_: String,
    /// The types of artifact it judges; `None` where the key is missing.
    pub artifact_types: Option<ArtifactTypes>,
    /// Whether what is attached to the artifact must pass as well.
    pub nested: bool,
    /// The protocol version the plugin is asked to speak.
    pub version: String,
    /// Where the binary is pulled from.
    pub source: Option<PluginSource>,
    /// The environment the plugin gets.
    pub plugin_env: PluginEnv,
    /// The entry as written: what the plugin is sent.
    pub raw: Map<String, Value>,
}

impl VerifierPluginConfig {
    /// Checks an entry. `default_version` is the section's.
    ///
    /// # Errors
    /// When a known key is missing or wrong; the texts are v1's where v1 has one.
    pub fn from_entry(raw: &Map<String, Value>, default_version: &str) -> Result<Self> {
        let text = |key: &str| match raw.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(invalid(format!("{key} of a verifier must be a string"))),
        };
        let Some(name) = text("name")? else {
            return Err(invalid("The name field is required in the Verifier configuration"));
        };
        let type_ = text("type")?.unwrap_or_default();
        check_name(if type_.is_empty() { &name } else { &type_ })?;
        // v1 makes a type of null that no artifact has; to judge every type would be the contrary.
        if raw.get("artifactTypes").is_some_and(Value::is_null) {
            return Err(invalid("artifactTypes of a verifier must be a string"));
        }
        let source = PluginSource::from_entry(raw)
            .map_err(|error| invalid("Failed to parse the plugin source").with_source(error))?;
        Ok(Self {
            name,
            type_,
            artifact_types: text("artifactTypes")?.map(|list| ArtifactTypes::parse(&list)),
            // v1 takes any value for "yes", the empty string and null included.
            nested: raw.contains_key("nestedReferences"),
            version: text("version")?.unwrap_or_else(|| default_version.to_owned()),
            source,
            plugin_env: PluginEnv::from_entry(raw)?,
            raw: raw.clone(),
        })
    }

    /// What the built-in or the binary is called: the type, or else the name.
    pub fn binary_name(&self) -> &str {
        if self.type_.is_empty() { &self.name } else { &self.type_ }
    }
}

/// A comma-separated list of artifact types; `*` stands for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactTypes(Vec<String>);

impl ArtifactTypes {
    /// Splits a list. Nothing is trimmed, as in v1.
    pub fn parse(list: &str) -> Self {
        Self(list.split(',').map(Into::into).collect())
    }

    /// Every type.
    pub fn all() -> Self {
        Self(vec!["*".into()])
    }

    /// The types by name; `None` where every type is meant.
    pub fn named(&self) -> Option<&[String]> {
        let is_every = self.0.iter().any(|listed| listed == "*");
        (!is_every).then_some(&self.0[..])
    }

    /// Whether the list covers a type.
    pub fn cover(&self, artifact_type: &str) -> bool {
        self.0.iter().any(|listed| listed == "*" || listed == artifact_type)
    }
}

fn check_name(name: &str) -> Result<()> {
    if is_plugin_name(name) {
        return Ok(());
    }
    let shown = crate::capped_line(name, 100);
    // v1 prints the code of the separator; the other names it does not refuse.
    let reason = match name.chars().find(|c| matches!(c, '/' | '\\') || c.is_control()) {
        Some(c) => format!("[{}] is disallowed", u32::from(c)),
        None => "it must have 1 to 255 bytes and no leading dot".to_owned(),
    };
    Err(invalid(format!("Invalid name [{shown}] in the Verifier configuration, {reason}")))
}

fn invalid(detail: impl Into<String>) -> Error {
    ErrorCode::ConfigInvalid.detail(detail).from_component(ComponentType::Verifier, "")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<VerifierPluginConfig> {
        VerifierPluginConfig::from_entry(value.as_object().unwrap(), "1.0.0")
    }

    #[test]
    fn reads_the_head_and_keeps_the_entry() {
        let entry = json!({"name": "n", "artifactTypes": "a, b,*x", "nestedReferences": "", "version": "2", "k": [1]});
        let verifier = read(&entry).unwrap();
        assert_eq!(
            (verifier.binary_name(), verifier.type_.as_str(), verifier.version.as_str()),
            ("n", "", "2")
        );
        assert!(verifier.nested);
        let types = verifier.artifact_types.unwrap();
        assert!(types.cover("a") && types.cover(" b") && !types.cover("b") && !types.cover("x"));
        assert_eq!(Value::Object(verifier.raw), entry);
    }

    #[test]
    fn any_value_asks_for_what_is_attached_to_the_artifact_as_well() {
        for value in [json!(null), json!(""), json!("*"), json!(false), json!(["a"])] {
            assert!(read(&json!({"name": "n", "nestedReferences": value})).unwrap().nested);
        }
        assert!(!read(&json!({"name": "n"})).unwrap().nested);
    }

    #[test]
    fn refuses_what_v1_refuses_and_what_v1_panics_on() {
        let cases = [
            (json!({}), "CONFIG_INVALID: The name field is required in the Verifier configuration"),
            (
                json!({"name": "a/b"}),
                "CONFIG_INVALID: Invalid name [a/b] in the Verifier configuration, [47] is disallowed",
            ),
            (
                json!({"name": "n", "type": ".."}),
                "CONFIG_INVALID: Invalid name [..] in the Verifier configuration, it must have 1 to 255 bytes and no leading dot",
            ),
            (
                json!({"name": "n", "version": 1.0}),
                "CONFIG_INVALID: version of a verifier must be a string",
            ),
            (
                json!({"name": "n", "artifactTypes": null}),
                "CONFIG_INVALID: artifactTypes of a verifier must be a string",
            ),
            (json!({"name": 1}), "CONFIG_INVALID: name of a verifier must be a string"),
            (
                json!({"name": "n", "source": []}),
                "CONFIG_INVALID: Failed to parse the plugin source: source: expected an object, found an array",
            ),
        ];
        for (entry, expected) in cases {
            assert_eq!(read(&entry).unwrap_err().to_string(), expected);
        }
    }
}

//! The configuration file: a typed head over JSON that is otherwise kept as written.
//!
//! Sections are matched without regard to case, as v1 does; keys within a plugin's entry exactly.
//! What Ratify does not know is kept, since a plugin may: an entry goes to its plugin as written.

mod executor;
mod passed;
mod plugin;
mod plugins;
mod policy;
mod registries;
mod store;
mod trust;
mod verifier;

use serde_json::{Map, Value};

use crate::go_json;

pub use executor::ExecutorConfig;
pub use passed::PassedRules;
pub use plugin::{PluginEnv, PluginSource};
pub use plugins::{
    Candidate, Denial, NamespaceRules, Part, PatternError, PluginRules, RepositoryPattern,
};
pub use policy::PolicyConfig;
pub use registries::{
    AddressRange, CredentialProviderFiles, RangeError, RegistryRules, RegistryTimeouts,
};
pub use store::{StorePluginConfig, StoresConfig};
pub use trust::{TrustMode, TrustPolicy};
pub use verifier::{ArtifactTypes, VerifierPluginConfig, VerifiersConfig};

/// The version of a section that names none.
const DEFAULT_VERSION: &str = "0.1.0";

/// A configuration file.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Where artifacts are kept; `None` where the section is missing.
    pub store: Option<StoresConfig>,
    /// What decides; `None` where the section is missing.
    pub policy: Option<PolicyConfig>,
    /// Who judges; `None` where the section is missing.
    pub verifier: Option<VerifiersConfig>,
    /// How long it may take.
    pub executor: ExecutorConfig,
    /// How and what is logged.
    pub logger: LoggerConfig,
    /// Whether revocation lists are cached.
    pub crl_cache_enabled: bool,
    /// What administrators allow of plugins.
    pub plugins: PluginRules,
    /// What administrators allow of namespaces.
    pub namespaces: NamespaceRules,
    /// What administrators allow of registries.
    pub registries: RegistryRules,
    /// What Ratify does not know, as written.
    pub rest: Map<String, Value>,
}

/// The `logger` section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoggerConfig {
    /// `text`, `json` or `logstash`; `None` for the default.
    pub formatter: Option<String>,
    /// The request headers a trace id is taken from, first found first.
    pub trace_id_headers: Vec<String>,
}

/// Why a file is no configuration: where in it, and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not JSON.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// One key in two spellings.
    #[error("{at}: the key {key} is given in two spellings")]
    Spellings {
        /// The path of the object.
        at: String,
        /// The key.
        key: &'static str,
    },
    /// A value of the wrong kind.
    #[error("{at}: expected {expected}, found {found}")]
    Kind {
        /// The path of the key.
        at: String,
        /// What the key takes.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
    },
    /// A value of the right kind that cannot be used.
    #[error("{at}: {why}")]
    Value {
        /// The path of the key.
        at: String,
        /// What is wrong.
        why: String,
    },
    /// A key that nothing reads, where that matters.
    #[error("{at}: unknown key {key}: a rule that is misspelt would not be kept")]
    UnknownKey {
        /// The path of the object.
        at: String,
        /// The key.
        key: String,
    },
}

impl Config {
    /// Reads a configuration file's bytes.
    ///
    /// # Errors
    /// When they are not a JSON object, or a known key has a value of the wrong kind.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ConfigError> {
        let document: Value = serde_json::from_slice(bytes)?;
        let mut root = Section::from_value("the configuration", document)?;
        let logger = root.section("logger")?.map(LoggerConfig::from_section).transpose()?;
        let crl = root.section("crl")?.map(crl_cache_enabled).transpose()?;
        let plugins = root.section("plugins")?.map(PluginRules::from_section).transpose()?;
        let namespaces =
            root.section("namespaces")?.map(NamespaceRules::from_section).transpose()?;
        let registries =
            root.section("registries")?.map(RegistryRules::from_section).transpose()?;
        Ok(Self {
            store: root.section("store")?.map(StoresConfig::from_section).transpose()?,
            policy: root.section("policy")?.map(PolicyConfig::from_section).transpose()?,
            verifier: root.section("verifier")?.map(VerifiersConfig::from_section).transpose()?,
            executor: root
                .section("executor")?
                .map(ExecutorConfig::from_section)
                .transpose()?
                .unwrap_or_default(),
            logger: logger.unwrap_or_default(),
            crl_cache_enabled: crl.unwrap_or_default(),
            plugins: plugins.unwrap_or_default(),
            namespaces: namespaces.unwrap_or_default(),
            registries: registries.unwrap_or_default(),
            rest: root.values,
        })
    }
}

impl LoggerConfig {
    fn from_section(mut section: Section) -> Result<Self, ConfigError> {
        let formatter = section.string("formatter")?;
        let trace_id_headers = match section.section("requestHeaders")? {
            Some(mut headers) => trace_id_headers(&mut headers)?,
            None => Vec::new(),
        };
        Ok(Self { formatter, trace_id_headers })
    }
}

/// A list, or the text that v1's chart makes of one, as Go prints it: `[x-id y-id]`.
fn trace_id_headers(headers: &mut Section) -> Result<Vec<String>, ConfigError> {
    let key = "traceIDHeaderName";
    match headers.take(key)? {
        Some(Value::String(text)) => {
            let names = text.trim_start_matches('[').trim_end_matches(']');
            Ok(names.split_whitespace().map(Into::into).collect())
        }
        Some(list) => headers.texts(key, &list),
        None => Ok(Vec::new()),
    }
}

fn crl_cache_enabled(mut section: Section) -> Result<bool, ConfigError> {
    match section.section("cache")? {
        Some(mut cache) => Ok(cache.boolean("enabled")?.unwrap_or_default()),
        None => Ok(false),
    }
}

/// An object of the file from which known keys are taken, one after another.
pub(crate) struct Section {
    at: String,
    values: Map<String, Value>,
}

impl Section {
    fn from_value(at: impl Into<String>, value: Value) -> Result<Self, ConfigError> {
        let at = at.into();
        match value {
            Value::Object(values) => Ok(Self { at, values }),
            other => Err(ConfigError::Kind { at, expected: "an object", found: kind(&other) }),
        }
    }

    /// Takes a key in any case. `null` counts as absent. Of two spellings v1 takes something of
    /// both; here they are refused.
    fn take(&mut self, key: &'static str) -> Result<Option<Value>, ConfigError> {
        let found = go_json::member(&self.values, key)
            .map_err(|_| ConfigError::Spellings { at: self.at.clone(), key })?
            .cloned();
        self.values.retain(|name, _| !go_json::is_key(name, key));
        Ok(found.filter(|value| !value.is_null()))
    }

    fn key_path(&self, key: &str) -> String {
        format!("{}.{key}", self.at)
    }

    fn wrong<T>(&self, key: &str, expected: &'static str, found: &Value) -> Result<T, ConfigError> {
        Err(ConfigError::Kind { at: self.key_path(key), expected, found: kind(found) })
    }

    fn section(&mut self, key: &'static str) -> Result<Option<Self>, ConfigError> {
        self.take(key)?.map(|value| Self::from_value(key, value)).transpose()
    }

    fn string(&mut self, key: &'static str) -> Result<Option<String>, ConfigError> {
        match self.take(key)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => self.wrong(key, "a string", &other),
        }
    }

    fn boolean(&mut self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        match self.take(key)? {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => self.wrong(key, "true or false", &other),
        }
    }

    fn integer(&mut self, key: &'static str) -> Result<Option<i64>, ConfigError> {
        match self.take(key)? {
            None => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) => Ok(Some(number)),
                None => self.wrong(key, "a whole number", &value),
            },
        }
    }

    fn strings(&mut self, key: &'static str) -> Result<Option<Vec<String>>, ConfigError> {
        let value = self.take(key)?;
        value.map(|value| self.texts(key, &value)).transpose()
    }

    fn texts(&self, key: &'static str, value: &Value) -> Result<Vec<String>, ConfigError> {
        let items = value.as_array().into_iter().flatten();
        let texts: Option<Vec<String>> = items.map(|item| item.as_str().map(Into::into)).collect();
        match texts.filter(|_| value.is_array()) {
            Some(texts) => Ok(texts),
            None => self.wrong(key, "an array of strings", value),
        }
    }

    fn objects(&mut self, key: &'static str) -> Result<Vec<Map<String, Value>>, ConfigError> {
        let Some(value) = self.take(key)? else { return Ok(Vec::new()) };
        let Value::Array(items) = value else {
            return self.wrong(key, "an array of objects", &value);
        };
        let at = self.key_path(key);
        let objects = items
            .into_iter()
            .enumerate()
            .map(|(index, item)| Ok(Self::from_value(format!("{at}[{index}]"), item)?.values));
        objects.collect()
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sections_in_any_case_and_keeps_what_it_does_not_know() {
        let config = Config::from_json(
            br#"{"Store":{"PluginBinDirs":["/p"],"plugins":[{"name":"oras","x":9007199254740993}]},
                "VERIFIER":{"version":"1.0.0","plugins":[{"name":"n","type":"t"}]},
                "policy":{"plugin":{"name":"configPolicy"}},"executor":{"verificationrequesttimeout":5},
                "crl":{"cache":{"enabled":true}},"future":{"a":1},
                "logger":{"formatter":"json","requestHeaders":{"traceIDHeaderName":["x-id"]}}}"#,
        )
        .unwrap();
        let store = config.store.unwrap();
        assert_eq!(
            (store.version.as_str(), store.plugin_bin_dirs),
            ("0.1.0", Some(vec!["/p".into()]))
        );
        assert_eq!(
            go_json::to_string(&store.plugins[0]).unwrap(),
            r#"{"name":"oras","x":9007199254740993}"#
        );
        assert_eq!(config.verifier.unwrap().plugins[0]["type"], "t");
        assert_eq!(config.executor.verification_request_timeout_ms, Some(5));
        assert!(config.crl_cache_enabled);
        assert_eq!(config.logger.trace_id_headers, ["x-id"]);
        assert_eq!(config.rest["future"]["a"], 1);
    }

    #[test]
    fn a_list_of_headers_may_be_the_text_that_v1s_chart_makes_of_it() {
        for (given, read) in [
            (r#""[]""#, &[][..]),
            (r#""[x-id y-id]""#, &["x-id", "y-id"]),
            (r#""x-id""#, &["x-id"]),
            (r#"["x-id"]"#, &["x-id"]),
        ] {
            let text =
                format!(r#"{{"logger":{{"requestHeaders":{{"traceIDHeaderName":{given}}}}}}}"#);
            let config = Config::from_json(text.as_bytes()).unwrap();
            assert_eq!(config.logger.trace_id_headers, read, "{given}");
        }
    }

    #[test]
    fn says_where_a_value_is_of_the_wrong_kind() {
        let cases: [(&[u8], &str); 6] = [
            (
                br#"{"policy":{},"Policy":null}"#,
                "the configuration: the key policy is given in two spellings",
            ),
            (b"[]", "the configuration: expected an object, found an array"),
            (
                br#"{"store":{"plugins":{}}}"#,
                "store.plugins: expected an array of objects, found an object",
            ),
            (
                br#"{"store":{"plugins":["x"]}}"#,
                "store.plugins[0]: expected an object, found a string",
            ),
            (
                br#"{"executor":{"mutationRequestTimeout":1.5}}"#,
                "executor.mutationRequestTimeout: expected a whole number, found a number",
            ),
            (
                br#"{"verifier":{"pluginBinDirs":"/p"}}"#,
                "verifier.pluginBinDirs: expected an array of strings, found a string",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(Config::from_json(text).unwrap_err().to_string(), expected);
        }
        assert!(Config::from_json(b"").is_err());
    }
}

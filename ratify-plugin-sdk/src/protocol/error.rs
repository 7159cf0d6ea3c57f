//! [`PluginError`]: how a plugin says that it failed, with v1's codes and texts.

use std::fmt;

use ratify_core::{DigestError, go_json};
use serde::{Deserialize, Serialize};

/// v1's codes of [`PluginError`].
pub mod code {
    /// Unclassified.
    pub const UNKNOWN: u32 = 0;
    /// Standard input could not be read as configuration.
    pub const CONFIG_PARSING: u32 = 1;
    /// The configuration is wrong.
    pub const INVALID_CONFIG: u32 = 2;
    /// A command nobody knows.
    pub const UNKNOWN_COMMAND: u32 = 3;
    /// Variables of the protocol are missing.
    pub const MISSING_ENVIRONMENT: u32 = 4;
    /// Reading or writing failed.
    pub const IO: u32 = 5;
    /// The version is not spoken.
    pub const VERSION_NOT_SUPPORTED: u32 = 6;
    /// The subject or the arguments make no sense, or the store could not be opened.
    pub const ARGS_PARSING: u32 = 7;
    /// The command itself failed.
    pub const COMMAND: u32 = 8;
    /// A fault of the plugin: it panicked.
    pub const INTERNAL: u32 = 999;
}

/// The two kinds of plugin; they differ in the words of a few errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginKind {
    /// It judges.
    Verifier,
    /// It keeps artifacts.
    Store,
}

/// What a failed plugin prints on standard output before it exits with 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct PluginError {
    /// One of the constants in [`code`].
    pub code: u32,
    /// What failed.
    pub msg: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

impl PluginError {
    /// An error with a code of [`code`], what failed, and why (empty where `msg` says it all).
    pub fn new(code: u32, msg: impl Into<String>, details: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: details.into() }
    }

    /// Standard input is no configuration.
    pub fn config_parsing(kind: PluginKind, error: &serde_json::Error) -> Self {
        // Go's words for input that ends early, which v1's users know.
        let reason = if error.is_eof() {
            "unexpected end of JSON input".to_owned()
        } else {
            error.to_string()
        };
        let msg = format!("error unmarshall {} config: {reason}", kind.word());
        Self::new(code::CONFIG_PARSING, msg, "")
    }

    /// The configuration names no plugin.
    pub fn missing_name(kind: PluginKind) -> Self {
        Self::new(code::INVALID_CONFIG, format!("missing {} name", kind.word()), "")
    }

    /// The plugin's own parameters are wrong.
    pub fn invalid_config(kind: PluginKind, details: impl Into<String>) -> Self {
        Self::new(code::INVALID_CONFIG, format!("invalid {} config", kind.word()), details)
    }

    /// A command nobody knows, in the variable `variable`.
    pub fn unknown_command(variable: &str, command: &str) -> Self {
        Self::new(code::UNKNOWN_COMMAND, format!("unknown {variable}: {command}"), "")
    }

    /// Variables that are missing or empty.
    pub fn missing_environment(variables: &[&str]) -> Self {
        let msg = format!("missing env variables [{}]", variables.join(","));
        Self::new(code::MISSING_ENVIRONMENT, msg, "")
    }

    /// Standard input could not be read.
    pub fn reading_stdin(error: &dyn fmt::Display) -> Self {
        Self::new(code::IO, format!("error reading from stdin: {error}"), "")
    }

    /// The result could not be written.
    pub fn writing_output(error: &dyn fmt::Display) -> Self {
        Self::new(code::IO, "failed to write plugin output", error.to_string())
    }

    /// A version the plugin does not speak.
    pub fn version_not_supported(version: &str) -> Self {
        let msg = format!("plugin doesn't support version {version}");
        Self::new(code::VERSION_NOT_SUPPORTED, msg, "")
    }

    /// Arguments with something that is no pair.
    pub fn arguments(pair: &str) -> Self {
        let details = format!("PLUGIN ARGS: invalid kv pair {pair:?}");
        Self::new(code::ARGS_PARSING, "error parsing args", details)
    }

    /// An argument nobody knows.
    pub fn unknown_argument(key: &str) -> Self {
        Self::new(code::ARGS_PARSING, format!("unknown args {key}"), "")
    }

    /// An argument that should be a digest.
    pub fn digest_argument(text: &str, error: &DigestError) -> Self {
        let msg = format!("cannot parse digest arg {text}");
        Self::new(code::ARGS_PARSING, msg, error.to_string())
    }

    /// A subject that is no reference.
    pub fn subject(text: &str) -> Self {
        let msg = format!("cannot parse subject reference {text}");
        let details = "REFERENCE_INVALID: failed to parse subject reference";
        Self::new(code::ARGS_PARSING, msg, details)
    }

    /// The store of a verifier's input could not be opened.
    pub fn store_creation(error: &dyn fmt::Display) -> Self {
        let msg = format!("create store from input config failed with error {error}");
        Self::new(code::ARGS_PARSING, msg, "")
    }

    /// The command itself failed. v1 says `LISTREFERRERS` for each of a store's commands.
    pub fn command(command: &dyn fmt::Display, details: impl Into<String>) -> Self {
        Self::new(code::COMMAND, format!("plugin command {command} failed"), details)
    }

    /// The plugin panicked.
    pub fn panic(details: impl Into<String>) -> Self {
        Self::new(code::INTERNAL, "plugin panicked", details)
    }

    /// The text a plugin prints: four spaces of indentation, no line break at the end.
    pub fn to_json(&self) -> String {
        // A struct of a number and two texts is always JSON.
        go_json::to_string_indented_by_four(self).unwrap_or_default()
    }
}

impl PluginKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Verifier => "verifier",
            Self::Store => "store",
        }
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.msg)?;
        if !self.details.is_empty() {
            write!(formatter, "; {}", self.details)?;
        }
        Ok(())
    }
}

impl std::error::Error for PluginError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_v1_does() {
        insta::assert_snapshot!(PluginError::version_not_supported("9").to_json(), @r#"
        {
            "code": 6,
            "msg": "plugin doesn't support version 9"
        }
        "#);
        let error = PluginError::command(&"VERIFY", "why");
        assert_eq!(error.to_string(), "plugin command VERIFY failed; why");
        assert_eq!(serde_json::from_str::<PluginError>(&error.to_json()).unwrap(), error);
    }
}

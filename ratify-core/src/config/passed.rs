//! [`PassedRules`]: the administrator's rules about registries, on their way to a plugin that opens
//! its store itself. It goes in one variable of the environment, which plugins of v1 do not read.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{ConfigError, RegistryRules, Section};

/// The value of `credentials`, which is absent for a store that has those of the process.
const NO_CREDENTIALS: &str = "none";
/// The value of `entry`, which is absent for an administrator's.
const OF_NAMESPACE: &str = "namespace";

/// What a plugin goes by that asks registries itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassedRules {
    /// The section `registries` of the host's configuration, but for what gives out credentials.
    pub registries: RegistryRules,
    /// Whether the references may be anybody's words, as in a server.
    pub are_anybodys: bool,
    /// Whether the store may not use the credentials of this process: it is a namespace's.
    pub is_borrowers: bool,
    /// Whether the verifier's entry is a namespace's, which names no files and no servers. It is
    /// another question than the store's: either may be the cluster's.
    pub is_of_namespace: bool,
}

impl PassedRules {
    /// The variable of the environment.
    pub const VARIABLE: &'static str = "RATIFY_REGISTRY_RULES";

    /// What a host passes.
    pub fn new(registries: RegistryRules, are_anybodys: bool) -> Self {
        Self { registries, are_anybodys, is_borrowers: false, is_of_namespace: false }
    }

    /// The same for a store that may not use the credentials of this process where that is so.
    #[must_use]
    pub fn of_borrower(mut self, is_borrowers: bool) -> Self {
        self.is_borrowers = is_borrowers;
        self
    }

    /// The same for an entry that is a namespace's where that is so.
    #[must_use]
    pub fn of_namespace(mut self, is_of_namespace: bool) -> Self {
        self.is_of_namespace = is_of_namespace;
        self
    }

    /// The variable's value; `None` where a plugin goes by the same without it. A key is there only
    /// where it says something: a plugin that is older than a key refuses it, and is not told of
    /// what nobody uses.
    pub fn to_text(&self) -> Option<String> {
        let (rules, usual) = (&self.registries, RegistryRules::default());
        let mut section = Map::new();
        if !rules.allowed_addresses.is_empty() {
            let ranges = rules.allowed_addresses.iter().map(ToString::to_string);
            section.insert("allowedAddresses".into(), ranges.collect::<Vec<_>>().into());
        }
        if let Some(path) = &rules.hosts_path {
            section.insert("hostsPath".into(), path.to_string_lossy().into());
        }
        if rules.timeouts != usual.timeouts {
            let timeouts = json!({
                "connect": text_of(rules.timeouts.connect),
                "silence": text_of(rules.timeouts.silence),
                "minBytesPerSecond": rules.timeouts.min_bytes_per_second,
            });
            section.insert("timeouts".into(), timeouts);
        }
        let says_of_whom = self.are_anybodys || self.is_borrowers || self.is_of_namespace;
        if section.is_empty() && !says_of_whom {
            return None;
        }
        let references = if self.are_anybodys { "anybody" } else { "operator" };
        let mut passed = json!({ "registries": section, "references": references });
        if self.is_borrowers {
            passed["credentials"] = NO_CREDENTIALS.into();
        }
        if self.is_of_namespace {
            passed["entry"] = OF_NAMESPACE.into();
        }
        Some(passed.to_string())
    }

    /// Reads the variable's value.
    ///
    /// # Errors
    /// When it is not one, or says what is not known here: what it forbids would not be kept.
    pub fn from_text(text: &str) -> Result<Self, ConfigError> {
        let value: Value = serde_json::from_str(text).map_err(|error| ConfigError::Value {
            at: Self::VARIABLE.into(),
            why: error.to_string(),
        })?;
        let mut root = Section::from_value(Self::VARIABLE, value)?;
        let registries = root.section("registries")?.map(RegistryRules::from_section);
        let registries = registries.transpose()?.unwrap_or_default();
        let are_anybodys = match root.string("references")?.as_deref() {
            Some("anybody") => true,
            Some("operator") => false,
            _ => {
                let why = "it must be \"anybody\" or \"operator\"".to_owned();
                return Err(ConfigError::Value { at: root.key_path("references"), why });
            }
        };
        let is_borrowers = is_said(&mut root, "credentials", NO_CREDENTIALS)?;
        let is_of_namespace = is_said(&mut root, "entry", OF_NAMESPACE)?;
        root.refuse_rest()?;
        Ok(Self { registries, are_anybodys, is_borrowers, is_of_namespace })
    }
}

/// Whether a key is there, which has one value.
fn is_said(root: &mut Section, key: &'static str, only: &str) -> Result<bool, ConfigError> {
    match root.string(key)? {
        None => Ok(false),
        Some(value) if value == only => Ok(true),
        Some(_) => {
            Err(ConfigError::Value { at: root.key_path(key), why: format!("it must be {only:?}") })
        }
    }
}

fn text_of(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    use super::*;

    #[test]
    fn what_is_passed_is_what_was_configured() {
        let text = r#"{"registries":{"allowedAddresses":["127.0.0.1","fd00::/8"],
            "hostsPath":"/etc/containerd/certs.d","timeouts":{"silence":"1m30s"},
            "credentialProviders":{"configPath":"/c","binDir":"/b"}}}"#;
        let mut registries = Config::from_json(text.as_bytes()).unwrap().registries;
        let passed = PassedRules::new(registries.clone(), true).to_text().unwrap();
        assert_eq!(
            passed,
            r#"{"references":"anybody","registries":{"allowedAddresses":["127.0.0.1/32","fd00::/8"],"hostsPath":"/etc/containerd/certs.d","timeouts":{"connect":"40000ms","minBytesPerSecond":1024,"silence":"90000ms"}}}"#
        );
        // A plugin runs no programs that give out credentials.
        registries.credential_providers = None;
        let read = |text: &str| PassedRules::from_text(text).unwrap();
        assert_eq!(read(&passed), PassedRules::new(registries, true));
        assert_eq!(PassedRules::default().to_text(), None);
        let strict = PassedRules::new(RegistryRules::default(), true);
        assert_eq!(read(&strict.to_text().unwrap()), strict);
        let borrowers = PassedRules::default().of_borrower(true);
        let passed = borrowers.to_text().unwrap();
        assert_eq!(passed, r#"{"credentials":"none","references":"operator","registries":{}}"#);
        assert_eq!(read(&passed), borrowers);
        // Whose entry it is and whose store it is are two things.
        let namespaces = PassedRules::default().of_namespace(true);
        let passed = namespaces.to_text().unwrap();
        assert_eq!(passed, r#"{"entry":"namespace","references":"operator","registries":{}}"#);
        assert_eq!(read(&passed), namespaces);
        let both = namespaces.of_borrower(true);
        assert_eq!(read(&both.to_text().unwrap()), both);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"references":"nobody"}"#,
            r#"{"references":"operator","more":1}"#,
            r#"{"references":"operator","credentials":"some"}"#,
            r#"{"references":"operator","credentials":true}"#,
            r#"{"references":"operator","entry":"cluster"}"#,
            r#"{"references":"operator","entry":true}"#,
            r#"{"references":"operator","registries":{"more":1}}"#,
            r#"{"references":"operator","registries":{"hostsPath":"relative"}}"#,
        ] {
            assert!(PassedRules::from_text(text).is_err(), "{text}");
        }
    }
}

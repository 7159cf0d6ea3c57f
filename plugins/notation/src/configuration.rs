//! [`Configuration`]: the verifier's entry, with v1's keys and v1's errors, and [`Environment`], what it
//! takes from around it.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use ratify_core::{ComponentType, Error, ErrorCode, Result, config::VerifierPluginConfig, go_json};
use serde_json::{Map, Value};

use crate::{
    VerificationPlugins, go,
    policy::TrustPolicy,
    revocation::ListCache,
    trust::{CertificateStores, StoresError, TrustStores},
};

/// What the verifier takes from around it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Environment {
    /// Where `~/` leads, and below which v1's default trust store is.
    pub home: PathBuf,
    /// Whether the entry is a tenant's: it may name no files of this machine.
    pub is_tenants: bool,
    /// Where lists of revoked certificates are kept.
    pub lists: Arc<ListCache>,
    /// What time it is.
    pub clock: fn() -> SystemTime,
    /// The plugins of Notation that signatures may name; `None` where none is run.
    pub plugins: Option<Arc<dyn VerificationPlugins>>,
}

impl Environment {
    /// An environment of the cluster's administrator, who keeps no lists and runs no plugins.
    pub fn new(home: impl Into<PathBuf>) -> Self {
        let (lists, clock) = (Arc::default(), SystemTime::now);
        Self { home: home.into(), is_tenants: false, lists, clock, plugins: None }
    }
}

/// What an entry says.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) policy: TrustPolicy,
    pub(crate) trust: TrustStores,
    /// What plugins of Notation are told besides; `null` where there is nothing.
    pub(crate) plugin_config: Value,
}

impl Configuration {
    /// Reads an entry.
    ///
    /// # Errors
    /// v1's, with `Failed to create the Notation Verifier` in front.
    pub(crate) fn read(entry: &VerifierPluginConfig, environment: &Environment) -> Result<Self> {
        read(entry, environment).map_err(|error| init_failure().with_source(error))
    }
}

fn read(entry: &VerifierPluginConfig, environment: &Environment) -> Result<Configuration> {
    let raw = &entry.raw;
    let refused = |reason: String| {
        let shown = go::map(raw);
        invalid(format!("Failed to parse the Notation Verifier configuration: {shown}"))
            .with_source(reason)
    };
    let paths = paths(raw).map_err(refused)?;
    if environment.is_tenants && !paths.is_empty() {
        return Err(invalid(
            "verificationCerts names files of Ratify's, and is not for namespaces",
        ));
    }
    let stores = match value(raw, "verificationCertStores").map_err(refused)? {
        None | Some(Value::Null) => CertificateStores::default(),
        Some(Value::Object(stores)) => {
            let read = CertificateStores::read(stores);
            read.map_err(|error| wrong_stores(error, entry, &paths, stores))?
        }
        Some(_) => return Err(refused("verificationCertStores must be an object".to_owned())),
    };
    let plugin_config = plugin_config(raw).map_err(refused)?;
    if environment.is_tenants && !plugin_config.is_null() {
        return Err(invalid(
            "pluginConfig is for programs with Ratify's rights, and is not for namespaces",
        ));
    }
    let nothing = Value::Null;
    let document = value(raw, "trustPolicyDoc").map_err(refused)?.unwrap_or(&nothing);
    // v1 says so twice.
    let policy = TrustPolicy::read(document).map_err(|error| init_failure().with_source(error))?;
    let trust = TrustStores::new(&paths, stores, &environment.home);
    Ok(Configuration { policy, trust, plugin_config })
}

/// What plugins are told besides: texts by name.
fn plugin_config(raw: &Map<String, Value>) -> Result<Value, String> {
    match value(raw, "pluginConfig")? {
        None | Some(Value::Null) => Ok(Value::Null),
        Some(Value::Object(texts)) if texts.is_empty() => Ok(Value::Null),
        Some(Value::Object(texts)) if texts.values().all(Value::is_string) => {
            Ok(Value::Object(texts.clone()))
        }
        Some(_) => Err("pluginConfig must be an object of texts".to_owned()),
    }
}

fn paths(raw: &Map<String, Value>) -> Result<Vec<String>, String> {
    let must_be = || "verificationCerts must be a list of paths".to_owned();
    match value(raw, "verificationCerts")? {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(paths)) => {
            let paths = paths.iter().map(|path| path.as_str().map(str::to_owned));
            paths.collect::<Option<_>>().ok_or_else(must_be)
        }
        Some(_) => Err(must_be()),
    }
}

/// The value of a key in any case.
fn value<'a>(raw: &'a Map<String, Value>, key: &str) -> Result<Option<&'a Value>, String> {
    go_json::member(raw, key).map_err(|error| error.to_string())
}

fn wrong_stores(
    error: StoresError,
    entry: &VerifierPluginConfig,
    paths: &[String],
    stores: &Map<String, Value>,
) -> Error {
    let guide = "https://ratify.dev/docs/plugins/verifier/notation#configuration";
    match error {
        StoresError::Mixed => {
            let types = entry.raw.get("artifactTypes").and_then(Value::as_str).unwrap_or_default();
            let error = invalid(format!(
                "The verificationCertStores is misconfigured with both legacy and new formats: &{{Name:{} ArtifactTypes:{types} VerificationCerts:{} VerificationCertStores:{}}}",
                entry.name,
                go::list(paths.iter().map(String::as_str)),
                go::map(stores)
            ))
            .with_remediation(format!("Please provide only one format for the VerificationCertStores. Refer to the Notation Verifier configuration guide: {guide}"));
            tracing::error!("{}", ratify_core::capped_line(&error.to_string(), 4096));
            error
        }
        StoresError::Shape(shown) => invalid(format!(
            "Failed to create the trust store from the verificationCertStores parameter in Notation Verifier configuration: {shown}"
        ))
        .with_source(format!("the verificationCertStores configuration is invalid: {shown}"))
        .with_remediation(format!("Please check the value of the verificationCertStores parameter according to the Notation Verifier configuration guide: {guide}")),
    }
}

fn invalid(detail: impl Into<String>) -> Error {
    ErrorCode::ConfigInvalid.detail(detail).from_component(ComponentType::Verifier, "")
}

fn init_failure() -> Error {
    ErrorCode::PluginInitFailure
        .detail("Failed to create the Notation Verifier")
        .from_component(ComponentType::Verifier, "")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(changes: &Value, is_tenants: bool) -> Result<Configuration> {
        let mut entry = json!({
            "name": "n", "artifactTypes": "a", "TrustPolicyDoc": {"version": "1.0", "trustPolicies": [{
                "name": "all", "registryScopes": ["*"], "signatureVerification": {"level": "skip"},
            }]},
        });
        for (key, value) in changes.as_object().unwrap() {
            entry[key] = value.clone();
        }
        let entry = VerifierPluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0").unwrap();
        let mut environment = Environment::new("/home/user");
        environment.is_tenants = is_tenants;
        Configuration::read(&entry, &environment)
    }

    #[test]
    fn a_tenant_names_no_files() {
        let paths = json!({"verificationCerts": ["/var/run/secrets"]});
        assert!(read(&paths, false).is_ok());
        assert!(read(&json!({"verificationCerts": []}), true).is_ok());
        let refused = read(&paths, true).unwrap_err();
        insta::assert_snapshot!(refused, @"CONFIG_INVALID: Failed to create the Notation Verifier: verificationCerts names files of Ratify's, and is not for namespaces");
        assert!(read(&json!({"VERIFICATIONCERTS": ["x"]}), true).is_err(), "in any spelling");
    }

    #[test]
    fn a_tenant_tells_plugins_nothing() {
        let region = json!({"pluginConfig": {"region": "x"}});
        assert_eq!(read(&region, false).unwrap().plugin_config, region["pluginConfig"]);
        assert!(read(&json!({"pluginConfig": {}}), true).unwrap().plugin_config.is_null());
        let refused = read(&region, true).unwrap_err();
        insta::assert_snapshot!(refused, @"CONFIG_INVALID: Failed to create the Notation Verifier: pluginConfig is for programs with Ratify's rights, and is not for namespaces");
        for wrong in [json!([]), json!("x"), json!({"a": 1})] {
            let text = read(&json!({"pluginConfig": wrong}), false).unwrap_err().to_string();
            assert!(text.ends_with("pluginConfig must be an object of texts"), "{text}");
        }
    }

    #[test]
    fn a_key_in_two_spellings_is_refused() {
        let refused = read(&json!({"verificationCerts": [], "VerificationCerts": []}), false);
        let text = refused.unwrap_err().to_string();
        assert!(text.ends_with("verificationCerts is there in two spellings"), "{text}");
        assert!(read(&json!({"verificationCertStores": "x"}), false).is_err());
    }
}

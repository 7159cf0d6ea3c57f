//! What an administrator writes: the `spec` of each kind. Every field is optional here, since the
//! definitions say which are required, and an object stored under older definitions may lack one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::schema::{free, free_list, no_default_interval};

/// A verifier: what judges artifacts.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifierSpec {
    /// The name of the verifier. It serves as the type where no type is given.
    pub name: String,
    /// What judges: a built-in verifier, or the name of a plugin.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// The version of the plugin's protocol that is asked for; 1.0.0 if empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The types of artifact it judges, separated by commas; * stands for all.
    pub artifact_types: String,
    /// The directory of the plugin; the default plugin directory if empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Where a dynamic plugin is pulled from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PluginSourceSpec>,
    /// What the verifier is configured with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free")]
    pub parameters: Option<Map<String, Value>>,
}

/// A referrer store: where artifacts are listed and read.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreSpec {
    /// What lists and reads: the built-in store oras, or the name of a plugin.
    pub name: String,
    /// The version of the plugin's protocol that is asked for; 1.0.0 if empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The directory of the plugin; the default plugin directory if empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Where a dynamic plugin is pulled from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PluginSourceSpec>,
    /// What the store is configured with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free")]
    pub parameters: Option<Map<String, Value>>,
}

/// Where a dynamic plugin is pulled from.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginSourceSpec {
    /// The OCI reference of the plugin, with a tag or a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// Which credentials the registry is given; Docker's configuration if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free")]
    pub auth_provider: Option<Map<String, Value>>,
    /// Which credentials registries are given, by registry and repository, in place of
    /// authProvider. Not known to Ratify v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_list")]
    pub auth_providers: Option<Vec<Map<String, Value>>>,
    /// How often a tag is asked for again and followed, as a duration such as 1h30m. If empty, the
    /// digest that the tag stood for at first use stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<String>,
    /// What the plugin has to prove before it may run, in the place of plugins.trustPolicy of the
    /// configuration; in a namespace, besides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free")]
    pub trust_policy: Option<Map<String, Value>>,
    /// Whether a version that is older than the one before may take its place, where plugins must be
    /// signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_downgrade: Option<bool>,
}

/// A policy: what decides over the verifiers' reports.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicySpec {
    /// How it decides: config-policy or rego-policy.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// What the policy is configured with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free")]
    pub parameters: Option<Map<String, Value>>,
}

/// A key management provider: where certificates and keys come from.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyManagementProviderSpec {
    /// Where from: inline or azurekeyvault.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// How often they are fetched again, as a duration such as 1h30m; never if empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "no_default_interval")]
    pub refresh_interval: Option<String>,
    /// What the provider is configured with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free")]
    pub parameters: Option<Map<String, Value>>,
}

/// A certificate store, the deprecated form of a key management provider.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStoreSpec {
    /// Where certificates come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// What the provider is configured with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free")]
    pub parameters: Option<Map<String, Value>>,
}

//! What a spec means: an entry of a configuration, as if it had been written in a file. Pure;
//! the rules and texts are v1's.

use ratify_core::{
    Error, ErrorCode, Result,
    config::{PolicyConfig, StorePluginConfig, VerifierPluginConfig},
};
use serde_json::{Map, Value};

use super::resource::Resource;

/// The protocol version of a plugin whose resource names none.
pub const DEFAULT_VERSION: &str = "1.0.0";
/// The one name of a policy that counts.
pub const POLICY_NAME: &str = "ratify-policy";
/// The names of v1alpha1's policies, whose type is their name.
const LEGACY_POLICIES: [&str; 2] = ["configpolicy", "regopolicy"];

/// A verifier or store as its resource describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginEntry<E> {
    /// The entry of a configuration.
    pub entry: E,
    /// The directory of its program; `None` for the default one.
    pub address: Option<String>,
    /// Whether the resource named no version, which v1 logs.
    pub is_default_version: bool,
}

/// The entry of a verifier. The parameters come first; the resource's own fields override them.
///
/// # Errors
/// When a field is missing or of the wrong kind.
pub fn verifier(resource: &Resource) -> Result<PluginEntry<VerifierPluginConfig>> {
    let spec = Spec(resource);
    let mut entry = spec.parameters().map_err(|error| spec.not_applied(error))?;
    let name = spec.text("name")?;
    let type_ = spec.text("type")?.or(name).unwrap_or_default();
    entry.insert("name".into(), resource.key.name.clone().into());
    entry.insert("type".into(), type_.into());
    entry.insert("artifactTypes".into(), spec.text("artifactTypes")?.unwrap_or_default().into());
    spec.add_source(&mut entry);
    let version = spec.text("version")?;
    let config = VerifierPluginConfig::from_entry(
        &entry,
        &version.clone().unwrap_or(DEFAULT_VERSION.into()),
    )?;
    Ok(PluginEntry {
        entry: config,
        address: spec.text("address")?,
        is_default_version: version.is_none(),
    })
}

/// The entry of a store. Its name is the spec's: what kind of store it is.
///
/// # Errors
/// When a field is missing or of the wrong kind.
pub fn store(resource: &Resource) -> Result<PluginEntry<StorePluginConfig>> {
    let spec = Spec(resource);
    let mut entry = spec.parameters()?;
    entry.insert("name".into(), spec.text("name")?.unwrap_or_default().into());
    spec.add_source(&mut entry);
    let version = spec.text("version")?;
    let config =
        StorePluginConfig::from_entry(&entry, &version.clone().unwrap_or(DEFAULT_VERSION.into()))?;
    Ok(PluginEntry {
        entry: config,
        address: spec.text("address")?,
        is_default_version: version.is_none(),
    })
}

/// The `policy` section that a policy comes to.
///
/// # Errors
/// When it has no parameters, in v1's words, or a name that does not count.
pub fn policy(resource: &Resource) -> Result<PolicyConfig> {
    let spec = Spec(resource);
    let type_ = policy_type(resource)?;
    if !spec.has_parameters() {
        return Err(policy_error("failed to parse policy config: no policy parameters provided"));
    }
    let mut plugin = spec.parameters().map_err(policy_error)?;
    plugin.insert("name".into(), type_.into());
    let mut section = PolicyConfig::default();
    section.plugin = Some(plugin);
    Ok(section)
}

/// v1's words about a policy that cannot be made.
pub fn policy_error(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    ErrorCode::PluginInitFailure.detail("Unable to create policy from policy CR").with_source(cause)
}

/// The type of a policy. v1alpha1 had none: the name was the type, and v1 refuses such an object.
fn policy_type(resource: &Resource) -> Result<String> {
    let name = resource.key.name.as_str();
    let type_ = Spec(resource).text("type")?;
    let is_legacy = !resource.key.kind.namespaced && LEGACY_POLICIES.contains(&name);
    match type_ {
        None if is_legacy => Ok(name.to_owned()),
        type_ if name == POLICY_NAME => Ok(type_.unwrap_or_default()),
        _ => Err(ErrorCode::ConfigInvalid
            .detail(format!("metadata.name must be {POLICY_NAME}, got {name}"))),
    }
}

/// Whether a policy's error is about its name, which no other try can mend.
pub fn is_misnamed_policy(resource: &Resource) -> bool {
    policy_type(resource).is_err()
}

/// The keys of a spec. Absent, `null` and empty texts are one.
struct Spec<'a>(&'a Resource);

impl Spec<'_> {
    fn text(&self, key: &str) -> Result<Option<String>> {
        match self.0.spec.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(ErrorCode::ConfigInvalid
                .detail(format!("spec.{key} of {} must be a string", self.0.key))),
        }
    }

    fn has_parameters(&self) -> bool {
        self.0.spec.get("parameters").is_some_and(|parameters| !parameters.is_null())
    }

    fn parameters(&self) -> Result<Map<String, Value>> {
        match self.0.spec.get("parameters") {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(parameters)) => Ok(parameters.clone()),
            Some(_) => Err(ErrorCode::ConfigInvalid
                .detail(format!("spec.parameters of {} must be an object", self.0.key))),
        }
    }

    /// `source` of the spec wins over one in the parameters (v1).
    fn add_source(&self, entry: &mut Map<String, Value>) {
        if let Some(source) = self.0.spec.get("source").filter(|source| !source.is_null()) {
            entry.insert("source".into(), source.clone());
        }
    }

    /// v1's words about parameters of a verifier that cannot be read.
    fn not_applied(&self, error: Error) -> Error {
        let key = &self.0.key;
        let detail = if key.namespace.is_empty() {
            format!("Unable to apply cluster-wide resource {} of Verifier kind", key.name)
        } else {
            format!(
                "Unable to apply the resource {} of NamespacedVerifier kind in the namespace {}",
                key.name, key.namespace
            )
        };
        ErrorCode::ConfigInvalid.detail(detail).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::k8s::{
        kind::{Kind, Role},
        resource::Key,
    };

    fn resource(role: Role, name: &str, namespace: &str, spec: Value) -> Resource {
        let kind = Kind { role, namespaced: !namespace.is_empty() };
        Resource {
            key: Key { kind, namespace: namespace.into(), name: name.into() },
            uid: "u".into(),
            generation: 1,
            resource_version: "1".into(),
            spec: Arc::new(spec.as_object().cloned().unwrap_or_default()),
            status: Arc::default(),
        }
    }

    fn verifier_of(spec: Value) -> Result<PluginEntry<VerifierPluginConfig>> {
        verifier(&resource(Role::Verifier, "resource", "", spec))
    }

    #[test]
    fn the_resources_fields_override_parameters_of_the_same_name() {
        let made = verifier_of(json!({
            "name": "sbom", "artifactTypes": "a,b", "address": "",
            "parameters": {"name": "x", "type": "y", "artifactTypes": "z", "own": [1], "nestedReferences": "n"},
        }));
        let made = made.unwrap();
        let raw = serde_json::to_string(&made.entry.raw).unwrap();
        insta::assert_snapshot!(raw, @r#"{"artifactTypes":"a,b","name":"resource","nestedReferences":"n","own":[1],"type":"sbom"}"#);
        assert!(made.entry.nested && made.is_default_version);
        assert_eq!((made.entry.version.as_str(), made.address), ("1.0.0", None));
    }

    #[test]
    fn a_type_wins_over_the_name_and_a_version_in_the_parameters_over_both() {
        let spec = |version: Value| json!({"name": "n", "type": "t", "artifactTypes": "*", "version": version, "parameters": {"version": "3"}});
        let made = verifier_of(spec(json!("2.0.0-alpha.1"))).unwrap();
        assert_eq!((made.entry.binary_name(), made.entry.version.as_str()), ("t", "3"));
        assert!(!made.is_default_version);
        assert!(verifier_of(spec(json!(null))).unwrap().is_default_version);
    }

    #[test]
    fn a_source_of_the_spec_wins_over_one_of_the_parameters() {
        let source = |spec: Value| verifier_of(spec).unwrap().entry.source.unwrap().artifact;
        let inner = json!({"source": {"artifact": "inner/a:1"}});
        let of_parameters =
            json!({"name": "n", "artifactTypes": "*", "source": null, "parameters": inner});
        let of_both = json!({"name": "n", "artifactTypes": "*", "source": {"artifact": "outer/a:1"}, "parameters": inner});
        assert_eq!(source(of_parameters), "inner/a:1");
        assert_eq!(source(of_both), "outer/a:1");
    }

    #[test]
    fn wrong_kinds_are_said_by_field() {
        let error = |spec: Value| verifier_of(spec).unwrap_err().to_string();
        insta::assert_snapshot!(error(json!({"name": 1})), @"CONFIG_INVALID: spec.name of Verifier resource must be a string");
        insta::assert_snapshot!(error(json!({"name": "n", "parameters": [1]})), @"CONFIG_INVALID: Unable to apply cluster-wide resource resource of Verifier kind: spec.parameters of Verifier resource must be an object");
        insta::assert_snapshot!(error(json!({"name": "n", "source": "r/a:1"})), @"CONFIG_INVALID: Failed to parse the plugin source: source: expected an object, found a string");
        insta::assert_snapshot!(error(json!({"name": "../n"})), @"CONFIG_INVALID: Invalid name [../n] in the Verifier configuration, [47] is disallowed");
        let namespaced =
            resource(Role::Verifier, "v", "team", json!({"name": "n", "parameters": 7}));
        let error = verifier(&namespaced).unwrap_err().to_string();
        insta::assert_snapshot!(error, @"CONFIG_INVALID: Unable to apply the resource v of NamespacedVerifier kind in the namespace team: spec.parameters of NamespacedVerifier team/v must be an object");
    }

    #[test]
    fn a_store_is_named_by_its_spec() {
        let spec = json!({"name": "oras", "version": "1.0.0", "parameters": {"useHttp": true, "name": "x"}});
        let made = store(&resource(Role::Store, "store-oras", "", spec)).unwrap();
        assert_eq!(made.entry.name, "oras");
        assert_eq!(made.entry.raw["useHttp"], true);
        assert!(store(&resource(Role::Store, "s", "", json!({}))).is_err());
    }

    #[test]
    fn only_one_name_of_a_policy_counts_and_v1alpha1s_names_without_a_type() {
        let name_of = |name: &str, namespace: &str, spec: Value| {
            policy(&resource(Role::Policy, name, namespace, spec))
                .map(|section| section.plugin.unwrap()["name"].clone())
                .map_err(|error| error.to_string())
        };
        let parameters = json!({"a": 1});
        let typed = json!({"type": "config-policy", "parameters": parameters});
        let bare = json!({"parameters": parameters});
        assert_eq!(name_of("ratify-policy", "", typed.clone()), Ok("config-policy".into()));
        assert_eq!(name_of("ratify-policy", "team", typed.clone()), Ok("config-policy".into()));
        assert_eq!(name_of("configpolicy", "", bare.clone()), Ok("configpolicy".into()));
        assert_eq!(name_of("regopolicy", "", bare.clone()), Ok("regopolicy".into()));
        for (name, namespace, spec) in
            [("configpolicy", "team", &bare), ("configpolicy", "", &typed), ("other", "", &typed)]
        {
            let expected =
                format!("CONFIG_INVALID: metadata.name must be ratify-policy, got {name}");
            assert_eq!(name_of(name, namespace, spec.clone()), Err(expected));
        }
    }

    #[test]
    fn a_policy_without_parameters_fails_in_v1s_words() {
        let spec = json!({"type": "config-policy", "parameters": null});
        let error = policy(&resource(Role::Policy, "ratify-policy", "", spec)).unwrap_err();
        insta::assert_snapshot!(error.to_string(), @"PLUGIN_INIT_FAILURE: Unable to create policy from policy CR: failed to parse policy config: no policy parameters provided");
        insta::assert_snapshot!(error.concise(100), @"PLUGIN_INIT_FAILURE: failed to parse policy config: no policy parameters provided");
    }
}

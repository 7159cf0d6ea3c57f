//! What a host writes to a plugin's standard input, and what a store answers to a list.

use ratify_core::{Descriptor, StoreConfig, go_json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A verifier's standard input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct VerifyInput {
    /// The verifier's entry of the configuration, as written: `name`, and its parameters.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// How to open the store the artifact was found in.
    #[serde(with = "wire_store_config", default = "wire_store_config::empty")]
    #[cfg_attr(any(test, feature = "schema"), schemars(with = "wire_store_config::Message"))]
    pub store_config: StoreConfig,
    /// The artifact to judge.
    pub reference_desc: Descriptor,
}

/// A store's answer to `LISTREFERRERS`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct ListReferrersOutput {
    /// The artifacts, each with its type. Go writes an empty list as `null`.
    #[serde(deserialize_with = "null_is_empty")]
    pub referrers: Vec<Descriptor>,
    /// What to ask for next; empty on the last page.
    pub next_token: String,
}

impl VerifyInput {
    /// The three parts.
    pub fn new(
        config: Map<String, Value>,
        store_config: StoreConfig,
        reference_desc: Descriptor,
    ) -> Self {
        Self { config, store_config, reference_desc }
    }

    /// The text for a plugin's standard input, as v1's host writes it.
    ///
    /// # Errors
    /// None in practice: every part is JSON already.
    pub fn to_json(&self) -> serde_json::Result<String> {
        go_json::to_string(self)
    }
}

impl ListReferrersOutput {
    /// One page; an empty token ends the list.
    pub fn new(referrers: Vec<Descriptor>, next_token: impl Into<String>) -> Self {
        Self { referrers, next_token: next_token.into() }
    }
}

/// A store's standard input: its entry of the configuration. v1 sends it bare; v1's web pages
/// wrap it in `config`, which is taken as well.
pub fn store_parameters(mut input: Map<String, Value>) -> Map<String, Value> {
    match input.get_mut("config").map(Value::take) {
        Some(Value::Object(config)) if !input.contains_key("name") => config,
        Some(other) => {
            input.insert("config".into(), other);
            input
        }
        None => input,
    }
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Descriptor>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// [`StoreConfig`] on the wire: all three keys always written; v1's web pages' flat form (no
/// `store` key, the store's own keys beside the others) taken as well.
mod wire_store_config {
    use ratify_core::StoreConfig;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
    use serde_json::{Map, Value};

    #[derive(Serialize, Deserialize)]
    #[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
    #[cfg_attr(any(test, feature = "schema"), schemars(rename = "StoreConfig"))]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Message {
        /// The version of the wire for an external store.
        version: String,
        /// Where an external store's binary is; `null` for the built-in.
        plugin_bin_dirs: Option<Vec<String>>,
        /// The store's entry of the configuration, as written.
        store: Map<String, Value>,
    }

    pub(super) fn empty() -> StoreConfig {
        StoreConfig::new("", None, Map::new())
    }

    pub(super) fn serialize<S: Serializer>(
        config: &StoreConfig,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Message {
            version: config.version.clone(),
            plugin_bin_dirs: config.plugin_bin_dirs.clone(),
            store: config.store.clone(),
        }
        .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<StoreConfig, D::Error> {
        let mut keys = Option::<Map<String, Value>>::deserialize(deserializer)?.unwrap_or_default();
        let version = match keys.remove("version") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(version)) => version,
            Some(_) => return Err(D::Error::custom("storeConfig.version must be a string")),
        };
        let plugin_bin_dirs = match keys.remove("pluginBinDirs") {
            None => None,
            Some(dirs) => Option::deserialize(dirs).map_err(|error| {
                D::Error::custom(format_args!("storeConfig.pluginBinDirs: {error}"))
            })?,
        };
        let store = match keys.remove("store") {
            Some(Value::Object(store)) => store,
            None | Some(Value::Null) => keys,
            Some(_) => return Err(D::Error::custom("storeConfig.store must be an object")),
        };
        Ok(StoreConfig::new(version, plugin_bin_dirs, store))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DIGEST: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn writes_v1s_keys_null_directories_and_escapes_included() {
        let input = VerifyInput::new(
            object(json!({"name": "n", "k": "<a>", "whole": 1000.0})),
            StoreConfig::new("1.0.0", None, object(json!({"name": "oras"}))),
            Descriptor::new("m", DIGEST.parse().unwrap(), 42).with_artifact_type("a/b"),
        );
        let json = input.to_json().unwrap();
        insta::assert_snapshot!(json, @r#"{"config":{"k":"\u003ca\u003e","name":"n","whole":1000},"storeConfig":{"version":"1.0.0","pluginBinDirs":null,"store":{"name":"oras"}},"referenceDesc":{"mediaType":"m","digest":"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","size":42,"artifactType":"a/b"}}"#);
        assert_eq!(serde_json::from_str::<VerifyInput>(&json).unwrap().to_json().unwrap(), json);
    }

    #[test]
    fn reads_the_flat_store_of_the_web_pages_and_refuses_nonsense() {
        let read = |store_config: Value| {
            let input = json!({"config": {}, "storeConfig": store_config, "referenceDesc": {"digest": DIGEST}});
            serde_json::from_value::<VerifyInput>(input).map(|input| input.store_config)
        };
        let flat = read(json!({"version": "1.0.0", "name": "s", "useHttp": true})).unwrap();
        assert_eq!(flat.store, object(json!({"name": "s", "useHttp": true})));
        assert_eq!(read(Value::Null).unwrap(), StoreConfig::new("", None, Map::new()));
        for wrong in [json!({"version": 1}), json!({"pluginBinDirs": "/p"}), json!({"store": []})] {
            assert!(read(wrong).is_err());
        }
    }

    #[test]
    fn a_stores_entry_is_taken_bare_or_wrapped() {
        let bare = object(json!({"name": "s", "config": {"a": 1}}));
        assert_eq!(store_parameters(bare.clone()), bare);
        assert_eq!(store_parameters(object(json!({"config": bare}))), bare);
        let odd = object(json!({"config": 1}));
        assert_eq!(store_parameters(odd.clone()), odd);
    }

    #[test]
    fn an_empty_list_may_be_null() {
        let page: ListReferrersOutput = serde_json::from_str(r#"{"referrers":null}"#).unwrap();
        assert_eq!(page, ListReferrersOutput::default());
        assert_eq!(serde_json::to_string(&page).unwrap(), r#"{"referrers":[],"nextToken":""}"#);
    }
}

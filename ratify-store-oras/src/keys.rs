//! [`Keys`]: what the entry of an `oras` store says.

use std::{path::PathBuf, time::Duration};

use ratify_core::{Error, ErrorCode, Result, duration};
use serde_json::{Map, Value};

use crate::{selection::Selection, store::of_store};

/// How long a list is kept where the entry does not say (v1).
const DEFAULT_TTL: i64 = 10;

/// The keys of the store's entry.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Keys {
    pub(crate) use_http: bool,
    pub(crate) cosign_enabled: bool,
    /// How long answers are kept in memory; `None` for not at all.
    pub(crate) results_lifetime: Option<Duration>,
    /// Ours: which artifacts of a list count.
    pub(crate) selection: Selection,
    pub(crate) auth_provider: Option<Map<String, Value>>,
    pub(crate) auth_providers: Option<Value>,
    pub(crate) local_cache_path: Option<PathBuf>,
    /// Ours; v1's cache has no bound.
    pub(crate) local_cache_bytes: Option<u64>,
}

impl Keys {
    /// Reads the keys this store knows, in any case as v1 does; `null` is absent. The others are
    /// kept for whoever knows them.
    ///
    /// # Errors
    /// `CONFIG_INVALID` for a value of the wrong type.
    pub(crate) fn from_entry(entry: &Map<String, Value>) -> Result<Self> {
        let mut keys = Self::default();
        let (mut keeps_results, mut ttl) = (false, 0);
        for (key, value) in entry.iter().filter(|(_, value)| !value.is_null()) {
            match key.to_ascii_lowercase().as_str() {
                "usehttp" => keys.use_http = boolean(key, value)?,
                "cosignenabled" => keys.cosign_enabled = boolean(key, value)?,
                "cacheenabled" => keeps_results = boolean(key, value)?,
                "ttl" => ttl = value.as_i64().ok_or_else(|| wrong_type(key, "an integer"))?,
                "authprovider" => {
                    let object = value.as_object().ok_or_else(|| wrong_type(key, "an object"))?;
                    keys.auth_provider = Some(object.clone());
                }
                "authproviders" => keys.auth_providers = Some(value.clone()),
                "localcachepath" => {
                    let path = value.as_str().ok_or_else(|| wrong_type(key, "a string"))?;
                    keys.local_cache_path = (!path.is_empty()).then(|| path.into());
                }
                "latestpertype" => {
                    let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
                    let count = count.filter(|count| *count > 0);
                    let count = count.ok_or_else(|| wrong_type(key, "a whole number above 0"))?;
                    keys.selection.latest_per_type = Some(count);
                }
                "maxage" => keys.selection.max_age = Some(age(key, value)?),
                "localcachebytes" => {
                    let bytes = value.as_u64();
                    let bytes = bytes.ok_or_else(|| wrong_type(key, "a whole number of bytes"))?;
                    keys.local_cache_bytes = Some(bytes);
                }
                _ => {}
            }
        }
        // As in v1, 0 is the default, and what would have ended before now is not kept.
        let seconds = u64::try_from(if ttl == 0 { DEFAULT_TTL } else { ttl }).ok();
        keys.results_lifetime = seconds.filter(|_| keeps_results).map(Duration::from_secs);
        Ok(keys)
    }
}

fn boolean(key: &str, value: &Value) -> Result<bool> {
    value.as_bool().ok_or_else(|| wrong_type(key, "true or false"))
}

/// An age that something can have.
fn age(key: &str, value: &Value) -> Result<Duration> {
    let age = value.as_str().and_then(|text| duration::parse(text).ok());
    age.filter(|age| !age.is_zero())
        .ok_or_else(|| wrong_type(key, "a duration above 0, such as 720h"))
}

fn wrong_type(key: &str, expected: &str) -> Error {
    of_store(ErrorCode::ConfigInvalid)
        .with_detail("failed to parse oras store configuration")
        .with_source(format!("{key} must be {expected}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(entry: &Value) -> Result<Keys> {
        Keys::from_entry(entry.as_object().unwrap())
    }

    #[test]
    fn reads_its_keys_in_any_case_and_leaves_the_others_alone() {
        let entry = json!({
            "name": "oras", "useHttp": true, "COSIGNENABLED": true, "cacheEnabled": true, "ttl": 10,
            "authProvider": {"name": "dockerConfig"}, "localCachePath": "/c", "localCacheBytes": 65536, "x": [1],
            "latestPerType": 2, "maxAge": "36h"
        });
        let expected = Keys {
            use_http: true,
            cosign_enabled: true,
            results_lifetime: Some(Duration::from_secs(10)),
            selection: Selection {
                latest_per_type: Some(2),
                max_age: Some(Duration::from_secs(36 * 60 * 60)),
            },
            auth_provider: json!({"name": "dockerConfig"}).as_object().cloned(),
            auth_providers: None,
            local_cache_path: Some("/c".into()),
            local_cache_bytes: Some(65536),
        };
        assert_eq!(keys(&entry).unwrap(), expected);
        let absent = json!({"name": "oras", "authProvider": null, "localCachePath": ""});
        assert_eq!(keys(&absent).unwrap(), Keys::default());
    }

    #[test]
    fn a_key_of_the_wrong_type_is_refused_with_v1s_text() {
        let error = keys(&json!({"useHttp": "true"})).unwrap_err().to_string();
        insta::assert_snapshot!(error, @"CONFIG_INVALID: failed to parse oras store configuration: useHttp must be true or false");
        for entry in [
            json!({"cosignEnabled": 1}),
            json!({"cacheEnabled": "x"}),
            json!({"ttl": 1.5}),
            json!({"authProvider": "dockerConfig"}),
            json!({"localCachePath": []}),
            json!({"localCacheBytes": -1}),
            json!({"latestPerType": 0}),
            json!({"latestPerType": 1.5}),
            json!({"latestPerType": "1"}),
            json!({"maxAge": "0s"}),
            json!({"maxAge": "30d"}),
            json!({"maxAge": 3600}),
            json!({"localCacheBytes": "1Mi"}),
        ] {
            assert!(keys(&entry).is_err(), "{entry}");
        }
    }

    #[test]
    fn answers_are_kept_for_v1s_time_where_the_cache_is_enabled() {
        for (entry, seconds) in [
            (json!({}), None),
            (json!({"ttl": 20}), None),
            (json!({"cacheEnabled": false, "ttl": 20}), None),
            (json!({"cacheEnabled": true}), Some(10)),
            (json!({"cacheEnabled": true, "ttl": 0}), Some(10)),
            (json!({"cacheEnabled": true, "ttl": 20}), Some(20)),
            (json!({"ttl": 1, "CacheEnabled": true}), Some(1)),
            (json!({"cacheEnabled": true, "ttl": -1}), None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(keys(&entry).unwrap().results_lifetime, expected, "{entry}");
        }
    }
}

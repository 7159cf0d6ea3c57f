//! A configuration file. It means the same in whatever order and case its sections are written, and a
//! rule of an administrator that is misspelt is refused.

use ratify_core::{config::Config, policy::Policy};
use serde_json::{Map, Value, json};

use super::json::get;

/// Sections of which every key counts.
const STRICT: [&str; 3] = ["plugins", "namespaces", "registries"];

pub(super) fn check(input: &[u8]) {
    let config = match Config::from_json(input) {
        Ok(config) => config,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let sections: Map<String, Value> = serde_json::from_slice(input).unwrap();
    let read =
        |sections: &Map<String, Value>| Config::from_json(json!(sections).to_string().as_bytes());
    assert_eq!(read(&sections).unwrap(), config);
    if config.rest.is_empty() {
        let loud = sections.iter().map(|(name, value)| (name.to_ascii_uppercase(), value.clone()));
        assert_eq!(read(&loud.collect()).unwrap(), config);
    }
    for name in STRICT {
        let Some(Value::Object(section)) = get(&sections, name) else { continue };
        let mut section = section.clone();
        section.insert("allowedRepositorys".to_owned(), json!([]));
        let mut others = sections.clone();
        others.retain(|other, _| !other.eq_ignore_ascii_case(name));
        others.insert(name.to_owned(), Value::Object(section));
        assert!(read(&others).is_err(), "{name}: a key that nobody knows");
    }
    if let Some(section) = &config.policy
        && let Err(error) = Policy::from_config(section)
    {
        assert!(!error.to_string().is_empty());
    }
    assert!(config.executor.give_up_after().as_millis() >= 100);
}

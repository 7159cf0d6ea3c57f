//! The table of a config policy. Whatever stands in it, an image is allowed only where each of its
//! artifacts' types, and each type that the table names, has somebody who says yes.

use serde_json::{Map, Value};

use super::{
    engine::{self, BARE, FORBIDDEN, MIXED, SIGNED},
    json::get,
};

const RULES: &str = "artifactVerificationPolicies";

pub(super) fn check(input: &[u8]) {
    let Ok(mut entry) = serde_json::from_slice::<Map<String, Value>>(input) else { return };
    entry.insert("name".to_owned(), "configPolicy".into());
    let rules = get(&entry, RULES).and_then(Value::as_object).cloned().unwrap_or_default();
    let Ok(policy) = engine::policy(Value::Object(entry)) else { return };
    let executor = engine::executor(Some(policy));
    let allows = |image| engine::verify(&executor, image).unwrap().is_success;
    // Of these each has a type of which nobody says yes.
    for image in [MIXED, FORBIDDEN, BARE] {
        assert!(!allows(image), "{image}");
    }
    let is_met = |(type_, rule): (&String, &Value)| match type_.as_str() {
        "good" => ["any", "all"].contains(&rule.as_str().unwrap_or_default()),
        "default" => rules.contains_key("good") || is_rule(rule),
        _ => false,
    };
    assert_eq!(allows(SIGNED), rules.iter().all(is_met), "{rules:?}");
}

/// The default's default is `all`.
fn is_rule(rule: &Value) -> bool {
    ["any", "all", ""].contains(&rule.as_str().unwrap_or_default())
}

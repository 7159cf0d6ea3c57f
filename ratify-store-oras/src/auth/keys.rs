//! The keys of a provider's configuration: as v1 reads them, in any case and with the letters that
//! Go folds. `null` and an empty text are absent.

use ratify_core::go_json;
use serde_json::{Map, Value};

/// The value of a key.
///
/// # Errors
/// When there are two spellings of it: which one is meant is a guess.
pub(super) fn take<'a>(
    object: &'a Map<String, Value>,
    key: &str,
) -> Result<Option<&'a Value>, String> {
    let found = go_json::member(object, key);
    let value = found.map_err(|_| format!("{key} is given in two spellings"))?;
    Ok(value.filter(|value| !value.is_null()))
}

/// The text of a key.
///
/// # Errors
/// As [`take`], and when it is something else.
pub(super) fn take_text(object: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match take(object, key)? {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err(format!("{key} must be a string")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_is_found_as_go_finds_it_and_in_one_spelling_only() {
        let of = |object: Value| take_text(object.as_object().unwrap(), "secretKey");
        for name in ["secretKey", "SECRETKEY", "\u{17f}ecretKey", "secret\u{212a}ey"] {
            assert_eq!(of(json!({name: "a"})), Ok(Some("a".to_owned())), "{name}");
        }
        for other in [json!({}), json!({"secretKey": null}), json!({"s\u{e9}cretKey": "a"})] {
            assert_eq!(of(other), Ok(None));
        }
        let twice = of(json!({"secretKey": "a", "\u{17f}ecretKey": null})).unwrap_err();
        assert_eq!(twice, "secretKey is given in two spellings");
    }
}

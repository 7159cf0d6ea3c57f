//! The keys of a provider's configuration: in any case, as v1 reads them. `null` and an empty text
//! are absent.

use serde_json::{Map, Value};

/// The value of a key.
///
/// # Errors
/// When there are two spellings of it: which one is meant is a guess.
pub(super) fn take<'a>(
    object: &'a Map<String, Value>,
    key: &str,
) -> Result<Option<&'a Value>, String> {
    let mut found = object.iter().filter(|(known, _)| known.eq_ignore_ascii_case(key));
    let value = found.next().map(|(_, value)| value).filter(|value| !value.is_null());
    match found.next() {
        None => Ok(value),
        Some(_) => Err(format!("{key} is given in two spellings")),
    }
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

//! [`Fields`]: the keys of a JSON object, read as Go reads them into a struct: in any case, `null`
//! and what is empty as if they were not there, unknown ones left alone.

use ratify_core::{Error, ErrorCode, go_json};
use serde_json::{Map, Value};

/// An object of the configuration.
pub(crate) struct Fields<'a>(&'a Map<String, Value>);

/// Why a value cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{key} must be {what}")]
pub(crate) struct FieldError {
    key: String,
    what: &'static str,
}

impl FieldError {
    pub(crate) fn new(key: &str, what: &'static str) -> Self {
        Self { key: key.to_owned(), what }
    }
}

impl From<FieldError> for Error {
    fn from(error: FieldError) -> Self {
        ErrorCode::ConfigInvalid
            .detail("failed to unmarshal to cosign verifier config")
            .with_source(error)
    }
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(object: &'a Map<String, Value>) -> Self {
        Self(object)
    }

    /// The value of a key, in whatever case it is spelled; `null` is none.
    fn get(&self, key: &str) -> Result<Option<&'a Value>, FieldError> {
        let found = go_json::member(self.0, key)
            .map_err(|_| FieldError::new(key, "given once, in one spelling"))?;
        Ok(found.filter(|value| !value.is_null()))
    }

    /// A text; an empty one is none.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, FieldError> {
        match self.get(key)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(FieldError::new(key, "a string")),
        }
    }

    /// A text, or else the empty one.
    pub(crate) fn text_or_empty(&self, key: &str) -> Result<&'a str, FieldError> {
        Ok(self.text(key)?.unwrap_or_default())
    }

    /// Yes or no.
    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>, FieldError> {
        match self.get(key)? {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(FieldError::new(key, "true or false")),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<&'a str>, FieldError> {
        let kind = || FieldError::new(key, "a list of strings");
        match self.get(key)? {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().ok_or_else(kind)).collect()
            }
            Some(_) => Err(kind()),
        }
    }

    /// An object.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Fields<'a>>, FieldError> {
        match self.get(key)? {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(Fields(object))),
            Some(_) => Err(FieldError::new(key, "an object")),
        }
    }

    /// A list of objects.
    pub(crate) fn objects(&self, key: &str) -> Result<Vec<Fields<'a>>, FieldError> {
        let kind = || FieldError::new(key, "a list of objects");
        match self.get(key)? {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                let object = |item: &'a Value| item.as_object().map(Fields).ok_or_else(kind);
                items.iter().map(object).collect()
            }
            Some(_) => Err(kind()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_read_in_any_case_but_not_in_two() {
        let object = json!({"Re\u{212a}orUrl": "u", "a": null, "b": "", "c": 1});
        let fields = Fields::new(object.as_object().unwrap());
        assert_eq!(fields.text("rekorURL").unwrap(), Some("u"));
        assert_eq!((fields.text("a").unwrap(), fields.text("b").unwrap()), (None, None));
        assert_eq!(fields.text("c").unwrap_err().to_string(), "c must be a string");
        let twice = json!({"key": "x", "Key": "y"});
        let error = Fields::new(twice.as_object().unwrap()).text("key").unwrap_err();
        assert_eq!(error.to_string(), "key must be given once, in one spelling");
    }
}

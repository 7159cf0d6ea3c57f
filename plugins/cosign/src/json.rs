//! The JSON of signatures, logs and roots of trust: a document means one thing, whoever reads it.

use ratify_core::{capped_line, go_json, strict_json};
use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Error, Value};

/// Reads a document. What is given twice at any depth, or not as it has to be, is an error.
pub(crate) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    strict_json::parse(json)?;
    // Once more, for errors that say where.
    serde_json::from_slice(json)
}

/// Parses a message of protobuf. A field has a second name there, as `dsse_envelope` of
/// `dsseEnvelope`, which is of nothing known here and to others the same field: it is an error.
pub(crate) fn message(json: &[u8]) -> Result<Value, Error> {
    let document = strict_json::parse(json)?;
    check_names(&document)?;
    Ok(document)
}

fn check_names(value: &Value) -> Result<(), Error> {
    match value {
        Value::Object(object) => object.iter().try_for_each(|(name, value)| {
            if name.contains('_') {
                let name = capped_line(name, 80);
                return Err(Error::custom(format_args!("the name {name:?} is not in camel case")));
            }
            check_names(value)
        }),
        Value::Array(items) => items.iter().try_for_each(check_names),
        _ => Ok(()),
    }
}

/// Go takes `Critical` for `critical`, and the last of both: an object has no such name.
pub(crate) fn check_spelling(object: Option<&Value>, key: &str) -> Result<(), Error> {
    let mut names = object.and_then(Value::as_object).into_iter().flat_map(|object| object.keys());
    match names.find(|name| *name != key && go_json::is_key(name, key)) {
        Some(name) => Err(Error::custom(format_args!("the name {name:?} is not written {key:?}"))),
        None => Ok(()),
    }
}

/// Of these members an object has one at most.
pub(crate) fn at_most_one(object: Option<&Value>, names: &[&str]) -> Result<(), Error> {
    let given = |name: &&&str| object.is_some_and(|object| object.get(**name).is_some());
    let mut given = names.iter().filter(given);
    match (given.next(), given.next()) {
        (Some(one), Some(other)) => {
            Err(Error::custom(format_args!("{one} and {other} do not go together")))
        }
        _ => Ok(()),
    }
}

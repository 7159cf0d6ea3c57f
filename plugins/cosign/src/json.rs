//! The JSON of messages of protobuf, as bundles and roots of trust are: each means one thing, whoever reads it.

use ratify_core::{
    capped_line,
    strict_json::{self, Names},
};
use serde::de::DeserializeOwned;
use serde_json::Error;

/// Reads a message. A field has a second name in protobuf, as `dsse_envelope` of `dsseEnvelope`, which is
/// of nothing known here and to others the same field: it is an error.
pub(crate) fn message<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    strict_json::read_by(json, &|_, names| in_camel_case(names))
}

pub(crate) fn in_camel_case(names: &Names<'_>) -> Result<(), String> {
    match names.iter().find(|name| name.contains('_')) {
        Some(name) => Err(format!("the name {:?} is not in camel case", capped_line(name, 80))),
        None => Ok(()),
    }
}

/// Of these members an object has one at most.
pub(crate) fn at_most_one(names: &Names<'_>, of: &[&str]) -> Result<(), String> {
    let mut given = of.iter().filter(|name| names.contains(**name));
    match (given.next(), given.next()) {
        (Some(one), Some(other)) => Err(format!("{one} and {other} do not go together")),
        _ => Ok(()),
    }
}

//! For tests only: any rule of a policy, evaluated as a policy is.

use std::time::SystemTime;

use super::engine::{Compiled, TIME_LIMIT};

/// The value of a rule, as JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum Evaluated {
    /// The policy is not accepted, and why.
    Refused(String),
    /// It cannot be evaluated, and why.
    Failed(String),
    /// The rule has no value.
    Undefined,
    /// The rule's value.
    Value(serde_json::Value),
}

/// Evaluates `data.<path>` of a policy with an input.
pub fn evaluate(policy: &str, path: &str, input: &serde_json::Value) -> Evaluated {
    let compiled = match Compiled::new(policy) {
        Ok(compiled) => compiled,
        Err(refused) => return Evaluated::Refused(refused),
    };
    match compiled.evaluate(path, &input.to_string(), SystemTime::now(), TIME_LIMIT) {
        Ok(None) => Evaluated::Undefined,
        Ok(Some(value)) => {
            let json = value.to_json_str().map_err(|error| error.to_string());
            match json
                .and_then(|json| serde_json::from_str(&json).map_err(|error| error.to_string()))
            {
                Ok(value) => Evaluated::Value(value),
                Err(error) => Evaluated::Failed(error),
            }
        }
        Err(error) => Evaluated::Failed(error),
    }
}

/// What regorus is given of a policy, or why it is refused.
///
/// # Errors
/// When the policy is refused.
pub fn translated(policy: &str) -> Result<String, String> {
    let loaded = super::load::load(policy).map_err(|refused| refused.to_string())?;
    Ok(loaded.text)
}

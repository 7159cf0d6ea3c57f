//! From JSON to a policy. As with v1, keys are taken in any case and unknown ones are left alone; a
//! key that is there in two spellings is refused.

use ratify_core::go_json;
use serde_json::{Map, Value};

use super::{
    TimestampUse, TrustPolicy,
    rules::{self, Draft},
};

impl TrustPolicy {
    /// Reads a document and checks the rules of the specification.
    ///
    /// # Errors
    /// The text says what is wrong, in notation-go's words where it has some.
    pub(crate) fn read(document: &Value) -> Result<Self, PolicyError> {
        let fields = Fields::of(document, "trustPolicyDoc")?;
        let version = fields.text("version")?;
        let statements = match fields.get("trustPolicies")? {
            None | Some(Value::Null) => &[],
            Some(Value::Array(statements)) => statements.as_slice(),
            Some(_) => return Err(PolicyError::shape("trustPolicies", "a list")),
        };
        let drafts = statements.iter().map(draft).collect::<Result<Vec<_>, _>>()?;
        Ok(rules::check(&version, drafts)?)
    }
}

/// Why a document is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PolicyError {
    /// It is not of the form of one.
    #[error("{0}")]
    Shape(String),
    /// It is against a rule.
    #[error("{0}")]
    Rule(#[from] rules::RuleError),
}

impl PolicyError {
    fn shape(key: &str, must_be: &str) -> Self {
        Self::Shape(format!("{key} of the trust policy must be {must_be}"))
    }
}

fn draft(statement: &Value) -> Result<Draft, PolicyError> {
    let fields = Fields::of(statement, "trustPolicies")?;
    let nothing = Value::Null;
    let verification = fields.get("signatureVerification")?.unwrap_or(&nothing);
    let verification = Fields::of(verification, "signatureVerification")?;
    let timestamps = match verification.text("verifyTimestamp")?.as_str() {
        "" | "always" => Ok(TimestampUse::Always),
        "afterCertExpiry" => Ok(TimestampUse::AfterCertificateExpiry),
        other => Err(other.to_owned()),
    };
    Ok(Draft {
        name: fields.text("name")?,
        level: verification.text("level")?,
        overrides: verification.texts_by_key("override")?,
        timestamps,
        scopes: fields.texts("registryScopes")?,
        trust_stores: fields.texts("trustStores")?,
        identities: fields.texts("trustedIdentities")?,
    })
}

/// The keys of an object.
struct Fields<'a>(Option<&'a Map<String, Value>>);

impl<'a> Fields<'a> {
    fn of(value: &'a Value, key: &str) -> Result<Self, PolicyError> {
        match value {
            Value::Object(fields) => Ok(Self(Some(fields))),
            Value::Null => Ok(Self(None)),
            _ => Err(PolicyError::shape(key, "an object")),
        }
    }

    fn get(&self, key: &str) -> Result<Option<&'a Value>, PolicyError> {
        let Some(fields) = self.0 else { return Ok(None) };
        go_json::member(fields, key)
            .map_err(|_| PolicyError::Shape(format!("the trust policy has {key} in two spellings")))
    }

    fn text(&self, key: &str) -> Result<String, PolicyError> {
        match self.get(key)? {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(PolicyError::shape(key, "a text")),
        }
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, PolicyError> {
        let must_be = || PolicyError::shape(key, "a list of texts");
        match self.get(key)? {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(must_be))
                .collect(),
            Some(_) => Err(must_be()),
        }
    }

    fn texts_by_key(&self, key: &str) -> Result<Vec<(String, String)>, PolicyError> {
        let must_be = || PolicyError::shape(key, "an object of texts");
        let fields = match self.get(key)? {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Object(fields)) => fields,
            Some(_) => return Err(must_be()),
        };
        let entry = |(name, value): (&String, &Value)| {
            Ok((name.clone(), value.as_str().ok_or_else(must_be)?.to_owned()))
        };
        fields.iter().map(entry).collect()
    }
}

//! [`Answer`]: what a plugin found out about a signature.

use serde_json::{Map, Value};

use super::{Capability, Fields, field, text};

/// What it answered to `verify-signature`.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    results: Map<String, Value>,
    processed: Vec<Value>,
}

/// What it found out of one kind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) is_success: bool,
    pub(crate) reason: String,
}

impl Answer {
    /// Reads an answer; `None` where it is none.
    pub(crate) fn read(fields: &Fields) -> Option<Self> {
        let results = match fields.get("verificationResults")? {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(results)) => results.clone(),
            Some(_) => return None,
        };
        let processed = match fields.get("processedAttributes")? {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(processed)) => processed.clone(),
            Some(_) => return None,
        };
        // Whatever is there has to be a finding, of whatever kind.
        results.values().all(|one| finding(one).is_some()).then_some(Self { results, processed })
    }

    /// Whether it took an attribute into account.
    pub(crate) fn has_processed(&self, key: &str) -> bool {
        self.processed.iter().any(|one| one == key)
    }

    /// What it found out of a kind; `None` where it says nothing of it.
    pub(crate) fn finding(&self, capability: Capability) -> Option<Finding> {
        finding(self.results.get(capability.name())?)?
    }
}

/// Two levels: whether it can be read, and whether it is there.
fn finding(value: &Value) -> Option<Option<Finding>> {
    let object = match value {
        Value::Null => return Some(None),
        Value::Object(object) => object,
        _ => return None,
    };
    let is_success = match field(object, "success")? {
        None | Some(Value::Null) => false,
        Some(Value::Bool(is_success)) => *is_success,
        Some(_) => return None,
    };
    Some(Some(Finding { is_success, reason: text(object, "reason")?.to_owned() }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(answer: &str) -> Option<Answer> {
        Answer::read(&Fields::read(answer.as_bytes())?)
    }

    #[test]
    fn a_finding_is_of_its_kind_and_a_success_only_where_it_says_so() {
        let answer = json!({
            "verificationResults": {
                "SIGNATURE_VERIFIER.TRUSTED_IDENTITY": {"Success": true},
                "SIGNATURE_VERIFIER.REVOCATION_CHECK": {"reason": "r"},
                "other": null,
            },
            "processedAttributes": ["a", 5, null],
        });
        let answer = read(&answer.to_string()).unwrap();
        let identity = answer.finding(Capability::TrustedIdentity).unwrap();
        assert!(identity.is_success && identity.reason.is_empty());
        let revocation = answer.finding(Capability::RevocationCheck).unwrap();
        assert_eq!(revocation, Finding { is_success: false, reason: "r".into() });
        assert!(answer.has_processed("a") && !answer.has_processed("5"));
        let nothing = read("{}").unwrap();
        assert!(
            nothing.finding(Capability::TrustedIdentity).is_none() && !nothing.has_processed("a")
        );
    }

    #[test]
    fn what_can_be_read_in_two_ways_or_not_at_all_is_no_answer() {
        for answer in [
            "",
            "null",
            "[]",
            "{} {}",
            r#"{"verificationResults":[]}"#,
            r#"{"processedAttributes":{}}"#,
            r#"{"verificationResults":{"x":true}}"#,
            r#"{"verificationResults":{"x":{"success":"true"}}}"#,
            r#"{"verificationResults":{"x":{"success":true,"Success":false}}}"#,
            r#"{"verificationResults":{"x":{"success":true,"success":true}}}"#,
            r#"{"verificationResults":{},"verificationresults":{}}"#,
            r#"{"verificationResults":{"x":{"success":true,"reason":1}}}"#,
        ] {
            assert_eq!(read(answer), None, "{answer}");
        }
    }
}

//! [`ConfigPolicy`]: one rule per artifact type, `any` or `all`, and all types must be satisfied.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{ComponentType, Error, ErrorCode, Result, VerifierReport, go_json, link};

const POLICIES_KEY: &str = "artifactVerificationPolicies";
const DEFAULT_KEY: &str = "default";

/// v1's `configpolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigPolicy {
    rules: BTreeMap<String, Rule>,
    default: Rule,
}

/// What the reports about one artifact type must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// One of them is a success.
    Any,
    /// Each of them is a success.
    All,
    /// Nothing satisfies it: v1 takes any text for a rule and never finds an unknown one
    /// satisfied. A deny, so it is kept.
    Never,
}

impl ConfigPolicy {
    /// Reads the policy's entry. Keys it does not know are ignored, as in v1.
    pub(super) fn from_entry(entry: &Map<String, Value>) -> Result<Self> {
        let mut rules = match rules_of(entry)? {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(Value::Object(listed)) => {
                listed.iter().map(|(type_, rule)| parse(type_, rule)).collect::<Result<_>>()?
            }
            Some(_) => return Err(undecodable(format!("{POLICIES_KEY}: expected an object"))),
        };
        let default = rules.remove(DEFAULT_KEY).flatten().unwrap_or(Rule::All);
        let rules =
            rules.into_iter().map(|(type_, rule)| (type_, rule.unwrap_or(Rule::Never))).collect();
        Ok(Self { rules, default })
    }

    /// Whether the reports satisfy every listed type and every type that reports are about.
    pub(crate) fn decide(&self, reports: &[VerifierReport]) -> bool {
        let types = self
            .rules
            .keys()
            .map(String::as_str)
            .chain(reports.iter().map(|report| report.artifact_type.as_str()));
        !reports.is_empty() && types.into_iter().all(|type_| self.is_satisfied(type_, reports))
    }

    fn is_satisfied(&self, artifact_type: &str, reports: &[VerifierReport]) -> bool {
        let mut successes = reports
            .iter()
            .filter(|report| report.artifact_type == artifact_type)
            .map(|report| report.is_success)
            .peekable();
        let has_reports = successes.peek().is_some();
        match self.rules.get(artifact_type).unwrap_or(&self.default) {
            Rule::Any => successes.any(|success| success),
            Rule::All => has_reports && successes.all(|success| success),
            Rule::Never => false,
        }
    }
}

/// Where two spellings are there v1 takes the rules of both together; to drop those of one might
/// allow what they deny.
fn rules_of(entry: &Map<String, Value>) -> Result<Option<&Value>> {
    go_json::member(entry, POLICIES_KEY).map_err(|error| undecodable(error.to_string()))
}

/// `None` is the empty rule: the default's default, and for any other type one nothing satisfies.
fn parse(artifact_type: &str, rule: &Value) -> Result<(String, Option<Rule>)> {
    let rule = match rule {
        Value::Null => None,
        Value::String(text) => match text.as_str() {
            "" => None,
            "any" => Some(Rule::Any),
            "all" => Some(Rule::All),
            _ => Some(Rule::Never),
        },
        _ => {
            let artifact_type = crate::capped_line(artifact_type, 100);
            return Err(undecodable(format!("{POLICIES_KEY}.{artifact_type}: expected a string")));
        }
    };
    Ok((artifact_type.to_owned(), rule))
}

fn undecodable(cause: String) -> Error {
    ErrorCode::DataDecodingFailure
        .detail("failed to unmarshal policy config")
        .with_source(cause)
        .with_remediation(link::POLICY_PROVIDER)
        .from_component(ComponentType::PolicyProvider, super::CONFIG_POLICY)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(rules: &Value) -> ConfigPolicy {
        let entry = json!({"name": "configpolicy", "artifactVerificationPolicies": rules, "x": 1});
        ConfigPolicy::from_entry(entry.as_object().unwrap()).unwrap()
    }

    fn reports(text: &str) -> Vec<VerifierReport> {
        text.split_whitespace()
            .map(|word| {
                let (artifact_type, success) = word.split_once(':').unwrap();
                VerifierReport {
                    artifact_type: artifact_type.into(),
                    is_success: success == "ok",
                    ..VerifierReport::default()
                }
            })
            .collect()
    }

    #[test]
    fn decides_as_v1_does() {
        let cases = [
            (json!({}), "A:ok A:bad", false),
            (json!({}), "A:ok B:ok", true),
            (json!({}), "", false),
            (json!(null), "A:ok", true),
            (json!({"default": "any"}), "A:ok A:bad", true),
            (json!({"default": "any"}), "A:bad A:ok", true),
            (json!({"default": "any"}), "A:ok B:bad", false),
            (json!({"default": ""}), "A:ok A:bad", false),
            (json!({"default": null}), "A:ok", true),
            (json!({"A": "any"}), "A:bad A:ok B:ok", true),
            (json!({"A": "any"}), "A:bad", false),
            (json!({"A": "any"}), "B:ok", false),
            (json!({"A": "any", "B": "all"}), "A:ok B:ok C:bad", false),
            (json!({"A": "any", "B": "all"}), "A:ok A:bad B:ok C:ok", true),
            (json!({"A": "all"}), "A:ok A:bad", false),
            (json!({"A": "all"}), ":bad", false),
            (json!({"A": "all"}), "", false),
        ];
        for (rules, given, expected) in cases {
            assert_eq!(policy(&rules).decide(&reports(given)), expected, "{rules} with {given}");
        }
    }

    #[test]
    fn a_rule_nobody_knows_is_never_satisfied() {
        for rule in [json!("most"), json!("ANY"), json!(""), json!(null)] {
            assert!(!policy(&json!({ "A": rule })).decide(&reports("A:ok")), "{rule}");
        }
        assert!(!policy(&json!({"default": "most"})).decide(&reports("A:ok")));
    }

    #[test]
    fn default_is_no_artifact_type() {
        assert!(!policy(&json!({"default": "any"})).decide(&reports("default:bad")));
        assert!(policy(&json!({"default": "any"})).decide(&reports("A:ok")));
    }

    #[test]
    fn the_key_in_two_spellings_is_refused() {
        let entry = json!({
            "artifactVerificationPolicies": {"default": "any"},
            "ArtifactVerificationPolicies": {"A": "all"},
        });
        assert!(ConfigPolicy::from_entry(entry.as_object().unwrap()).is_err());
    }

    #[test]
    fn the_key_is_found_in_any_case() {
        let entry = json!({"ArtifactVerificationPolicies": {"A": "all"}});
        let policy = ConfigPolicy::from_entry(entry.as_object().unwrap()).unwrap();
        assert!(!policy.decide(&reports("B:ok")));
    }
}

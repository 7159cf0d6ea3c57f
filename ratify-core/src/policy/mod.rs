//! [`Policy`]: what decides. It turns reports into a verdict, and a failure into a report.
//!
//! An enum and no trait: the executor branches on the kind anyway. Today's only kind is
//! [`ConfigPolicy`]; Rego has its place beside it.

mod config_policy;

use serde_json::{Map, Value};

use crate::{
    Basis, ComponentType, Error, ErrorCode, Result, VerifierReport, VerifyResult,
    config::PolicyConfig, link,
};

pub use config_policy::ConfigPolicy;

const CONFIG_POLICY: &str = "configpolicy";
const REGO_POLICY: &str = "regopolicy";

/// The policy of a configuration.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Policy {
    /// Rules per artifact type, written in the configuration.
    Config(ConfigPolicy),
}

impl Policy {
    /// Builds the policy that the `policy` section names.
    ///
    /// # Errors
    /// When no policy is named, the name is unknown, or its keys are wrong. The texts are v1's.
    pub fn from_config(section: &PolicyConfig) -> Result<Self> {
        let Some(plugin) = &section.plugin else {
            return Err(invalid("policy provider config must be specified"));
        };
        let Some(name) = plugin.get("name") else {
            return Err(invalid(
                "failed to find policy provider name in the policy config with key: name",
            ));
        };
        Self::from_entry(&normalised(name), plugin)
    }

    fn from_entry(name: &str, plugin: &Map<String, Value>) -> Result<Self> {
        let policy = match name {
            CONFIG_POLICY => ConfigPolicy::from_entry(plugin),
            REGO_POLICY => Err(ErrorCode::ConfigInvalid
                .detail("regopolicy is not part of this build of Ratify; use configpolicy")
                .with_remediation(link::POLICY_PROVIDER)),
            _ => {
                return Err(ErrorCode::PolicyProviderNotFound
                    .detail(format!("policy type: {name} is not registered policy provider"))
                    .with_remediation(link::POLICY_CRD)
                    .from_component(ComponentType::PolicyProvider, name));
            }
        };
        policy.map(Self::Config).map_err(|error| {
            ErrorCode::PluginInitFailure
                .detail("failed to create policy provider")
                .with_source(error)
                .with_remediation(link::POLICY_PROVIDER)
                .from_component(ComponentType::PolicyProvider, name)
        })
    }

    /// v1's normalised name of the kind, as its log line `selected policy provider: …` has it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Config(_) => CONFIG_POLICY,
        }
    }

    /// The version of the response that carries this policy's reports.
    pub const fn response_version(&self) -> &'static str {
        match self {
            Self::Config(_) => "0.2.0",
        }
    }

    /// Adds what it decides by.
    pub fn add_basis(&self, basis: &mut Basis) {
        match self {
            // Plain data, of which the derived text leaves nothing out.
            Self::Config(policy) => basis.add(CONFIG_POLICY, format!("{policy:?}")),
        }
    }

    /// The verdict about a subject. Nested reports count only through their parent's.
    pub fn decide(&self, reports: &[VerifierReport]) -> bool {
        match self {
            Self::Config(policy) => policy.decide(reports),
        }
    }

    /// What is answered where no verdict was reached: one failed report that says why, and of no
    /// verifier (v1: no name and no type).
    pub fn error_to_result(&self, subject: &str, error: Error) -> VerifyResult {
        let outer = ErrorCode::VerifyReferenceFailure
            .detail(format!("failed to verify artifact: {subject}"))
            .with_source(error);
        let report =
            VerifierReport { subject: subject.to_owned(), ..VerifierReport::from_error(&outer) };
        VerifyResult::new(false, vec![report])
    }
}

/// Lower case, without hyphens: `Config-Policy` is `configpolicy`.
fn normalised(name: &Value) -> String {
    let text = match name {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    crate::capped_line(&text.to_lowercase().replace('-', ""), 100)
}

fn invalid(detail: &str) -> Error {
    ErrorCode::ConfigInvalid.detail(detail).from_component(ComponentType::PolicyProvider, "")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(plugin: Value) -> Result<Policy> {
        let file = json!({"policy": {"version": "1.0.0", "plugin": plugin}}).to_string();
        let config = crate::config::Config::from_json(file.as_bytes()).unwrap();
        Policy::from_config(&config.policy.unwrap())
    }

    #[test]
    fn a_name_is_matched_without_case_and_hyphens() {
        for name in ["configPolicy", "config-policy", "CONFIGPOLICY", "configpolicy"] {
            assert_eq!(policy(json!({ "name": name })).unwrap().name(), "configpolicy");
        }
    }

    #[test]
    fn refuses_with_v1s_texts() {
        let cases = [
            (json!(null), "CONFIG_INVALID: policy provider config must be specified"),
            (
                json!({}),
                "CONFIG_INVALID: failed to find policy provider name in the policy config with key: name",
            ),
            (
                json!({"name": "foo"}),
                "POLICY_PROVIDER_NOT_FOUND: policy type: foo is not registered policy provider: https://ratify.dev/docs/reference/crds/policies",
            ),
            (
                json!({"name": 5}),
                "POLICY_PROVIDER_NOT_FOUND: policy type: 5 is not registered policy provider: https://ratify.dev/docs/reference/crds/policies",
            ),
            (
                json!({"name": "configPolicy", "artifactVerificationPolicies": {"a": 1}}),
                "DATA_DECODING_FAILURE: failed to create policy provider: failed to unmarshal policy config: artifactVerificationPolicies.a: expected a string: https://ratify.dev/docs/reference/providers",
            ),
            (
                json!({"name": "rego-policy", "policy": "package x"}),
                "CONFIG_INVALID: failed to create policy provider: regopolicy is not part of this build of Ratify; use configpolicy: https://ratify.dev/docs/reference/providers",
            ),
        ];
        for (plugin, expected) in cases {
            assert_eq!(policy(plugin).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_failure_becomes_v1s_one_report() {
        let subject = "localhost:5055/lab:unsigned";
        let error = ErrorCode::NoVerifierReport.detail("nothing was attached");
        let result =
            policy(json!({"name": "configPolicy"})).unwrap().error_to_result(subject, error);
        insta::assert_snapshot!(serde_json::to_string(&result).unwrap(), @r#"{"verifierReports":[{"subject":"localhost:5055/lab:unsigned","isSuccess":false,"message":"failed to verify artifact: localhost:5055/lab:unsigned","errorReason":"nothing was attached"}]}"#);
    }
}
